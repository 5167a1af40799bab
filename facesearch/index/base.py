"""The interface of an index.

Index modules are imported where they are made: FAISS is loaded by a process that searches, by no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from facesearch.types import IndexKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from facesearch.index.cache_file import Cache, CacheFile, Stamp
    from facesearch.index.vector_file import MappedVectors
    from facesearch.types import Ids, Vectors


class VectorIndex(Protocol):
    """An inner-product index over unit vectors by template id.

    Searches may run side by side in several threads. A change needs the index for itself.
    """

    dimension: int

    def __len__(self) -> int:
        """Return how many vectors are indexed."""
        ...

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add n vectors (n, d) under ids (n,), in any order. A search finds them when this returns.

        The ids are not in the index yet. Equal vectors are allowed.
        """
        ...

    def remove(self, ids: Ids) -> int:
        """Remove vectors by id and return how many were removed. No search finds them when this returns.

        Unknown ids are passed over. A removed id may be added again.
        """
        ...

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[NDArray[np.float32], Ids]:
        """Return the k best per query: scores (q, m) float32 best first, and ids (q, m) int64, with m <= k.

        Where fewer than k are indexed or allowed, m may be as few, or rows end in id -1 and score -inf. `allowed`
        limits the search to these ids; unknown ones are passed over. Every score is the inner product of float32
        vectors, summed in float32. Which of several that tie with the k-th best are returned is left open. An index
        that may lose low scores documents which and how many.
        """
        ...


class LocalIndex(VectorIndex, Protocol):
    """A `VectorIndex` in this process. It outlives the process in the two files of `CacheFile`.

    `CacheFile.erase` takes vectors out of these files for good, with or without an index that was loaded from them.
    """

    kind: IndexKind
    together: int
    """Queries of a search for which equal vectors have equal scores, at most."""

    def search(
        self, queries: Vectors, k: int, allowed: Ids | None = None, floor: float = -1
    ) -> tuple[NDArray[np.float32], Ids]:
        """See `VectorIndex.search`. Scores below `floor` may be missing: who needs none gets an answer sooner."""
        ...

    def contents(self) -> tuple[Ids, Vectors]:
        """Return everything in the index: ids (n,) and vectors (n, d), in the same order."""
        ...

    @property
    def unsaved_bytes(self) -> int:
        """Bytes of vectors in memory that a save would move to the mapped file; 0 for an index that maps none."""
        ...

    def load(self, cache: Cache, rows: MappedVectors) -> None:
        """Hold what an index of the same kind wrote. This one is new and empty.

        Raises `CorruptGalleryError` for vectors that are not as written.
        """
        ...

    def save(self, file: CacheFile, stamp: Stamp, current: AbstractContextManager[bool]) -> bool:
        """Write the files, and return whether they are of this stamp now.

        `current` holds writers of the database off, and tells whether `stamp` still is its state: a slow writer could
        otherwise put templates back on disk that another process has just erased. Raises `FilesReplacedError` where
        another process has written since this index was loaded, and `OSError`.
        """
        ...


class ExternalIndex(VectorIndex, Protocol):
    """A `VectorIndex` in a vector database, which stores it. `add` replaces what an id held, so it can be repeated."""

    error: float
    """How far a score it gives may be from the exact one."""
    limit: int
    """The most results it gives for a query."""
    position: int
    """A number by which another process can ask for at least the changes of this one; 0 if it always sees them."""

    def create(self) -> None:
        """Make it where there is none."""
        ...

    def ids(self) -> Iterator[Ids]:
        """Return the ids of everything in it, in blocks and in no order."""
        ...

    def vectors(self, ids: Ids) -> tuple[Ids, Vectors]:
        """Return those of `ids` that are in it, in order of id, with their vectors: exact within `error`."""
        ...

    def drop(self) -> None:
        """Remove it with everything in it; no error where it is gone already."""
        ...


def make_index(kind: IndexKind, dimension: int) -> LocalIndex:
    """Return an empty index; `kind` is not `auto`."""
    if kind == IndexKind.TWO_STAGE:
        from facesearch.index.two_stage import TwoStageIndex

        return TwoStageIndex(dimension)
    from facesearch.index.flat import FlatIndex

    return FlatIndex(dimension)
