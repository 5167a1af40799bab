"""A gallery searched with its own templates: 1:N error rates without any further photos."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.pairwise import require_templates
from facesearch.evaluation.results.scores import SearchScores
from facesearch.evaluation.summaries import TOP, join

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facesearch.types import Vectors

BLOCK = 512
"""Templates searched at a time."""


def search_all(vectors: Vectors, subject: NDArray[np.int64], *, keep: int = TOP, block: int = BLOCK) -> SearchScores:
    """Search for every template among all others: once with its person taken out, once, if there are more, in.

    With the person out the search is non-mated, against N - 1 subjects; with the person in, but not the template, it
    is mated. Both sides of a pair of look-alikes alarm, so alarms come in twos: intervals are somewhat too narrow,
    and a set of people who are not enrolled is better where there is one.

    Args:
        vectors: (n, d) float32 of unit length within 1e-3.
        subject: (n,) codes of the people; at least two.
        keep: subject scores kept of each non-mated search.
        block: templates searched at a time; memory is block * n * 4 bytes and as much again.

    Raises:
        EvaluationError: unusable vectors, or one subject only.

    >>> vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)
    >>> scores = search_all(vectors, np.array([7, 7, 9]))
    >>> scores.subjects, scores.mate_score.round(3).tolist(), scores.top[:, 0].round(3).tolist()
    (1, [0.8, 0.8], [0.0, 0.6, 0.6])
    """
    require_templates(vectors, subject)
    names, codes = np.unique(subject, return_inverse=True)
    if names.size < 2:
        raise EvaluationError("The gallery holds one subject: nobody to be mistaken for.", hint="Enroll more people.")
    order = np.argsort(codes, kind="stable")
    ordered, code = vectors[order], codes[order]
    counts = np.bincount(codes)
    starts = np.cumsum(counts) - counts
    found = []
    for top in range(0, len(ordered), block):
        own = code[top : top + block]
        row = np.arange(own.size)
        scores = ordered[top : top + block] @ ordered.T
        scores[row, row + top] = -math.inf
        best = np.maximum.reduceat(scores, starts, axis=1)
        mate = best[row, own]
        best[row, own] = -math.inf
        several = counts[own] > 1
        found.append(
            SearchScores(
                subjects=names.size - 1,
                mate_score=mate[several].astype(np.float64),
                mate_rank=1 + np.count_nonzero(best[several] >= mate[several, None], axis=1),
                top=_highest(best, min(keep, names.size - 1)),
                mate_id=names[own[several]],
                non_mate_id=names[own],
            )
        )
    return join(found)


def _highest(best: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """The `count` highest of each row, falling."""
    highest = np.partition(best, best.shape[1] - count, axis=1)[:, best.shape[1] - count :]
    return np.sort(highest, axis=1)[:, ::-1].astype(np.float64)
