"""Looking things up by id and page by page: what a program needs that shows a gallery to somebody."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from facesearch.errors import GalleryError
from facesearch.store import models, subjects
from facesearch.store.rows import chunks, insert, require_joined, require_whole, stored_columns
from facesearch.store.schema import AliasRow, CropRow, FaceRow, PhotoRow, SubjectRow, TemplateRow
from facesearch.store.templates import templates
from facesearch.types import Quality

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.engine import Connection, Row

    from facesearch.store.database import Database
    from facesearch.store.subjects import SubjectKey
    from facesearch.types import Subject, Vectors


@dataclass(frozen=True, slots=True)
class SubjectPage:
    """Some subjects in the order of their names."""

    subjects: tuple[Subject, ...]
    total: int
    """How many there are on all pages."""
    after: str | None
    """The name to ask the next page with; None on the last."""


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


class Directory:
    """Reads of one gallery's database, a transaction each; `CorruptGalleryError` where a row is damaged."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self,
        *,
        limit: int,
        after: str | None = None,
        search: str | None = None,
        where: Mapping[str, str] | None = None,
    ) -> SubjectPage:
        """Up to `limit` subjects behind the name `after`, of whom a name or alias contains `search` in any case.

        Raises `ConfigError` for attributes that cannot be.
        """
        with self._database.read() as connection:
            conditions = subjects.has_attributes(where or {})
            rows = connection.execute(
                sa.select(SubjectRow.id, SubjectRow.name).where(*conditions).order_by(SubjectRow.name)
            ).all()
            if search:  # here, not by LIKE: SQLite folds the case of ASCII only
                wanted = search.casefold()
                aliases = connection.execute(sa.select(AliasRow.subject_id, AliasRow.name))
                also = {key for key, name in aliases if wanted in name.casefold()}
                rows = [row for row in rows if wanted in row.name.casefold() or row.id in also]
            behind = [row for row in rows if after is None or row.name.encode() > after.encode()]
            found = subjects.list_subjects(connection, ids=[row.id for row in behind[:limit]])
        more = len(behind) > limit
        return SubjectPage(tuple(found), len(rows), behind[limit - 1].name if more else None)

    def locate(self, template_ids: Iterable[int]) -> dict[int, tuple[int, int]]:
        """(subject id, photo id) by template id; ids that are gone are missing.

        The rows are not proven again: whoever has a template's id has had them proven when it was found.
        """
        query = sa.select(TemplateRow.id, FaceRow.subject_id, FaceRow.photo_id).join(
            FaceRow, FaceRow.id == TemplateRow.face_id
        )
        found: dict[int, tuple[int, int]] = {}
        with self._database.read() as connection:
            for chunk in chunks(sorted(set(template_ids))):
                for row in connection.execute(query.where(TemplateRow.id.in_(chunk))):
                    found[row[0]] = (row[1], row[2])
        return found

    def vectors(self, template_ids: Sequence[int]) -> Vectors:
        """(n, d) float32, in the order of the ids. Raises `GalleryError` where one is gone or damaged."""
        with self._database.read() as connection:
            active = models.active_model(connection)
            if active is None or not template_ids:
                return np.empty((0, active[1].dimension if active else 0), np.float32)
            blocks = list(templates(connection, active[0], active[1].dimension, np.array(template_ids, np.int64)))
        rows = {key: vector for block in blocks for key, vector in zip(block.ids.tolist(), block.vectors, strict=True)}
        try:
            return np.array([rows[key] for key in template_ids], np.float32)
        except KeyError as error:
            raise GalleryError(
                f"Template {error} is gone.", "Somebody changed the gallery meanwhile: try again."
            ) from None

    def photo(self, photo_id: int) -> PhotoDetail | None:
        """The photo of that id, if there is one."""
        if not 0 < photo_id < 2**63:  # SQLite's integers
            return None
        with self._database.read() as connection:
            found = _photos(connection, PhotoRow.id == photo_id)
        return found[0] if found else None

    def photos(self, who: SubjectKey) -> list[PhotoDetail]:
        """The photos of a subject by id; `UnknownSubjectError` where there is no such."""
        with self._database.read() as connection:
            subject_id = subjects.require_subject(connection, who)
            of_subject = sa.select(FaceRow.photo_id).where(FaceRow.subject_id == subject_id)
            return _photos(connection, PhotoRow.id.in_(of_subject))


def _photos(connection: Connection, condition: sa.ColumnElement[bool]) -> list[PhotoDetail]:
    query = (
        sa.select(
            *stored_columns(PhotoRow, "photo_"),
            *stored_columns(FaceRow, "face_"),
            TemplateRow.id.label("template_id"),
        )
        .join(FaceRow, FaceRow.photo_id == PhotoRow.id)
        .outerjoin(TemplateRow, sa.and_(TemplateRow.face_id == FaceRow.id, models.of_active_model()))
        .where(condition)
        .order_by(PhotoRow.id, FaceRow.id)
    )
    groups: dict[int, list[Row[*tuple[Any, ...]]]] = {}
    for row in connection.execute(query):
        require_joined(row, PhotoRow, FaceRow)
        groups.setdefault(row.photo_id, []).append(row)
    return [_photo(rows) for rows in groups.values()]


def _photo(rows: Sequence[Row[*tuple[Any, ...]]]) -> PhotoDetail:
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


class CropStore:
    """The crops of one gallery; they go with their photos."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, photo_id: int, jpeg: bytes) -> None:
        """Keep a photo's crop, once; nothing happens where the photo was removed meanwhile."""

        def keep(connection: Connection) -> None:
            present = connection.scalar(sa.select(PhotoRow.id).where(PhotoRow.id == photo_id))
            kept = connection.scalar(sa.select(CropRow.id).where(CropRow.photo_id == photo_id))
            if present is not None and kept is None:
                insert(connection, CropRow, {"photo_id": photo_id, "jpeg": jpeg})

        self._database.transact(keep)

    def find(self, photo_id: int) -> bytes | None:
        """A photo's crop. Raises `CorruptGalleryError` where it is damaged."""
        with self._database.read() as connection:
            query = sa.select(*stored_columns(CropRow)).where(CropRow.photo_id == photo_id)
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        require_whole(CropRow, row)
        return bytes(row.jpeg)
