"""Vectors by row, mapped from the file or in memory since, and their exact scores."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import faiss
import numpy as np

from facesearch.index.vector_file import ChangedRowError, MappedVectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facesearch.types import Vector, Vectors

SKETCH_TOLERANCE: Final = 2e-5
"""How much sums of the same 512 products may differ: 1e-6 between processors, and room."""


class Rows:
    """Vectors by row. Reading is thread-safe, changing is not."""

    def __init__(self, dimension: int, mapped: MappedVectors | None = None) -> None:
        self.dimension = dimension
        empty = MappedVectors(np.empty((0, dimension), np.float32), np.empty(0, np.uint32), np.empty(0, np.float32))
        self.mapped = mapped or empty
        self._recent = np.empty((0, dimension), np.float32)
        self._count = 0
        self._signs = _sketch_signs(dimension)

    def __len__(self) -> int:
        return len(self.mapped.vectors) + self._count

    @property
    def recent(self) -> Vectors:
        """The rows behind the mapped ones, which are in no file: (n, d)."""
        return self._recent[: self._count]

    def append(self, vectors: Vectors) -> None:
        """Give the next rows these vectors (n, d)."""
        needed = self._count + len(vectors)
        if needed > len(self._recent):
            grown = np.empty((max(needed, 2 * len(self._recent)), self.dimension), np.float32)
            grown[: self._count] = self.recent
            self._recent = grown
        self._recent[self._count : needed] = vectors
        self._count = needed

    def blank(self, rows: NDArray[np.int64]) -> None:
        """Forget the vectors of these rows, as far as they are in memory."""
        first = len(self.mapped.vectors)
        self._recent[rows[rows >= first] - first] = 0

    def scores(self, query: Vector, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return inner products with these rows (n,), as `FlatIndex` computes them.

        Every mapped row is compared with its sketch: damage that could change an answer shows there. Raises
        `ChangedRowError`.
        """
        scores = np.empty(len(rows), np.float32)
        old = rows < len(self.mapped.vectors)
        here = rows[old]
        if len(here):
            scores[old] = products(query, self.mapped.vectors, here)
            sketches = products(self._signs, self.mapped.vectors, here)
            if not np.all(np.abs(sketches - self.mapped.sketches[here]) <= SKETCH_TOLERANCE):  # NaN compares false
                raise ChangedRowError
        if len(here) < len(rows):
            scores[~old] = products(query, self._recent, rows[~old] - len(self.mapped.vectors))
        return scores

    def prove(self, rows: NDArray[np.int64]) -> None:
        """Compare the mapped ones of these rows with their checksums; raises `ChangedRowError`."""
        self.mapped.prove(rows[rows < len(self.mapped.vectors)])

    def take(self, rows: NDArray[np.int64]) -> Vectors:
        """Return a copy of these rows: (n, d)."""
        first = len(self.mapped.vectors)
        taken = np.empty((len(rows), self.dimension), np.float32)
        old = rows < first
        taken[old] = self.mapped.vectors[rows[old]]
        taken[~old] = self._recent[rows[~old] - first]
        return taken


def _sketch_signs(dimension: int) -> Vector:
    """Return 1 and -1 by fixed random bits: (d,)."""
    bits = np.unpackbits(np.frombuffer(hashlib.shake_256(b"facesearch sketches").digest(dimension // 8 + 1), np.uint8))
    signs: Vector = 1 - 2 * bits[:dimension].astype(np.float32)
    return signs


def sketch(vectors: Vectors) -> NDArray[np.float32]:
    """Return the inner product of each vector with fixed random signs: (n,). It changes when the vector does."""
    return products(_sketch_signs(vectors.shape[1]), vectors, np.arange(len(vectors), dtype=np.int64))


def products(query: Vector, vectors: Vectors, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return inner products of `query` (d,) with rows (n,) of contiguous `vectors`, by the kernel of `FlatIndex`."""
    found = np.empty(len(rows), np.float32)
    if len(rows):
        rows = np.ascontiguousarray(rows, np.int64)
        faiss.omp_set_num_threads(1)  # it spreads queries, not rows, over threads, and wakes them all for one
        faiss.fvec_inner_products_by_idx(
            faiss.swig_ptr(found),
            faiss.swig_ptr(np.ascontiguousarray(query, np.float32)),
            faiss.swig_ptr(vectors),
            faiss.swig_ptr(rows),
            len(query),
            1,
            len(rows),
        )
    return found
