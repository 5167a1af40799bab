"""1:1 figures against their definitions, against scikit-learn and against pyeer."""

from __future__ import annotations

import importlib.util
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import det_curve, roc_auc_score, roc_curve
from sklearn.model_selection import KFold

from facesearch.errors import EvaluationError
from facesearch.evaluation.assessment import Attempts, evaluate_pairs
from facesearch.evaluation.folds import best_accuracy, fold_accuracy, insightface_convention
from facesearch.evaluation.groups import group_rates
from facesearch.evaluation.rates import Flag
from facesearch.evaluation.trials.types import ScoredPairs
from facesearch.evaluation.verification import (
    ErrorCurve,
    area_under_curve,
    d_prime,
    decisions_that_flip,
    detection_cost,
    equal_error_rate,
    error_curve,
    moments,
    tar_at_far,
)
from tests.evaluation import oracle

if TYPE_CHECKING:
    from facesearch.evaluation.rates import Floats

TIED = st.lists(st.sampled_from([-1.0, -0.1, 0.0, 0.2, 0.2000001, 0.5, 1.0]), min_size=1, max_size=30)
WILD = st.lists(st.floats(allow_nan=False) | st.sampled_from([math.inf, -math.inf, 0.0, -0.0]), min_size=1, max_size=30)
SCORES = TIED | WILD
TARGETS = st.sampled_from([1.0, 0.5, 1 / 3, 0.2, 0.1, 0.05, 0.01])


def curve_of(mated: list[float], non_mated: list[float]) -> ErrorCurve:
    return error_curve(np.array(mated), np.array(non_mated))


@given(SCORES, SCORES)
def test_the_curve_counts_every_comparison(mated: list[float], non_mated: list[float]) -> None:
    curve = curve_of(mated, non_mated)
    assert curve.threshold.tolist() == sorted(set(mated + non_mated))
    for row, threshold in enumerate(curve.threshold.tolist()):
        assert curve.false_matches[row] == oracle.false_matches(non_mated, threshold)
        assert curve.true_matches[row] == oracle.false_matches(mated, threshold)


@given(SCORES, SCORES, TARGETS)
def test_tar_at_far_follows_its_rule(mated: list[float], non_mated: list[float], target: float) -> None:
    found = tar_at_far(curve_of(mated, non_mated), target)
    expected = oracle.point(mated, non_mated, target)
    if expected is None:
        assert found.flag is Flag.UNSUPPORTED
        assert (found.threshold, found.far, found.tar) == (None, None, None)
        return
    assert found.far is not None
    assert found.tar is not None
    assert (found.threshold, found.far.count, found.tar.count) == expected
    assert found.far.value <= target
    assert found.flag is (Flag.LOW_SUPPORT if found.far.count < 30 else None)


@given(SCORES, SCORES)
def test_the_eer_follows_its_rule(mated: list[float], non_mated: list[float]) -> None:
    found = equal_error_rate(curve_of(mated, non_mated))
    assert (found.low, found.high) == pytest.approx(oracle.eer(mated, non_mated))


@given(SCORES, SCORES)
def test_the_auc_is_the_chance_of_the_right_order(mated: list[float], non_mated: list[float]) -> None:
    area, error = area_under_curve(curve_of(mated, non_mated))
    assert area == pytest.approx(oracle.auc(mated, non_mated))
    assert error == 0


@given(TIED, TIED)
def test_cost_and_best_accuracy_are_minima_over_all_thresholds(mated: list[float], non_mated: list[float]) -> None:
    curve = curve_of(mated, non_mated)
    rates = [
        (oracle.false_matches(non_mated, t) / len(non_mated), 1 - oracle.false_matches(mated, t) / len(mated))
        for t in [*mated, *non_mated, math.inf]
    ]
    cost = detection_cost(curve, prior=0.1, cost_miss=10, cost_false_accept=1)
    assert cost.value == pytest.approx(min(1.0 * fnmr + 0.9 * fmr for fmr, fnmr in rates) / 0.9)
    total = len(mated) + len(non_mated)
    accuracy = max((len(mated) * (1 - fnmr) + len(non_mated) * (1 - fmr)) / total for fmr, fnmr in rates)
    assert best_accuracy(curve).accuracy == pytest.approx(accuracy)


@pytest.mark.parametrize("seed", range(20))
def test_scikit_learn_agrees(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mated = rng.normal(0.5, 0.2, 80).round(2 if seed % 2 else 8)
    non_mated = rng.normal(0.1, 0.2, 300).round(2 if seed % 2 else 8)
    label = np.append(np.ones(80), np.zeros(300))
    score = np.append(mated, non_mated)
    fpr, tpr, thresholds = roc_curve(label, score, drop_intermediate=False)
    curve = error_curve(mated, non_mated)
    assert np.array_equal(curve.threshold, thresholds[1:][::-1])
    assert np.allclose(curve.fmr, fpr[1:][::-1], rtol=0, atol=1e-15)
    assert np.allclose(curve.tar, tpr[1:][::-1], rtol=0, atol=1e-15)
    assert area_under_curve(curve)[0] == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    det_fmr, det_fnmr, _ = det_curve(label, score)
    points = set(zip(curve.fmr.round(12).tolist(), curve.fnmr.round(12).tolist(), strict=True)) | {(0.0, 1.0)}
    assert set(zip(det_fmr.round(12).tolist(), det_fnmr.round(12).tolist(), strict=True)) <= points
    for target in (0.5, 0.1, 0.01):
        point = tar_at_far(curve, target)
        assert point.tar is not None
        assert point.tar.value == pytest.approx(tpr[fpr <= target].max(), abs=1e-15)


@pytest.mark.skipif(importlib.util.find_spec("pyeer") is None, reason="pyeer is not installed")
@pytest.mark.parametrize("seed", range(20))
def test_pyeer_agrees(seed: int) -> None:
    from pyeer.eer_info import get_eer_stats

    rng = np.random.default_rng(seed)
    # The highest score is mated: pyeer's AUC leaves out the last step of the curve otherwise.
    mated = np.append(rng.normal(0.5, 0.2, 60).round(2 if seed % 2 else 8), 2.0)
    non_mated = rng.normal(0.1, 0.2, 200).round(2 if seed % 2 else 8)
    theirs = get_eer_stats(mated, non_mated)
    curve = error_curve(mated, non_mated)
    eer = equal_error_rate(curve)
    assert (eer.midpoint, *sorted((theirs.eer_low, theirs.eer_high))) == pytest.approx((theirs.eer, eer.low, eer.high))
    assert area_under_curve(curve)[0] == pytest.approx(theirs.auc)
    assert d_prime(moments(mated), moments(non_mated)) == pytest.approx(theirs.decidability)


@given(TIED, TIED, st.randoms())
def test_figures_ignore_order_and_monotone_transforms(
    mated: list[float], non_mated: list[float], random: object
) -> None:
    def figures(mated: Floats, non_mated: Floats) -> list[object]:
        curve = error_curve(mated, non_mated)
        points = [tar_at_far(curve, target) for target in (0.5, 0.1)]
        eer = equal_error_rate(curve)
        rates = [(point.far, point.tar) for point in points]
        return [rates, eer.low, eer.high, area_under_curve(curve), curve.fmr.tolist()]

    plain = figures(np.array(mated), np.array(non_mated))
    assert figures(np.sort(mated), np.sort(non_mated)[::-1]) == plain
    assert figures(np.exp(3 * np.array(mated)), np.exp(3 * np.array(non_mated))) == plain


def test_constant_scores_accept_all_or_nothing() -> None:
    curve = curve_of([0.5] * 3, [0.5] * 40)
    point = tar_at_far(curve, 0.5)
    assert point.threshold == math.inf
    assert point.tar is not None
    assert point.tar.count == 0
    assert area_under_curve(curve)[0] == 0.5
    assert d_prime(moments(np.full(3, 0.5)), moments(np.full(4, 0.5))) is None


def test_scores_no_threshold_rejects_leave_the_point_unsupported() -> None:
    curve = curve_of([math.inf, 1.0], [math.inf, math.inf, 0.0, 0.0])
    assert tar_at_far(curve, 0.25).flag is Flag.UNSUPPORTED
    accepted = tar_at_far(curve, 0.5)
    assert accepted.threshold == 1.0
    assert d_prime(moments(np.array([1.0, math.inf])), moments(np.array([0.0]))) is None


@pytest.mark.parametrize(("mated", "non_mated"), [([], [0.1]), ([0.1], []), ([math.nan], [0.1]), ([0.1], [math.nan])])
def test_an_empty_or_broken_class_is_an_error(mated: list[float], non_mated: list[float]) -> None:
    with pytest.raises(EvaluationError) as caught:
        curve_of(mated, non_mated)
    assert caught.value.hint


@pytest.mark.parametrize("target", [0.0, -1.0, 1.1, math.nan])
def test_a_target_outside_its_range_is_an_error(target: float) -> None:
    with pytest.raises(EvaluationError):
        tar_at_far(curve_of([0.5], [0.1]), target)


def test_folds_take_their_threshold_from_the_others() -> None:
    # In fold 1 everything lies higher: the other fold's threshold accepts one of its non-mated.
    score = np.array([0.5, 0.4, 0.2, 0.1, 0.9, 0.8, 0.6, 0.3])
    mated = np.array([True, True, False, False] * 2)
    found = fold_accuracy(score, mated, np.array([0] * 4 + [1] * 4))
    assert found.thresholds == (0.8, 0.4)
    assert found.accuracies == (0.5, 0.75)
    assert found.mean == 0.625
    assert found.std == 0.125
    assert found.standard_error == pytest.approx(0.125)


def test_a_failed_comparison_is_a_wrong_decision_in_its_fold() -> None:
    score = np.array([0.9, 0.1, math.nan, 0.9, 0.1, math.nan])
    mated = np.array([True, False, True, True, False, False])
    found = fold_accuracy(score, mated, np.array([0, 0, 0, 1, 1, 1]))
    assert found.accuracies == pytest.approx((2 / 3, 2 / 3))


def test_the_insightface_convention_is_that_of_its_published_script() -> None:
    rng = np.random.default_rng(3)
    score = np.append(rng.normal(0.5, 0.2, 103), rng.normal(0.1, 0.2, 104)).clip(-1, 1)[rng.permutation(207)]
    mated = rng.random(207) < 0.5
    found = insightface_convention(score, mated, [0.01, 0.1])
    distance, thresholds = 2 - 2 * score, np.arange(0, 4, 0.01)
    accuracies = []
    for train, test in KFold(n_splits=10, shuffle=False).split(distance):
        on_train = [np.mean((distance[train] < threshold) == mated[train]) for threshold in thresholds]
        accuracies.append(np.mean((distance[test] < thresholds[int(np.argmax(on_train))]) == mated[test]))
    assert found.folds is not None
    assert found.folds.accuracies == pytest.approx(tuple(accuracies))
    fpr, tpr, _ = roc_curve(mated, score, drop_intermediate=True)
    fpr, tpr = np.flipud(fpr), np.flipud(tpr)
    for target, far, tar in found.nearest_far:
        nearest = int(np.argmin(np.abs(fpr - target)))
        assert (far, tar) == pytest.approx((fpr[nearest], tpr[nearest]))


def test_failures_stay_in_the_generalised_rates() -> None:
    score = np.array([0.9, 0.8, 0.05, math.nan, 0.7, 0.1, 0.0, math.nan])
    mated = np.array([True] * 4 + [False] * 4)
    attempts = Attempts(enrolments=10, failed_enrolments=1, probes=5, failed_probes=0)
    result = evaluate_pairs(
        ScoredPairs(score, mated, reasons={3: "no_face", 7: "no_face"}), targets=[0.34], attempts=attempts
    )
    point = result.points[0]
    assert point.tar is not None
    assert point.far is not None
    assert point.gfrr is not None
    assert point.gfar is not None
    assert (point.far.count, point.far.total, point.gfar.total) == (1, 3, 4)
    assert (point.tar.count, point.tar.total) == (2, 3)
    assert (point.gfrr.count, point.gfrr.total) == (2, 4)
    assert result.fte is not None
    assert result.fta is not None
    assert (result.fte.value, result.fta.value) == (0.1, 0.0)
    assert (result.counts.failed, result.counts.reasons) == (2, {"no_face": 2})
    assert point.tar.interval is None
    assert point.tar.naive is not None
    assert point.tar.naive.assumes_independence


def test_decisions_close_to_a_threshold_are_counted() -> None:
    scores = np.array([0.5 - 2e-6, 0.5 - 5e-7, 0.5, 0.5 + 5e-7, 0.5 + 2e-6])
    assert decisions_that_flip(scores, 0.5) == 3


def test_groups_are_judged_at_one_threshold() -> None:
    score = np.array([0.9, 0.4, 0.6, 0.1, 0.8])
    id_a, id_b = np.array([1, 2, 1, 3, 1]), np.array([1, 2, 2, 4, 3])
    pairs = ScoredPairs(score, id_a == id_b, id_a, id_b)
    first, second = group_rates(pairs, {1: "a", 2: "a", 3: "b", 4: "b"}, 0.5)
    assert first.tar is not None
    assert first.far is not None
    assert (first.tar.count, first.tar.total, first.far.count, first.far.total) == (1, 2, 1, 1)
    assert second.tar is None
    assert second.far is not None
    assert (second.far.count, second.far.total) == (0, 1)
    with pytest.raises(EvaluationError):
        group_rates(pairs, {9: "c"}, 0.5)
