"""1:1 comparisons in, everything `facesearch eval` says about them out: figures with counts, flags and intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

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
from facesearch.evaluation.pairwise import PairSummary, curve_of_summary, histogram_moments, moments
from facesearch.evaluation.rates import (
    LEVEL,
    REPLICATES,
    Floats,
    Interval,
    Rate,
    bootstrap_interval,
    counted_rate,
    surrounded,
    wilson,
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
    insightface: bool = False,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> VerificationResult:
    """Compute all 1:1 figures of planned comparisons.

    Args:
        pairs: one row per planned comparison. NaN scores are failures and stay in the generalised rates.
        targets: FARs in (0, 1].
        attempts: templates tried and failed, for FTE and FTA.
        insightface: add the field's conventional figures.
        replicates, seed: of the subject bootstrap, which needs identities; 0 turns it off.

    Raises EvaluationError: a class without completed comparisons; identities that contradict the labels.
    """
    completed = ~pairs.failed
    mated, non_mated = pairs.score[completed & pairs.mated], pairs.score[completed & ~pairs.mated]
    curve = error_curve(mated, non_mated)
    sample = sample_of_pairs(pairs) if pairs.id_a is not None and pairs.id_b is not None else None
    result = _evaluate(
        curve,
        _count(pairs, mated.size, non_mated.size, sample),
        sample,
        np.concatenate([mated, non_mated]),
        d_prime(mated, non_mated),
        targets=targets,
        replicates=replicates if sample else 0,
        seed=seed,
    )
    return replace(
        result,
        folds=None if pairs.fold is None else fold_accuracy(pairs.score, pairs.mated, pairs.fold),
        fte=counted_rate(attempts.failed_enrolments, attempts.enrolments) if attempts else None,
        fta=counted_rate(attempts.failed_probes, attempts.probes) if attempts else None,
        insightface=insightface_convention(pairs.score, pairs.mated, targets) if insightface else None,
    )


def evaluate_summary(
    summary: PairSummary,
    *,
    targets: Sequence[float] = TARGETS,
    failed_templates: int = 0,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> VerificationResult:
    """Compute all 1:1 figures of a blocked product (`pairwise.compare_all`).

    Counts are exact. Within the tail every distinct score is a threshold. Below it, thresholds stand on the edges of
    the histogram, 2^-15 apart, and a FAR has Wilson's interval only. `failed_templates` counts photos without a
    template, for FTE; their comparisons were never planned. Raises EvaluationError: a class without comparisons.
    """
    curve = curve_of_summary(summary)
    sample = sample_of_summary(summary)
    people, templates = sample.design.subjects, summary.subject.size
    planned = curve.mated, curve.non_mated
    result = _evaluate(
        curve,
        TrialCounts(*planned, *planned, people, people // 2, mated_units(sample)),
        sample,
        np.concatenate([summary.mated_score, sample.tail_score]),
        d_prime_of_moments(moments(summary.mated_score), histogram_moments(summary.histogram)),
        targets=targets,
        replicates=replicates,
        seed=seed,
    )
    return replace(result, fte=counted_rate(failed_templates, templates + failed_templates))


def _count(pairs: ScoredPairs, mated: int, non_mated: int, sample: Sample | None) -> TrialCounts:
    planned = int(pairs.mated.sum()), int((~pairs.mated).sum())
    counts = TrialCounts(*planned, mated, non_mated, reasons=pairs.failures())
    if sample is None or sample.design.pair_a is None or sample.design.pair_b is None:
        return counts
    return replace(
        counts,
        subjects=sample.design.subjects,
        subject_pairs=disjoint_pairs(sample.design.pair_a, sample.design.pair_b),
        mated_subjects=mated_units(sample),
    )


def _evaluate(
    curve: ErrorCurve,
    counts: TrialCounts,
    sample: Sample | None,
    scores: Floats,
    separation: float | None,
    *,
    targets: Sequence[float],
    replicates: int,
    seed: int,
) -> VerificationResult:
    """What both kinds of input share: figures, intervals, zero-error bounds, the ribbon and close decisions."""
    auc, auc_error = area_under_curve(curve)
    result = VerificationResult(
        counts=counts,
        curve=curve,
        band=None,
        points=tuple(tar_at_far(curve, target) for target in targets),
        eer=equal_error_rate(curve),
        auc=auc,
        auc_error=auc_error,
        d_prime=separation,
        min_dcf=detection_cost(curve),
        best=best_accuracy(curve),
        replicates=replicates,
        seed=seed,
    )
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
    known = drawn is not None and column.size and counts.mated_subjects and counts.subject_pairs
    tars = drawn.tar[:, column[0]] if drawn and known else None
    fars_drawn = drawn.far[:, column[0]] if drawn and known else None
    return replace(
        point,
        tar=surrounded(tar, counts.mated_subjects or tar.total, tars, flawless=tar.total),
        far=surrounded(far, counts.subject_pairs or far.total, fars_drawn, flawless=0),
        gfrr=counted_rate(counts.planned_mated - tar.count, counts.planned_mated),
        gfar=counted_rate(far.count, counts.planned_non_mated),
    )


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
    """Return the strictest point with 30 errors behind it and a FAR of 1e-3 or below; else the strictest supported.

    A stricter threshold is the safer one, even with fewer errors behind it. None where no point is supported.
    """
    supported = [point for point in result.points if point.threshold is not None]
    firm = [point for point in supported if point.flag is None and point.target_far <= STRICT]
    return min(firm or supported, key=lambda point: point.target_far, default=None)
