"""Corrections of people and their photos. Each is one transaction's work, an entry of the journal, and an audit event.

The audit event holds counts, no names; the journal holds what it takes to undo the correction.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from facesearch.errors import ConfigError, GalleryError, UnknownSubjectError
from facesearch.names import path_text
from facesearch.store import audit, journal, subjects
from facesearch.store.decisions import decide, forget_comparisons
from facesearch.store.journal import ENROLL, Entry
from facesearch.store.rows import chunks, member, now
from facesearch.store.schema import AliasRow, CropRow, DecisionRow, FaceRow, PhotoRow, SubjectRow, TemplateRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.engine import Connection

    from facesearch.corrections import JournalEntry
    from facesearch.store.subjects import SubjectKey
    from facesearch.types import Subject


class Photo(NamedTuple):
    """An enrolled photo, as corrections need it."""

    photo_id: int
    sha256: bytes
    owner_id: int
    label: str


def find(connection: Connection, who: SubjectKey, *, removed: bool = False) -> Subject:
    """One subject; `UnknownSubjectError` proposes names that look alike.

    With `removed`, also somebody who was removed and can be brought back: a subject without photos.
    """
    try:
        key = subjects.require_subject(connection, who)
    except UnknownSubjectError:
        name = subjects.clean_name(who) if isinstance(who, str) else None
        for each in journal.removed_subjects(connection) if removed else ():
            if each.subject_id == who or each.name == name:
                return each
        raise
    return subjects.list_subjects(connection, ids=[key])[0]


def rename(connection: Connection, who: SubjectKey, new: str) -> None:
    """Give a subject another name and keep the old one as an alias. `SubjectExistsError` when the name is taken."""
    subject_id = subjects.require_subject(connection, who)
    old, new = subjects.name_of(connection, subject_id), subjects.require_free(connection, subject_id, new)
    if old == new:
        return
    entry = Entry(connection, "rename", {"name": old, "to": new})
    entry.delete(AliasRow, AliasRow.name == new, of=subject_id)
    entry.update(SubjectRow, SubjectRow.id == subject_id, {"name": new}, of=subject_id)
    _insert_alias(entry, subject_id, old)
    forget_comparisons(connection)
    audit.record(connection, "people.rename", {"subjects": 1})


def _insert_alias(entry: Entry, subject_id: int, name: str) -> None:
    entry.insert(AliasRow, {"subject_id": subject_id, "name": name, "created_at": now()}, of=subject_id)


def add_alias(connection: Connection, who: SubjectKey, name: str) -> None:
    """Let folders, manifests and people find a subject by another name. `SubjectExistsError` when it is taken."""
    subject_id = subjects.require_subject(connection, who)
    name = subjects.require_free(connection, subject_id, name)
    if subjects.find_subject(connection, name) == subject_id:
        return
    entry = Entry(connection, "alias", {"name": subjects.name_of(connection, subject_id), "added": name})
    _insert_alias(entry, subject_id, name)
    audit.record(connection, "people.alias", {"added": 1})


def remove_alias(connection: Connection, who: SubjectKey, name: str) -> None:
    """Take another name from a subject; `ConfigError` where it has no such."""
    subject_id = subjects.require_subject(connection, who)
    own = subjects.name_of(connection, subject_id)
    entry = Entry(connection, "alias", {"name": own, "removed": subjects.clean_name(name)})
    chosen = sa.and_(AliasRow.subject_id == subject_id, AliasRow.name == subjects.clean_name(name))
    if not entry.delete(AliasRow, chosen, of=subject_id):
        (subject,) = subjects.list_subjects(connection, ids=[subject_id])
        known = ", ".join(subject.aliases) or "none"
        raise ConfigError(f"{name!r} is not another name of {own}.", f"The other names of {own}: {known}.")
    audit.record(connection, "people.alias", {"removed": 1})


def merge(connection: Connection, source: SubjectKey, target: SubjectKey) -> None:
    """Make `source`'s photos `target`'s and remove `source`, whose names become aliases of `target`."""
    source_id, target_id = (subjects.require_subject(connection, each) for each in (source, target))
    if source_id == target_id:
        raise ConfigError(f"{source!r} cannot be merged with itself.", "Name two different people.")
    names = [subjects.name_of(connection, each) for each in (source_id, target_id)]
    entry = Entry(connection, "merge", {"name": names[0], "into": names[1]})
    _take_over_photos(entry, source_id, target_id)
    for row in (AliasRow, DecisionRow):
        column = row.__table__.c.subject_id
        entry.update(row, column == source_id, {"subject_id": target_id}, of=source_id, other=target_id)
    _take_over_attributes(entry, source_id, target_id)
    entry.delete(SubjectRow, SubjectRow.id == source_id, of=source_id, other=target_id)
    _insert_alias(entry, target_id, names[0])
    forget_comparisons(connection)
    audit.record(connection, "people.merge", {"subjects": 2})


def _take_over_photos(entry: Entry, source_id: int, target_id: int) -> None:
    """Make photos of one subject another's; those of a content that the other has too go."""
    held = sa.select(PhotoRow.sha256).where(PhotoRow.owner_id == target_id)
    query = sa.select(PhotoRow.id, PhotoRow.sha256, PhotoRow.label)
    copies = entry.connection.execute(query.where(PhotoRow.owner_id == source_id, PhotoRow.sha256.in_(held))).all()
    for copy in copies:
        decide(entry, copy.sha256, copy.label, target_id, of=source_id)
    entry.delete_photos([copy.id for copy in copies], of=source_id, other=target_id)
    entry.update(PhotoRow, PhotoRow.owner_id == source_id, {"owner_id": target_id}, of=source_id, other=target_id)
    entry.update(FaceRow, FaceRow.subject_id == source_id, {"subject_id": target_id}, of=source_id, other=target_id)


def _take_over_attributes(entry: Entry, source_id: int, target_id: int) -> None:
    query = sa.select(SubjectRow.attributes, SubjectRow.said)
    source = entry.connection.execute(query.where(SubjectRow.id == source_id)).one()
    target = entry.connection.execute(query.where(SubjectRow.id == target_id)).one()
    values = {
        "attributes": {**source.attributes, **target.attributes},
        "said": {**source.said, **target.said},
    }
    entry.update(SubjectRow, SubjectRow.id == target_id, values, of=target_id, other=source_id)


def set_attributes(connection: Connection, who: SubjectKey, changes: Mapping[str, str | None]) -> None:
    """Change a subject's attributes; None removes one."""
    subject_id = subjects.require_subject(connection, who)
    values = {"attributes": subjects.changed_attributes(connection, subject_id, changes)}
    detail = {"name": subjects.name_of(connection, subject_id), "attributes": ", ".join(sorted(changes))}
    entry = Entry(connection, "set", detail)
    entry.update(SubjectRow, SubjectRow.id == subject_id, values, of=subject_id)
    audit.record(connection, "people.set", {"attributes": len(changes)})


def move_photos(connection: Connection, paths: Sequence[Path], who: SubjectKey, *, create: bool = False) -> None:
    """Say that enrolled photos show this subject; `create` makes one of that name where there is none.

    Raises `GalleryError` where a photo is not enrolled, `UnknownSubjectError`.
    """
    photos = _require_photos(connection, paths)
    if create and isinstance(who, str) and subjects.find_subject(connection, who) is None:
        entry = Entry(connection, "move", {"to": subjects.clean_name(who), "photos": len(photos)})
        values = {"name": subjects.clean_name(who), "attributes": {}, "said": {}, "created_at": now()}
        target_id = entry.insert(SubjectRow, values)
    else:
        target_id = subjects.require_subject(connection, who)
        entry = Entry(connection, "move", {"to": subjects.name_of(connection, target_id), "photos": len(photos)})
    for photo in photos:
        _move(entry, photo, target_id)
    subjects.remove_faceless_subjects(connection, entry)
    forget_comparisons(connection)
    audit.record(connection, "people.move", {"photos": len(photos)})


def _move(entry: Entry, photo: Photo, target_id: int) -> None:
    key, sha256, owner_id, label = photo
    if owner_id == target_id:
        entry.update(FaceRow, FaceRow.photo_id == key, {"origin": "moved"}, of=target_id)
        return
    decide(entry, sha256, label, target_id, of=owner_id)
    same = sa.and_(PhotoRow.sha256 == sha256, PhotoRow.owner_id == target_id)
    if entry.connection.scalar(sa.select(PhotoRow.id).where(same)) is not None:
        entry.delete_photos([key], of=owner_id, other=target_id)
        return
    entry.update(PhotoRow, PhotoRow.id == key, {"owner_id": target_id}, of=owner_id, other=target_id)
    values = {"subject_id": target_id, "origin": "moved"}
    entry.update(FaceRow, FaceRow.photo_id == key, values, of=owner_id, other=target_id)


def confirm_photos(connection: Connection, paths: Sequence[Path]) -> int:
    """Say that enrolled photos show whom they are enrolled as; returns how many. Raises `GalleryError`."""
    photos = _require_photos(connection, paths)
    entry = Entry(connection, "confirm", {"photos": len(photos)})
    for key, _, owner_id, _ in photos:
        entry.update(FaceRow, FaceRow.photo_id == key, {"origin": "confirmed"}, of=owner_id)
        entry.update(PhotoRow, PhotoRow.id == key, {"conflict": None}, of=owner_id)
    audit.record(connection, "people.confirm", {"photos": len(photos)})
    return len(photos)


def _require_photos(connection: Connection, paths: Sequence[Path]) -> list[Photo]:
    """The enrolled photos at these paths; `GalleryError` names one that is not enrolled."""
    found, missing = _find_photos(connection, paths)
    if missing:
        raise GalleryError(
            f"{path_text(missing[0])} is not enrolled.", "`facesearch people show NAME` lists a person's photos."
        )
    return found


def _find_photos(connection: Connection, paths: Sequence[Path]) -> tuple[list[Photo], list[Path]]:
    """The enrolled photos at these paths, and the paths where none is enrolled."""
    query = sa.select(PhotoRow.path, PhotoRow.id, PhotoRow.sha256, PhotoRow.owner_id, PhotoRow.label)
    raw = [os.fsencode(path) for path in dict.fromkeys(paths)]
    found = {row[0]: row for chunk in chunks(raw) for row in connection.execute(query.where(PhotoRow.path.in_(chunk)))}
    missing = [Path(os.fsdecode(each)) for each in raw if each not in found]
    return [Photo(*found[each][1:]) for each in raw if each in found], missing


def remove(connection: Connection, who: SubjectKey) -> tuple[int, int]:
    """Remove a subject: (photos, templates) removed. Undoing brings the subject back for `journal.KEPT_DAYS`."""
    subject_id = subjects.require_subject(connection, who)
    entry = Entry(connection, "remove", {"name": subjects.name_of(connection, subject_id)})
    photos, templates = _remove_photos_of(entry, subject_id)
    entry.delete(AliasRow, AliasRow.subject_id == subject_id, of=subject_id)
    entry.delete(SubjectRow, SubjectRow.id == subject_id, of=subject_id)
    forget_comparisons(connection)
    audit.record(connection, "people.remove", {"photos": photos, "templates": len(templates)})
    return photos, len(templates)


def _remove_photos_of(entry: Entry, subject_id: int) -> tuple[int, list[int]]:
    """Remove a subject's faces, and photos nobody else is in: (photos, template ids) removed."""
    faces = FaceRow.subject_id == subject_id
    query = sa.select(PhotoRow.sha256, PhotoRow.label).where(PhotoRow.owner_id == subject_id)
    contents = entry.connection.execute(query).all()
    of_faces = TemplateRow.face_id.in_(sa.select(FaceRow.id).where(faces))
    templates = entry.delete(TemplateRow, of_faces, of=subject_id)
    entry.delete(FaceRow, faces, of=subject_id)
    alone = sa.and_(PhotoRow.owner_id == subject_id, ~sa.exists().where(FaceRow.photo_id == PhotoRow.id))
    entry.delete(CropRow, CropRow.photo_id.in_(sa.select(PhotoRow.id).where(alone)), of=subject_id)
    removed = entry.delete(PhotoRow, alone, of=subject_id)
    entry.update(DecisionRow, DecisionRow.subject_id == subject_id, {"subject_id": None}, of=subject_id)
    for sha256, label in contents:
        decide(entry, sha256, label, None, of=subject_id)
    return len(removed), templates


def remove_photos(connection: Connection, paths: Sequence[Path]) -> int:
    """Remove single photos as a person's decision, and subjects of whom nothing is left; how many templates went.

    Raises `GalleryError` where one is not enrolled.
    """
    photos = _require_photos(connection, paths)
    entry = Entry(connection, "remove photos", {"photos": len(photos)})
    removed: list[int] = []
    for key, sha256, owner_id, label in photos:
        removed += entry.delete_photos([key], of=owner_id)
        decide(entry, sha256, label, None, of=owner_id)
    subjects.remove_faceless_subjects(connection, entry)
    forget_comparisons(connection)
    audit.record(connection, "photos.remove", {"photos": len(photos), "templates": len(removed)})
    return len(removed)


def remove_vanished(connection: Connection, paths: Sequence[Path], run: int | None = None) -> int | None:
    """Remove photos whose files are gone; nothing is decided by that, and their people stay.

    `run` is the journal's entry of the run, where it has begun; returns it.
    """
    entry = Entry(connection, ENROLL, entry_id=run)
    removed: list[int] = []
    for key, _, owner_id, _ in _find_photos(connection, paths)[0]:
        removed += entry.delete_photos([key], of=owner_id)
    if removed:
        forget_comparisons(connection)
    return entry.id


def remove_faceless(connection: Connection, run: int | None = None) -> int | None:
    """Remove people without photos of whom nothing else is known. Takes and returns the `run` as `remove_vanished`."""
    entry = Entry(connection, ENROLL, entry_id=run)
    subjects.remove_faceless_subjects(connection, entry)
    return entry.id


def history(
    connection: Connection, *, last: int | None = None, who: SubjectKey | None = None, before: int | None = None
) -> list[JournalEntry]:
    """Corrections, newest first: the last n, or those that concern a subject, who may have been removed.

    `before` is the id of an entry: only older ones.
    """
    subject_id = None if who is None else find(connection, who, removed=True).subject_id
    return journal.entries(connection, last=last, subject_id=subject_id, before=before)


def overdue(connection: Connection) -> list[Subject]:
    """Subjects whose `retain_until` has passed, by name; also people who were removed and can be brought back."""
    dated = member(SubjectRow.attributes, subjects.RETAIN_UNTIL).is_not(None)
    ids = connection.scalars(sa.select(SubjectRow.id).where(dated)).all()
    known = [each for chunk in chunks(ids) for each in subjects.list_subjects(connection, ids=chunk)]
    return sorted(subjects.overdue([*known, *journal.removed_subjects(connection)]), key=lambda each: each.name)
