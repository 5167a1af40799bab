"""What an enrolment changes: carrying changes out in the database, and noting their effect on templates."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import numpy as np
import sqlalchemy as sa

from facesearch.arguments import require_unit_vectors
from facesearch.errors import GalleryError, ModelMismatchError
from facesearch.names import path_text
from facesearch.store import photos, subjects
from facesearch.store.decisions import RefusedPhoto, remember_rejections
from facesearch.store.rows import delete_in, insert_all, now, select_in, storable, update
from facesearch.store.schema import FaceRow, PhotoRow, RejectionRow, TemplateRow
from facesearch.store.templates import template_values
from facesearch.types import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy.engine import Connection

    from facesearch.store.journal import Entry
    from facesearch.store.photos import PhotoFile, StoredPhoto
    from facesearch.types import ModelInfo, Template, Vector

_SAYS_NOTHING: Final = {Reason.UNREADABLE, Reason.INACCESSIBLE, Reason.MODEL_FAILURE}
"""Refusals that do not tell what a file holds."""


@dataclass(frozen=True, slots=True, eq=False)
class NewPhoto:
    """A photo whose faces are to be enrolled as one subject."""

    file: PhotoFile
    subject: str
    attributes: Mapping[str, str]
    width: int
    height: int
    templates: tuple[Template, ...]
    label: str = ""
    """Whom the photo's source says that it shows; empty where nobody said."""
    conflict: int | Path | None = None
    """A template of another subject that the photo matches; the path where that photo is new in the same commit."""


@dataclass(frozen=True, slots=True)
class MovedPhoto:
    """An enrolled photo whose file was renamed or touched, or of which its source says something new."""

    stored: StoredPhoto
    file: PhotoFile
    subject: str
    """Whose photo it is from now on."""
    attributes: Mapping[str, str]
    """That the source says of the subject."""
    label: str = ""


Change: TypeAlias = NewPhoto | MovedPhoto | RefusedPhoto


@dataclass(slots=True)
class Effect:
    """What a transaction did to the templates, for an index to take over."""

    removed: list[int] = field(default_factory=list)
    """Template ids."""
    added: list[tuple[int, int, Vector]] = field(default_factory=list)
    """(template id, checksum, vector)."""
    model_row: int | None = None
    """Whose templates were added."""
    is_known: bool = True
    """Whether `removed` and `added` are all."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one change."""

    template_ids: tuple[int, ...] = ()
    """Of the photo that the change concerns."""
    twin: StoredPhoto | None = None
    """Where a new photo's content is enrolled for the same subject already: that photo. Nothing was changed then."""
    kept_attributes: tuple[str, ...] = ()
    """Attributes whose value stays as a person set it, although the source says another."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What one transaction of an enrolment did."""

    applied: list[Applied]
    """What became of each change."""
    run: int | None
    """The journal's entry of the run, where anything can be undone."""


def apply_changes(
    connection: Connection,
    changes: Sequence[Change],
    active: tuple[int, ModelInfo] | None,
    effect: Effect,
    entry: Entry,
) -> list[Applied]:
    """Carry out changes in their order; returns what became of each.

    `active` is the model with its row id; `entry` notes what can be undone. Raises `GalleryError` for templates that
    cannot be kept.
    """
    _vacate(connection, [change for change in changes if isinstance(change, MovedPhoto)])
    applied: list[Applied] = []
    for run in _runs(changes):
        match run[0]:
            case NewPhoto():
                applied += _enroll(connection, cast("Sequence[NewPhoto]", run), active, effect, entry)
            case RefusedPhoto():
                applied += _refuse(connection, cast("Sequence[RefusedPhoto]", run), effect)
            case MovedPhoto():
                applied += [_move(connection, each, effect, entry) for each in cast("Sequence[MovedPhoto]", run)]
    return applied


def _runs(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    """Changes of one kind that follow each other, each at another path: what can be done at once."""
    run: list[Change] = []
    paths: set[Path] = set()
    for change in changes:
        path = change.path if isinstance(change, RefusedPhoto) else change.file.path
        if run and (type(change) is not type(run[0]) or path in paths):
            yield run
            run, paths = [], set()
        run.append(change)
        paths.add(path)
    if run:
        yield run


def _refuse(connection: Connection, refused: Sequence[RefusedPhoto], effect: Effect) -> list[Applied]:
    """Remember refusals. A photo that was enrolled from the same path goes where the file has another content now.

    It stays where the file cannot be read: it may be half written.
    """
    remember_rejections(connection, [each for each in refused if each.remembered])
    contents = {
        each.path: each.rejection.sha256
        for each in refused
        if each.rejection.sha256 is not None and each.rejection.rejection.reason not in _SAYS_NOTHING
    }
    enrolled = photos.find_photos(connection, list(contents)).values() if contents else ()
    replaced = [each.file.path for each in enrolled if each.file.sha256 != contents[each.file.path]]
    effect.removed += remove_photos(connection, replaced)
    return [Applied()] * len(refused)


def _move(connection: Connection, moved: MovedPhoto, effect: Effect, entry: Entry) -> Applied:
    (subject_id,) = subjects.ensure_subjects(connection, [moved.subject])
    kept = subjects.say_attributes(connection, subject_id, moved.attributes, entry) if moved.attributes else []
    twin = next(iter(photos.find_copies(connection, {(moved.stored.file.sha256, subject_id)}).values()), None)
    # That person may have the photo already. A copy that no search finds does not count.
    if twin is not None and twin.template_ids and twin.photo_id != moved.stored.photo_id:
        effect.removed += _drop_copy(connection, moved, subject_id, entry)
        return Applied(twin.template_ids, twin, tuple(kept))
    effect.removed += _move_photo(connection, moved, subject_id, entry)
    return Applied(moved.stored.template_ids, kept_attributes=tuple(kept))


def _enroll(
    connection: Connection,
    new: Sequence[NewPhoto],
    active: tuple[int, ModelInfo] | None,
    effect: Effect,
    entry: Entry,
) -> list[Applied]:
    if active is None:
        raise GalleryError("Templates arrived before a model was adopted.", "Adopt the model first.")
    effect.model_row, info = active
    vectors = [vector for photo in new for vector in _storable_vectors(photo, info)]
    require_unit_vectors(np.array(vectors, np.float32), info.dimension)
    owners = subjects.ensure_subjects(connection, [photo.subject for photo in new])
    contents = [(photo.file.sha256, owner) for photo, owner in zip(new, owners, strict=True)]
    # Another process may have enrolled the same photo meanwhile, or this transaction has it twice.
    copies = photos.find_copies(connection, set(contents))
    twins = {content: copy for content, copy in copies.items() if copy.template_ids}
    fresh: dict[tuple[str, int], NewPhoto] = {}
    for content, photo in zip(contents, new, strict=True):
        if content not in twins:
            fresh.setdefault(content, photo)
    unsearched = [copies[content].file.path for content in fresh if content in copies]
    effect.removed += remove_photos(connection, [*(photo.file.path for photo in fresh.values()), *unsearched])
    ids = _insert_photos(connection, fresh, effect)
    again = {content for content, photo in zip(contents, new, strict=True) if photo not in ids and content not in twins}
    twins |= photos.find_copies(connection, again) if again else {}
    said = _say(connection, new, owners, entry)
    return [
        Applied(ids[photo], None, said.get(owner, ()))
        if photo in ids
        else Applied(twins[content].template_ids, twins[content], said.get(owner, ()))
        for content, photo, owner in zip(contents, new, owners, strict=True)
    ]


def _insert_photos(
    connection: Connection, fresh: Mapping[tuple[str, int], NewPhoto], effect: Effect
) -> dict[NewPhoto, tuple[int, ...]]:
    """Store photos by content and owner, at paths that hold none, with faces and templates; their template ids.

    A table is written in one go: a statement a row costs several times as much.
    """
    assert effect.model_row is not None
    moment = now()
    photo_ids = insert_all(connection, PhotoRow, [_photo_values(p, owner, moment) for (_, owner), p in fresh.items()])
    delete_in(connection, RejectionRow, RejectionRow.path, [os.fsencode(photo.file.path) for photo in fresh.values()])
    faces = [
        (photo, template, _face_values(template, photo_id, owner))
        for photo_id, ((_, owner), photo) in zip(photo_ids, fresh.items(), strict=True)
        for template in photo.templates
    ]
    face_ids = insert_all(connection, FaceRow, [values for *_, values in faces])
    rows = [
        template_values(face_id, effect.model_row, template.vector)
        for face_id, (_, template, _) in zip(face_ids, faces, strict=True)
    ]
    ids: dict[NewPhoto, tuple[int, ...]] = {}
    for (photo, template, _), key, row in zip(faces, insert_all(connection, TemplateRow, rows), rows, strict=True):
        effect.added.append((key, row["crc"], template.vector))
        ids[photo] = (*ids.get(photo, ()), key)
    first = {photo.file.path: keys[0] for photo, keys in ids.items()}
    for photo in ids:
        if isinstance(photo.conflict, Path) and photo.conflict in first:
            update(
                connection,
                PhotoRow,
                PhotoRow.path == os.fsencode(photo.file.path),
                {"conflict": first[photo.conflict]},
            )
    return ids


def _photo_values(photo: NewPhoto, owner_id: int, moment: str) -> dict[str, object]:
    file = photo.file
    return {
        "path": os.fsencode(file.path),
        "sha256": bytes.fromhex(file.sha256),
        "size": file.size,
        "mtime_ns": storable(file.mtime_ns),
        "width": photo.width,
        "height": photo.height,
        "enrolled_at": moment,
        "owner_id": owner_id,
        "label": photo.label,
        "conflict": photo.conflict if isinstance(photo.conflict, int) else None,
    }


def _face_values(template: Template, photo_id: int, subject_id: int) -> dict[str, object]:
    face, quality = template.face, template.quality
    return {
        "photo_id": photo_id,
        "subject_id": subject_id,
        "box": np.asarray(face.box, "<f4").tobytes(),
        "landmarks": np.asarray(face.landmarks, "<f4").tobytes(),
        "detection_score": float(face.detection_score),
        "size": float(quality.size),
        "sharpness": float(quality.sharpness),
        "yaw": float(quality.yaw),
        "roll": float(quality.roll),
        "origin": "enrolled",
    }


def _say(
    connection: Connection, new: Sequence[NewPhoto], owners: Sequence[int], entry: Entry
) -> dict[int, tuple[str, ...]]:
    """Take what the sources say of their subjects; by subject id the attributes that stay as a person set them."""
    given: dict[int, dict[str, str]] = {}
    for photo, owner in zip(new, owners, strict=True):
        if photo.attributes:
            given.setdefault(owner, {}).update(photo.attributes)
    return {owner: tuple(subjects.say_attributes(connection, owner, each, entry)) for owner, each in given.items()}


def _storable_vectors(photo: NewPhoto, model: ModelInfo) -> list[Vector]:
    """The vectors of a photo's templates; `GalleryError` unless there are some and all are of the gallery's model."""
    if not photo.templates:
        raise GalleryError(f"{photo.file.path} comes without a face.", "Enroll photos with at least one face.")
    for template in photo.templates:
        if template.model_id != model.model_id:
            raise ModelMismatchError(
                f"The gallery holds templates of {model.model_id}, not of {template.model_id}.",
                "Use the model pack that the gallery was made with.",
            )
        if template.vector.shape != (model.dimension,):
            require_unit_vectors(template.vector[None], model.dimension)  # says what is wrong
    return [template.vector for template in photo.templates]


def remove_photos(connection: Connection, paths: Sequence[Path]) -> list[int]:
    """Remove enrolled photos with their faces and templates. Returns the removed template ids."""
    raw = [os.fsencode(path) for path in paths]
    of_photos = sa.select(TemplateRow.id).select_from(TemplateRow).join(FaceRow).join(PhotoRow)
    removed = [row.id for row in select_in(connection, of_photos, PhotoRow.path, raw)]
    delete_in(connection, PhotoRow, PhotoRow.path, raw)
    return removed


def _vacate(connection: Connection, moved: Sequence[MovedPhoto]) -> None:
    """Let photos that get other paths leave theirs, so that two can swap. Each then holds a path that no file has."""
    for photo in moved:
        if photo.file.path != photo.stored.file.path:
            values = {"path": b"\0moving %d" % photo.stored.photo_id}
            update(connection, PhotoRow, PhotoRow.id == photo.stored.photo_id, values)


def _drop_copy(connection: Connection, moved: MovedPhoto, subject_id: int, entry: Entry) -> list[int]:
    """Remove a photo whose source says that it shows somebody who has it already; the ids of the templates that went.

    What was enrolled from the place that its file has now goes, too.
    """
    removed = remove_photos(connection, [moved.file.path]) if moved.file.path != moved.stored.file.path else []
    owner_id = connection.scalar(sa.select(PhotoRow.owner_id).where(PhotoRow.id == moved.stored.photo_id))
    if owner_id is None:
        return removed
    path = {"path": os.fsencode(moved.file.path)}
    update(connection, PhotoRow, PhotoRow.id == moved.stored.photo_id, path)
    return removed + entry.delete_photos([moved.stored.photo_id], of=owner_id, other=subject_id)


def _move_photo(connection: Connection, moved: MovedPhoto, subject_id: int, entry: Entry) -> list[int]:
    """Take over where the photo's file is now, what its source says, and whose it is; its templates stay.

    A photo that was enrolled from the new place is replaced: returns its template ids. Raises `GalleryError` where the
    moved photo is no longer in the gallery.
    """
    photo, file = moved.stored, moved.file
    removed = remove_photos(connection, [file.path]) if file.path != photo.file.path else []
    same = sa.and_(PhotoRow.id == photo.photo_id, PhotoRow.sha256 == bytes.fromhex(photo.file.sha256))
    owner_id = connection.scalar(sa.select(PhotoRow.owner_id).where(same))
    if owner_id is None:
        raise GalleryError(
            f"{path_text(photo.file.path)} was removed from the gallery by another process meanwhile.",
            "Run the same command again.",
        )
    raw = os.fsencode(file.path)
    # What a source said is no correction: undoing the move leaves the label, so that the next run does not move again.
    said = {"path": raw, "size": file.size, "mtime_ns": storable(file.mtime_ns), "label": moved.label}
    update(connection, PhotoRow, same, said)
    if owner_id != subject_id:
        entry.update(PhotoRow, same, {"owner_id": subject_id}, of=owner_id, other=subject_id)
        faces = {"subject_id": subject_id, "origin": "enrolled"}
        entry.update(FaceRow, FaceRow.photo_id == photo.photo_id, faces, of=owner_id, other=subject_id)
    connection.execute(sa.delete(RejectionRow).where(RejectionRow.path == raw))
    return removed
