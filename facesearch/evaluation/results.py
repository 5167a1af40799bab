"""What goes into the statistics and what comes out: frozen dataclasses, no computing.

Two rules hold in every type of this file. The decision rule is *accept iff score >= threshold*. A rate is a count
over a total (`Rate`): it always carries both, and intervals where they can be had. `None` means "the data cannot
say"; NaN appears only in input scores, where it means "this comparison failed".

Made by `assessment.evaluate_pairs(ScoredPairs) -> VerificationResult`,
`identification.evaluate_searches(SearchScores) -> IdentificationResult` and
`uncertainty.compare(ScoredPairs, ScoredPairs) -> tuple[PairedDifference, ...]`; `calibration.Calibration` stands
beside the code that makes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

Floats: TypeAlias = NDArray[np.float64]
Counts: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]

DECISION_RULE = "accept iff score >= threshold"
"""Printed on every report."""
LOW_SUPPORT = 30
"""Doddington's rule of 30: below this many errors a rate is flagged; 30 errors give about +-30 % at 90 % confidence."""
LEVEL = 0.95
"""Confidence level of every interval unless it says otherwise."""


class Flag(StrEnum):
    """What a reader must know before quoting a point."""

    UNSUPPORTED = "unsupported"
    """The data hold less than one expected error at the target: the point has no value."""
    LOW_SUPPORT = "low_support"
    """Fewer than `LOW_SUPPORT` errors stand behind the threshold."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval of a rate, 0 <= low <= high <= 1 (differences: -1 to 1)."""

    low: float
    high: float
    method: str
    """In words for a report, as "subject bootstrap" or "Wilson"."""
    assumes_independence: bool
    """True where trials that share people are treated as if they did not."""
    level: float = LEVEL

    def covers(self, value: float) -> bool:
        """Whether `value` lies within, ends included."""
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class ZeroErrorBound:
    """No error was seen: the largest error rate that would still show none with probability 1 - level."""

    upper: float
    """1 - 0.05^(1/units)."""
    units: int
    """Independent units: probe subjects, or disjoint pairs of subjects."""
    naive_upper: float
    """The same with every trial counted as independent; too small wherever trials share people."""
    trials: int
    level: float = LEVEL


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` out of `total`, total >= 1."""

    count: int
    total: int
    interval: Interval | None = None
    """The primary one: the subject bootstrap; without identities None."""
    naive: Interval | None = None
    """Wilson, which assumes independent trials."""
    zero_errors: ZeroErrorBound | None = None
    """Set where the rate counts errors and none was seen, or counts successes and all were."""

    @property
    def value(self) -> float:
        """count / total."""
        return self.count / self.total

    @property
    def best_interval(self) -> Interval | None:
        """The primary interval, else the naive one; its `assumes_independence` says which."""
        return self.interval or self.naive


@dataclass(frozen=True, slots=True, eq=False)
class ScoredPairs:
    """Planned 1:1 comparisons, one row each; n rows.

    A row whose score is NaN was planned and failed. -inf and +inf are scores.
    """

    score: Floats
    """(n,) float64, higher is more alike."""
    mated: Flags
    """(n,) bool: the two sides show one person."""
    id_a: Counts | None = None
    """(n,) int64 subject codes of the first side (any integers); None without identities."""
    id_b: Counts | None = None
    fold: Counts | None = None
    """(n,) int64 fold numbers; None without folds."""


@dataclass(frozen=True, slots=True, eq=False)
class PairSummary:
    """All comparisons among n templates of known subjects, kept small: mated in full, of the non-mated the tail.

    Every pair of templates of one subject is mated, every other non-mated; g mated pairs, k tail entries.
    """

    mated_score: Floats
    """(g,) float64."""
    mated_id: NDArray[np.int32]
    """(g,) subject codes 0 ... S-1."""
    tail_score: NDArray[np.float32]
    """(k,) float32, falling: every non-mated score >= `floor`."""
    tail_a: NDArray[np.int32]
    """(k,) rows of the vectors; `subject[tail_a]` is the subject."""
    tail_b: NDArray[np.int32]
    floor: float
    """-inf where the tail holds every non-mated score."""
    histogram: Counts
    """(bins,) int64: all non-mated scores over equal bins of [-1, 1]; a score on an edge counts above it."""
    subject: NDArray[np.int32]
    """(n,) subject codes 0 ... S-1 of the templates."""
    non_mated: int
    """Comparisons, all of them."""


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


@dataclass(frozen=True, slots=True, eq=False)
class SearchScores:
    """1:N searches against `subjects` enrolled people, summarised per probe; p mated and q non-mated searches.

    A subject's score is the best over its templates. NaN marks a failed probe, or a mate whose enrolment failed.
    """

    subjects: int
    """N, enrolled (failed enrolments are not in the gallery)."""
    mate_score: Floats
    """(p,) float64: the mate's score; NaN = miss at every threshold and rank."""
    mate_rank: Counts
    """(p,) int64: 1 + other subjects with score >= the mate's; any value >= 1 where the search failed."""
    top: Floats
    """(q, k) float64: the k best subject scores of each non-mated search, falling, k <= N; a row of NaN = failed."""
    mate_id: Counts | None = None
    """(p,) int64 subject codes of mated probes, for the subject bootstrap."""
    non_mate_id: Counts | None = None
    """(q,) int64 subject codes of non-mated probes; codes differ from mated ones unless it is the same person."""
    failed_enrolments: int = 0
    attempted_enrolments: int = 0
    """0: not known."""


@dataclass(frozen=True, slots=True, eq=False)
class SearchCurve:
    """FPIR and FNIR at every distinct relevant score; m rows, thresholds rising."""

    threshold: Floats
    false_positives: Counts
    """(m,) int64: non-mated searches with a candidate >= threshold."""
    misses: Mapping[int, Counts]
    """By R: (m,) int64 mated searches with the mate outside the top R or below threshold."""
    non_mated: int
    mated: int
    subjects: int

    @property
    def fpir(self) -> Floats:
        """(m,) float64, falling."""
        return self.false_positives / self.non_mated

    def fnir(self, rank: int) -> Floats:
        """(m,) float64 for that R, rising."""
        return self.misses[rank] / self.mated


@dataclass(frozen=True, slots=True)
class SearchPoint:
    """FNIR(N, R, T) at FPIR(N, T) <= target."""

    target_fpir: float
    rank: int
    """R."""
    subjects: int
    """N."""
    threshold: float | None
    fpir: Rate | None
    """Achieved: <= target."""
    fnir: Rate | None
    flag: Flag | None = None


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
    curve: SearchCurve | None
    """None without non-mated searches (closed set)."""
    points: tuple[SearchPoint, ...]
    by_size: FpirBySize | None
    """At the threshold of the last supported point; None without one, or where `SearchScores.top` is too short."""
    fte: Rate | None = None
    replicates: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """B minus A in one figure on the same people, by subject bootstrap with common weights."""

    metric: str
    """As "TAR at FAR 0.001"; for the EER lower is better."""
    a: float
    b: float
    difference: float
    interval: Interval

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out 0: only then may a report name a winner."""
        return not self.interval.covers(0.0)


@dataclass(frozen=True, slots=True)
class GroupRates:
    """One group's comparisons at the one threshold that holds for all groups."""

    group: str
    tar: Rate | None
    """Mated comparisons of the group's people; None without any."""
    far: Rate | None
    """Non-mated comparisons within the group; None without any."""
