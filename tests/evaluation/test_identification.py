"""1:N figures against their definitions, search by search, and FPIR by gallery size against sampling."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesearch.errors import EvaluationError
from facesearch.evaluation.bootstrap import replicate, subject_weights
from facesearch.evaluation.decisions import MARGINS, decide_searches
from facesearch.evaluation.identification import SizeBasis, evaluate_searches, fpir_by_size, fpir_of_subsets
from facesearch.evaluation.rates import Flag
from facesearch.evaluation.searches import (
    NON_MATED,
    NOT_ENROLLED,
    SearchPoint,
    SearchScores,
    cumulative_match,
    join,
    sample_of_searches,
    search_curve,
    summarise,
)
from facesearch.evaluation.verification import tar_at_far
from facesearch.search.matching import DEFAULT_MARGIN, decide
from facesearch.types import Candidate

CELLS = st.sampled_from([-math.inf, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0])


@st.composite
def searches(draw: st.DrawFn) -> tuple[list[list[float]], list[int]]:
    subjects = draw(st.integers(1, 5))
    rows = draw(st.lists(st.lists(CELLS, min_size=subjects, max_size=subjects) | st.none(), min_size=2, max_size=14))
    mates = [draw(st.integers(NOT_ENROLLED, subjects - 1)) for _ in rows]
    mates[0], mates[1] = NON_MATED, 0
    rows[0] = rows[0] or [0.5] * subjects
    return [row or [math.nan] * subjects for row in rows], mates


def point_at(scores: SearchScores, target: float, rank: int) -> SearchPoint:
    return SearchPoint.of(tar_at_far(search_curve(scores, rank), target), rank, scores.subjects)


def miss(row: list[float], mate: int, rank: int, threshold: float) -> bool:
    if mate == NOT_ENROLLED or math.isnan(row[0]):
        return True
    others = sum(score >= row[mate] for column, score in enumerate(row) if column != mate)
    return 1 + others > rank or row[mate] < threshold


@given(searches(), st.integers(1, 4), st.sampled_from([1.0, 0.5, 0.3, 0.1]))
def test_search_rates_follow_their_definitions(
    planned: tuple[list[list[float]], list[int]], rank: int, target: float
) -> None:
    rows, mates = planned
    scores = summarise(np.array(rows), np.array(mates))
    mated = [(row, mate) for row, mate in zip(rows, mates, strict=True) if mate != NON_MATED]
    non_mated = [row for row, mate in zip(rows, mates, strict=True) if mate == NON_MATED]
    curve = search_curve(scores, rank)
    for position, threshold in enumerate(curve.threshold.tolist()):
        alarms = sum(max(row) >= threshold for row in non_mated)
        misses = sum(miss(row, mate, rank, threshold) for row, mate in mated)
        assert (curve.false_matches[position], curve.mated - curve.true_matches[position]) == (alarms, misses)
    for place, rate in enumerate(cumulative_match(scores, len(rows[0])), start=1):
        assert rate.count == sum(not miss(row, mate, place, -math.inf) for row, mate in mated)
        assert rate.total == len(mated)
    point = point_at(scores, target, rank)
    if math.floor(target * len(non_mated) + 1e-12) < 1:
        assert point.flag is Flag.UNSUPPORTED
        return
    assert point.threshold is not None
    assert point.fpir is not None
    assert point.fnir is not None
    assert point.fpir.value <= target
    assert point.fpir.count == sum(max(row) >= point.threshold for row in non_mated)
    assert point.fnir.count == sum(miss(row, mate, rank, point.threshold) for row, mate in mated)
    for lower in curve.threshold[curve.threshold < point.threshold].tolist():
        assert sum(max(row) >= lower for row in non_mated) > target * len(non_mated)


def candidate(column: int, score: float) -> Candidate:
    return Candidate(str(column), score, column, "", column, column, score, score)


@given(searches(), st.sampled_from([-0.5, 0.25, 0.5, 1.0]), st.sampled_from([0.0, 0.1, 0.3, 2.0]))
def test_decisions_are_those_of_a_query(
    planned: tuple[list[list[float]], list[int]], threshold: float, margin: float
) -> None:
    rows, mates = planned
    expected: Counter[str] = Counter()
    for row, mate in zip(rows, mates, strict=True):
        if math.isnan(row[0]):
            expected["unusable" if mate != NON_MATED else "silent"] += 1
            continue
        # People at minus infinity are no candidates of an index; equal scores put the mate last.
        order = [column for *_, column in sorted((-score, column == mate, column) for column, score in enumerate(row))]
        candidates = [candidate(column, row[column]) for column in order if row[column] > -math.inf]
        decision, _ = decide(candidates, threshold, margin)
        right = bool(candidates) and candidates[0].subject == str(mate)
        if mate == NON_MATED:
            expected[f"false_{decision}"] += 1
        else:
            expected["unknown" if decision == "unknown" else f"{'right' if right else 'wrong'}_{decision}"] += 1
    (found,) = decide_searches(summarise(np.array(rows), np.array(mates)), threshold, [margin])
    assert found.false_match is not None
    assert found.false_ambiguous is not None
    got = {
        "right_match": found.right, "right_ambiguous": found.right_ambiguous, "wrong_match": found.wrong,
        "wrong_ambiguous": found.wrong_ambiguous, "unknown": found.unknown, "unusable": found.unusable,
        "false_match": found.false_match, "false_ambiguous": found.false_ambiguous,
    }  # fmt: skip
    assert {name: rate.count for name, rate in got.items()} == {name: expected[name] for name in got}
    assert sum(rate.count for name, rate in got.items() if not name.startswith("false")) == found.right.total


def test_the_margin_of_a_query_is_among_those_that_are_looked_at() -> None:
    assert DEFAULT_MARGIN in MARGINS


def test_a_match_is_worth_more_the_larger_the_margin_and_fpir_is_the_sum() -> None:
    block, mate, identity = open_set()
    result = evaluate_searches(summarise(block, mate, identity), targets=[0.1], margins=(0.0, 0.05, 0.2))
    false = [(each.false_match, each.false_ambiguous) for each in result.decisions]
    point = result.points[0]
    assert point.fpir is not None
    for match, ambiguous in false:
        assert match is not None
        assert ambiguous is not None
        assert match.count + ambiguous.count == point.fpir.count
    counts = [match.count for match, _ in false if match]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[2]


def open_set(seed: int = 0, subjects: int = 60, probes: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    block = rng.normal(0.1, 0.1, (probes, subjects)) + rng.normal(0, 0.1, probes)[:, None]
    mate = np.where(np.arange(probes) % 2, rng.integers(subjects, size=probes), NON_MATED)
    identity = np.where(mate == NON_MATED, 1000 + np.arange(probes) // 8, mate)
    own = mate != NON_MATED
    block[np.flatnonzero(own), mate[own]] += 0.4
    block[rng.integers(probes, size=10)] = math.nan
    return block, mate, identity


def test_blocks_joined_are_the_whole() -> None:
    block, mate, identity = open_set()
    whole = summarise(block, mate, identity)
    parts = join([summarise(block[rows], mate[rows], identity[rows]) for rows in (slice(150), slice(150, None))])
    for name in ("mate_score", "mate_rank", "top", "rivals", "mate_id", "non_mate_id"):
        assert np.array_equal(
            getattr(whole, name), getattr(parts, name), equal_nan=name in ("mate_score", "top", "rivals")
        )


def test_the_bootstrap_equals_repeating_every_search() -> None:
    block, mate, identity = open_set()
    scores = summarise(block, mate, identity)
    sample = sample_of_searches(scores, 1)
    assert sample is not None
    drawn = replicate(sample, [0.1, 0.02], None, replicates=5, seed=3)
    people = np.unique(identity)
    weights = next(subject_weights(people.size, 5, 3))
    point = point_at(scores, 0.02, 1)
    for row, weight in enumerate(weights):
        again = np.repeat(np.arange(len(block)), weight[np.searchsorted(people, identity)])
        for column, target in enumerate((0.1, 0.02)):
            expected = point_at(summarise(block[again], mate[again]), target, 1).fnir
            assert expected is not None
            assert 1 - drawn.tar[row, column] == pytest.approx(expected.value, abs=1e-12)
        strangers = block[again][mate[again] == NON_MATED]
        assert point.threshold is not None
        alarms = np.nan_to_num(strangers.max(axis=1), nan=-math.inf) >= point.threshold
        assert drawn.far[row, 1] == pytest.approx(alarms.mean(), abs=1e-12)
    assert np.isnan(drawn.eer).all()


def test_everything_about_searches_at_once() -> None:
    block, mate, identity = open_set()
    result = evaluate_searches(summarise(block, mate, identity), targets=[0.1, 1e-4], replicates=100)
    assert (result.subjects, result.mated, result.non_mated) == (60, 200, 200)
    assert result.failed_mated + result.failed_non_mated == 10
    assert [(point.target_fpir, point.rank) for point in result.points] == [(0.1, 1), (1e-4, 1), (0.1, 20), (1e-4, 20)]
    assert [point.flag for point in result.points[:2]] == [Flag.LOW_SUPPORT, Flag.UNSUPPORTED]
    point = result.points[0]
    assert point.fnir is not None
    assert point.fnir.interval is not None
    assert point.fnir.interval.covers(point.fnir.value)
    assert not point.fnir.interval.assumes_independence
    assert result.cmc[0].interval is not None
    assert result.by_size is not None
    assert result.by_size.threshold == result.points[2].threshold


def test_a_closed_set_has_a_cmc_and_no_open_set_points() -> None:
    result = evaluate_searches(summarise(np.array([[0.9, 0.1], [0.2, 0.1]]), np.array([0, NOT_ENROLLED])))
    assert [rate.value for rate in result.cmc] == [0.5, 0.5]
    assert (result.curves, result.points, result.by_size) == ({}, (), None)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(1, 9))
def test_fpir_of_subsets_is_the_binomial_ratio(alarming: list[int], size: int) -> None:
    expected = [1 - math.comb(9 - m, size) / math.comb(9, size) for m in alarming]
    assert fpir_of_subsets(np.array(alarming), 9, size) == pytest.approx(expected, abs=1e-12)


def test_small_chances_in_large_galleries_keep_their_digits() -> None:
    assert fpir_of_subsets(np.array([1]), 10**7, 1)[0] == pytest.approx(1e-7, rel=1e-9)


def test_fpir_by_size_agrees_with_sampling_galleries() -> None:
    block, mate, _ = open_set()
    strangers = np.nan_to_num(block[mate == NON_MATED], nan=-math.inf)
    scores = summarise(block, mate)
    rng = np.random.default_rng(1)
    for size in (1, 5, 30):
        exact = fpir_by_size(scores, 0.3, [size]).rows[0]
        drawn = [np.mean(strangers[:, rng.permutation(60)[:size]].max(axis=1) >= 0.3) for _ in range(2000)]
        assert exact.value == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / math.sqrt(2000))
        assert exact.basis is SizeBasis.EXACT
        assert exact.value < exact.upper


def test_larger_galleries_get_a_bound_that_holds_and_a_model_that_need_not() -> None:
    rng = np.random.default_rng(2)
    # Every tenth stranger resembles one subject in ten, the others nobody: far from independent comparisons.
    wolf = np.arange(2000) % 10 == 0
    block = (rng.random((2000, 200)) < np.where(wolf, 0.1, 0.0)[:, None]).astype(float)
    small = summarise(block[:, :20], np.full(2000, NON_MATED))
    large = np.mean(block.max(axis=1) >= 0.5)
    row = fpir_by_size(small, 0.5, [200]).rows[0]
    assert row.basis is SizeBasis.BOUND
    assert row.value >= large
    assert row.model > 5 * large


def test_too_few_kept_scores_are_an_error_and_not_a_wrong_count() -> None:
    scores = summarise(np.array([[0.9, 0.8, 0.7]]), np.array([NON_MATED]), keep=2)
    with pytest.raises(EvaluationError):
        fpir_by_size(scores, 0.5)
    assert fpir_by_size(scores, 0.85, [3]).rows[0].value == 1


@pytest.mark.parametrize(
    ("block", "mate"),
    [
        (np.empty((1, 0)), [NON_MATED]),
        (np.array([[0.5, math.nan]]), [NON_MATED]),
        (np.array([[0.5, 0.1]]), [2]),
        (np.array([[0.5, 0.1]]), [-3]),
    ],
)
def test_impossible_searches_are_errors(block: np.ndarray, mate: list[int]) -> None:
    with pytest.raises(EvaluationError):
        summarise(block, np.array(mate))


def test_a_missing_kind_of_search_is_an_error() -> None:
    mated, non_mated = (summarise(np.array([[0.5]]), np.array([mate])) for mate in (0, NON_MATED))
    for scores in (mated, non_mated):
        with pytest.raises(EvaluationError):
            search_curve(scores, 1)
    with pytest.raises(EvaluationError):
        evaluate_searches(non_mated)
    failed = SearchScores(1, np.array([math.nan]), np.array([1]), np.array([[math.nan]]))
    with pytest.raises(EvaluationError, match="failed"):
        search_curve(failed, 1)
