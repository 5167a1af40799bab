"""1:1 error rates. The decision rule everywhere: accept iff `score >= threshold`, higher scores are more alike.

Every figure but d' is read off one `ErrorCurve`, which holds exact counts at every distinct score. FMR and FNMR are
the terms of ISO/IEC 19795-1; FAR and TAR = 1 - FNMR are the words people type.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.results.rates import LOW_SUPPORT, Flag, Rate
from facesearch.evaluation.results.verification import (
    BestAccuracy,
    DetectionCost,
    EqualErrorRate,
    ErrorCurve,
    FoldAccuracy,
    InsightFaceConvention,
    OperatingPoint,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from facesearch.evaluation.results.arrays import Counts, Flags, Floats

TARGETS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""FARs that are reported unless others are asked for."""
FLIP_STEP = 1e-6
"""How far a threshold is moved to count the decisions that hang on rounding; float32 cosines differ by about this."""


def error_curve(mated: Floats, non_mated: Floats) -> ErrorCurve:
    """Count the accepted comparisons at every distinct score.

    Args:
        mated: (g,) float64 scores of completed mated comparisons, any order; infinities are scores, NaN is not.
        non_mated: (m,) float64, likewise.

    Raises:
        EvaluationError: a class is empty or holds NaN.

    >>> curve = error_curve(np.array([0.9, 0.5]), np.array([0.5, 0.1]))
    >>> curve.threshold.tolist(), curve.fmr.tolist(), curve.fnmr.tolist()
    ([0.1, 0.5, 0.9], [1.0, 0.5, 0.0], [0.0, 0.0, 0.5])
    """
    _require_scores(mated, "mated")
    _require_scores(non_mated, "non-mated")
    mated, non_mated = np.sort(mated), np.sort(non_mated)
    threshold = np.unique(np.concatenate([mated, non_mated]))
    return ErrorCurve(
        threshold=threshold,
        false_matches=non_mated.size - np.searchsorted(non_mated, threshold),
        true_matches=mated.size - np.searchsorted(mated, threshold),
        non_mated=non_mated.size,
        mated=mated.size,
    )


def _require_scores(scores: Floats, kind: str) -> None:
    if scores.size == 0:
        raise EvaluationError(
            f"There is no completed {kind} comparison.",
            hint=f"Error rates need both kinds: add pairs that are {kind}, or look why those there are failed.",
        )
    if np.isnan(scores).any():
        raise EvaluationError(
            f"A {kind} score is not a number.",
            hint="NaN marks a failed comparison: count it as a failure and leave it out of the curve.",
        )


def allowed_errors(target: float, trials: int) -> int:
    """The errors that a rate <= target leaves room for: floor(target * trials + 1e-12).

    Raises:
        EvaluationError: target outside (0, 1].

    >>> allowed_errors(0.001, 3000)
    3
    """
    if not 0 < target <= 1:
        raise EvaluationError(f"{target:g} is no target rate.", hint="Give a rate above 0 and up to 1, as 1e-3.")
    return math.floor(target * trials + 1e-12)


def tar_at_far(curve: ErrorCurve, target: float) -> OperatingPoint:
    """The smallest threshold that keeps FMR <= target, and TAR there. No interpolation, no nearest point.

    The threshold is the smallest observed score strictly above the (k+1)-th largest non-mated one, where
    k = floor(target * M + 1e-12): +inf if there is none, -inf if k >= M. Unsupported (without values) where
    target * M < 1, or where so many non-mated scores are +inf that no threshold rejects them.

    >>> curve = error_curve(np.array([0.9, 0.6, 0.4]), np.array([0.7, 0.5, 0.3, 0.2]))
    >>> point = tar_at_far(curve, 0.25)
    >>> point.threshold, point.far.value, round(point.tar.value, 3), point.flag.value
    (0.6, 0.25, 0.667, 'low_support')
    >>> tar_at_far(curve, 0.1).threshold is None
    True
    """
    allowed = allowed_errors(target, curve.non_mated)
    if allowed < 1 or curve.false_matches[curve.threshold == math.inf].sum() > allowed:
        return OperatingPoint(target, None, None, None, Flag.UNSUPPORTED)
    if allowed >= curve.non_mated:
        threshold, false_matches, true_matches = -math.inf, curve.non_mated, curve.mated
    else:
        row = int(np.searchsorted(-curve.false_matches, -allowed))
        threshold, false_matches, true_matches = _counts_at_row(curve, row)
    return OperatingPoint(
        target_far=target,
        threshold=threshold,
        far=Rate(false_matches, curve.non_mated),
        tar=Rate(true_matches, curve.mated),
        flag=Flag.LOW_SUPPORT if false_matches < LOW_SUPPORT else None,
    )


def _counts_at_row(curve: ErrorCurve, row: int) -> tuple[float, int, int]:
    if row == curve.threshold.size:
        return math.inf, 0, 0
    return float(curve.threshold[row]), int(curve.false_matches[row]), int(curve.true_matches[row])


def equal_error_rate(curve: ErrorCurve) -> EqualErrorRate:
    """Where FMR and FNMR cross, as interval and midpoint (FVC2000).

    With t1 the largest score where FNMR <= FMR and t2 the smallest where FMR <= FNMR, it is the pair of rates at the
    one with the smaller sum. Rejecting everything (FMR 0, FNMR 1) counts as the last threshold.

    >>> eer = equal_error_rate(error_curve(np.array([0.9, 0.6, 0.4]), np.array([0.7, 0.5, 0.3, 0.2])))
    >>> eer.low, round(eer.high, 3), eer.threshold
    (0.25, 0.333, 0.6)
    """
    # Times both totals the rates are whole numbers, and comparing them is exact.
    fmr = np.append(curve.false_matches, 0) * curve.mated
    fnmr = np.append(curve.mated - curve.true_matches, curve.mated) * curve.non_mated
    after = int(np.argmax(fmr <= fnmr))
    before = after if fmr[after] == fnmr[after] or after == 0 else after - 1
    row = before if fmr[before] + fnmr[before] <= fmr[after] + fnmr[after] else after
    threshold, false_matches, true_matches = _counts_at_row(curve, row)
    low, high = sorted((false_matches / curve.non_mated, (curve.mated - true_matches) / curve.mated))
    return EqualErrorRate(low, high, threshold)


def area_under_curve(curve: ErrorCurve) -> tuple[float, float]:
    """P(mated > non-mated) + P(equal) / 2, and by how much it may be off: 0 where the curve has all scores.

    >>> area_under_curve(error_curve(np.array([0.9, 0.5]), np.array([0.5, 0.1])))
    (0.875, 0.0)
    """
    false_matches = np.append(curve.false_matches, 0)
    true_matches = np.append(curve.true_matches, 0)
    steps = -np.diff(false_matches)
    total = 2 * curve.non_mated * curve.mated
    area = int(np.dot(steps, true_matches[1:] + true_matches[:-1]))
    blurred = curve.threshold < curve.exact_from
    error = int(np.dot(steps[blurred], -np.diff(true_matches)[blurred]))
    return area / total, error / total


def d_prime(mated: Floats, non_mated: Floats) -> float | None:
    """|mean_n - mean_g| / sqrt((var_g + var_n) / 2), variances with ddof 0; None without variance or finite scores.

    >>> d_prime(np.array([1.0, 3.0]), np.array([-1.0, 1.0]))
    2.0
    """
    return d_prime_of_moments(
        (float(np.mean(mated)), float(np.var(mated))) if np.isfinite(mated).all() else (math.nan, math.nan),
        (float(np.mean(non_mated)), float(np.var(non_mated))) if np.isfinite(non_mated).all() else (math.nan, math.nan),
    )


def d_prime_of_moments(mated: tuple[float, float], non_mated: tuple[float, float]) -> float | None:
    """d' from (mean, variance) of each class."""
    spread = (mated[1] + non_mated[1]) / 2
    if math.isnan(spread) or spread == 0:
        return None
    return abs(mated[0] - non_mated[0]) / math.sqrt(spread)


def detection_cost(
    curve: ErrorCurve, *, prior: float = 0.01, cost_miss: float = 1.0, cost_false_accept: float = 1.0
) -> DetectionCost:
    """The smallest expected cost over all thresholds, normalised by that of the better blind decision (NIST SRE).

    Args:
        prior: probability that a trial is mated, in (0, 1).
        cost_miss, cost_false_accept: positive, any unit.

    Raises:
        EvaluationError: a parameter out of range.

    >>> detection_cost(error_curve(np.array([0.9, 0.8]), np.array([0.2, 0.1]))).value
    0.0
    """
    if not 0 < prior < 1 or cost_miss <= 0 or cost_false_accept <= 0:
        raise EvaluationError("The detection cost needs a prior within (0, 1) and positive costs.")
    miss, false_accept = cost_miss * prior, cost_false_accept * (1 - prior)
    cost = miss * np.append(curve.fnmr, 1.0) + false_accept * np.append(curve.fmr, 0.0)
    row = int(np.argmin(cost))
    return DetectionCost(
        value=float(cost[row]) / min(miss, false_accept),
        threshold=_counts_at_row(curve, row)[0],
        prior=prior,
        cost_miss=cost_miss,
        cost_false_accept=cost_false_accept,
    )


def best_accuracy(curve: ErrorCurve) -> BestAccuracy:
    """The best share of right decisions any one threshold reaches; of equals the highest threshold.

    >>> best_accuracy(error_curve(np.array([0.9, 0.6]), np.array([0.7, 0.1])))
    BestAccuracy(accuracy=0.75, threshold=0.9)
    """
    right = np.append(curve.true_matches, 0) + curve.non_mated - np.append(curve.false_matches, 0)
    row = right.size - 1 - int(np.argmax(right[::-1]))
    return BestAccuracy(int(right[row]) / (curve.mated + curve.non_mated), _counts_at_row(curve, row)[0])


def fold_accuracy(score: Floats, mated: Flags, fold: Counts) -> FoldAccuracy:
    """Each fold's accuracy at the threshold that is best on all other folds (LFW's protocol for 10 folds).

    A failed comparison (NaN) counts as a wrong decision; it takes no part in choosing thresholds.

    Args:
        score: (n,) float64. mated: (n,) bool. fold: (n,) int64, at least two distinct values.

    Raises:
        EvaluationError: fewer than two folds, or one whose complement lacks a class.

    >>> score = np.array([0.9, 0.1, 0.8, 0.2])
    >>> fold_accuracy(score, np.array([True, False, True, False]), np.array([0, 0, 1, 1])).accuracies
    (1.0, 0.5)
    """
    accuracies, thresholds = [], []
    for test in _folds(fold):
        train = ~test & ~np.isnan(score)
        threshold = best_accuracy(error_curve(score[train & mated], score[train & ~mated])).threshold
        right = ~np.isnan(score[test]) & ((score[test] >= threshold) == mated[test])
        accuracies.append(float(right.mean()))
        thresholds.append(threshold)
    return FoldAccuracy(tuple(accuracies), tuple(thresholds))


def _folds(fold: Counts) -> Iterator[Flags]:
    names = np.unique(fold)
    if names.size < 2:
        raise EvaluationError("Accuracy over folds needs at least two folds.", hint="LFW's pairs.txt has ten.")
    for name in names:
        yield fold == name


def insightface_convention(score: Floats, mated: Flags, targets: Sequence[float] = ()) -> InsightFaceConvention:
    """The field's habits, to compare with published tables: see `InsightFaceConvention`. Never for a decision.

    Ten unshuffled folds in row order (sizes as scikit-learn's `KFold`); thresholds `arange(0, 4, 0.01)` on squared
    L2 distance 2 - 2 * score, accept iff distance < threshold, the first of the best on the other nine folds. TAR
    at the ROC point nearest to the target FAR after scikit-learn's dropping of collinear points. (insightface
    recognition/arcface_torch/eval/verification.py and onnx_ijbc.py.) Failed comparisons are left out.

    >>> score = np.tile([0.9, 0.1], 10)
    >>> insightface_convention(score, score > 0.5, [0.1]).nearest_far
    ((0.1, 0.0, 1.0),)
    """
    completed = ~np.isnan(score)
    score, mated = score[completed], mated[completed]
    _require_scores(score[mated], "mated")
    _require_scores(score[~mated], "non-mated")
    return InsightFaceConvention(
        folds=_distance_folds(2 - 2 * score, mated) if score.size >= 10 else None,
        nearest_far=tuple(_nearest_far(error_curve(score[mated], score[~mated]), target) for target in targets),
    )


def _distance_folds(distance: Floats, mated: Flags) -> FoldAccuracy:
    thresholds = np.arange(0, 4, 0.01)
    accepted_from = np.searchsorted(thresholds, distance, side="right")
    gain = np.where(mated, 1, -1)
    folds = np.array_split(np.arange(distance.size), 10)
    right = np.empty((10, thresholds.size))
    for row, test in enumerate(folds):
        gained = np.bincount(accepted_from[test], weights=gain[test], minlength=thresholds.size + 1)
        right[row] = np.count_nonzero(~mated[test]) + np.cumsum(gained)[:-1]
    best = np.argmax(right.sum(axis=0) - right, axis=1)
    return FoldAccuracy(
        accuracies=tuple(float(right[row, best[row]]) / test.size for row, test in enumerate(folds)),
        thresholds=tuple(float(threshold) for threshold in thresholds[best]),
    )


def _nearest_far(curve: ErrorCurve, target: float) -> tuple[float, float, float]:
    false_matches, true_matches = np.append(curve.false_matches, 0), np.append(curve.true_matches, 0)
    corner = np.ones(false_matches.size, dtype=np.bool_)
    corner[1:-1] = (np.diff(false_matches, 2) != 0) | (np.diff(true_matches, 2) != 0)
    fmr, tar = false_matches[corner] / curve.non_mated, true_matches[corner] / curve.mated
    nearest = int(np.argmin(np.abs(fmr - target)))
    return target, float(fmr[nearest]), float(tar[nearest])


def decisions_that_flip(scores: Floats, threshold: float, step: float = FLIP_STEP) -> int:
    """How many of the scores are decided otherwise when the threshold moves by `step` up or down.

    >>> decisions_that_flip(np.array([0.3, 0.5, 0.7]), 0.5)
    1
    """
    return int(np.count_nonzero((scores >= threshold - step) & (scores < threshold + step)))
