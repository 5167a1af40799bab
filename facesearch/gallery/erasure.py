"""Erasing people: out of the database, its log and the index cache, with proof in the form of a raw scan.

In this order: their rows go in one transaction, which first puts them on the list of erased people and removes the
index cache; the write-ahead log, where their vectors still stand, is emptied, which waits for readers; then every file
of the folder is searched for the bytes that were removed.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from facesearch.gallery import audit, rejections, subjects
from facesearch.gallery.column_types import contains
from facesearch.gallery.schema import AuditRow, CropRow, FaceRow, PhotoRow, RejectionRow, SubjectRow, TemplateRow
from facesearch.gallery.templates import chunks
from facesearch.gallery.tombstones import erased_rows, subject_key, template_keys, vector_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

    from facesearch.gallery.erased import ErasedList
    from facesearch.gallery.subjects import SubjectKey
    from facesearch.gallery.tombstones import Tombstones

END: Final = 256
"""Bytes of a vector's end."""
HEADERS, PIECE, STRIDE = 700, 48, 1024
"""Bytes of a JPEG: its tables, which are those of others too; a piece to look for, and from one to the next."""


@dataclass(frozen=True, slots=True)
class Traces:
    """The bytes of a person that no file may hold any more. Biometric data and names: in memory only."""

    vectors: tuple[bytes, ...]
    """Both ends of each: what is half overwritten is found too."""
    crops: tuple[bytes, ...]
    """Pieces of pictures of their faces, which the database may keep in several places."""
    names: tuple[bytes, ...]
    paths: tuple[bytes, ...]
    """Of photos that were removed."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was removed from the database of one subject or several."""

    subjects: tuple[str, ...]
    photos: int
    templates: int
    template_ids: tuple[int, ...]
    photos_of_others: int
    """Photos that stay because other people are enrolled from them too."""
    rejections: int
    photo_hashes: frozenset[str]
    """Hex SHA-256 of every photo they were in."""
    backups: int
    """Backups that were written since the first of them was enrolled."""
    traces: Traces = field(repr=False)


def erase_subjects(connection: Connection, listed: ErasedList, who: Sequence[SubjectKey]) -> Erased:
    """Remove subjects and all that names them, and put them on the list of the erased.

    Raises `UnknownSubjectError` where one of them is not enrolled; nothing is changed then.
    """
    ids = [subjects.require_subject(connection, each) for each in dict.fromkeys(who)]
    rows = connection.execute(
        sa.select(SubjectRow.id, SubjectRow.name, SubjectRow.created_at).where(SubjectRow.id.in_(ids))
    ).all()
    of_subjects = FaceRow.subject_id.in_(ids)
    names = [str(row.name) for row in rows]
    vectors = connection.scalars(sa.select(TemplateRow.vector).join(FaceRow).where(of_subjects)).all()
    pictures = connection.execute(
        sa.select(PhotoRow.id, PhotoRow.path, PhotoRow.sha256).join(FaceRow).where(of_subjects).distinct()
    ).all()
    keys = template_keys(connection, of_subjects)
    crops = _take_crops(connection, [each.id for each in pictures])
    since = min(row.created_at for row in rows)
    listed.add(connection, [*(subject_key(row.id, row.created_at) for row in rows), *keys, *map(vector_key, vectors)])
    removed = sum(subjects.remove_subject(connection, key)[0] for key in ids)
    rejections = forget_refusals(connection, names)
    kept = {
        key
        for chunk in chunks([each.id for each in pictures])
        for key in connection.scalars(sa.select(PhotoRow.id).where(PhotoRow.id.in_(chunk)))
    }
    counts = {"subjects": len(ids), "photos": removed, "templates": len(keys), "refused_photos": rejections}
    audit.record(connection, "people.forget", counts)
    return Erased(
        subjects=tuple(names),
        photos=removed,
        templates=len(keys),
        template_ids=tuple(keys.values()),
        photos_of_others=len(kept),
        rejections=rejections,
        photo_hashes=frozenset(each.sha256.hex() for each in pictures),
        backups=_backups_since(connection, since),
        traces=Traces(
            vectors=tuple({end for each in vectors for end in (each[:END], each[-END:])}),
            crops=tuple({piece for each in crops for piece in _pieces(each)}),
            names=tuple(map(str.encode, names)),
            paths=tuple(each.path for each in pictures if each.id not in kept),
        ),
    )


def erase_again(connection: Connection, tombstones: Tombstones) -> list[int]:
    """Remove whoever is on the list; the ids of the templates that went."""
    subject_ids, template_ids = erased_rows(connection, tombstones)
    names = [
        name
        for chunk in chunks(subject_ids)
        for name in connection.scalars(sa.select(SubjectRow.name).where(SubjectRow.id.in_(chunk)))
    ]
    removed = set(template_ids)
    for key in subject_ids:
        removed.update(subjects.remove_subject(connection, key)[1])
    remove_faces(connection, template_ids)
    if subject_ids or template_ids:
        forget_refusals(connection, names)
    return sorted(removed)


def _take_crops(connection: Connection, photo_ids: Sequence[int]) -> list[bytes]:
    """Remove the pictures of these photos' faces, also where a photo stays: nobody knows whose face it is."""
    found: list[bytes] = []
    for chunk in chunks(photo_ids):
        found += connection.scalars(sa.select(CropRow.jpeg).where(CropRow.photo_id.in_(chunk)))
        connection.execute(sa.delete(CropRow).where(CropRow.photo_id.in_(chunk)))
    return found


def _pieces(jpeg: bytes) -> list[bytes]:
    return [jpeg[at : at + PIECE] for at in range(HEADERS, len(jpeg) - PIECE, STRIDE)]


def remove_faces(connection: Connection, template_ids: Sequence[int]) -> int:
    """Remove the faces of these templates, and photos and subjects left without any; returns how many there were."""
    removed = 0
    for chunk in chunks(template_ids):
        faces = connection.execute(
            sa.select(FaceRow.id, FaceRow.photo_id).join(TemplateRow).where(TemplateRow.id.in_(chunk)).distinct()
        ).all()
        connection.execute(sa.delete(FaceRow).where(FaceRow.id.in_([face.id for face in faces])))
        subjects.remove_orphan_photos(connection, list({face.photo_id for face in faces}))
        removed += len(faces)
    if removed:
        subjects.remove_faceless_subjects(connection)
    return removed


def forget_refusals(connection: Connection, names: Sequence[str]) -> int:
    """Forget refused photos whose path or reason names one of these people; returns how many.

    The photos are looked at again by the next enrolment that meets them, and nothing else is lost.
    """
    before = connection.scalar(sa.select(sa.func.count()).select_from(RejectionRow)) or 0
    rejections.forget_comparisons(connection)
    for name in names:
        for form in ("NFC", "NFD"):
            spelt = unicodedata.normalize(form, name)
            named = contains(RejectionRow.path, spelt.encode()) | contains(RejectionRow.detail, spelt)
            connection.execute(sa.delete(RejectionRow).where(named))
    return before - (connection.scalar(sa.select(sa.func.count()).select_from(RejectionRow)) or 0)


def rows_that_name(connection: Connection, name: str) -> int:
    """How many rows hold a name as part of other text: of people whose names contain it, and paths of their photos."""
    texts = (SubjectRow.name, sa.type_coerce(SubjectRow.attributes, sa.Text), RejectionRow.detail)
    conditions = [contains(column, name) for column in texts]
    conditions += [contains(column, name.encode()) for column in (PhotoRow.path, RejectionRow.path)]
    counts = (connection.scalar(sa.select(sa.func.count()).where(condition)) for condition in conditions)
    return sum(count or 0 for count in counts)


def _backups_since(connection: Connection, moment: str) -> int:
    written = sa.select(sa.func.count()).where(AuditRow.action == "backup", AuditRow.at >= moment)
    return connection.scalar(written) or 0
