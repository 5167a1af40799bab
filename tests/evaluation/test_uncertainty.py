"""Intervals: textbook values, the tail-only bootstrap against the dense one, coverage of a known truth."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from facesearch.errors import EvaluationError
from facesearch.evaluation.assessment import evaluate_pairs
from facesearch.evaluation.bootstrap import (
    disjoint_pairs,
    replicate,
    sample_of_pairs,
    subject_weights,
    totals_of_all_pairs,
    totals_of_pairs,
)
from facesearch.evaluation.comparison import compare
from facesearch.evaluation.rates import (
    bootstrap_interval,
    clustered_interval,
    wilson,
    zero_error_bound,
)
from facesearch.evaluation.trials.types import ScoredPairs
from facesearch.evaluation.verification import equal_error_rate, error_curve, tar_at_far


@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_analytic_interval_is_that_of_scipy(total: int, share: float, level: float) -> None:
    count = round(share * total)
    test = binomtest(count, total)
    expected = test.proportion_ci(level, method="wilson")
    found = wilson(count, total, level)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert found.assumes_independence


def test_independent_pairs_share_nobody() -> None:
    assert disjoint_pairs(np.array([0, 0, 2, 5]), np.array([1, 2, 3, 4])) == 3
    assert disjoint_pairs(np.array([0, 0, 0]), np.array([1, 2, 3])) == 1


def test_no_error_still_allows_a_rate_that_people_bound() -> None:
    bound = zero_error_bound(units=50, trials=5000)
    assert (1 - bound.upper) ** 50 == pytest.approx(0.05)
    assert (1 - bound.naive_upper) ** 5000 == pytest.approx(0.05)
    with pytest.raises(EvaluationError):
        zero_error_bound(units=5, trials=4)


@pytest.mark.parametrize(("count", "total"), [(-1, 5), (6, 5), (0, 0)])
def test_an_impossible_rate_is_an_error(count: int, total: int) -> None:
    with pytest.raises(EvaluationError):
        wilson(count, total)


def people_pairs(seed: int, people: int = 40, rows: int = 1500, decimals: int = 2) -> ScoredPairs:
    """Ties, several photos a person, pairs that occur more than once, infinities."""
    rng = np.random.default_rng(seed)
    id_a, id_b = rng.integers(people, size=rows), rng.integers(people, size=rows)
    id_b[: rows // 3] = id_a[: rows // 3]
    mated = id_a == id_b
    score = (rng.normal(0.2, 0.2, rows) + 0.3 * mated + 0.1 * rng.standard_normal(people)[id_a]).round(decimals)
    score[rng.integers(rows, size=4)] = [math.inf, -math.inf, math.nan, math.nan]
    score[(score == math.inf) & ~mated] = 0.9
    return ScoredPairs(score, mated, id_a + 100, id_b + 100)


def dense(pairs: ScoredPairs, weight: np.ndarray, target: float) -> tuple[float, float]:
    """TAR at FAR and EER with every comparison repeated as often as the people drawn demand."""
    assert pairs.id_a is not None
    assert pairs.id_b is not None
    done = ~np.isnan(pairs.score)
    a, b = weight[pairs.id_a - 100], weight[pairs.id_b - 100]
    repeats = np.where(pairs.mated, a, a * b) * done
    score, mated = np.repeat(pairs.score, repeats), np.repeat(pairs.mated, repeats)
    curve = error_curve(score[mated], score[~mated])
    tar = tar_at_far(curve, target).tar
    assert tar is not None
    return tar.value, equal_error_rate(curve).midpoint


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("target", [0.02, 0.3])
def test_weighing_the_tail_equals_repeating_every_comparison(seed: int, target: float) -> None:
    pairs = people_pairs(seed)
    sample = sample_of_pairs(pairs)
    score = pairs.score[~np.isnan(pairs.score)]
    eer = equal_error_rate(error_curve(sample.mated_score, sample.tail_score)).midpoint
    assert sample.mated_score.size + sample.tail_score.size == score.size
    drawn = replicate(sample, [target, 0.5], eer / 8, replicates=10, seed=seed)
    for row, weight in enumerate(next(subject_weights(sample.subjects, 10, seed))):
        expected = dense(pairs, weight, target)
        assert drawn.tar[row, 0] == expected[0]
        assert drawn.eer[row] == pytest.approx(expected[1], abs=1e-12)


def test_the_rate_at_the_samples_own_threshold_is_weighed_too() -> None:
    pairs = people_pairs(3)
    sample = sample_of_pairs(pairs)
    point = tar_at_far(error_curve(sample.mated_score, sample.tail_score), 0.1)
    assert point.threshold is not None
    drawn = replicate(sample, [0.1], None, replicates=5, seed=0)
    for row, weight in enumerate(next(subject_weights(sample.subjects, 5, 0))):
        heavy = sample.weights(weight, sample.non_mated)
        assert drawn.far[row, 0] == heavy[sample.tail_score >= point.threshold].sum() / heavy.sum()


def test_the_complete_design_counts_what_the_list_of_pairs_counts() -> None:
    templates = np.array([3, 1, 2, 4])
    subject = np.repeat(np.arange(4), templates)
    one, two = np.triu_indices(subject.size, 1)
    apart = subject[one] != subject[two]
    weights = np.random.default_rng(0).integers(0, 4, (6, 4))
    a, b = subject[one][apart], subject[two][apart]
    expected = (weights[:, a] * weights[:, b]).sum(axis=1)
    assert np.array_equal(totals_of_all_pairs(templates)(weights), expected)
    assert np.array_equal(totals_of_pairs(b, a, 4)(weights), expected)


def test_too_short_a_tail_is_an_error() -> None:
    pairs = people_pairs(1)
    whole = sample_of_pairs(pairs)
    short = replace(
        whole,
        tail_score=whole.tail_score[:50],
        tail_a=whole.tail_a[:50],
        tail_b=None if whole.tail_b is None else whole.tail_b[:50],
        complete=False,
    )
    with pytest.raises(EvaluationError):
        replicate(short, [0.2], None, replicates=5, seed=0)
    assert np.isnan(replicate(short, [0.001], 0.2, replicates=5, seed=0).eer).all()


def test_intervals_depend_on_the_seed_alone_and_not_on_order_or_sides() -> None:
    pairs = people_pairs(5)
    assert pairs.id_a is not None
    assert pairs.id_b is not None
    order = np.random.default_rng(0).permutation(pairs.score.size)
    turned = ScoredPairs(pairs.score[order], pairs.mated[order], pairs.id_b[order], pairs.id_a[order])
    first, second = (evaluate_pairs(either, targets=[0.05], replicates=100, seed=7) for either in (pairs, turned))
    assert first.points == second.points
    assert first.eer == second.eer
    assert first.points != evaluate_pairs(pairs, targets=[0.05], replicates=100, seed=8).points


def test_contradictory_identities_are_an_error() -> None:
    codes = np.array([1, 2])
    with pytest.raises(EvaluationError, match="contradict"):
        sample_of_pairs(ScoredPairs(np.array([0.1, 0.2]), np.array([True, False]), codes, codes))


def test_perfect_scores_get_an_interval_all_the_same() -> None:
    people = np.arange(30)
    one, two = np.triu_indices(30, 1)
    id_a, id_b = np.append(people, one), np.append(people, two)
    result = evaluate_pairs(ScoredPairs(1.0 * (id_a == id_b), id_a == id_b, id_a, id_b), targets=[0.1])
    tar = result.points[0].tar
    assert tar is not None
    assert tar.value == 1
    assert tar.interval is not None
    assert 0.85 < tar.interval.low < 0.92
    assert tar.zero_errors is not None
    assert tar.zero_errors.units == 30


def test_too_few_people_give_no_interval() -> None:
    assert bootstrap_interval(0.5, np.full(10, math.nan), trials=5, units=2) is None


def test_a_difference_is_decided_only_where_there_is_one() -> None:
    rng = np.random.default_rng(0)
    one, two = np.triu_indices(60, 1)
    id_a, id_b = np.append(np.repeat(np.arange(60), 3), one), np.append(np.repeat(np.arange(60), 3), two)
    mated = id_a == id_b
    base = rng.normal(0, 1, mated.size)
    a = ScoredPairs(base + 2.0 * mated, mated, id_a, id_b)
    better = ScoredPairs(base + 3.5 * mated, mated, id_a, id_b)
    same = ScoredPairs(base + rng.normal(0, 0.05, mated.size) + 2.0 * mated, mated, id_a, id_b)
    tar, eer = compare(a, better, [0.05], replicates=300)
    assert tar.decided
    assert eer.decided
    assert tar.interval.low > 0 > eer.interval.high
    assert not any(difference.decided for difference in compare(a, same, [0.05], replicates=300))
    assert all(difference.interval.covers(0) for difference in compare(a, a, [0.05], replicates=50))


def test_refusing_hard_photos_wins_nothing() -> None:
    pairs = people_pairs(2)
    refused = np.where(pairs.mated & (pairs.score < 0.5), math.nan, pairs.score)
    picky = ScoredPairs(refused, pairs.mated, pairs.id_a, pairs.id_b)
    difference, eer = compare(pairs, picky, [0.02], replicates=50)
    assert difference.difference <= 0
    # One name for one definition: with failures it is the generalised rate, as `eval` prints it.
    assert (difference.metric, eer.metric) == ("1 - GFRR at FAR 0.02", "EER, failures rejected")
    for side, pairs_of in ((difference.a, pairs), (difference.b, picky)):
        point = evaluate_pairs(pairs_of, targets=[0.02], replicates=0).points[0]
        assert point.gfrr is not None
        assert side == pytest.approx(1 - point.gfrr.value)


def test_differences_need_the_same_people() -> None:
    pairs = people_pairs(2)
    assert pairs.id_a is not None
    assert pairs.id_b is not None
    with pytest.raises(EvaluationError, match="same people"):
        compare(pairs, ScoredPairs(pairs.score, pairs.mated, pairs.id_a + 1, pairs.id_b + 1))


def test_clusters_widen_an_interval() -> None:
    hits = np.repeat(np.random.default_rng(0).random(40) < 0.3, 25).astype(float)
    together = clustered_interval(hits, np.repeat(np.arange(40), 25))
    alone = wilson(float(hits.sum()), hits.size)
    assert together.high - together.low > 4 * (alone.high - alone.low)
    assert not together.assumes_independence


@pytest.mark.slow
def test_the_interval_covers_a_known_truth() -> None:
    """A reduced benchmarks/coverage.py: mean +- effects of people, so that the truth is a normal integral."""
    from statistics import NormalDist

    people, photos, far, runs = 80, 3, 0.01, 120
    normal = NormalDist()
    own, pair = 0.05, 0.1
    threshold = NormalDist(0, math.sqrt(2 * own**2 + pair**2)).inv_cdf(1 - far)
    truth = 1 - NormalDist(0.4, math.sqrt((2 * own) ** 2 + pair**2)).cdf(threshold)
    first = np.repeat(np.arange(people), photos)
    one, two = np.triu_indices(people, 1)
    id_a, id_b = np.append(first, one), np.append(first, two)
    mated = id_a == id_b
    covered = []
    for run in range(runs):
        rng = np.random.default_rng(run)
        effect = rng.normal(0, own, people)
        score = effect[id_a] + effect[id_b] + rng.normal(0, pair, mated.size) + 0.4 * mated
        point = evaluate_pairs(ScoredPairs(score, mated, id_a, id_b), targets=[far], replicates=200, seed=run).points[0]
        assert point.tar is not None
        assert point.tar.interval is not None
        assert point.tar.naive is not None
        covered.append((point.tar.interval.covers(truth), point.tar.naive.covers(truth)))
    people_cover, naive_cover = np.mean(covered, axis=0)
    slack = normal.inv_cdf(0.999) * math.sqrt(0.95 * 0.05 / runs)
    assert 0.95 - slack < people_cover
    assert naive_cover < people_cover - 0.03


def a_list(seed: int, people: int = 400, rows: int = 1200) -> ScoredPairs:
    """A list of pairs, as LFW's: few share a person, and people differ."""
    rng = np.random.default_rng(seed)
    id_a = rng.integers(people, size=rows)
    id_b = np.where(np.arange(rows) < rows // 3, id_a, (id_a + 1 + rng.integers(people - 1, size=rows)) % people)
    mated, effect = id_a == id_b, rng.normal(0, 0.05, people)
    return ScoredPairs(effect[id_a] + effect[id_b] + rng.normal(0, 0.1, rows) + 0.4 * mated, mated, id_a, id_b)


def test_the_excess_taken_off_leaves_the_variance_of_pairs_that_share_people() -> None:
    """Of the FAR: the sum over all pairs of pairs that share a person, each pair with itself once."""
    pairs = a_list(1, people=60)
    sample = sample_of_pairs(pairs)
    assert sample.tail_b is not None
    drawn = replicate(sample, [0.1], None, replicates=4000, seed=0)
    accepted = np.arange(sample.non_mated) < tar_at_far_count(sample.tail_score, 0.1)
    rest = accepted - accepted.mean()
    ends = [{int(a), int(b)} for a, b in zip(sample.tail_a, sample.tail_b, strict=True)]
    shared = np.array([[bool(one & other) for other in ends] for one in ends])
    expected = rest @ shared @ rest / rest.size**2
    found = float(np.var(drawn.far[:, 0], ddof=1))
    assert found - drawn.far_excess[0] == pytest.approx(expected, rel=0.15)
    assert found > 1.3 * expected


def tar_at_far_count(falling: np.ndarray, target: float) -> int:
    """How many of the non-mated scores, none of them twice, the threshold for the target accepts."""
    return math.floor(target * falling.size + 1e-12)


def test_the_excess_is_twice_the_variance_of_pairs_drawn_alone() -> None:
    pairs = a_list(2)
    sample = sample_of_pairs(pairs)
    eer = equal_error_rate(error_curve(sample.mated_score, sample.tail_score)).midpoint
    drawn = replicate(sample, [0.02, 0.1], eer, replicates=2, seed=0)
    rng = np.random.default_rng(0)
    figures = []
    for _ in range(1500):
        non_mated = np.repeat(sample.tail_score, rng.poisson(1, sample.non_mated))
        # The number of comparisons is given.
        curve = error_curve(sample.mated_score, non_mated, (sample.mated_score.size, sample.non_mated))
        tars = [tar_at_far(curve, target).tar for target in (0.02, 0.1)]
        figures.append([*(rate.value for rate in tars if rate), equal_error_rate(curve).midpoint])
    expected = 2 * np.var(figures, axis=0)
    assert [*drawn.tar_excess.tolist(), drawn.eer_excess] == pytest.approx(expected.tolist(), rel=0.2)


def test_searches_have_no_excess() -> None:
    sample = replace(sample_of_pairs(a_list(3)), tail_b=None)
    drawn = replicate(sample, [0.1], 0.05, replicates=2, seed=0)
    assert (drawn.tar_excess[0], drawn.far_excess[0], drawn.eer_excess) == (0, 0, 0)


def test_a_paired_difference_has_newcombe_s_interval() -> None:
    first, second = a_list(4), a_list(4)
    second = replace(second, score=second.score + np.where(second.mated, 0.05, 0.0))
    (found, _) = compare(first, second, [0.05], replicates=400)
    rates, draws = [], []
    for pairs in (first, second):
        rates.append(evaluate_pairs(pairs, targets=[0.05], replicates=400).points[0].tar)
        draws.append(replicate(sample_of_pairs(pairs), [0.05], None, replicates=400, seed=0).tar[:, 0])
    a, b = rates
    assert a is not None
    assert b is not None
    assert a.interval is not None
    assert b.interval is not None
    rho = np.corrcoef(draws[0], draws[1])[0, 1]
    down, up = b.value - b.interval.low, a.interval.high - a.value
    low = found.difference - math.sqrt(down**2 + up**2 - 2 * rho * down * up)
    assert found.interval.low == pytest.approx(low)
    assert rho > 0.5
    alone = math.hypot(down, up)
    assert found.difference - found.interval.low < alone


@pytest.mark.slow
@pytest.mark.parametrize("gap", [0.35, 0.5])
def test_the_interval_of_a_list_of_pairs_covers_a_known_truth_and_not_always(gap: float) -> None:
    from statistics import NormalDist

    threshold = NormalDist(0, math.sqrt(2 * 0.05**2 + 0.1**2)).inv_cdf(0.98)
    truth = 1 - NormalDist(gap, math.sqrt(0.1**2 + 0.1**2)).cdf(threshold)
    covered = []
    for run in range(150):
        pairs = a_list(run, people=500, rows=1500)
        pairs = replace(pairs, score=pairs.score + np.where(pairs.mated, gap - 0.4, 0.0))
        tar = evaluate_pairs(pairs, targets=[0.02], replicates=200, seed=run).points[0].tar
        assert tar is not None
        assert tar.interval is not None
        covered.append(tar.interval.covers(truth))
    assert 0.91 <= np.mean(covered) <= 0.99
