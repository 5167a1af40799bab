"""What a search backend must do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from facesearch.errors import CorruptGalleryError, GalleryError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facesearch.types import Ids, Vectors

UNIT_TOLERANCE = 1e-3
"""How far from 1 a vector's length may be. float32 rounding of a 512-d unit vector stays below 1e-6."""


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


def require_unit_vectors(vectors: Vectors, dimension: int) -> None:
    """Raise `GalleryError` unless `vectors` is (n, dimension), finite and of unit length.

    Everything that enters a gallery or a search passes here: a NaN query returns nonsense, and one row scaled by 100
    outranks everybody for everyone.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise GalleryError(
            f"Vectors of shape {vectors.shape} cannot be used: this gallery needs (n, {dimension}).",
            "Use the model pack that the gallery was made with.",
        )
    if not np.isfinite(vectors).all():
        raise GalleryError("A vector has entries that are not finite.", "The model or its input is damaged.")
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    if np.any(np.abs(lengths - 1) > UNIT_TOLERANCE):
        raise GalleryError(
            "A vector is not of unit length.", "Divide each vector by its length before handing it over."
        )
