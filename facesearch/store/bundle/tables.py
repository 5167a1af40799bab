"""The tables of a bundle: which columns they have, and how a row of the database becomes one of Parquet and back.

What is listed here is format 1, whatever the database's schema comes to be. Ids are those of the gallery that was
exported; JSON is text; box and landmarks are float32 in pixels; path is a file name's bytes, which need not be Unicode.

What people decided comes along: aliases, whose each photo is, who said so, and decisions about contents. The journal of
corrections stays with its gallery: a correction can be undone only where it was made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from facesearch.errors import CorruptGalleryError
from facesearch.store.schema import (
    AliasRow,
    CalibrationRow,
    CropRow,
    DecisionRow,
    FaceRow,
    ModelRow,
    PhotoRow,
    RejectionRow,
    SubjectRow,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from facesearch.store.rows import Sealed
    from facesearch.types import Ids

HIGHEST_ID: Final = 1 << 53
"""What is above no bundle holds: a huge id would use up all that a database can give."""
SUFFIX: Final = ".parquet"


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a bundle and the rows of the database that it comes from."""

    name: str
    row: type[Sealed]
    columns: Mapping[str, str]
    """Kind by name: int, real, bool, text, json, bytes, sha256, or floats:N; a `?` behind it where it may be null."""

    @property
    def file(self) -> str:
        """The member of the bundle that holds it."""
        return self.name + SUFFIX


TABLES: Final = (
    Table(
        "models",
        ModelRow,
        {
            "id": "int",
            "model_id": "text",
            "pack": "text",
            "dimension": "int",
            "detector_sha256": "text",
            "recognizer_sha256": "text",
            "settings": "json",
            "threshold": "real",
            "threshold_basis": "text",
            "active": "bool",
            "created_at": "text",
        },
    ),
    Table(
        "subjects",
        SubjectRow,
        {"id": "int", "name": "text", "attributes": "json", "said": "json", "created_at": "text"},
    ),
    Table("aliases", AliasRow, {"id": "int", "subject_id": "int", "name": "text", "created_at": "text"}),
    Table("decisions", DecisionRow, {"id": "int", "sha256": "sha256", "label": "text", "subject_id": "int?"}),
    Table(
        "photos",
        PhotoRow,
        {
            "id": "int",
            "path": "bytes",
            "sha256": "sha256",
            "size": "int",
            "mtime_ns": "int",
            "width": "int",
            "height": "int",
            "enrolled_at": "text",
            "owner_id": "int",
            "label": "text",
            "conflict": "int?",
        },
    ),
    Table(
        "faces",
        FaceRow,
        {
            "id": "int",
            "photo_id": "int",
            "subject_id": "int",
            "box": "floats:4",
            "landmarks": "floats:10",
            "detection_score": "real",
            "size": "real",
            "sharpness": "real",
            "yaw": "real",
            "roll": "real",
            "origin": "text",
        },
    ),
    Table("calibrations", CalibrationRow, {"id": "int", "model_id": "int", "document": "json", "created_at": "text"}),
    Table(
        "rejections",
        RejectionRow,
        {
            "id": "int",
            "path": "bytes",
            "sha256": "sha256?",
            "size": "int",
            "mtime_ns": "int",
            "policy": "text",
            "reason": "text",
            "detail": "text",
            "rejected_at": "text",
        },
    ),
    Table("crops", CropRow, {"id": "int", "photo_id": "int", "jpeg": "bytes"}),
)
BY_NAME: Final = {table.name: table for table in TABLES}


def template_columns(dimension: int) -> dict[str, str]:
    """Of the templates of one model: `crc` is over the vector, the face's id and the model's."""
    return {"id": "int", "face_id": "int", "crc": "int", "vector": f"floats:{dimension}"}


def templates_file(model_row: int) -> str:
    """The member with the templates of the model of that id."""
    return f"templates-{model_row}{SUFFIX}"


def arrow_schema(columns: Mapping[str, str]) -> pa.Schema:
    """How Parquet has these columns."""
    return pa.schema([pa.field(name, _arrow_type(kind), nullable=kind.endswith("?")) for name, kind in columns.items()])


def _arrow_type(kind: str) -> pa.DataType:
    if kind.startswith("floats:"):
        return pa.list_(pa.field("item", pa.float32(), nullable=False), int(kind.partition(":")[2]))
    types = {
        "int": pa.int64(),
        "real": pa.float64(),
        "bool": pa.bool_(),
        "text": pa.string(),
        "json": pa.string(),
        "bytes": pa.binary(),
        "sha256": pa.binary(32),
    }
    return types[kind.removesuffix("?")]


def to_arrow(columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    """Rows as the database has them, in the order of `columns`."""
    arrays = []
    for values, kind in zip(zip(*rows, strict=True), columns.values(), strict=True):
        arrow_type = _arrow_type(kind)
        if kind.startswith("floats:"):
            numbers = pa.array(np.frombuffer(b"".join(values), "<f4"))
            arrays.append(pa.FixedSizeListArray.from_arrays(numbers, type=arrow_type))
        else:
            arrays.append(pa.array(map(bool, values) if kind == "bool" else values, arrow_type))
    return pa.record_batch(arrays, schema=arrow_schema(columns))


def from_arrow(columns: Mapping[str, str], batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows as the database takes them, JSON parsed. Raises `ValueError` for what no export wrote."""
    found: list[Sequence[Any]] = []
    for (name, kind), array in zip(columns.items(), batch.columns, strict=True):
        if array.null_count and not kind.endswith("?"):
            raise ValueError(f"a value of {name} is missing")
        if kind.startswith("floats:"):
            numbers = array.flatten()
            if numbers.null_count:
                raise ValueError(f"a value of {name} is missing")
            matrix = np.ascontiguousarray(numbers, "<f4").reshape(len(array), -1)
            found.append([row.tobytes() for row in matrix])
        elif kind == "json":
            found.append([_object(text) for text in array.to_pylist()])
        elif kind == "bool":
            found.append([int(value) for value in array.to_pylist()])
        else:
            found.append(array.to_pylist())
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*found, strict=True)]


def _object(text: str) -> dict[str, Any]:
    parsed = json.loads(text)
    if not isinstance(parsed, dict):
        raise ValueError("JSON that is no object")  # noqa: TRY004  # as for all that no export wrote
    return parsed


def require_rising(ids: Sequence[int], after: int) -> None:
    """Raise `CorruptGalleryError` unless these ids, and the one before, rise within what an id can be."""
    if any(not low < high < HIGHEST_ID for low, high in zip([after, *ids], ids, strict=False)):
        raise CorruptGalleryError("The bundle's ids are not in order.", "Export the gallery again.")


class IdMap:
    """Ids of this gallery by those of the bundle; 16 bytes a row."""

    def __init__(self) -> None:
        self._parts: list[tuple[Ids, Ids]] = []
        self._whole: tuple[Ids, Ids] | None = None

    def add(self, old: Sequence[int], new: Sequence[int]) -> None:
        """Note pairs, of which the first counts where an id comes twice."""
        self._whole = None
        self._parts.append((np.array(old, np.int64), np.array(new, np.int64)))

    def find(self, old: Sequence[int]) -> list[int]:
        """The new ids, in the order of `old`; 0 where a row was left out."""
        if self._whole is None:
            none = np.empty((2, 0), np.int64)
            pairs = np.concatenate([none, *(np.stack(part) for part in self._parts)], axis=1)
            pairs = pairs[:, np.argsort(pairs[0], kind="stable")]
            self._parts, self._whole = [(pairs[0], pairs[1])], (pairs[0], pairs[1])
        known, new = self._whole
        if not len(known):
            return [0] * len(old)
        wanted = np.array(old, np.int64)
        places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        found: list[int] = np.where(known[places] == wanted, new[places], 0).tolist()
        return found
