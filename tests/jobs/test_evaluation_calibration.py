"""Calibration and audit on simulated people, against brute force and known truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from facesearch.errors import EvaluationError
from facesearch.evaluation.audit import Kind, LabelledTemplates, audit_templates
from facesearch.evaluation.calibrating import split_people
from facesearch.evaluation.calibration import Basis, Metric
from facesearch.evaluation.searches import NON_MATED, NOT_ENROLLED
from facesearch.jobs.calibrate import Request, calibrate_on_labelled, calibrate_on_strangers, search_others
from facesearch.jobs.evaluate import search_everybody
from facesearch.types import Vectors

Codes = NDArray[np.int64]
FPIR = Metric.FPIR


def simulate(people: int, photos: int, seed: int, *, spread: float = 0.6, dimension: int = 32) -> tuple[Vectors, Codes]:
    """Templates around a centre per person, people in random order."""
    random = np.random.default_rng(seed)
    centre = random.normal(size=(people, dimension))
    centre /= np.linalg.norm(centre, axis=1, keepdims=True)
    subject = random.permutation(np.repeat(np.arange(people), photos))
    noise = random.normal(size=(subject.size, dimension)) * spread / np.sqrt(dimension)
    vectors = centre[subject] + noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), subject


def test_searching_everybody_else_is_what_a_loop_finds() -> None:
    vectors, subject = simulate(9, 3, 1)
    rows = np.array([4, 0, 17])
    scores, mates = search_others(vectors, subject, rows)
    assert scores.subjects == 8
    for line, row in enumerate(rows):
        product = vectors @ vectors[row]
        best = [product[subject == other].max() for other in range(9) if other != subject[row]]
        np.testing.assert_allclose(scores.top[line], sorted(best, reverse=True), atol=1e-6)
        own = [product[i] for i in np.flatnonzero(subject == subject[row]) if i != row]
        assert mates[line] == pytest.approx(max(own), abs=1e-6)


def test_a_single_photo_has_no_mate() -> None:
    vectors, subject = simulate(5, 1, 2)
    _, mates = search_others(vectors, subject, np.arange(5))
    assert np.isnan(mates).all()


def test_searching_everybody_counts_mates_strangers_and_failures() -> None:
    gallery, subject = simulate(6, 2, 3)
    probes, shown = simulate(6, 2, 3)
    probes = probes.copy()
    probes[3] = np.nan
    mate = shown.copy()
    mate[5], mate[7] = NON_MATED, NOT_ENROLLED
    scores = search_everybody(gallery, subject, probes, mate, shown)
    assert scores.subjects == 6
    assert len(scores.top) == 1
    np.testing.assert_allclose(
        scores.top[0], sorted((max(gallery[subject == s] @ probes[5]) for s in range(6)), reverse=True), atol=1e-6
    )
    mated = np.flatnonzero(mate != NON_MATED)
    failed = np.isin(mated, [3, 7])
    assert np.isnan(scores.mate_score[failed]).all()
    np.testing.assert_allclose(scores.mate_score[~failed], 1, atol=1e-5)
    assert (scores.mate_rank[~failed] == 1).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_rate_on_people_left_out_lies_in_the_interval(seed: int) -> None:
    """400 people of whom nobody is alike: fit on half, check on the others, as the command does."""
    vectors, subject = simulate(400, 3, seed)
    found = calibrate_on_labelled(vectors, subject, Request(FPIR, 0.05, 400, seed=seed))
    calibration = found.calibration
    assert calibration.basis is Basis.EMPIRICAL
    assert calibration.estimate <= 0.05
    assert (calibration.subjects, calibration.valid_up_to, calibration.measured_subjects) == (400, 400, 399)
    assert calibration.people == 200
    assert found.held_out is not None
    assert found.held_out.total == 600
    wide = found.held_out.best_interval
    assert wide is not None
    assert wide.low <= calibration.interval.high
    assert wide.high >= calibration.interval.low
    assert found.missed is not None
    assert 0 <= found.missed.value < 0.5


def test_the_check_is_made_on_the_people_left_out_alone() -> None:
    vectors, subject = simulate(60, 2, 21)
    found = calibrate_on_labelled(vectors, subject, Request(FPIR, 0.1, 60, seed=4))
    product = vectors @ vectors.T
    product[subject[:, None] == subject] = -1
    alarms = product.max(axis=1) >= found.calibration.threshold
    fit = split_people(subject, seed=4)
    assert found.held_out is not None
    assert (found.held_out.count, found.calibration.errors) == (alarms[~fit].sum(), alarms[fit].sum())
    assert found.held_out.count != found.calibration.errors


def test_strangers_give_the_threshold_a_loop_gives() -> None:
    gallery, subject = simulate(100, 2, 11)
    strangers, people = simulate(200, 1, 12)
    request = Request(FPIR, 0.1, 100, split=False)
    found = calibrate_on_strangers(gallery, subject, strangers, people, request)
    best = (strangers @ gallery.T).max(axis=1)
    alarms = int((best >= found.calibration.threshold).sum())
    assert alarms == found.calibration.errors == 20
    assert found.held_out is None
    lower = np.sort(best)[-21]
    assert lower < found.calibration.threshold


def test_a_larger_gallery_gets_a_higher_threshold_of_another_basis() -> None:
    vectors, subject = simulate(300, 2, 5)
    small = calibrate_on_labelled(vectors, subject, Request(FPIR, 0.1, 300, split=False)).calibration
    large = calibrate_on_labelled(vectors, subject, Request(FPIR, 0.1, 900, split=False)).calibration
    assert large.threshold > small.threshold
    assert large.basis is Basis.SCALED
    assert large.valid_up_to == 900


def test_what_the_data_cannot_support_is_refused_with_how_much_would() -> None:
    vectors, subject = simulate(50, 2, 6)
    with pytest.raises(EvaluationError, match=r"FPIR 0\.0001 for 50 people") as caught:
        calibrate_on_labelled(vectors, subject, Request(FPIR, 1e-4, 50))
    assert "people who are not enrolled" in (caught.value.hint or "")
    with pytest.raises(EvaluationError, match="non-mated comparisons") as caught:
        calibrate_on_labelled(vectors, subject, Request(Metric.FAR, 1e-6, 50))
    assert "At least 1000000 are needed" in (caught.value.hint or "")
    with pytest.raises(EvaluationError, match="show 1 person, so nobody"):
        calibrate_on_labelled(vectors[subject == 0], subject[subject == 0], Request(FPIR, 0.1, 1))


def test_a_far_is_checked_on_people_left_out() -> None:
    vectors, subject = simulate(120, 2, 8)
    found = calibrate_on_labelled(vectors, subject, Request(Metric.FAR, 1e-2, 120))
    assert found.calibration.metric is Metric.FAR
    assert found.calibration.estimate <= 1e-2
    assert found.held_out is not None
    assert found.held_out.total == (120**2 - 120 * 2) // 2
    left_out = ~split_people(subject, seed=0)
    product = vectors[left_out] @ vectors[left_out].T
    strangers = np.triu(subject[left_out][:, None] != subject[left_out], 1)
    assert found.held_out.count == np.count_nonzero(product[strangers] >= found.calibration.threshold)
    with pytest.raises(EvaluationError, match="FPIR"):
        calibrate_on_strangers(vectors, subject, vectors, subject, Request(Metric.FAR, 1e-2, 120))


def templates(vectors: Vectors, subject: Codes) -> LabelledTemplates:
    names = tuple(f"person {code}" for code in range(int(subject.max()) + 1))
    photos = tuple(f"{row}.jpg" for row in range(subject.size))
    return LabelledTemplates(vectors, subject, names, photos, np.arange(subject.size), {})


def test_an_audit_finds_what_a_loop_finds() -> None:
    vectors, subject = simulate(60, 3, 9)
    found = audit_templates(templates(vectors, subject), 0.4)
    product = vectors @ vectors.T
    pairs: dict[tuple[int, ...], float] = {}
    for a in range(180):
        for b in range(a):
            if subject[a] != subject[b] and product[a, b] >= 0.4:
                key = tuple(sorted((int(subject[a]), int(subject[b]))))
                pairs[key] = max(pairs.get(key, -1.0), float(product[a, b]))
    assert pairs
    assert [each.score for each in found.look_alikes] == pytest.approx(sorted(pairs.values(), reverse=True), abs=1e-6)
    assert {tuple(sorted((int(subject[e.a]), int(subject[e.b])))) for e in found.look_alikes} == set(pairs)
    assert found.complete


def test_an_audit_names_the_photo_with_the_wrong_label_and_whose_it_is() -> None:
    vectors, subject = simulate(60, 4, 10, spread=0.4)
    row = int(np.flatnonzero(subject == 7)[0])
    vectors = vectors.copy()
    vectors[row] = vectors[np.flatnonzero(subject == 21)[1]]
    found = audit_templates(templates(vectors, subject), 0.6)
    (suspect,) = found.mislabelled
    assert (suspect.kind, suspect.a) == (Kind.MISLABELLED, row)
    assert subject[suspect.b] == 7
    assert "person 21 1.00" in suspect.note
    assert any({subject[e.a], subject[e.b]} == {7, 21} for e in found.look_alikes)
    assert not found.duplicates


def test_of_two_photos_that_do_not_agree_the_pair_is_told_once() -> None:
    vectors, subject = simulate(60, 2, 14, spread=0.4)
    first, second = np.flatnonzero(subject == 3)
    vectors = vectors.copy()
    vectors[second] = vectors[np.flatnonzero(subject == 30)[0]]
    (suspect,) = audit_templates(templates(vectors, subject), 0.6).mislabelled
    assert {suspect.a, suspect.b} == {first, second}


def test_an_audit_finds_copies_of_one_person_only() -> None:
    vectors, subject = simulate(20, 3, 13)
    first, second = np.flatnonzero(subject == 4)[:2]
    vectors = vectors.copy()
    vectors[second] = vectors[first]
    found = audit_templates(templates(vectors, subject), 0.9)
    assert [(e.a, e.b) for e in found.duplicates] == [(first, second)]
    assert found.duplicates[0].score == pytest.approx(1)


def test_one_template_is_no_audit() -> None:
    vectors, subject = simulate(1, 1, 0)
    with pytest.raises(EvaluationError, match="One template"):
        audit_templates(templates(vectors, subject), 0.4)
