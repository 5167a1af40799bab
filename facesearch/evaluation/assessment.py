"""1:1 comparisons in, everything `facesearch eval` says about them out: figures with counts, flags and intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.bootstrap import (
    Replicates,
    Sample,
    disjoint_pairs,
    mated_units,
    replicate,
    sample_of_pairs,
    sample_of_summary,
)
from facesearch.evaluation.folds import (
    BestAccuracy,
    FoldAccuracy,
    InsightFaceConvention,
    best_accuracy,
    fold_accuracy,
    insightface_convention,
)
from facesearch.evaluation.pairwise import PairSummary
from facesearch.evaluation.rates import (
    LEVEL,
    REPLICATES,
    Counts,
    Floats,
    Interval,
    Rate,
    bootstrap_interval,
    wilson,
    zero_error_bound,
)
from facesearch.evaluation.trials.types import ScoredPairs
from facesearch.evaluation.verification import (
    TARGETS,
    DetectionCost,
    EqualErrorRate,
    ErrorCurve,
    OperatingPoint,
    area_under_curve,
    d_prime,
    d_prime_of_moments,
    decisions_that_flip,
    detection_cost,
    equal_error_rate,
    error_curve,
    tar_at_far,
)


@dataclass(frozen=True, slots=True)
class Attempts:
    """Templates tried and failed, by role; what FTE and FTA are computed from."""

    enrolments: int
    failed_enrolments: int
    probes: int
    failed_probes: int


@dataclass(frozen=True, slots=True)
class TrialCounts:
    """Every planned 1:1 trial, accounted for."""

    planned_mated: int
    planned_non_mated: int
    mated: int
    """Completed mated comparisons (G)."""
    non_mated: int
    """Completed non-mated comparisons (M)."""
    subjects: int | None = None
    """Distinct people in the completed comparisons; None without identities."""
    subject_pairs: int | None = None
    """Disjoint pairs of people among the non-mated comparisons (greedy): independent non-mated units."""
    mated_subjects: int | None = None
    """People with a completed mated comparison: independent mated units."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Failures by reason, as the caller counted them."""

    @property
    def failed(self) -> int:
        """Planned trials without a score."""
        return self.planned_mated + self.planned_non_mated - self.mated - self.non_mated


@dataclass(frozen=True, slots=True, eq=False)
class RocBand:
    """Pointwise interval of TAR on a grid of FAR targets, for ribbons and the lo/hi columns of roc.csv; m rows."""

    far: Floats
    """(m,) float64, rising, all >= 1/M."""
    tar: Floats
    low: Floats
    high: Floats
    method: str
    assumes_independence: bool
    level: float = LEVEL

    def at(self, fmr: Floats) -> tuple[Floats, Floats]:
        """Low and high at other FARs, linear in log FAR; NaN outside the grid."""
        x = np.full(fmr.shape, -math.inf)
        np.log(fmr, out=x, where=fmr > 0)
        grid = np.log(self.far)
        inside = (x >= grid[0] - 1e-12) & (x <= grid[-1] + 1e-12)
        low = np.where(inside, np.interp(x, grid, self.low), math.nan)
        high = np.where(inside, np.interp(x, grid, self.high), math.nan)
        return low, high


@dataclass(frozen=True, slots=True, eq=False)
class VerificationResult:
    """Everything `facesearch eval` says about 1:1 comparisons."""

    counts: TrialCounts
    curve: ErrorCurve
    band: RocBand | None
    points: tuple[OperatingPoint, ...]
    """In the order of the requested targets."""
    eer: EqualErrorRate
    auc: float
    """P(mated > non-mated) + P(equal) / 2."""
    d_prime: float | None
    """None where neither class has any variance, or a score is infinite."""
    min_dcf: DetectionCost
    best: BestAccuracy
    auc_error: float = 0.0
    """The AUC is exact to +- this: 0 but where the bulk of the scores is known by histogram only."""
    folds: FoldAccuracy | None = None
    fte: Rate | None = None
    fta: Rate | None = None
    insightface: InsightFaceConvention | None = None
    flips: tuple[int, ...] = ()
    """Per point: decisions that change when its threshold moves by +-1e-6."""
    replicates: int = 0
    """Of the subject bootstrap; 0 without identities."""
    seed: int = 0


_GRID_PER_DECADE = 8
_WHOLE_GRID = 100_000
"""Up to so many non-mated comparisons the ribbon reaches FAR 1; beyond, the largest target, to save the time."""


def evaluate_pairs(
    pairs: ScoredPairs,
    *,
    targets: Sequence[float] = TARGETS,
    attempts: Attempts | None = None,
    reasons: Mapping[str, int] | None = None,
    insightface: bool = False,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> VerificationResult:
    """All 1:1 figures of a set of planned comparisons; accept iff score >= threshold.

    Args:
        pairs: one row per planned comparison; NaN scores are failures and stay in the generalised rates.
        targets: FARs in (0, 1] to report TAR at.
        attempts: templates tried and failed, for FTE and FTA.
        reasons: failures by reason, passed through.
        insightface: add the field's conventional figures.
        replicates: of the subject bootstrap (needs identities); 0 turns it off.
        seed: of the bootstrap: same scores, same seed, same intervals.

    Raises:
        EvaluationError: a class without completed comparisons; identities that contradict the labels.

    >>> pairs = ScoredPairs(np.array([0.9, 0.8, np.nan, 0.3, 0.2]), np.array([True, True, True, False, False]))
    >>> result = evaluate_pairs(pairs, targets=[0.5])
    >>> result.counts.failed, result.points[0].tar.value, round(result.points[0].gfrr.value, 2)
    (1, 1.0, 0.33)
    """
    completed = ~np.isnan(pairs.score)
    mated, non_mated = pairs.score[completed & pairs.mated], pairs.score[completed & ~pairs.mated]
    curve = error_curve(mated, non_mated)
    sample = sample_of_pairs(pairs) if pairs.id_a is not None and pairs.id_b is not None else None
    auc, auc_error = area_under_curve(curve)
    result = VerificationResult(
        counts=_count(pairs, mated.size, non_mated.size, sample, reasons or {}),
        curve=curve,
        band=None,
        points=tuple(tar_at_far(curve, target) for target in targets),
        eer=equal_error_rate(curve),
        auc=auc,
        auc_error=auc_error,
        d_prime=d_prime(mated, non_mated),
        min_dcf=detection_cost(curve),
        best=best_accuracy(curve),
        folds=None if pairs.fold is None else fold_accuracy(pairs.score, pairs.mated, pairs.fold),
        fte=_attempted(attempts.failed_enrolments, attempts.enrolments) if attempts else None,
        fta=_attempted(attempts.failed_probes, attempts.probes) if attempts else None,
        insightface=insightface_convention(pairs.score, pairs.mated, targets) if insightface else None,
        replicates=replicates if sample else 0,
        seed=seed,
    )
    return _with_uncertainty(result, sample, np.concatenate([mated, non_mated]))


def evaluate_summary(
    summary: PairSummary,
    *,
    targets: Sequence[float] = TARGETS,
    failed_templates: int = 0,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> VerificationResult:
    """All 1:1 figures of a blocked product (`pairwise.compare_all`); accept iff score >= threshold.

    Counts are exact everywhere. Within the tail every distinct score is a threshold; below it thresholds stand on
    the edges of the histogram, 2^-15 apart, and there a FAR has Wilson's interval only.

    Args:
        summary: scores of all pairs.
        targets: FARs in (0, 1].
        failed_templates: photos that gave none; for FTE. Their comparisons were never planned pair by pair.
        replicates: of the subject bootstrap; 0 turns it off.
        seed: of the bootstrap.

    Raises:
        EvaluationError: a class without comparisons.
    """
    curve = curve_of_summary(summary)
    sample = sample_of_summary(summary)
    people = sample.design.subjects
    auc, auc_error = area_under_curve(curve)
    templates = summary.subject.size
    result = VerificationResult(
        counts=TrialCounts(
            planned_mated=curve.mated,
            planned_non_mated=curve.non_mated,
            mated=curve.mated,
            non_mated=curve.non_mated,
            subjects=people,
            subject_pairs=people // 2,
            mated_subjects=mated_units(sample),
        ),
        curve=curve,
        band=None,
        points=tuple(tar_at_far(curve, target) for target in targets),
        eer=equal_error_rate(curve),
        auc=auc,
        auc_error=auc_error,
        d_prime=d_prime_of_moments(_moments(summary.mated_score), _histogram_moments(summary.histogram)),
        min_dcf=detection_cost(curve),
        best=best_accuracy(curve),
        fte=_attempted(failed_templates, templates + failed_templates),
        replicates=replicates,
        seed=seed,
    )
    return _with_uncertainty(result, sample, np.concatenate([summary.mated_score, sample.tail_score]))


def curve_of_summary(summary: PairSummary) -> ErrorCurve:
    """The error curve of a blocked product: distinct scores above the tail's floor, histogram edges below."""
    if not summary.mated_score.size or not summary.non_mated:
        raise EvaluationError(
            "The templates make no mated pair." if summary.non_mated else "The templates are all of one person.",
            hint="Give at least two people, one of them with two photos.",
        )
    mated = np.sort(summary.mated_score)
    tail = np.sort(summary.tail_score).astype(np.float64)
    exact = np.unique(np.concatenate([tail, mated[mated >= summary.floor]]))
    edges, accepted = _edges(summary.histogram)
    edges, accepted = edges[edges < summary.floor], accepted[edges < summary.floor]
    return ErrorCurve(
        threshold=np.concatenate([edges, exact]),
        false_matches=np.concatenate([accepted, tail.size - np.searchsorted(tail, exact)]),
        true_matches=mated.size - np.searchsorted(mated, np.concatenate([edges, exact])),
        non_mated=summary.non_mated,
        mated=mated.size,
        exact_from=summary.floor,
    )


def _edges(histogram: Counts) -> tuple[Floats, Counts]:
    """Lower edges of the bins and how many scores lie at or above each; the first takes in rounding below -1."""
    edges = -1 + 2 * np.arange(histogram.size) / histogram.size
    edges[0] = -2.0
    return edges, np.cumsum(histogram[::-1])[::-1]


def _moments(scores: Floats) -> tuple[float, float]:
    return float(np.mean(scores)), float(np.var(scores))


def _histogram_moments(histogram: Counts) -> tuple[float, float]:
    centres = -1 + (2 * np.arange(histogram.size) + 1) / histogram.size
    mean = float(np.average(centres, weights=histogram))
    return mean, float(np.average((centres - mean) ** 2, weights=histogram))


def _count(
    pairs: ScoredPairs, mated: int, non_mated: int, sample: Sample | None, reasons: Mapping[str, int]
) -> TrialCounts:
    counts = TrialCounts(
        planned_mated=int(pairs.mated.sum()),
        planned_non_mated=int((~pairs.mated).sum()),
        mated=mated,
        non_mated=non_mated,
        reasons=reasons,
    )
    if sample is None or sample.design.pair_a is None or sample.design.pair_b is None:
        return counts
    return replace(
        counts,
        subjects=sample.design.subjects,
        subject_pairs=disjoint_pairs(sample.design.pair_a, sample.design.pair_b),
        mated_subjects=mated_units(sample),
    )


def _attempted(failed: int, attempted: int) -> Rate | None:
    return Rate(failed, attempted, naive=wilson(failed, attempted)) if attempted else None


def _with_uncertainty(result: VerificationResult, sample: Sample | None, scores: Floats) -> VerificationResult:
    """Add the intervals, the zero-error bounds, the generalised rates, the ribbon and the count of close decisions."""
    wanted = [point.target_far for point in result.points if point.tar is not None]
    grid = _grid(result.counts.non_mated, max(wanted, default=0.1))
    drawn = None
    fars = np.array([])
    if sample is not None and result.replicates:
        fars = np.unique(np.concatenate([wanted, grid]))
        if not sample.complete:
            # Replicates scatter: a tail is only good for a third of its length.
            fars = fars[3 * fars * sample.non_mated <= sample.tail_score.size]
        drawn = replicate(sample, fars.tolist(), result.eer.midpoint, replicates=result.replicates, seed=result.seed)
    points = tuple(_surround(point, result, drawn, fars) for point in result.points)
    return replace(
        result,
        points=points,
        eer=replace(result.eer, interval=_eer_interval(result, drawn)),
        band=_band(result, drawn, fars) if fars.size else _band(result, None, grid),
        flips=tuple(0 if point.threshold is None else decisions_that_flip(scores, point.threshold) for point in points),
    )


def _grid(non_mated: int, largest: float) -> Floats:
    """FARs for the ribbon: whole numbers of errors, evenly spaced in the logarithm."""
    errors = non_mated if non_mated <= _WHOLE_GRID else max(1, math.floor(largest * non_mated))
    steps = max(2, math.ceil(_GRID_PER_DECADE * math.log10(max(errors, 2))))
    return np.unique(np.rint(np.geomspace(1, errors, steps))) / non_mated


def _surround(
    point: OperatingPoint, result: VerificationResult, drawn: Replicates | None, fars: Floats
) -> OperatingPoint:
    if point.tar is None or point.far is None:
        return point
    counts = result.counts
    tar, far = point.tar, point.far
    column = np.flatnonzero(fars == point.target_far)
    if drawn is not None and column.size and counts.mated_subjects and counts.subject_pairs:
        tar = _bootstrapped(tar, drawn.tar[:, column[0]], counts.mated_subjects)
        far = _bootstrapped(far, drawn.far[:, column[0]], counts.subject_pairs)
    tar = replace(tar, naive=wilson(tar.count, tar.total))
    far = replace(far, naive=wilson(far.count, far.total))
    if tar.count == tar.total:
        tar = replace(tar, zero_errors=zero_error_bound(counts.mated_subjects or tar.total, tar.total))
    if far.count == 0:
        far = replace(far, zero_errors=zero_error_bound(counts.subject_pairs or far.total, far.total))
    rejected = counts.planned_mated - tar.count
    return replace(
        point,
        tar=tar,
        far=far,
        gfrr=Rate(rejected, counts.planned_mated, naive=wilson(rejected, counts.planned_mated)),
        gfar=Rate(far.count, counts.planned_non_mated, naive=wilson(far.count, counts.planned_non_mated)),
    )


def _bootstrapped(rate: Rate, replicates: Floats, units: int) -> Rate:
    return replace(rate, interval=bootstrap_interval(rate.value, replicates, trials=rate.total, units=units))


def _eer_interval(result: VerificationResult, drawn: Replicates | None) -> Interval | None:
    counts = result.counts
    if drawn is None or not counts.mated_subjects:
        return None
    return bootstrap_interval(
        result.eer.midpoint, drawn.eer, trials=min(counts.mated, counts.non_mated), units=counts.mated_subjects
    )


def _band(result: VerificationResult, drawn: Replicates | None, fars: Floats) -> RocBand:
    rates = [tar_at_far(result.curve, float(far)).tar for far in fars]
    counts = result.counts
    return roc_band(
        fars,
        np.array([rate.value if rate else math.nan for rate in rates]),
        None if drawn is None else drawn.tar,
        trials=counts.mated,
        units=counts.mated_subjects or counts.mated,
    )


def roc_band(far: Floats, tar: Floats, replicates: Floats | None, *, trials: int, units: int) -> RocBand:
    """Pointwise intervals of TAR on a FAR grid (k,), from replicates (r, k), or Wilson's without."""
    intervals = []
    for column, rate in enumerate(tar):
        interval = None
        if replicates is not None:
            interval = bootstrap_interval(float(rate), replicates[:, column], trials=trials, units=units)
        intervals.append(interval or wilson(float(rate) * trials, trials))
    return RocBand(
        far=far,
        tar=tar,
        low=np.array([interval.low for interval in intervals]),
        high=np.array([interval.high for interval in intervals]),
        method=intervals[0].method,
        assumes_independence=any(interval.assumes_independence for interval in intervals),
    )


STRICT = 1e-3
"""A FAR that is worth recommending: at a larger one a gallery of 1,000 people is wrong about every stranger."""


def recommended_point(result: VerificationResult) -> OperatingPoint | None:
    """The strictest point with 30 errors behind it, if that is at FAR 1e-3 or below; else the strictest supported.

    A laxer point has more errors behind it, but a stricter threshold is the safer one: its flag says how sure it is.
    None where no point is supported.
    """
    supported = [point for point in result.points if point.threshold is not None]
    firm = [point for point in supported if point.flag is None and point.target_far <= STRICT]
    return min(firm or supported, key=lambda point: point.target_far, default=None)
