"""1:N error rates: a search alarms iff its best candidate's `score >= threshold`; higher scores are more alike.

A probe is *mated* if its person is meant to be in the gallery. Failures never leave the denominators: a failed mated
search is a miss, a failed non-mated one raises no alarm, and every search for a failed enrolment is a miss. FPIR and
FNIR are the terms of ISO/IEC 19795-1 and NIST FRTE; TPIR = 1 - FNIR.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.bootstrap import replicate, surround
from facesearch.evaluation.decisions import MARGINS, Decisions, decide_searches
from facesearch.evaluation.rates import REPLICATES, Counts, Floats, Rate, clustered_interval, counted_rate
from facesearch.evaluation.searches import (
    FPIR_TARGETS,
    SearchPoint,
    SearchScores,
    cumulative_match,
    sample_of_searches,
    search_curve,
)
from facesearch.evaluation.verification import ErrorCurve, tar_at_far


class SizeBasis(StrEnum):
    """Where an FPIR for another gallery size comes from."""

    EXACT = "exact"
    """n <= N: the mean over all subsets of the gallery, no sampling."""
    BOUND = "bound"
    """n > N: an upper bound of the expectation, min(n/N FPIR(N), 1), which n FMR never undercuts."""


@dataclass(frozen=True, slots=True)
class FpirAtSize:
    """FPIR of a gallery of n subjects at one threshold."""

    size: int
    value: float
    basis: SizeBasis
    upper: float
    """Upper 95 % confidence limit of `value` (probe subjects as units); for a bound the limit that counts."""
    model: float
    """1 - (1 - FMR)^n. A model that assumes independent comparisons: for the dotted line, never for a decision."""


@dataclass(frozen=True, slots=True, eq=False)
class FpirBySize:
    """FPIR against gallery size at one threshold."""

    threshold: float
    subjects: int
    rows: tuple[FpirAtSize, ...]


@dataclass(frozen=True, slots=True, eq=False)
class IdentificationResult:
    """Everything `facesearch eval search` says about 1:N searches."""

    subjects: int
    """N."""
    mated: int
    """Planned mated searches, failed ones included."""
    non_mated: int
    failed_mated: int
    failed_non_mated: int
    cmc: tuple[Rate, ...]
    """Element r-1: mated searches with the mate at rank <= r, over all mated searches."""
    curves: Mapping[int, ErrorCurve]
    """By R, as `search_curve` gives them; empty without non-mated searches (closed set)."""
    points: tuple[SearchPoint, ...]
    decisions: tuple[Decisions, ...]
    """At the threshold of each supported point with R = 1, by margin."""
    by_size: FpirBySize | None
    """At the threshold of the last supported point; None without one, or where `SearchScores.top` is too short."""
    fte: Rate | None = None
    replicates: int = 0
    seed: int = 0


ONE_SIDED = 0.9
"""Two-sided level whose upper end is a one-sided 95 % limit."""


def alarming_subjects(scores: SearchScores, threshold: float) -> Counts:
    """(q,) int64: how many subjects score >= threshold in each non-mated search; 0 for a failed one.

    Raises EvaluationError: no non-mated search, or `top` is too short to count them.
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

    1 - C(N - m, n) / C(N, n), as a product of m factors 1 - n / (N - i). Log-gamma would lose the digits of small
    chances.
    """
    factors = np.maximum(1 - size / (subjects - np.arange(alarming.max(initial=0))), 0.0)
    with np.errstate(divide="ignore"):
        log_silent = np.append(0.0, np.cumsum(np.log(factors)))
    return np.asarray(0.0 - np.expm1(log_silent[alarming]))


def fpir_by_size(scores: SearchScores, threshold: float, sizes: Sequence[int] | None = None) -> FpirBySize:
    """FPIR(n) at one threshold: exact for n <= N, an upper bound for n > N, the independence model beside it.

    The bound is n/N FPIR(N); the other bound, n FMR, is never smaller. `sizes` are by default a 1-2-5 series up to 10
    N. Raises EvaluationError: see `alarming_subjects`; a size below 1.
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


def evaluate_searches(
    scores: SearchScores,
    *,
    targets: Sequence[float] = FPIR_TARGETS,
    ranks: Sequence[int] = (1, 20),
    cmc_ranks: int = 20,
    sizes: Sequence[int] | None = None,
    margins: Sequence[float] = MARGINS,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> IdentificationResult:
    """Compute all 1:N figures of planned searches, failed ones included.

    Args:
        targets: FPIRs in (0, 1], each combined with every R. The last supported gives FPIR by size.
        ranks, cmc_ranks: values of R, and length of the CMC; capped at N.
        sizes: gallery sizes for FPIR by size; by default up to ten times N.
        margins: how far the best has to be ahead of the runner-up, cosine.
        replicates, seed: of the subject bootstrap, which needs identities; 0 turns it off.

    Raises EvaluationError: no mated search.
    """
    ranks = sorted({min(rank, scores.subjects) for rank in ranks})
    closed = not len(scores.top)
    curves = {} if closed else {rank: search_curve(scores, rank) for rank in ranks}
    points: list[SearchPoint] = []
    for rank, curve in curves.items():
        row = [tar_at_far(curve, target) for target in targets]
        supported = [point.target_far for point in row if point.tar is not None]
        sample = sample_of_searches(scores, rank)
        wanted = sample and replicates and supported
        drawn = replicate(sample, supported, None, replicates=replicates, seed=seed) if sample and wanted else None
        points.extend(SearchPoint.of(point, rank, scores.subjects) for point in surround(row, sample, drawn))
    thresholds = [point.threshold for point in points if point.threshold is not None]
    by_size = None
    if thresholds and (scores.top.shape[1] >= scores.subjects or not np.any(scores.top[:, -1] >= thresholds[-1])):
        by_size = fpir_by_size(scores, thresholds[-1], sizes)
    best = scores.top[:, 0] if not closed else np.array([])
    attempted = scores.attempted_enrolments
    return IdentificationResult(
        subjects=scores.subjects,
        mated=scores.mate_score.size,
        non_mated=best.size,
        failed_mated=int(np.isnan(scores.mate_score).sum()),
        failed_non_mated=int(np.isnan(best).sum()),
        cmc=cumulative_match(scores, min(cmc_ranks, scores.subjects)),
        curves=curves,
        points=tuple(points),
        decisions=tuple(
            found
            for point in points
            if point.rank == 1 and point.threshold is not None
            for found in decide_searches(scores, point.threshold, margins)
        ),
        by_size=by_size,
        fte=counted_rate(scores.failed_enrolments, attempted) if attempted else None,
        replicates=0 if scores.mate_id is None else replicates,
        seed=seed,
    )
