"""FPIR at another gallery size than the one measured: exact below it, bounded above it, never by the model alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.results.identification import FpirAtSize, FpirBySize, SizeBasis
from facesearch.evaluation.uncertainty import clustered_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facesearch.evaluation.results.arrays import Counts, Floats
    from facesearch.evaluation.results.scores import SearchScores


ONE_SIDED = 0.9
"""Two-sided level whose upper end is a one-sided 95 % limit."""


def alarming_subjects(scores: SearchScores, threshold: float) -> Counts:
    """(q,) int64: how many subjects score >= threshold in each non-mated search; 0 for a failed one.

    Raises:
        EvaluationError: no non-mated search, or `top` is too short to count them.
    """
    if not len(scores.top):
        raise EvaluationError("There is no non-mated search.", hint="FPIR needs probes of people who are not enrolled.")
    counts: Counts = np.count_nonzero(scores.top >= threshold, axis=1)
    if scores.top.shape[1] < scores.subjects and counts.max() == scores.top.shape[1]:
        raise EvaluationError(
            f"At threshold {threshold:g} a search alarms for more subjects than were kept.",
            hint="Keep more scores per search, or look at a higher threshold.",
        )
    return counts


def fpir_of_subsets(alarming: Counts, subjects: int, size: int) -> Floats:
    """(q,) the chance that a random gallery of `size` <= `subjects` contains at least one of the alarming subjects.

    1 - C(N - m, n) / C(N, n), as a product of m factors 1 - n / (N - i): log-gamma would lose the digits of small
    chances in large galleries.

    >>> fpir_of_subsets(np.array([0, 1, 2]), subjects=10, size=5).round(4).tolist()
    [0.0, 0.5, 0.7778]
    """
    factors = np.maximum(1 - size / (subjects - np.arange(alarming.max(initial=0))), 0.0)
    with np.errstate(divide="ignore"):
        log_silent = np.append(0.0, np.cumsum(np.log(factors)))
    return np.asarray(0.0 - np.expm1(log_silent[alarming]))


def fpir_by_size(scores: SearchScores, threshold: float, sizes: Sequence[int] | None = None) -> FpirBySize:
    """FPIR(n) at one threshold: exact for n <= N, an upper bound for n > N, the independence model beside it.

    The bound n/N FPIR(N) is used; n FMR is a bound too, but never a smaller one, as FPIR(N) <= N FMR.

    Args:
        scores: with non-mated searches.
        threshold: a search alarms iff its best score >= threshold.
        sizes: gallery sizes >= 1; by default a 1-2-5 series up to 10 N, and N.

    Raises:
        EvaluationError: see `alarming_subjects`; a size below 1.

    >>> from facesearch.evaluation.summaries import NON_MATED, summarise
    >>> scores = summarise(np.array([[0.6, 0.1], [0.2, 0.1]]), np.array([NON_MATED, NON_MATED]))
    >>> [(row.size, row.value, row.basis.value) for row in fpir_by_size(scores, 0.5, [1, 2, 4]).rows]
    [(1, 0.25, 'exact'), (2, 0.5, 'exact'), (4, 1.0, 'bound')]
    """
    sizes = _series(scores.subjects) if sizes is None else sizes
    if min(sizes, default=1) < 1:
        raise EvaluationError("A gallery has at least one subject.")
    alarming = alarming_subjects(scores, threshold)
    clusters = scores.non_mate_id if scores.non_mate_id is not None else np.arange(alarming.size)
    fmr = float(alarming.mean()) / scores.subjects
    return FpirBySize(
        threshold=threshold,
        subjects=scores.subjects,
        rows=tuple(_at_size(alarming, clusters, scores.subjects, size, fmr) for size in sizes),
    )


def _at_size(alarming: Counts, clusters: Counts, subjects: int, size: int, fmr: float) -> FpirAtSize:
    chances = fpir_of_subsets(alarming, subjects, min(size, subjects))
    factor = max(1.0, size / subjects)
    return FpirAtSize(
        size=size,
        value=min(1.0, factor * float(chances.mean())),
        basis=SizeBasis.EXACT if size <= subjects else SizeBasis.BOUND,
        upper=min(1.0, factor * clustered_interval(chances, clusters, level=ONE_SIDED).high),
        model=-math.expm1(size * math.log1p(-fmr)) if fmr < 1 else 1.0,
    )


def _series(subjects: int) -> list[int]:
    steps = {step * 10**power for power in range(math.ceil(math.log10(subjects)) + 2) for step in (1, 2, 5)}
    return sorted({size for size in steps if size <= 10 * subjects} | {subjects, 10 * subjects})
