"""The vectors of an index on disk, memory-mapped.

`index.vectors` begins with `FSVECTOR`, 16 random bytes (its generation) and zeros up to byte 4096. Rows of float32,
little-endian, follow. Rows are appended, and overwritten with zeros when their template goes. Nothing else changes.
The file is never made shorter than its cache says, because other processes have it mapped.
"""

from __future__ import annotations

import mmap
import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facesearch.errors import CorruptGalleryError
from facesearch.files import INDEX_VECTORS_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

    from facesearch.types import Vectors

MAGIC: Final = b"FSVECTOR"
FIRST: Final = 4096
"""Bytes before the first row: a page."""


class ChangedRowError(CorruptGalleryError):
    """A vector that an index keeps in a file is not as written: damaged, or just removed by another process."""

    def __init__(self) -> None:
        super().__init__("The vectors beside the index cache are not as written.", "Run: facesearch reindex")


def damaged(path: Path, why: str) -> CorruptGalleryError:
    """Return the error that says why a file of the index is not used."""
    return CorruptGalleryError(f"The index cache {path} is not usable: {why}.", "Run: facesearch reindex")


@dataclass(frozen=True, slots=True, eq=False)
class MappedVectors:
    """The rows of the file, and what proves them."""

    vectors: Vectors
    """(n, d) of a memory map; 0 where a row was removed."""
    checksums: NDArray[np.uint32]
    """(n,) CRC-32 of each row."""
    sketches: NDArray[np.float32]
    """(n,) `rows.sketch` of each row; (0,) where the index that wrote the file needs none."""

    file: mmap.mmap | None = None

    def prove(self, rows: NDArray[np.int64]) -> None:
        """Compare rows with their checksums; raises `ChangedRowError`."""
        for row in rows.tolist():
            if zlib.crc32(self.vectors[row]) != self.checksums[row]:
                raise ChangedRowError

    def taken(self, rows: NDArray[np.int64]) -> Vectors:
        """Return rows (n, d), proven, for a caller that needs most of them."""
        if self.file is not None and hasattr(self.file, "madvise"):
            self.file.madvise(mmap.MADV_NORMAL)
        self.prove(rows)
        dense = len(rows) == len(self.vectors) and bool(np.all(np.diff(rows) == 1))
        return self.vectors if dense else self.vectors[rows]


def row_checksums(vectors: Vectors) -> NDArray[np.uint32]:
    """Return the CRC-32 of every row as it stands in the file: (n,)."""
    return np.array([zlib.crc32(row) for row in np.ascontiguousarray(vectors, "<f4")], np.uint32)


def map_vectors(
    folder: Path, generation: bytes, dimension: int, checksums: NDArray[np.uint32], sketches: NDArray[np.float32]
) -> MappedVectors:
    """Map a row for each of `checksums`; `CorruptGalleryError` where the file is another or too short."""
    path, count = folder / INDEX_VECTORS_NAME, len(checksums)
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise damaged(path, "it cannot be mapped") from error
    if mapped[: len(MAGIC) + 16] != MAGIC + generation or len(mapped) < FIRST + 4 * count * dimension:
        raise damaged(path, "it does not belong to the cache")
    flat = np.frombuffer(mapped, "<f4", count * dimension, offset=FIRST) if count else np.empty(0, np.float32)
    vectors = flat.reshape(count, dimension).astype(np.float32, copy=False)
    if hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_RANDOM)  # searches read rows one here, one there
    return MappedVectors(vectors, checksums, sketches, mapped)


def write_vectors(file: BinaryIO, generation: bytes, blocks: Iterable[Vectors]) -> None:
    """Fill a new file, durably."""
    file.write((MAGIC + generation).ljust(FIRST, b"\0"))
    for block in blocks:
        file.write(np.ascontiguousarray(block, "<f4").data)
    file.flush()
    os.fsync(file.fileno())


def change_vectors(folder: Path, known: int, gone: NDArray[np.int64], appended: Vectors) -> None:
    """Overwrite the rows `gone` with zeros, and put `appended` (n, d) behind the first `known` rows, durably."""
    size = 4 * appended.shape[1]
    with (folder / INDEX_VECTORS_NAME).open("r+b") as file:
        # A writer that died before it replaced the cache may have appended rows that no cache tells of.
        file.truncate(FIRST + known * size)
        for row in gone.tolist():
            file.seek(FIRST + row * size)
            file.write(bytes(size))
        file.seek(FIRST + known * size)
        file.write(np.ascontiguousarray(appended, "<f4").data)
        file.flush()
        os.fsync(file.fileno())


def inserted(held: NDArray[Any], places: NDArray[np.int64], new: NDArray[Any]) -> NDArray[Any]:
    """Return `numpy.insert(held, places, new)`, `places` rising.

    New ids are the highest, nearly always. Then it is a copy, without a mask of all that is held.
    """
    return np.insert(held, places, new) if len(places) and places[0] < len(held) else np.concatenate([held, new])
