"""Enrolled photos as they are read: what enrolment knows of them, what a page shows, and small pictures of uploads.

An uploaded photo has no file. It is known by a path of its own kind, which no file system hands out. `changes` writes.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import sqlalchemy as sa

from facesearch.store.models import of_active_model
from facesearch.store.rows import below, chunks, fetch, insert, present, require_joined, select_in, stored_columns
from facesearch.store.schema import CropRow, FaceRow, PhotoRow, SubjectRow, TemplateRow
from facesearch.store.subjects import require_subject
from facesearch.types import EnrolledPhoto, Quality

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sqlalchemy.engine import Connection, Row

    from facesearch.store.subjects import SubjectKey


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """A photo file as it was when it was read."""

    path: Path
    sha256: str
    size: int
    """Bytes."""
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class StoredPhoto:
    """What the gallery remembers of an enrolled photo."""

    photo_id: int
    file: PhotoFile
    subjects: tuple[str, ...]
    template_ids: tuple[int, ...]
    """Of the active model."""
    detection_score: float
    label: str = ""
    """Whom the photo's source said last that it shows; empty where nobody said."""
    conflict: int | None = None
    """A template of another subject that the photo matched when it was enrolled."""
    origin: str = "enrolled"
    """Who said whose photo it is: a source (`enrolled`), or a person who `confirmed` or `moved` it."""

    def described(self) -> EnrolledPhoto:
        """What the gallery tells of it."""
        return EnrolledPhoto(
            self.file.path,
            self.file.sha256,
            len(self.template_ids),
            self.template_ids,
            self.detection_score,
            self.photo_id,
            self.origin,
        )


@dataclass(frozen=True, slots=True)
class FaceDetail:
    """One enrolled face of a photo."""

    template_id: int | None
    """Of the active model; None where it could not be made from the photo."""
    subject_id: int
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the upright photo."""
    detection_score: float
    quality: Quality


@dataclass(frozen=True, slots=True)
class PhotoDetail:
    """An enrolled photo with its faces."""

    photo_id: int
    path: Path
    sha256: str
    width: int
    height: int
    enrolled_at: str
    origin: str
    """Who said whom it shows: enrolled, moved or confirmed."""
    faces: tuple[FaceDetail, ...]


def find_photos(connection: Connection, paths: Collection[Path]) -> dict[Path, StoredPhoto]:
    """The enrolled photos at these paths; without a template of the active model a photo has to be enrolled anew."""
    found = _photos_with(connection, PhotoRow.path, [os.fsencode(path) for path in paths])
    return {photo.file.path: photo for photo in found if photo.template_ids}


def find_copies(connection: Connection, contents: Collection[tuple[str, int]]) -> dict[tuple[str, int], StoredPhoto]:
    """The photos of these contents (SHA-256 in hex) and owners (subject ids), with or without an active template."""
    query = sa.select(PhotoRow.id, PhotoRow.sha256, PhotoRow.owner_id)
    same = select_in(connection, query, PhotoRow.sha256, {bytes.fromhex(sha256) for sha256, _ in contents})
    owned = {row.id: (row.sha256.hex(), row.owner_id) for row in same}
    wanted = [key for key, content in owned.items() if content in contents]
    return {owned[photo.photo_id]: photo for photo in _photos_with(connection, PhotoRow.id, wanted)}


def known_sizes(connection: Connection, sizes: Collection[int]) -> set[int]:
    """Those of these sizes in bytes that an enrolled photo has."""
    return present(connection, PhotoRow.size, sizes)


def photos_of_contents(connection: Connection, hashes: Collection[str]) -> dict[str, list[StoredPhoto]]:
    """Photos with exactly these bytes and a template of the active model, by their SHA-256 in hex."""
    found: dict[str, list[StoredPhoto]] = {}
    for photo in _photos_with(connection, PhotoRow.sha256, [bytes.fromhex(each) for each in hashes]):
        if photo.template_ids:
            found.setdefault(photo.file.sha256, []).append(photo)
    return found


def photos_below(connection: Connection, folder: Path) -> list[StoredPhoto]:
    """Enrolled photos in `folder` or anywhere below it."""
    ids = connection.scalars(sa.select(PhotoRow.id).where(below(PhotoRow.path, folder))).all()
    return list(_photos_with(connection, PhotoRow.id, ids))


def photo_paths(connection: Connection) -> list[Path]:
    """The path of every enrolled photo."""
    return [Path(os.fsdecode(path)) for path in connection.scalars(sa.select(PhotoRow.path))]


def photos_of_subject(connection: Connection, who: SubjectKey) -> list[EnrolledPhoto]:
    """Enrolled photos of a subject; `UnknownSubjectError` if there is no such."""
    return [_stored(rows).described() for rows in _faces_by_photo(connection, _shows(connection, who))]


def all_photos(connection: Connection) -> Iterator[StoredPhoto]:
    """Every enrolled photo, by id."""
    return map(_stored, _faces_by_photo(connection, sa.true()))


def find_detail(connection: Connection, photo_id: int) -> PhotoDetail | None:
    """The photo of that id, if there is one."""
    if not 0 < photo_id < 2**63:  # SQLite's integers
        return None
    return next(map(_detail, _faces_by_photo(connection, PhotoRow.id == photo_id)), None)


def details_of_subject(connection: Connection, who: SubjectKey) -> list[PhotoDetail]:
    """The photos of a subject by id; `UnknownSubjectError` where there is no such."""
    return list(map(_detail, _faces_by_photo(connection, _shows(connection, who))))


def _shows(connection: Connection, who: SubjectKey) -> sa.ColumnElement[bool]:
    subject_id = require_subject(connection, who)
    return PhotoRow.id.in_(sa.select(FaceRow.photo_id).where(FaceRow.subject_id == subject_id))


def _photos_with(
    connection: Connection, column: sa.SQLColumnExpression[Any], values: Collection[object]
) -> Iterator[StoredPhoto]:
    for chunk in chunks(values):
        yield from map(_stored, _faces_by_photo(connection, column.in_(chunk)))


def _faces_by_photo(connection: Connection, condition: sa.ColumnElement[bool]) -> Iterator[list[Row[*tuple[Any, ...]]]]:
    """Photos by id, each as the rows of its faces, proven."""
    query = (
        sa.select(
            *stored_columns(PhotoRow, "photo_"),
            *stored_columns(FaceRow, "face_"),
            *stored_columns(SubjectRow, "subject_"),
            TemplateRow.id.label("template_id"),
        )
        .select_from(PhotoRow)
        .join(FaceRow, FaceRow.photo_id == PhotoRow.id)
        .join(SubjectRow, SubjectRow.id == FaceRow.subject_id)
        .outerjoin(TemplateRow, sa.and_(TemplateRow.face_id == FaceRow.id, of_active_model()))
        .where(condition)
        .order_by(PhotoRow.id, FaceRow.id)
    )
    group: list[Row[*tuple[Any, ...]]] = []
    for row in connection.execute(query):
        require_joined(row, PhotoRow, FaceRow, SubjectRow)
        if group and group[0].photo_id != row.photo_id:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _stored(rows: Sequence[Row[*tuple[Any, ...]]]) -> StoredPhoto:
    first = rows[0]
    file = PhotoFile(
        Path(os.fsdecode(first.photo_path)), first.photo_sha256.hex(), first.photo_size, first.photo_mtime_ns
    )
    return StoredPhoto(
        photo_id=first.photo_id,
        file=file,
        subjects=tuple(dict.fromkeys(row.subject_name for row in rows)),
        template_ids=tuple(sorted(row.template_id for row in rows if row.template_id is not None)),
        detection_score=max(row.face_detection_score for row in rows),
        label=first.photo_label,
        conflict=first.photo_conflict,
        origin=first.face_origin,
    )


def _detail(rows: Sequence[Row[*tuple[Any, ...]]]) -> PhotoDetail:
    first = rows[0]
    return PhotoDetail(
        photo_id=first.photo_id,
        path=Path(os.fsdecode(first.photo_path)),
        sha256=first.photo_sha256.hex(),
        width=first.photo_width,
        height=first.photo_height,
        enrolled_at=first.photo_enrolled_at,
        origin=first.face_origin,
        faces=tuple(_face(row) for row in rows),
    )


def _face(row: Row[*tuple[Any, ...]]) -> FaceDetail:
    x1, y1, x2, y2 = np.frombuffer(row.face_box, "<f4").tolist()
    return FaceDetail(
        template_id=row.template_id,
        subject_id=row.face_subject_id,
        box=(x1, y1, x2, y2),
        detection_score=row.face_detection_score,
        quality=Quality(row.face_size, row.face_sharpness, row.face_yaw, row.face_roll),
    )


def keep_crop(connection: Connection, photo_id: int, jpeg: bytes) -> None:
    """Keep a photo's crop, once; nothing happens where the photo was removed meanwhile."""
    there = connection.scalar(sa.select(PhotoRow.id).where(PhotoRow.id == photo_id))
    kept = connection.scalar(sa.select(CropRow.id).where(CropRow.photo_id == photo_id))
    if there is not None and kept is None:
        insert(connection, CropRow, {"photo_id": photo_id, "jpeg": jpeg})


def find_crop(connection: Connection, photo_id: int) -> bytes | None:
    """A photo's crop. Raises `CorruptGalleryError` where it is damaged."""
    found = fetch(connection, CropRow, CropRow.photo_id == photo_id)
    return bytes(found[0].jpeg) if found else None


_PREFIX: Final = "upload:"


def upload_path(sha256: str) -> Path:
    """A new path for uploaded bytes: `upload:<sha256>-<8 random hex digits>`.

    The random part lets the same photo be enrolled for several people: one face each. It never begins with a
    separator, as the absolute paths of files do.
    """
    return Path(f"{_PREFIX}{sha256}-{secrets.token_hex(4)}")


def is_upload(path: Path) -> bool:
    """Whether the photo was uploaded, so that no file of it can be expected."""
    return str(path).startswith(_PREFIX)
