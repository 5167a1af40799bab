"""What a search backend must do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from facesearch.errors import GalleryError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facesearch.types import Ids, Vectors

UNIT_TOLERANCE = 1e-3
"""How far from 1 a vector's length may be. float32 rounding of a 512-d unit vector stays below 1e-6."""


class VectorIndex(Protocol):
    """An inner-product index over unit vectors by template id. Not thread-safe: the gallery takes turns."""

    dimension: int

    def __len__(self) -> int:
        """How many vectors are indexed."""
        ...

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add n vectors (n, d) under ids (n,) that are not in the index yet."""
        ...

    def remove(self, ids: Ids) -> int:
        """Remove vectors by id; unknown ids are passed over. Returns how many were removed."""
        ...

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[NDArray[np.float32], Ids]:
        """The k best per query: scores (q, k) float32 best first, ids (q, k) int64.

        Rows with fewer than k results end in id -1 and score -inf. `allowed` limits the search to these ids.
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
