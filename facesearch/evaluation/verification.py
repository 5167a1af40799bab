"""1:1 error rates. The decision rule: accept iff `score >= threshold`; higher scores are more alike.

Every figure but d' is read off one `ErrorCurve`, which holds exact counts at every distinct score. FMR and FNMR are
the terms of ISO/IEC 19795-1; FAR and TAR = 1 - FNMR are the words people type.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facesearch.errors import EvaluationError
from facesearch.evaluation.rates import LOW_SUPPORT, Counts, Flag, Floats, Interval, Rate

TARGETS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""FARs that are reported unless others are asked for."""
FLIP_STEP = 1e-6
"""How far a threshold is moved to count the decisions that hang on rounding; float32 cosines differ by about this."""


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

    def at(self, rows: NDArray[np.intp]) -> ErrorCurve:
        """Some of its rows."""
        return replace(
            self,
            threshold=self.threshold[rows],
            false_matches=self.false_matches[rows],
            true_matches=self.true_matches[rows],
        )

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


def error_curve(mated: Floats, non_mated: Floats, planned: tuple[int, int] | None = None) -> ErrorCurve:
    """Count the accepted comparisons at every distinct score.

    `mated` (g,) and `non_mated` (m,) are float64 scores of completed comparisons; infinities are scores. `planned` are
    the totals of both kinds where failures stay in them: no threshold accepts a failure. Raises EvaluationError: a
    class is empty or holds NaN.
    """
    totals = planned or (mated.size, non_mated.size)
    for scores, total, kind in ((mated, totals[0], "mated"), (non_mated, totals[1], "non-mated")):
        _require_scores(scores, total, kind)
    mated, non_mated = np.sort(mated), np.sort(non_mated)
    threshold = np.unique(np.concatenate([mated, non_mated]))
    return ErrorCurve(
        threshold=threshold,
        false_matches=non_mated.size - np.searchsorted(non_mated, threshold),
        true_matches=mated.size - np.searchsorted(mated, threshold),
        non_mated=totals[1],
        mated=totals[0],
    )


def _require_scores(scores: Floats, total: int, kind: str) -> None:
    """Refuse a class without comparisons, and scores that are NaN."""
    if not total:
        raise EvaluationError(
            f"There is no completed {kind} comparison.",
            hint=f"Error rates need both kinds. Add {kind} pairs, or find out why the {kind} pairs failed.",
        )
    if np.isnan(scores).any():
        raise EvaluationError(
            f"A {kind} score is not a number.",
            hint="NaN marks a failed comparison: count it as a failure and leave it out of the curve.",
        )


def tar_at_far(curve: ErrorCurve, target: float) -> OperatingPoint:
    """The smallest threshold that keeps FMR <= target, and TAR there. No interpolation, no nearest point.

    The threshold is the smallest observed score strictly above the (k+1)-th largest non-mated one, where
    k = floor(target * M + 1e-12): +inf if there is none, -inf if k >= M. Unsupported (without values) where
    target * M < 1, or where so many non-mated scores are +inf that no threshold rejects them. Raises EvaluationError: a
    target outside (0, 1].
    """
    if not 0 < target <= 1:
        raise EvaluationError(f"The rate {target:g} is not above 0 and up to 1.", hint="For example: 1e-3")
    allowed = math.floor(target * curve.non_mated + 1e-12)
    if allowed < 1 or curve.false_matches[curve.threshold == math.inf].sum() > allowed:
        return OperatingPoint(target, None, None, None, Flag.UNSUPPORTED)
    row = 0 if allowed >= curve.non_mated else int(np.searchsorted(-curve.false_matches, -allowed))
    threshold, false_matches, true_matches = counts_at_row(curve, row)
    if allowed >= curve.non_mated:
        threshold = -math.inf
    return OperatingPoint(
        target_far=target,
        threshold=threshold,
        far=Rate(false_matches, curve.non_mated),
        tar=Rate(true_matches, curve.mated),
        flag=Flag.LOW_SUPPORT if false_matches < LOW_SUPPORT else None,
    )


def counts_at_row(curve: ErrorCurve, row: int) -> tuple[float, int, int]:
    """Threshold, false and true matches; the row after the last rejects everything."""
    if row == curve.threshold.size:
        return math.inf, 0, 0
    return float(curve.threshold[row]), int(curve.false_matches[row]), int(curve.true_matches[row])


def equal_error_rate(curve: ErrorCurve) -> EqualErrorRate:
    """Return where FMR and FNMR cross, as interval and midpoint (FVC2000).

    With t1 the largest score where FNMR <= FMR and t2 the smallest where FMR <= FNMR, it is the pair of rates at the
    one with the smaller sum. Rejecting everything (FMR 0, FNMR 1) counts as the last threshold.
    """
    # Times both totals the rates are whole numbers, and comparing them is exact.
    fmr = np.append(curve.false_matches, 0) * curve.mated
    fnmr = np.append(curve.mated - curve.true_matches, curve.mated) * curve.non_mated
    after = int(np.argmax(fmr <= fnmr))
    before = after if fmr[after] == fnmr[after] or after == 0 else after - 1
    row = before if fmr[before] + fnmr[before] <= fmr[after] + fnmr[after] else after
    threshold, false_matches, true_matches = counts_at_row(curve, row)
    low, high = sorted((false_matches / curve.non_mated, (curve.mated - true_matches) / curve.mated))
    return EqualErrorRate(low, high, threshold)


def area_under_curve(curve: ErrorCurve) -> tuple[float, float]:
    """P(mated > non-mated) + P(equal) / 2, and by how much it may be off: 0 where the curve has all scores."""
    false_matches = np.append(curve.false_matches, 0)
    true_matches = np.append(curve.true_matches, 0)
    steps = -np.diff(false_matches)
    total = 2 * curve.non_mated * curve.mated
    area = int(np.dot(steps, true_matches[1:] + true_matches[:-1]))
    blurred = curve.threshold < curve.exact_from
    error = int(np.dot(steps[blurred], -np.diff(true_matches)[blurred]))
    return area / total, error / total


def d_prime(mated: tuple[float, float], non_mated: tuple[float, float]) -> float | None:
    """|mean_n - mean_g| / sqrt((var_g + var_n) / 2) from (mean, variance with ddof 0) of each class.

    None without any variance, and for scores that are not finite.
    """
    spread = (mated[1] + non_mated[1]) / 2
    return abs(mated[0] - non_mated[0]) / math.sqrt(spread) if math.isfinite(spread) and spread > 0 else None


def moments(scores: Floats) -> tuple[float, float]:
    """Mean and variance (ddof 0); NaN where a score is infinite."""
    return (float(np.mean(scores)), float(np.var(scores))) if np.isfinite(scores).all() else (math.nan, math.nan)


def detection_cost(
    curve: ErrorCurve, *, prior: float = 0.01, cost_miss: float = 1.0, cost_false_accept: float = 1.0
) -> DetectionCost:
    """Return the smallest expected cost over all thresholds over the cost of the better blind decision (NIST SRE).

    `prior` is the probability that a trial is mated, in (0, 1). Raises EvaluationError: a parameter out of range.
    """
    if not 0 < prior < 1 or cost_miss <= 0 or cost_false_accept <= 0:
        raise EvaluationError("The detection cost needs a prior between 0 and 1, and positive costs.")
    miss, false_accept = cost_miss * prior, cost_false_accept * (1 - prior)
    cost = miss * np.append(curve.fnmr, 1.0) + false_accept * np.append(curve.fmr, 0.0)
    row = int(np.argmin(cost))
    return DetectionCost(
        value=float(cost[row]) / min(miss, false_accept),
        threshold=counts_at_row(curve, row)[0],
        prior=prior,
        cost_miss=cost_miss,
        cost_false_accept=cost_false_accept,
    )


def decisions_that_flip(scores: Floats, threshold: float, step: float = FLIP_STEP) -> int:
    """How many of the scores are decided otherwise when the threshold moves by `step` up or down."""
    return int(np.count_nonzero((scores >= threshold - step) & (scores < threshold + step)))
