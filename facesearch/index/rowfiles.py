"""The two-stage index on disk: rows of vectors in a file that is mapped, and a cache that says what they are.

`index.vectors` begins with `FSVECTOR`, 16 random bytes (its generation) and blanks up to byte 4096; then come rows of
float32, little-endian. Rows are appended, and overwritten with zeros when their template goes; nothing else changes,
and the file is never shortened below what a cache counts, because other processes have it mapped.

`index.cache` is written anew and whole for every state of the database, as in `snapshot`, with another payload (all of
n rows): ids int64 (-1: removed), the templates' checksums uint32, CRC-32 of the vectors uint32, their sketches
float32, and the codes. A cache and a vectors file of different generations belong to different states and are useless.

What makes either safe is that both change only while writers of the database are held off, and that there is no cache
while rows that it tells of change.
"""

from __future__ import annotations

import json
import mmap
import os
import secrets
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from facesearch.files import INDEX_CACHE_NAME, INDEX_VECTORS_NAME, fsync_folder
from facesearch.index.snapshot import (
    damaged,
    encode_header,
    read_proven,
    unpublished,
    write_proven,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from facesearch.types import Ids, Vectors

MAGIC: Final = b"FSINDEX2"
VECTORS_MAGIC: Final = b"FSVECTOR"
FIRST: Final = 4096
"""Bytes before the first row: a page."""


@dataclass(frozen=True, slots=True, eq=False)
class RowCache:
    """What `index.cache` says."""

    token: bytes
    model_id: str
    generation: bytes
    dimension: int
    ids: Ids
    checksums: NDArray[np.uint32]
    vector_checksums: NDArray[np.uint32]
    sketches: NDArray[np.float32]
    codes: NDArray[np.uint8]


def is_row_cache(folder: Path) -> bool:
    """Whether the cache is of this kind; it may be damaged all the same."""
    try:
        with (folder / INDEX_CACHE_NAME).open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_row_cache(folder: Path) -> RowCache | None:
    """The cache, if there is one; `CorruptGalleryError` when any byte of it is not as written."""
    body = read_proven(folder, MAGIC)
    if body is None:
        return None
    path = folder / INDEX_CACHE_NAME
    start = len(MAGIC) + 4
    (length,) = struct.unpack("<I", body[len(MAGIC) : start])
    try:
        header = json.loads(bytes(body[start : start + length]))
        token, generation = bytes.fromhex(header["token"]), bytes.fromhex(header["generation"])
        model_id, count, dimension = str(header["model_id"]), int(header["count"]), int(header["dimension"])
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, "its header cannot be read") from error
    payload = body[start + length :]
    if count < 0 or dimension < 1 or len(payload) < 20 * count:
        raise damaged(path, "its length does not match its header")
    return RowCache(
        token,
        model_id,
        generation,
        dimension,
        ids=np.frombuffer(payload, "<i8", count).astype(np.int64),
        checksums=np.frombuffer(payload, "<u4", count, 8 * count).astype(np.uint32),
        vector_checksums=np.frombuffer(payload, "<u4", count, 12 * count).astype(np.uint32),
        sketches=np.frombuffer(payload, "<f4", count, 16 * count).astype(np.float32),
        codes=np.frombuffer(payload, np.uint8, offset=20 * count),
    )


def _parts(cache: RowCache) -> tuple[bytes | memoryview, ...]:
    header: dict[str, str | int] = {
        "token": cache.token.hex(),
        "model_id": cache.model_id,
        "generation": cache.generation.hex(),
        "count": len(cache.ids),
        "dimension": cache.dimension,
    }
    return (
        encode_header(MAGIC, header),
        np.ascontiguousarray(cache.ids, "<i8").data.cast("B"),
        np.ascontiguousarray(cache.checksums, "<u4").data.cast("B"),
        np.ascontiguousarray(cache.vector_checksums, "<u4").data.cast("B"),
        np.ascontiguousarray(cache.sketches, "<f4").data.cast("B"),
        np.ascontiguousarray(cache.codes).data,
    )


class Head(NamedTuple):
    """What tells caches apart."""

    generation: bytes
    rows: int
    token: bytes


def read_head(folder: Path) -> Head | None:
    """That of the cache, unproven: enough to see that another process has written it."""
    try:
        with (folder / INDEX_CACHE_NAME).open("rb") as file:
            magic, (length,) = file.read(len(MAGIC)), struct.unpack("<I", file.read(4))
            header: dict[str, Any] = json.loads(file.read(length)) if magic == MAGIC else {}
        return Head(bytes.fromhex(header["generation"]), int(header["count"]), bytes.fromhex(header["token"]))
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None


def map_vectors(folder: Path, generation: bytes, count: int, dimension: int) -> Vectors:
    """The rows (count, dimension), mapped; `CorruptGalleryError` where the file is another or too short."""
    path = folder / INDEX_VECTORS_NAME
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise damaged(path, "it cannot be mapped") from error
    if mapped[: len(VECTORS_MAGIC) + 16] != VECTORS_MAGIC + generation or len(mapped) < FIRST + 4 * count * dimension:
        raise damaged(path, "it does not belong to the cache")
    if hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_RANDOM)  # rows are read one here, one there
    if not count:
        return np.empty((0, dimension), np.float32)
    flat = np.frombuffer(mapped, "<f4", count * dimension, offset=FIRST)
    rows: Vectors = flat.reshape(count, dimension).astype(np.float32, copy=False)
    return rows


def create(folder: Path, cache: RowCache, blocks: Iterable[Vectors], current: AbstractContextManager[bool]) -> bool:
    """Write both files anew; `current` and what is returned are as in `write_snapshot`."""
    with unpublished(folder) as (rows, rows_path), unpublished(folder) as (file, path):
        rows.write((VECTORS_MAGIC + cache.generation).ljust(FIRST, b"\0"))
        for block in blocks:
            rows.write(np.ascontiguousarray(block, "<f4").data)
        rows.flush()
        os.fsync(rows.fileno())
        write_proven(file, _parts(cache))
        with current as wanted:
            if wanted:
                _leave_no_cache(folder)
                rows_path.replace(folder / INDEX_VECTORS_NAME)
                path.replace(folder / INDEX_CACHE_NAME)
                fsync_folder(folder)
    return wanted


def new_generation() -> bytes:
    """16 random bytes."""
    return secrets.token_bytes(16)


def extend(
    folder: Path,
    cache: RowCache,
    known: int,
    recent: Vectors,
    gone: NDArray[np.int64],
    current: AbstractContextManager[bool],
) -> bool:
    """Append the rows after `known`, blank those that are gone, and replace the cache.

    Returns whether that was done: not where `current` says no, nor where another process has written since.
    """
    with unpublished(folder) as (file, path):
        write_proven(file, _parts(cache))
        with current as wanted:
            head = read_head(folder)
            if not wanted or head is None or head[:2] != (cache.generation, known):
                return False
            _write_rows(folder, cache.dimension, gone, known, recent)
            path.replace(folder / INDEX_CACHE_NAME)
            fsync_folder(folder)
    return True


def _leave_no_cache(folder: Path) -> None:
    """Who dies before the next cache is in place leaves none, rather than one of rows that are blank or others."""
    (folder / INDEX_CACHE_NAME).unlink(missing_ok=True)
    fsync_folder(folder)


def _write_rows(folder: Path, dimension: int, gone: NDArray[np.int64], known: int, recent: Vectors) -> None:
    size = 4 * dimension
    if len(gone):
        _leave_no_cache(folder)
    with (folder / INDEX_VECTORS_NAME).open("r+b") as file:
        # What a writer appended that died before it replaced the cache, no cache tells of.
        file.truncate(FIRST + known * size)
        for row in gone.tolist():
            file.seek(FIRST + row * size)
            file.write(bytes(size))
        file.seek(FIRST + known * size)
        file.write(np.ascontiguousarray(recent, "<f4").data)
        file.flush()
        os.fsync(file.fileno())


def row_checksums(vectors: Vectors) -> NDArray[np.uint32]:
    """(n,) CRC-32 of every row as it stands in the file."""
    return np.array([zlib.crc32(row) for row in np.ascontiguousarray(vectors, "<f4")], np.uint32)


def forget_rows(folder: Path, cache: RowCache, ids: Ids, token: bytes, blank: NDArray[np.uint8]) -> None:
    """Take templates out of both files, for good; `token` is of the database without them, `blank` are the codes then.

    Writers of the database are held off, and the removal is not committed yet: should it fail, its token never comes
    to be, and the templates are added again.
    """
    rows = np.flatnonzero(np.isin(cache.ids, ids))
    kept = RowCache(
        token,
        cache.model_id,
        cache.generation,
        cache.dimension,
        ids=_with(cache.ids, rows, -1),
        checksums=_with(cache.checksums, rows, 0),
        vector_checksums=_with(cache.vector_checksums, rows, 0),
        sketches=_with(cache.sketches, rows, 0),
        codes=blank,
    )
    with unpublished(folder) as (file, path):
        write_proven(file, _parts(kept))
        _write_rows(folder, cache.dimension, rows, len(cache.ids), np.empty((0, cache.dimension), np.float32))
        path.replace(folder / INDEX_CACHE_NAME)
        fsync_folder(folder)


def _with(values: NDArray[Any], rows: NDArray[np.int64], value: int) -> NDArray[Any]:
    changed = values.copy()
    changed[rows] = value
    return changed
