"""From vectors to candidates: fetch templates from the index until the best subjects are certain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facesearch.arguments import require_unit_vectors
from facesearch.errors import CorruptGalleryError
from facesearch.search.decision import best_per_subject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Protocol, TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    from facesearch.store.templates import Described
    from facesearch.types import Candidate, Ids, Vectors

    class Searchable(Protocol):
        """As much of a `VectorIndex` as a search needs."""

        @property
        def dimension(self) -> int: ...

        def __len__(self) -> int: ...

        def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[NDArray[np.float32], Ids]:
            """See `VectorIndex.search`."""

    Describe: TypeAlias = Callable[[Sequence[int]], Mapping[int, Described]]
    """Whose the templates of these ids are."""

TOGETHER = 16
"""Queries per call of the index. From 20 on FAISS multiplies matrices, and equal vectors then score unequal."""


def search_subjects(
    index: Searchable, vectors: Vectors, k: int, allowed: Ids | None, describe: Describe
) -> list[tuple[Candidate, ...]]:
    """For each vector (n, d) the k best subjects, at least two where there are two: a runner-up is to be known.

    Raises `GalleryError` for vectors that are not finite or not unit length.
    """
    require_unit_vectors(vectors, index.dimension)
    found = best_subjects(describe, index, vectors, max(k, 2), allowed)
    return [candidates[: max(k, 2)] for candidates in found]


def best_subjects(
    describe: Describe, index: Searchable, queries: Vectors, k: int, allowed: Ids | None
) -> list[tuple[Candidate, ...]]:
    """For each query (n, d) at least the k best subjects, where there are as many; exact, ties included."""
    found: list[tuple[Candidate, ...]] = []
    for start in range(0, len(queries), TOGETHER):
        found += _best_subjects(describe, index, queries[start : start + TOGETHER], k, allowed)
    return found


def _best_subjects(
    describe: Describe, index: Searchable, queries: Vectors, k: int, allowed: Ids | None
) -> list[tuple[Candidate, ...]]:
    # k templates can be fewer than k subjects: fetch more until there are enough or everything was fetched.
    found: dict[int, tuple[Candidate, ...]] = {}
    fetch, everything = 4 * k, len(index)
    while unsettled := [position for position in range(len(queries)) if position not in found]:
        scores, ids = index.search(queries[unsettled], min(fetch, everything), allowed)
        described = _described(describe, ids[ids != -1].tolist())
        for position, row_ids, row_scores in zip(unsettled, ids.tolist(), scores.tolist(), strict=True):
            hits = [hit for hit in zip(row_ids, row_scores, strict=True) if hit[0] != -1]
            candidates = best_per_subject(hits, described)
            if fetch >= everything or len(hits) < fetch or _is_settled(candidates, hits, k):
                found[position] = candidates
        fetch *= 4
    return [found[position] for position in range(len(queries))]


def _described(describe: Describe, ids: Sequence[int]) -> Mapping[int, Described]:
    """Whose every template is: the index equals the database, so that one without a person is damage."""
    described = describe(ids)
    lost = set(ids) - described.keys()
    if lost:
        raise CorruptGalleryError(
            f"Template {min(lost)} belongs to nobody: the database is damaged.", "Run: facesearch check"
        )
    return described


def _is_settled(candidates: Sequence[Candidate], hits: Sequence[tuple[int, float]], k: int) -> bool:
    """What was not fetched scores at most as high as the last hit: on a tie it could still come before."""
    return len(candidates) >= k and candidates[k - 1].score > hits[-1][1]
