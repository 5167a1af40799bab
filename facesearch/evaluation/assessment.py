"""1:1 comparisons in, everything `facesearch eval` says about them out: figures with counts, flags and intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from facesearch.evaluation.bootstrap import (
    Replicates,
    Sample,
    eer_interval,
    replicate,
    sample_of_pairs,
    sample_of_summary,
    surround,
)
from facesearch.evaluation.folds import (
    BestAccuracy,
    FoldAccuracy,
    InsightFaceConvention,
    best_accuracy,
    fold_accuracy,
    insightface_convention,
)
from facesearch.evaluation.pairwise import PairSummary, curve_of_summary, histogram_moments
from facesearch.evaluation.rates import (
    LEVEL,
    REPLICATES,
    Floats,
    Rate,
    bootstrap_interval,
    counted_rate,
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
    decisions_that_flip,
    detection_cost,
    equal_error_rate,
    error_curve,
    moments,
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
    mated, non_mated = (pairs.score[~pairs.failed & kind] for kind in (pairs.mated, ~pairs.mated))
    curve = error_curve(mated, non_mated)
    sample = sample_of_pairs(pairs) if pairs.id_a is not None and pairs.id_b is not None else None
    planned = int(pairs.mated.sum()), int((~pairs.mated).sum())
    result = _evaluate(
        curve,
        sample,
        _counts(curve, sample, planned, pairs.failures()),
        np.concatenate([mated, non_mated]),
        d_prime(moments(mated), moments(non_mated)),
        targets=targets,
        replicates=replicates if sample else 0,
        seed=seed,
    )
    return replace(
        _attempted(result, attempts),
        folds=None if pairs.fold is None else fold_accuracy(pairs.score, pairs.mated, pairs.fold),
        insightface=insightface_convention(pairs.score, pairs.mated, targets) if insightface else None,
    )


def evaluate_summary(
    summary: PairSummary,
    *,
    targets: Sequence[float] = TARGETS,
    planned: tuple[int, int] | None = None,
    reasons: Mapping[str, int] | None = None,
    attempts: Attempts | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> VerificationResult:
    """Compute all 1:1 figures of a blocked product (`pairwise.compare_all`).

    Counts are exact. Within the tail every distinct score is a threshold. Below it, thresholds stand on the edges of
    the histogram, 2^-15 apart, and a FAR has Wilson's interval only. `planned` counts mated and non-mated comparisons
    with those of photos without a template, `reasons` says why these failed. Raises EvaluationError: a class without
    comparisons.
    """
    curve = curve_of_summary(summary)
    sample = sample_of_summary(summary)
    result = _evaluate(
        curve,
        sample,
        _counts(curve, sample, planned or (curve.mated, curve.non_mated), reasons or {}),
        np.concatenate([summary.mated_score, sample.tail_score]),
        d_prime(moments(summary.mated_score), histogram_moments(summary.histogram)),
        targets=targets,
        replicates=replicates,
        seed=seed,
    )
    return _attempted(result, attempts)


def _attempted(result: VerificationResult, attempts: Attempts | None) -> VerificationResult:
    if attempts is None:
        return result
    return replace(
        result,
        fte=counted_rate(attempts.failed_enrolments, attempts.enrolments),
        fta=counted_rate(attempts.failed_probes, attempts.probes),
    )


def _counts(
    curve: ErrorCurve, sample: Sample | None, planned: tuple[int, int], reasons: Mapping[str, int]
) -> TrialCounts:
    counts = TrialCounts(*planned, curve.mated, curve.non_mated, reasons=reasons)
    if sample is None:
        return counts
    return replace(
        counts,
        subjects=sample.subjects,
        subject_pairs=sample.non_mated_units,
        mated_subjects=sample.mated_units,
    )


def _evaluate(
    curve: ErrorCurve,
    sample: Sample | None,
    counts: TrialCounts,
    scores: Floats,
    separation: float | None,
    *,
    targets: Sequence[float],
    replicates: int,
    seed: int,
) -> VerificationResult:
    """What both kinds of input share: figures, intervals, zero-error bounds, the ribbon and close decisions."""
    points = [tar_at_far(curve, target) for target in targets]
    wanted = [point.target_far for point in points if point.tar is not None]
    grid = _grid(curve.non_mated, max(wanted, default=0.1))
    eer, drawn = equal_error_rate(curve), None
    if sample is not None and replicates:
        fars = np.unique(np.concatenate([wanted, grid]))
        if not sample.complete:
            # Replicates scatter: a tail is only good for a third of its length.
            fars = fars[3 * fars * sample.non_mated <= sample.tail_score.size]
        drawn = replicate(sample, fars.tolist(), eer.midpoint, replicates=replicates, seed=seed)
        eer = replace(eer, interval=eer_interval(eer.midpoint, sample, drawn))
        grid = fars if fars.size else grid
    auc, auc_error = area_under_curve(curve)
    return VerificationResult(
        counts=counts,
        curve=curve,
        band=_band(curve, grid, drawn, counts.mated_subjects),
        points=tuple(_generalised(point, counts) for point in surround(points, sample, drawn)),
        eer=eer,
        auc=auc,
        auc_error=auc_error,
        d_prime=separation,
        min_dcf=detection_cost(curve),
        best=best_accuracy(curve),
        flips=tuple(0 if each.threshold is None else decisions_that_flip(scores, each.threshold) for each in points),
        replicates=replicates,
        seed=seed,
    )


def _grid(non_mated: int, largest: float) -> Floats:
    """FARs for the ribbon: whole numbers of errors, evenly spaced in the logarithm."""
    errors = non_mated if non_mated <= _WHOLE_GRID else max(1, math.floor(largest * non_mated))
    steps = max(2, math.ceil(_GRID_PER_DECADE * math.log10(max(errors, 2))))
    return np.unique(np.rint(np.geomspace(1, errors, steps))) / non_mated


def _generalised(point: OperatingPoint, counts: TrialCounts) -> OperatingPoint:
    if point.tar is None or point.far is None:
        return point
    return replace(
        point,
        gfrr=counted_rate(counts.planned_mated - point.tar.count, counts.planned_mated),
        gfar=counted_rate(point.far.count, counts.planned_non_mated),
    )


def _band(curve: ErrorCurve, fars: Floats, drawn: Replicates | None, units: int | None) -> RocBand:
    """Pointwise intervals of TAR on a FAR grid, from the replicates' columns, or Wilson's."""
    rates = [tar_at_far(curve, float(far)).tar for far in fars]
    values = np.array([rate.value if rate else math.nan for rate in rates])
    intervals = []
    for column, rate in enumerate(values.tolist()):
        interval = None
        if drawn is not None and drawn.targets.size:
            excess = float(drawn.tar_excess[column])
            interval = bootstrap_interval(
                rate, drawn.tar[:, column], trials=curve.mated, units=units or curve.mated, excess=excess
            )
        intervals.append(interval or wilson(rate * curve.mated, curve.mated))
    return RocBand(
        far=fars,
        tar=values,
        low=np.array([interval.low for interval in intervals]),
        high=np.array([interval.high for interval in intervals]),
        method=intervals[0].method,
        assumes_independence=any(interval.assumes_independence for interval in intervals),
    )


def headline_point(result: VerificationResult) -> OperatingPoint | None:
    """The strictest point that 30 errors stand behind, else the one with the most; None where none is supported.

    Groups are judged at its threshold.
    """
    supported = [point for point in result.points if point.threshold is not None]
    firm = [point for point in supported if point.flag is None]
    if firm:
        return min(firm, key=lambda point: point.target_far)
    return max(supported, key=lambda point: point.target_far, default=None)
