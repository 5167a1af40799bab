"""Templates in the database: read out with their checksums proven, described, filtered and counted."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np
import sqlalchemy as sa

from facesearch.errors import CorruptGalleryError, GalleryError
from facesearch.names import path_text
from facesearch.store.database import Database
from facesearch.store.models import active_model, of_active_model
from facesearch.store.rows import chunks, column_names, require_joined, select_in
from facesearch.store.schema import FaceRow, PhotoRow, RejectionRow, SubjectRow, TemplateRow
from facesearch.store.subjects import has_attributes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection, Row

    from facesearch.types import Ids, Vector, Vectors

PACKED = 1 << 22
"""Keys that a database packs into one value: 64 MB on PostgreSQL; in SQLite, which has digits only, 128 MB."""


class Described(NamedTuple):
    """Whose a template is, and of which photo."""

    subject: str
    photo: str
    """Its path as text."""
    subject_id: int
    photo_id: int
    mean: Vector | None = None
    """The mean of the subject's templates, as `fusion.mean_vector` makes it; None where there is one."""


@dataclass(frozen=True, slots=True, eq=False)
class TemplateBlock:
    """Templates as arrays, in order of id."""

    ids: Ids
    checksums: NDArray[np.uint32]
    vectors: Vectors


def checksum(face_id: int, model_row: int, vector: bytes) -> int:
    """CRC-32 over a template's vector and what it belongs to: a flipped bit in either is noticed."""
    return zlib.crc32(vector, zlib.crc32(struct.pack("<qq", face_id, model_row)))


def template_values(face_id: int, model_row: int, vector: Vector | bytes) -> dict[str, Any]:
    """A template as the database keeps it; a vector of bytes is as it keeps vectors."""
    stored = vector if isinstance(vector, bytes) else np.asarray(vector, "<f4").tobytes()
    return {
        "face_id": face_id,
        "model_id": model_row,
        "dimension": len(stored) // 4,
        "vector": stored,
        "crc": checksum(face_id, model_row, stored),
    }


def is_whole(row: Row[*tuple[Any, ...]], model_row: int) -> bool:
    """Whether a template's `face_id`, `vector` and `crc` belong together. A damaged file can hold any type anywhere."""
    try:
        return bool(checksum(row.face_id, model_row, row.vector) == row.crc)
    except (TypeError, struct.error):
        return False


def template_keys(connection: Connection, model_row: int) -> tuple[Ids, NDArray[np.uint32]]:
    """Ids (n,) and checksums (n,) of all templates of a model, by id: what an index must hold.

    Packed: as rows over a network they would take ten times as long, and from a file twice as long. A single value may
    not exceed 1 GB.
    """
    pieces, last = [np.empty((0, 2), ">i8")], np.iinfo(np.int64).min
    while True:
        packed = Database.of(connection).packed_keys(connection, model_row, int(last), PACKED)
        pieces.append(np.frombuffer(packed, ">i8").reshape(-1, 2))
        if len(pieces[-1]) < PACKED:
            break
        last = pieces[-1][-1, 0]
    pairs = np.concatenate(pieces)
    return pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.uint32)


def templates(
    connection: Connection, model_row: int, dimension: int, ids: Ids | None = None
) -> Iterator[TemplateBlock]:
    """All templates of a model, or those of `ids`, in blocks; `CorruptGalleryError` when a checksum fails."""
    query = sa.select(TemplateRow.id, TemplateRow.face_id, TemplateRow.vector, TemplateRow.crc)
    # With ids, by their index alone: PostgreSQL would read that of the models, which leads to every template, too.
    query = query.where((TemplateRow.model_id if ids is None else TemplateRow.model_id + 0) == model_row)
    query = query.order_by(TemplateRow.id)
    if ids is None:
        for rows in connection.execute(query.execution_options(yield_per=4096)).partitions():
            yield _block(rows, model_row, dimension)
        return
    for chunk in chunks(ids.tolist()):
        rows = connection.execute(query.where(TemplateRow.id.in_(chunk))).all()
        if rows:
            yield _block(rows, model_row, dimension)


def _block(rows: Sequence[Row[int, int, bytes, int]], model_row: int, dimension: int) -> TemplateBlock:
    for row in rows:
        if not is_whole(row, model_row) or len(row.vector) != 4 * dimension:
            raise CorruptGalleryError(
                f"Template {row.id} is damaged: it does not match its checksum or its model.",
                "Run `facesearch check`: it names whose it is, and what to remove and enroll again.",
            )
    return TemplateBlock(
        ids=np.array([row.id for row in rows], np.int64),
        checksums=np.array([row.crc for row in rows], np.uint32),
        vectors=np.frombuffer(b"".join(row.vector for row in rows), "<f4").reshape(-1, dimension).astype(np.float32),
    )


# Every search comes here: SQLAlchemy would take longer to look at so many columns than SQLite to find the rows.
_DESCRIBE = (
    f"SELECT {', '.join(map(column_names, (FaceRow, SubjectRow, PhotoRow)))}, "  # noqa: S608  # names of columns
    "templates.id, subjects.name, photos.path, subjects.id, photos.id FROM templates "
    "JOIN faces ON faces.id = templates.face_id JOIN subjects ON subjects.id = faces.subject_id "
    "JOIN photos ON photos.id = faces.photo_id WHERE templates.id"
)


def describe_templates(connection: Connection, ids: Iterable[int], *, proven: bool = True) -> dict[int, Described]:
    """Whose they are, by template id; ids that lead to nobody are missing from the answer.

    Raises `CorruptGalleryError` where what leads from a template to a name is damaged, unless `proven` is False.
    """
    found: dict[int, Described] = {}
    for chunk in chunks(sorted(set(ids))):
        for row in Database.of(connection).select(connection, _DESCRIBE, chunk):
            if proven:
                require_joined(row, FaceRow, SubjectRow, PhotoRow)
            template_id, subject, path, subject_id, photo_id = row[-5:]
            found[template_id] = Described(subject, path_text(os.fsdecode(path)), subject_id, photo_id)
    return found


def locate(connection: Connection, ids: Iterable[int]) -> dict[int, tuple[int, int]]:
    """(subject id, photo id) by template id; ids that are gone are missing.

    The rows are not proven again: whoever has a template's id has had them proven when it was found.
    """
    columns = (TemplateRow.id, FaceRow.subject_id, FaceRow.photo_id)
    query = sa.select(*columns).select_from(TemplateRow).join(FaceRow)
    return {row[0]: (row[1], row[2]) for row in select_in(connection, query, TemplateRow.id, set(ids))}


def vectors_of(connection: Connection, ids: Sequence[int]) -> Vectors:
    """Vectors (n, d) float32 of these templates, in their order. Raises `GalleryError` where one is gone or damaged."""
    active = active_model(connection)
    if active is None or not ids:
        return np.empty((0, active[1].dimension if active else 0), np.float32)
    blocks = list(templates(connection, active[0], active[1].dimension, np.array(ids, np.int64)))
    rows = {key: vector for block in blocks for key, vector in zip(block.ids.tolist(), block.vectors, strict=True)}
    try:
        return np.array([rows[key] for key in ids], np.float32)
    except KeyError as error:
        raise GalleryError(f"Template {error} is gone.", "Somebody changed the gallery meanwhile: try again.") from None


# Not by the index of the models, which leads to every template.
_OF_SUBJECTS = (
    "SELECT faces.subject_id, templates.face_id, templates.model_id, templates.vector, templates.crc FROM templates "
    "JOIN faces ON faces.id = templates.face_id "
    "WHERE templates.model_id + 0 = (SELECT id FROM models WHERE active = 1) AND faces.subject_id"
)


def vectors_of_subjects(connection: Connection, subject_ids: Iterable[int]) -> dict[int, Vectors]:
    """Return the active model's vectors (m, d) of each subject that has several.

    Raises `CorruptGalleryError` where a checksum fails.
    """
    found: dict[int, list[tuple[int, NDArray[np.float32]]]] = {}
    for chunk in chunks(sorted(set(subject_ids))):
        for row in Database.of(connection).select(connection, _OF_SUBJECTS, chunk):
            if not is_whole(cast("Row[*tuple[Any, ...]]", row), row[2]):
                raise CorruptGalleryError(f"The template of face {row[1]} is damaged.", "Run: facesearch check")
            found.setdefault(row[0], []).append((row[1], np.frombuffer(row[3], "<f4")))
    return {
        subject_id: np.array([vector for _, vector in sorted(rows, key=itemgetter(0))], np.float32)
        for subject_id, rows in found.items()
        if len(rows) > 1
    }


def all_templates(connection: Connection) -> tuple[Ids, Vectors]:
    """Every template of the active model in order of id: ids (n,) and vectors (n, d), their checksums proven."""
    active = active_model(connection)
    blocks = list(templates(connection, active[0], active[1].dimension)) if active else []
    if not blocks:
        return np.empty(0, np.int64), np.empty((0, active[1].dimension if active else 0), np.float32)
    return np.concatenate([each.ids for each in blocks]), np.concatenate([each.vectors for each in blocks])


def boxes(connection: Connection, ids: Iterable[int]) -> dict[int, tuple[float, float, float, float]]:
    """The face's box by template id: x1, y1, x2, y2 in pixels of the upright photo."""
    query = sa.select(TemplateRow.id, FaceRow.box).select_from(TemplateRow).join(FaceRow)
    return {row.id: struct.unpack("<4f", row.box) for row in select_in(connection, query, TemplateRow.id, set(ids))}


def templates_where(connection: Connection, attributes: Mapping[str, str]) -> Ids:
    """Ids of the active model's templates whose subject has all these; `ConfigError` for what can be no attribute."""
    owned = sa.select(TemplateRow.id).select_from(TemplateRow).join(FaceRow).join(SubjectRow)
    query = owned.where(of_active_model()).order_by(TemplateRow.id)
    return np.array(connection.scalars(query.where(*has_attributes(attributes))).all(), np.int64)


TABLES: Final = {
    "subjects": SubjectRow,
    "photos": PhotoRow,
    "faces": FaceRow,
    "templates": TemplateRow,
    "rejected_photos": RejectionRow,
}


def count_subjects(connection: Connection) -> int:
    """Return how many people are enrolled."""
    return connection.scalar(sa.select(sa.func.count()).select_from(SubjectRow)) or 0


def count_alone(connection: Connection) -> int:
    """Return how many people have one template of the active model."""
    of_person = sa.select(FaceRow.subject_id).join(TemplateRow).where(of_active_model())
    alone = of_person.group_by(FaceRow.subject_id).having(sa.func.count() == 1).subquery()
    return connection.scalar(sa.select(sa.func.count()).select_from(alone)) or 0


def counts(connection: Connection) -> dict[str, int]:
    """How many subjects, photos, faces, templates of the active model and refused photos there are."""
    count = sa.select(sa.func.count())
    return {
        name: connection.scalar(count.select_from(row).where(of_active_model() if row is TemplateRow else sa.true()))
        or 0
        for name, row in TABLES.items()
    }
