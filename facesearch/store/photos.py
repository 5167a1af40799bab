"""Enrolled photos in the database, with their faces, templates, and small pictures of uploads.

An uploaded photo has no file. It is known by a path of its own kind, which no file system hands out.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import sqlalchemy as sa

from facesearch.errors import GalleryError
from facesearch.names import path_text
from facesearch.store.decisions import forget_rejections
from facesearch.store.models import of_active_model
from facesearch.store.rows import (
    below,
    chunks,
    insert_all,
    now,
    require_joined,
    storable,
    stored_columns,
    update,
)
from facesearch.store.schema import FaceRow, PhotoRow, SubjectRow, TemplateRow
from facesearch.store.subjects import require_subject
from facesearch.store.templates import checksum
from facesearch.types import EnrolledPhoto

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from sqlalchemy.engine import Connection, Row

    from facesearch.store.journal import Entry
    from facesearch.store.subjects import SubjectKey
    from facesearch.types import Template


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """A photo file as it was when it was read."""

    path: Path
    sha256: str
    size: int
    """Bytes."""
    mtime_ns: int


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
class MovedPhoto:
    """An enrolled photo whose file was renamed or touched, or of which its source says something new."""

    stored: StoredPhoto
    file: PhotoFile
    subject: str
    """Whose photo it is from now on."""
    attributes: Mapping[str, str]
    """That the source says of the subject."""
    label: str = ""


def find_photos(connection: Connection, paths: Sequence[Path]) -> dict[Path, StoredPhoto]:
    """The enrolled photos at these paths; without a template of the active model a photo has to be enrolled anew."""
    found: dict[Path, StoredPhoto] = {}
    for chunk in chunks([os.fsencode(path) for path in paths]):
        stored = _photos(connection, PhotoRow.path.in_(chunk))
        found.update((photo.file.path, photo) for photo in stored if photo.template_ids)
    return found


def find_copies(connection: Connection, contents: Collection[tuple[str, int]]) -> dict[tuple[str, int], StoredPhoto]:
    """The photos of these contents (SHA-256 in hex) and owners (subject ids) that can be searched."""
    wanted = set(contents)
    found: dict[tuple[str, int], StoredPhoto] = {}
    for chunk in chunks([bytes.fromhex(sha256) for sha256, _ in wanted]):
        owners = dict(
            iter(connection.execute(sa.select(PhotoRow.id, PhotoRow.owner_id).where(PhotoRow.sha256.in_(chunk))))
        )
        for photo in _photos(connection, PhotoRow.id.in_(owners)) if owners else ():
            key = (photo.file.sha256, owners[photo.photo_id])
            if key in wanted and photo.template_ids:
                found[key] = photo
    return found


def remove_copies(connection: Connection, contents: Collection[tuple[str, int]]) -> list[int]:
    """Remove the photos of these contents and owners, as `find_copies` has them; the ids of the templates that went."""
    query = sa.select(PhotoRow.id, PhotoRow.path, PhotoRow.sha256, PhotoRow.owner_id)
    found = [
        Path(os.fsdecode(row.path))
        for chunk in chunks([bytes.fromhex(sha256) for sha256, _ in contents])
        for row in connection.execute(query.where(PhotoRow.sha256.in_(chunk)))
        if (row.sha256.hex(), row.owner_id) in contents
    ]
    return remove_photos(connection, found)


def known_sizes(connection: Connection, sizes: Collection[int]) -> set[int]:
    """Those of these sizes in bytes that an enrolled photo has."""
    query = sa.select(PhotoRow.size).distinct()
    return {
        size
        for chunk in chunks([storable(each) for each in sizes])
        for size in connection.scalars(query.where(PhotoRow.size.in_(chunk)))
    }


def photos_of_contents(connection: Connection, hashes: Collection[str]) -> dict[str, list[StoredPhoto]]:
    """Photos with exactly these bytes and a template of the active model, by their SHA-256 in hex."""
    found: dict[str, list[StoredPhoto]] = {}
    for chunk in chunks([bytes.fromhex(each) for each in hashes]):
        for photo in _photos(connection, PhotoRow.sha256.in_(chunk)):
            if photo.template_ids:
                found.setdefault(photo.file.sha256, []).append(photo)
    return found


def photos_below(connection: Connection, folder: Path) -> list[StoredPhoto]:
    """Enrolled photos in `folder` or anywhere below it."""
    return list(_photos(connection, below(PhotoRow.path, folder)))


def photo_paths(connection: Connection) -> list[Path]:
    """The path of every enrolled photo."""
    return [Path(os.fsdecode(path)) for path in connection.scalars(sa.select(PhotoRow.path))]


def photos_of_subject(connection: Connection, who: SubjectKey) -> list[EnrolledPhoto]:
    """Enrolled photos of a subject; `UnknownSubjectError` if there is no such."""
    subject_id = require_subject(connection, who)
    of_subject = sa.select(FaceRow.photo_id).where(FaceRow.subject_id == subject_id)
    return [photo.described() for photo in _photos(connection, PhotoRow.id.in_(of_subject))]


def all_photos(connection: Connection) -> Iterator[StoredPhoto]:
    """Every enrolled photo, by id."""
    return _photos(connection, sa.true())


def _photos(connection: Connection, condition: sa.ColumnElement[bool]) -> Iterator[StoredPhoto]:
    query = (
        sa.select(
            *stored_columns(PhotoRow, "photo_"),
            *stored_columns(FaceRow, "face_"),
            *stored_columns(SubjectRow, "subject_"),
            TemplateRow.id.label("template_id"),
        )
        .join(FaceRow, FaceRow.photo_id == PhotoRow.id)
        .join(SubjectRow, SubjectRow.id == FaceRow.subject_id)
        .outerjoin(TemplateRow, sa.and_(TemplateRow.face_id == FaceRow.id, of_active_model()))
        .where(condition)
        .order_by(PhotoRow.id, TemplateRow.id)
    )
    group: list[Row[*tuple[object, ...]]] = []
    for row in connection.execute(query):
        require_joined(row, PhotoRow, FaceRow, SubjectRow)
        if group and group[0].photo_id != row.photo_id:
            yield _stored(group)
            group = []
        group.append(row)
    if group:
        yield _stored(group)


def _stored(rows: Sequence[Row[*tuple[object, ...]]]) -> StoredPhoto:
    first = rows[0]
    file = PhotoFile(
        Path(os.fsdecode(first.photo_path)), first.photo_sha256.hex(), first.photo_size, first.photo_mtime_ns
    )
    return StoredPhoto(
        photo_id=first.photo_id,
        file=file,
        subjects=tuple(dict.fromkeys(row.subject_name for row in rows)),
        template_ids=tuple(row.template_id for row in rows if row.template_id is not None),
        detection_score=max(row.face_detection_score for row in rows),
        label=first.photo_label,
        conflict=first.photo_conflict,
        origin=first.face_origin,
    )


def insert_photos(
    connection: Connection, new: Sequence[NewPhoto], subject_ids: Sequence[int], model_row: int
) -> list[list[tuple[int, int]]]:
    """Store photos with their faces and templates, at paths that hold none, each its subject's.

    Returns (template id, checksum)s by photo. A table is written in one go: a statement a row costs several times as
    much.
    """
    moment = now()
    pairs = zip(new, subject_ids, strict=True)
    photo_ids = insert_all(connection, PhotoRow, [_photo_values(photo, owner, moment) for photo, owner in pairs])
    forget_rejections(connection, [photo.file.path for photo in new])
    owners = zip(new, photo_ids, subject_ids, strict=True)
    faces = [
        _face_values(each, photo_id, subject_id) for photo, photo_id, subject_id in owners for each in photo.templates
    ]
    face_ids = insert_all(connection, FaceRow, faces)
    vectors = [np.asarray(each.vector, "<f4").tobytes() for photo in new for each in photo.templates]
    rows = [_template_values(*pair, model_row) for pair in zip(face_ids, vectors, strict=True)]
    keys = zip(insert_all(connection, TemplateRow, rows), (row["crc"] for row in rows), strict=True)
    return [[next(keys) for _ in photo.templates] for photo in new]


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


def _template_values(face_id: int, vector: bytes, model_row: int) -> dict[str, Any]:
    return {
        "face_id": face_id,
        "model_id": model_row,
        "dimension": len(vector) // 4,
        "vector": vector,
        "crc": checksum(face_id, model_row, vector),
    }


def remove_photos(connection: Connection, paths: Sequence[Path]) -> list[int]:
    """Remove enrolled photos with their faces and templates. Returns the removed template ids."""
    removed: list[int] = []
    of_photos = sa.select(TemplateRow.id).join(FaceRow).join(PhotoRow)
    for chunk in chunks([os.fsencode(path) for path in paths]):
        removed += connection.scalars(of_photos.where(PhotoRow.path.in_(chunk)))
        connection.execute(sa.delete(PhotoRow).where(PhotoRow.path.in_(chunk)))
    return removed


def note_conflict(connection: Connection, path: Path, template_id: int) -> None:
    """Note a template that an enrolled photo matched."""
    update(connection, PhotoRow, PhotoRow.path == os.fsencode(path), {"conflict": template_id})


def vacate(connection: Connection, moved: Sequence[MovedPhoto]) -> None:
    """Let photos that get other paths leave theirs, so that two can swap. Each then holds a path that no file has."""
    for photo in moved:
        if photo.file.path != photo.stored.file.path:
            values = {"path": b"\0moving %d" % photo.stored.photo_id}
            update(connection, PhotoRow, PhotoRow.id == photo.stored.photo_id, values)


def drop_copy(connection: Connection, moved: MovedPhoto, subject_id: int, entry: Entry) -> list[int]:
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


def move_photo(connection: Connection, moved: MovedPhoto, subject_id: int, entry: Entry) -> list[int]:
    """Take over where the photo's file is now, what its source says, and whose it is; its templates stay.

    A photo that was enrolled from the new place is replaced: returns its template ids. Raises `GalleryError` where the
    moved photo is no longer in the gallery.
    """
    photo, file = moved.stored, moved.file
    removed = remove_photos(connection, [file.path]) if file.path != photo.file.path else []
    same = sa.and_(PhotoRow.id == photo.photo_id, PhotoRow.sha256 == bytes.fromhex(photo.file.sha256))
    owner_id = connection.scalar(sa.select(PhotoRow.owner_id).where(same))
    values = {"path": os.fsencode(file.path), "size": file.size, "mtime_ns": storable(file.mtime_ns)}
    if owner_id is None:
        raise GalleryError(
            f"{path_text(photo.file.path)} was removed from the gallery by another process meanwhile.",
            "Run the same command again.",
        )
    update(connection, PhotoRow, same, values)
    # What a source said is no correction: undoing the move leaves the label, so that the next run does not move again.
    update(connection, PhotoRow, same, {"label": moved.label})
    if owner_id != subject_id:
        entry.update(PhotoRow, same, {"owner_id": subject_id}, of=owner_id, other=subject_id)
        faces = {"subject_id": subject_id, "origin": "enrolled"}
        entry.update(FaceRow, FaceRow.photo_id == photo.photo_id, faces, of=owner_id, other=subject_id)
    forget_rejections(connection, [file.path])
    return removed


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
