"""What a search backend must do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from facesearch.errors import CorruptGalleryError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facesearch.types import Ids, Vectors


class ChangedRowError(CorruptGalleryError):
    """A vector that an index keeps in a file is not as written: damaged, or just removed by another process."""

    def __init__(self) -> None:
        super().__init__("The vectors beside the index cache are not as written.", "Run: facesearch reindex")


class VectorIndex(Protocol):
    """An inner-product index over unit vectors by template id.

    Searches may run at the same time as each other, in several threads; a change needs the index for itself. It does
    not outlive the process unless its own module says how: who opens a gallery fills it anew, or restores it.
    """

    dimension: int

    def __len__(self) -> int:
        """How many vectors are indexed."""
        ...

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add n vectors (n, d) under ids (n,) that are not in the index yet, in any order; equal vectors are welcome.

        When this returns, a search finds them.
        """
        ...

    def remove(self, ids: Ids) -> int:
        """Remove vectors by id; unknown ids are passed over. Returns how many were removed.

        When this returns, no search finds them. An id may be added again.
        """
        ...

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[NDArray[np.float32], Ids]:
        """The k best per query: scores (q, k) float32 best first, ids (q, k) int64.

        Where fewer than k are indexed or allowed, rows end in id -1 and score -inf. `allowed` limits the search to
        these ids; those that are not indexed are passed over. Every score is the inner product of float32 vectors,
        summed in float32. Equal vectors have equal scores as long as there are at most 16 queries;
        which of several that tie with the k-th best are returned is left open. An index may lose results of low scores,
        and says in its own documentation which and how many.
        """
        ...

    def contents(self) -> tuple[Ids, Vectors]:
        """Everything in the index: ids (n,) and vectors (n, d), in the same order."""
        ...
