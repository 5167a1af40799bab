"""Accuracy at chosen thresholds: the best one, cross-validated folds, and the field's convention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.rates import Counts, Flags, Floats
from facesearch.evaluation.verification import ErrorCurve, counts_at_row, error_curve


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


def best_accuracy(curve: ErrorCurve) -> BestAccuracy:
    """The best share of right decisions any one threshold reaches; of equals the highest threshold."""
    right = np.append(curve.true_matches, 0) + curve.non_mated - np.append(curve.false_matches, 0)
    row = right.size - 1 - int(np.argmax(right[::-1]))
    return BestAccuracy(int(right[row]) / (curve.mated + curve.non_mated), counts_at_row(curve, row)[0])


def fold_accuracy(score: Floats, mated: Flags, fold: Counts) -> FoldAccuracy:
    """Return each fold's accuracy at the threshold that is best on all other folds (LFW's protocol for 10 folds).

    A failed comparison (NaN) counts as a wrong decision and takes no part in choosing thresholds. `score` is (n,)
    float64, `mated` (n,) bool, `fold` (n,) int64. Raises EvaluationError: one fold only, or one whose complement lacks
    a class.
    """
    accuracies, thresholds = [], []
    names = np.unique(fold)
    if names.size < 2:
        raise EvaluationError("Accuracy over folds needs at least two folds.", hint="LFW's pairs.txt has ten.")
    for name in names:
        test = fold == name
        train = ~test & ~np.isnan(score)
        threshold = best_accuracy(error_curve(score[train & mated], score[train & ~mated])).threshold
        right = ~np.isnan(score[test]) & ((score[test] >= threshold) == mated[test])
        accuracies.append(float(right.mean()))
        thresholds.append(threshold)
    return FoldAccuracy(tuple(accuracies), tuple(thresholds))


def insightface_convention(score: Floats, mated: Flags, targets: Sequence[float] = ()) -> InsightFaceConvention:
    """Return figures by the field's habits, to compare with published tables, never for a decision.

    Ten unshuffled folds in row order; thresholds `arange(0, 4, 0.01)` on squared L2 distance 2 - 2 * score, accept iff
    distance < threshold, the first of the best on the other nine folds. TAR at the ROC point nearest to the target FAR,
    after scikit-learn's dropping of collinear points. Failed comparisons are left out. Source: insightface
    recognition/arcface_torch/eval/verification.py and onnx_ijbc.py.
    """
    completed = ~np.isnan(score)
    score, mated = score[completed], mated[completed]
    curve = error_curve(score[mated], score[~mated])
    return InsightFaceConvention(
        folds=_distance_folds(2 - 2 * score, mated) if score.size >= 10 else None,
        nearest_far=tuple(_nearest_far(curve, target) for target in targets),
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
