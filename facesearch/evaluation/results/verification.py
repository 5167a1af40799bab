"""What comes out of 1:1 comparisons, made by `assessment.evaluate_pairs(ScoredPairs) -> VerificationResult`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from facesearch.evaluation.results.arrays import Counts, Floats
from facesearch.evaluation.results.rates import LEVEL, Flag, Interval, Rate

if TYPE_CHECKING:
    from collections.abc import Mapping


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
class ErrorCurve:
    """FMR and FNMR at every distinct completed score, exact; m rows, thresholds rising.

    Row i answers: at `threshold[i]`, how many non-mated and mated comparisons are accepted (score >= threshold)?
    """

    threshold: Floats
    """(m,) float64, strictly increasing; the distinct scores."""
    false_matches: Counts
    """(m,) int64: non-mated >= threshold."""
    true_matches: Counts
    """(m,) int64: mated >= threshold."""
    non_mated: int
    mated: int
    exact_from: float = -math.inf
    """Rows below stand at histogram edges: exact counts, but not every distinct score has a row."""

    @property
    def fmr(self) -> Floats:
        """(m,) float64, falling."""
        return self.false_matches / self.non_mated

    @property
    def fnmr(self) -> Floats:
        """(m,) float64, rising."""
        return (self.mated - self.true_matches) / self.mated

    @property
    def tar(self) -> Floats:
        """(m,) float64, falling."""
        return self.true_matches / self.mated


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


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """TAR at FAR <= target: the smallest threshold that the data show to keep the target."""

    target_far: float
    threshold: float | None
    """None where unsupported. +inf: nothing may be accepted; -inf: everything may."""
    far: Rate | None
    """Achieved: <= target."""
    tar: Rate | None
    flag: Flag | None = None
    gfar: Rate | None = None
    """False accepts / planned non-mated: failures lower it, so it never stands alone."""
    gfrr: Rate | None = None
    """(Rejected mated + failed mated) / planned mated."""


@dataclass(frozen=True, slots=True)
class EqualErrorRate:
    """Where FMR and FNMR cross: on steps they may jump past each other, hence [low, high] (Maio et al., FVC2000)."""

    low: float
    high: float
    threshold: float
    """The observed score at which FMR and FNMR are low and high, in either order; +inf: reject everything."""
    interval: Interval | None = None
    """Of the midpoint."""

    @property
    def midpoint(self) -> float:
        """(low + high) / 2: the figure to quote."""
        return (self.low + self.high) / 2


@dataclass(frozen=True, slots=True)
class DetectionCost:
    """min_t [C_miss pi FNMR + C_fa (1-pi) FMR] / min(C_miss pi, C_fa (1-pi)); 0 is perfect, 1 is useless."""

    value: float
    threshold: float
    """+inf: rejecting everything is cheapest."""
    prior: float
    """pi, the assumed probability that a trial is mated."""
    cost_miss: float
    cost_false_accept: float


@dataclass(frozen=True, slots=True)
class FoldAccuracy:
    """Accuracy on each fold at the threshold that is best on all the others. Failed trials count as wrong."""

    accuracies: tuple[float, ...]
    thresholds: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Of the folds' accuracies."""
        return float(np.mean(self.accuracies))

    @property
    def standard_error(self) -> float:
        """s / sqrt(folds), s with ddof 1: LFW's "+-"."""
        return float(np.std(self.accuracies, ddof=1)) / math.sqrt(len(self.accuracies))

    @property
    def std(self) -> float:
        """`np.std` with ddof 0, which others quote."""
        return float(np.std(self.accuracies))


@dataclass(frozen=True, slots=True)
class BestAccuracy:
    """The best accuracy any one threshold reaches on the same data: optimistic by construction."""

    accuracy: float
    threshold: float


@dataclass(frozen=True, slots=True)
class InsightFaceConvention:
    """Figures by the field's habits, for comparison with published tables only."""

    folds: FoldAccuracy | None
    """Thresholds here are squared L2 distances of unit vectors, accept iff distance < threshold."""
    nearest_far: tuple[tuple[float, float, float], ...]
    """(target FAR, FAR taken, TAR): the curve's point nearest to the target, which overshoots it as often as not."""


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
