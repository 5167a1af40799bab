"""Thresholds for a target: what they promise holds for other people, and what cannot be promised is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betaincinv, ndtr

from facesearch.errors import EvaluationError
from facesearch.evaluation.calibrating import Request, calibrate_far, calibrate_fpir, round_up, split_people
from facesearch.evaluation.calibration import Basis, Calibration, Metric
from facesearch.evaluation.rates import Flag
from facesearch.evaluation.searches import NON_MATED, summarise
from facesearch.evaluation.trials.types import ScoredPairs
from facesearch.evaluation.verification import error_curve
from facesearch.types import ModelInfo

if TYPE_CHECKING:
    from collections.abc import Callable

SUBJECTS = 40
OWN, PAIR, MEAN = 0.08, 0.1, 0.1
ESTIMATE = Request(Metric.FPIR, 0.05, SUBJECTS, 0.5, split=False)


def strangers(seed: int, people: int, photos: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Searches of unknown people, some of whom resemble everybody more than others do; scores and identities."""
    rng = np.random.default_rng(seed)
    identity = np.repeat(np.arange(people), photos)
    block = MEAN + rng.normal(0, OWN, people)[identity, None] + rng.normal(0, PAIR, (identity.size, SUBJECTS))
    return block, identity


def true_fpir(threshold: float, subjects: int) -> float:
    """Over infinitely many strangers: the chance of an alarm given a person's effect, averaged over the effect."""
    effect, weight = np.polynomial.hermite_e.hermegauss(80)
    silent = ndtr((threshold - MEAN - OWN * effect) / PAIR) ** subjects
    return float(1 - np.dot(weight, silent) / weight.sum())


def calibrated(
    seed: int,
    people: int,
    target: float,
    subjects: int = SUBJECTS,
    confidence: float = 0.9,
    *,
    extrapolate: bool = False,
) -> Calibration:
    block, identity = strangers(seed, people)
    scores = summarise(block, np.full(len(block), NON_MATED), identity)
    request = Request(Metric.FPIR, target, subjects, confidence, split=False, extrapolate=extrapolate)
    return calibrate_fpir(scores, request)


@pytest.mark.parametrize("subjects", [10, SUBJECTS])
def test_the_stated_interval_holds_the_fpir_of_other_people(subjects: int) -> None:
    runs = [calibrated(seed, 400, 0.05, subjects, 0.5) for seed in range(100)]
    held = [run.interval.covers(true_fpir(run.threshold, subjects)) for run in runs]
    assert {run.basis for run in runs} == {Basis.EMPIRICAL}
    assert np.mean(held) >= 0.88
    assert np.mean([true_fpir(run.threshold, subjects) for run in runs]) == pytest.approx(0.05, rel=0.15)


@pytest.mark.parametrize(("people", "target"), [(300, 0.05), (150, 0.02)])
def test_at_most_means_it_in_as_many_studies_as_the_confidence_says(people: int, target: float) -> None:
    runs = [calibrated(seed, people, target) for seed in range(80)]
    assert all(run.limit <= target for run in runs)
    kept = np.mean([true_fpir(run.threshold, SUBJECTS) <= target for run in runs])
    assert kept >= 0.9 - 2.5 * math.sqrt(0.09 / 80)
    guesses = [calibrated(seed, people, target, confidence=0.5) for seed in range(80)]
    assert np.mean([true_fpir(run.threshold, SUBJECTS) <= target for run in guesses]) < 0.75


def test_no_alarm_at_all_supports_a_rate_by_the_number_of_people() -> None:
    block, identity = strangers(1, 240, photos=1)
    scores = summarise(block, np.full(240, NON_MATED), identity)
    silent = calibrate_fpir(scores, replace(ESTIMATE, target=0.01, confidence=0.9))
    assert silent.errors == 0
    assert block.max() < silent.threshold <= block.max() + 2.1e-6
    assert silent.limit == pytest.approx(1 - 0.1 ** (1 / 240))
    with pytest.raises(EvaluationError):
        calibrate_fpir(scores, replace(ESTIMATE, target=0.009, confidence=0.9))


def test_a_scaled_threshold_keeps_its_target_in_the_larger_gallery() -> None:
    runs = [calibrated(seed, 800, 0.05, 5 * SUBJECTS) for seed in range(50)]
    assert {run.basis for run in runs} == {Basis.SCALED}
    assert all(run.estimate <= run.limit <= 0.05 and run.valid_up_to == 5 * SUBJECTS for run in runs)
    assert np.mean([true_fpir(run.threshold, 5 * SUBJECTS) <= 0.05 for run in runs]) >= 0.95


@pytest.mark.slow
def test_an_extrapolated_threshold_is_conservative_and_labelled() -> None:
    runs = [calibrated(seed, 500, 0.0005, extrapolate=True) for seed in range(2)]
    for run in runs:
        assert run.basis is Basis.EXTRAPOLATED
        assert run.interval.method.startswith("EXTRAPOLATED")
        assert run.flag is Flag.LOW_SUPPORT
        assert true_fpir(run.threshold, SUBJECTS) <= 0.0005
        assert run.interval.covers(true_fpir(run.threshold, SUBJECTS))


def test_what_the_data_cannot_support_is_refused_with_what_would() -> None:
    with pytest.raises(EvaluationError) as caught:
        calibrated(0, 100, 0.001)
    assert caught.value.hint is not None
    assert "2,302 people" in caught.value.hint
    with pytest.raises(EvaluationError):
        calibrated(0, 100, 0.01, 100 * SUBJECTS)
    with pytest.raises(EvaluationError, match="10 times beyond"):
        calibrated(0, 100, 0.0001, extrapolate=True)


def test_the_threshold_is_the_lowest_that_holds() -> None:
    block, identity = strangers(3, 300)
    best = np.sort(block.max(axis=1))[::-1]
    found = calibrate_fpir(summarise(block, np.full(600, NON_MATED), identity), ESTIMATE)
    assert np.mean(best >= found.threshold) <= 0.05
    assert found.errors == np.count_nonzero(best >= found.threshold) >= 29
    assert best[30] < found.threshold <= best[28]


def test_failed_searches_count_without_an_alarm() -> None:
    block, identity = strangers(3, 300)
    block[:100] = math.nan
    found = calibrate_fpir(summarise(block, np.full(600, NON_MATED), identity), ESTIMATE)
    assert found.trials == 600
    assert found.errors in (29, 30)


def test_a_far_threshold_comes_with_its_point() -> None:
    rng = np.random.default_rng(0)
    mated = np.arange(2000) < 500
    pairs = ScoredPairs(rng.normal(0.1 + 0.4 * mated, 0.1), mated)
    curve = error_curve(pairs.score[mated], pairs.score[~mated])
    request = Request(Metric.FAR, 0.02, 1, 0.5)
    found = calibrate_far(curve, None, request)
    assert (found.metric, found.basis, found.errors, found.trials) == (Metric.FAR, Basis.EMPIRICAL, 30, 1500)
    assert np.mean(pairs.score[~mated] >= found.threshold) <= 0.02
    assert found.interval.assumes_independence
    sure = calibrate_far(curve, None, replace(request, confidence=0.9))
    assert sure.errors == 22  # the most whose 90 % limit is 30 in 1,500
    assert betaincinv(23, 1478, 0.9) == pytest.approx(sure.limit)
    assert sure.limit <= 0.02 < betaincinv(24, 1477, 0.9)
    with pytest.raises(EvaluationError) as caught:
        calibrate_far(curve, None, replace(request, target=1e-5))
    assert "100,000" in (caught.value.hint or "")


@pytest.mark.parametrize("changed", [{"target": 1.0}, {"subjects": 0}, {"confidence": 0.4}, {"confidence": 1.0}])
def test_a_request_out_of_range_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(EvaluationError):
        replace(ESTIMATE, **changed)


@given(st.floats(-1, 1))
def test_rounding_is_never_down_and_never_far(threshold: float) -> None:
    rounded = round_up(threshold)
    assert threshold <= rounded <= threshold + 1.1e-6
    assert round_up(rounded) == rounded


@given(st.lists(st.integers(0, 20), min_size=2, max_size=60), st.integers(0, 5))
def test_nobody_is_on_both_sides_of_a_split(people: list[int], seed: int) -> None:
    codes = np.array(people)
    if np.unique(codes).size < 2:
        with pytest.raises(EvaluationError):
            split_people(codes, seed=seed)
        return
    fit = split_people(codes, seed=seed)
    assert fit.any()
    assert not fit.all()
    assert not set(codes[fit].tolist()) & set(codes[~fit].tolist())


def a_calibration() -> Calibration:
    model = ModelInfo("id", "pack", 512, "d" * 64, "e" * 64, settings={"input": [112, 112], "flip": False})
    return calibrated(0, 200, 0.05).bound_to(model)


def test_a_calibration_survives_its_file() -> None:
    found = a_calibration()
    assert (found.model_id, found.recognizer_sha256, found.detector_sha256) == ("id", "e" * 64, "d" * 64)
    again = Calibration.from_json(found.to_json())
    assert again == found
    assert isinstance(again.basis, Basis)
    assert Calibration.from_json(replace(found, flag=Flag.LOW_SUPPORT).to_json()).flag is Flag.LOW_SUPPORT


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("threshold"),
        lambda values: values.update(extra=1),
        lambda values: values.update(schema=2),
        lambda values: values.update(threshold="0.4"),
        lambda values: values.update(threshold=True),
        lambda values: values.update(threshold=math.nan),
        lambda values: values.update(threshold=math.inf),
        lambda values: values.update(basis="guessed"),
        lambda values: values.update(errors=1.5),
        lambda values: values.update(errors=10**9),
        lambda values: values.update(target=0),
        lambda values: values.update(limit=1.1),
        lambda values: values.update(confidence=1.0),
        lambda values: values.update(settings=[]),
        lambda values: values.update(interval=None),
        lambda values: values["interval"].update(low=2.0),
        lambda values: values["interval"].pop("method"),
        lambda values: values.update(flag="fine"),
        lambda values: values.update(rank=0),
    ],
)
def test_a_changed_file_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(a_calibration().to_json())
    change(values)
    with pytest.raises(EvaluationError) as caught:
        Calibration.from_json(json.dumps(values))
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "[]", "{}", "NaN", "{"])
def test_another_file_is_refused(text: str) -> None:
    with pytest.raises(EvaluationError):
        Calibration.from_json(text)
