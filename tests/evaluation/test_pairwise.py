"""The blocked product against the plain one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facesearch.errors import EvaluationError
from facesearch.evaluation import pairwise
from facesearch.evaluation.assessment import evaluate_pairs, evaluate_summary
from facesearch.evaluation.pairwise import PairSummary, compare_all, curve_of_summary
from facesearch.evaluation.trials.types import ScoredPairs
from facesearch.jobs.evaluate import attempts_of_all, plan_all_pairs


def templates(seed: int, rows: int, people: int, dimension: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Multiples of 1/4 in few directions before scaling: many ties, copies, and cosines of exactly 1 and -1."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-1, 2, (rows, dimension)).astype(np.float32)
    vectors[:, 0] += vectors.any(axis=1) == 0
    subject = rng.integers(people, size=rows) * 7 - 3
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), subject


def plain(vectors: np.ndarray, subject: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    one, two = np.triu_indices(len(vectors), 1)
    return (vectors @ vectors.T)[one, two], subject[one] == subject[two], one, two


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 60), st.integers(2, 12), st.sampled_from([3, 16, 64]))
def test_everything_is_kept_where_it_fits(seed: int, rows: int, people: int, block: int) -> None:
    vectors, subject = templates(seed, rows, people)
    summary = compare_all(vectors, subject, block=block)
    scores, mated, one, two = plain(vectors, subject)
    assert summary.floor == -math.inf
    assert np.sort(summary.mated_score) == pytest.approx(np.sort(scores[mated]), abs=1e-6)
    found = {tuple(sorted(pair)) for pair in zip(summary.tail_a.tolist(), summary.tail_b.tolist(), strict=True)}
    assert found == set(zip(one[~mated].tolist(), two[~mated].tolist(), strict=True))
    assert summary.tail_score == pytest.approx((vectors @ vectors.T)[summary.tail_a, summary.tail_b], abs=1e-6)
    assert np.all(np.diff(summary.tail_score) <= 0)
    assert summary.non_mated == np.count_nonzero(~mated) == summary.histogram.sum()
    names = np.unique(subject)
    assert np.array_equal(names[summary.subject], subject)
    counts = np.bincount(summary.mated_id, minlength=names.size)
    assert counts.tolist() == [math.comb(int(np.sum(subject == name)), 2) for name in names]


@pytest.fixture
def short_tails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairwise, "_SMALLEST_TAIL", 50)


def random_templates(people: int = 150) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    centre = rng.standard_normal((people, 16))
    vectors = (np.repeat(centre, 3, axis=0) + 0.5 * rng.standard_normal((3 * people, 16))).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.repeat(np.arange(people), 3)


@pytest.mark.usefixtures("short_tails")
@pytest.mark.parametrize("block", [64, 200, 1024])
def test_a_short_tail_is_the_exact_top_and_the_histogram_the_rest(block: int) -> None:
    vectors, subject = random_templates()
    summary = compare_all(vectors, subject, largest_far=0.002, block=block)
    scores, mated, _, _ = plain(vectors, subject)
    non_mated = np.sort(scores[~mated])[::-1]
    keep = 4 * math.floor(0.002 * non_mated.size)
    assert keep * 0.9 < summary.tail_score.size <= keep
    assert summary.tail_score == pytest.approx(non_mated[: summary.tail_score.size], abs=1e-6)
    assert summary.tail_score[-1] >= summary.floor > non_mated[summary.tail_score.size] - 1e-6
    edges = -1 + 2 * np.arange(summary.histogram.size) / summary.histogram.size
    assert summary.histogram[edges >= summary.floor].sum() == summary.tail_score.size
    middle = edges.size // 2 + 1000
    assert summary.histogram[middle:].sum() == pytest.approx(np.sum(non_mated >= edges[middle]), abs=2)


@pytest.mark.usefixtures("short_tails")
def test_a_summary_gives_the_figures_of_all_its_pairs() -> None:
    vectors, subject = random_templates()
    short = compare_all(vectors, subject, largest_far=0.002)
    scores, mated, one, two = plain(vectors, subject)
    pairs = ScoredPairs(scores.astype(np.float64), mated, subject[one], subject[two])
    targets = [0.1, 0.002, 0.0005]
    ours = evaluate_summary(short, targets=targets, replicates=200)
    full = evaluate_pairs(pairs, targets=targets, replicates=200)
    assert abs(ours.auc - full.auc) <= ours.auc_error + 1e-9
    assert 0 < ours.auc_error < 1e-4
    assert full.auc_error == 0
    assert ours.d_prime == pytest.approx(full.d_prime, rel=1e-4)
    assert ours.eer.midpoint == pytest.approx(full.eer.midpoint, abs=1e-3)
    assert ours.counts.subjects == full.counts.subjects == 150
    assert ours.counts.subject_pairs == full.counts.subject_pairs == 75
    for mine, theirs in zip(ours.points, full.points, strict=True):
        assert mine.tar is not None
        assert theirs.tar is not None
        assert mine.threshold == pytest.approx(theirs.threshold, abs=4e-5)
        assert mine.tar.value == pytest.approx(theirs.tar.value, abs=0.01)
    far_out, deep = ours.points[0], ours.points[2]
    assert far_out.tar is not None
    assert deep.tar is not None
    assert far_out.tar.interval is None
    whole = full.points[2].tar
    assert whole is not None
    assert deep.tar.interval == whole.interval


@pytest.mark.usefixtures("short_tails")
def test_failures_stay_in_at_any_number_of_pairs() -> None:
    """The blocked product and all pairs one by one say the same of photos without a template."""
    vectors, subject = random_templates(30)
    rng = np.random.default_rng(5)
    reasons = ["" if share > 0.1 else rng.choice(["face_not_found", "blurred"]) for share in rng.random(subject.size)]
    ok = np.array([not reason for reason in reasons])
    ids = tuple(f"p{code}" for code in subject)
    scores, mated, one, two = plain(vectors, subject)
    failed = ~ok[one] | ~ok[two]
    why = {row: reasons[one[row]] or reasons[two[row]] for row in np.flatnonzero(failed).tolist()}
    pairs = ScoredPairs(np.where(failed, np.nan, scores), mated, subject[one], subject[two], reasons=why)
    everything: list[np.ndarray | None] = [vector if good else None for vector, good in zip(vectors, ok, strict=True)]
    attempts = attempts_of_all(everything)
    full = evaluate_pairs(pairs, targets=[0.1, 0.01], attempts=attempts, replicates=0)
    planned, failures = plan_all_pairs(ids, reasons)
    summary = compare_all(vectors[ok], subject[ok])
    ours = evaluate_summary(
        summary, targets=[0.1, 0.01], planned=planned, reasons=failures, attempts=attempts, replicates=0
    )
    assert (ours.counts.planned_mated, ours.counts.planned_non_mated) == (90, 90 * 89 // 2 - 90)
    assert ours.counts.failed == full.counts.failed == np.count_nonzero(failed) > 0
    assert ours.counts.reasons == full.counts.reasons
    assert ours.fte == full.fte
    assert ours.fte is not None
    assert (ours.fte.count, ours.fte.total) == (int(np.count_nonzero(~ok)), 90)
    for mine, theirs in zip(ours.points, full.points, strict=True):
        assert (mine.gfrr, mine.gfar) == (theirs.gfrr, theirs.gfar)


@pytest.mark.usefixtures("short_tails")
def test_one_score_for_all_does_not_fill_the_memory() -> None:
    vectors = np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (120, 1))
    summary = compare_all(vectors, np.arange(120) // 2)
    assert summary.tail_score.size <= 50
    assert summary.histogram.sum() == summary.non_mated == 120 * 119 // 2 - 60
    curve = curve_of_summary(summary)
    assert curve.false_matches[0] == summary.non_mated


def test_a_product_of_one_person_or_without_second_photos_has_no_curve() -> None:
    vectors = np.eye(3, dtype=np.float32)
    for subject in (np.array([0, 0, 0]), np.array([0, 1, 2])):
        summary = compare_all(vectors, subject)
        assert isinstance(summary, PairSummary)
        with pytest.raises(EvaluationError):
            curve_of_summary(summary)


@pytest.mark.parametrize(
    ("vectors", "subject"),
    [
        (np.ones((3, 2)), np.arange(3)),
        (np.array([[1.0, 0.0], [math.nan, 0.0]]), np.arange(2)),
        (np.eye(3), np.arange(2)),
        (np.eye(3)[:1], np.arange(1)),
    ],
)
def test_unusable_vectors_are_errors(vectors: np.ndarray, subject: np.ndarray) -> None:
    with pytest.raises(EvaluationError):
        compare_all(vectors.astype(np.float32), subject)
