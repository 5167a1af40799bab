"""Calibration and audit on simulated people, against brute force and known truth."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import betaincinv

from facesearch.errors import EvaluationError
from facesearch.evaluation.audit import Kind, LabelledTemplates, audit_templates
from facesearch.evaluation.calibrating import FpirEstimate, Request, estimate_fpir, split_people
from facesearch.evaluation.calibration import Basis, Metric
from facesearch.evaluation.rates import Rate
from facesearch.evaluation.searches import NON_MATED, NOT_ENROLLED
from facesearch.evaluation.searching import mate_scores, search_everybody, search_others
from facesearch.jobs.calibrate import calibrate_on_labelled, calibrate_on_strangers, without
from facesearch.types import Fusion, Vectors

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


def templates(vectors: Vectors, subject: Codes) -> LabelledTemplates:
    names = tuple(f"person {code}" for code in range(int(subject.max()) + 1))
    photos = tuple(f"{row}.jpg" for row in range(subject.size))
    return LabelledTemplates(vectors, subject, names, photos, np.arange(subject.size), {})


def person_score(query: NDArray[np.float32], templates: Vectors, fusion: Fusion) -> float:
    """By the rule as it is written: half the best template, half the unit mean."""
    best = float((templates @ query).max())
    mean = templates.mean(axis=0, dtype=np.float64)
    return best if fusion is Fusion.MAX else (best + float(mean @ query) / max(float(np.linalg.norm(mean)), 0.5)) / 2


@pytest.mark.parametrize("fusion", Fusion)
def test_searching_everybody_else_is_what_a_loop_finds(fusion: Fusion) -> None:
    vectors, subject = simulate(9, 3, 1)
    rows = np.array([4, 0, 17])
    found = search_others(vectors, subject, rows, fusion)
    mates = mate_scores(vectors, subject, rows, fusion)
    assert found.scores.subjects == 8
    assert found.scores.partner is not None
    for line, row in enumerate(rows):
        others = [each for each in range(9) if each != subject[row]]
        best = [person_score(vectors[row], vectors[subject == other], fusion) for other in others]
        np.testing.assert_allclose(found.scores.top[line], sorted(best, reverse=True), atol=1e-6)
        partner = others[int(np.argmax(best))]
        nearest = int(np.argmax(np.where(subject == partner, vectors @ vectors[row], -2)))
        assert (found.nearest[line], found.scores.partner[line]) == (nearest, partner)
        own = [i for i in np.flatnonzero(subject == subject[row]) if i != row]
        assert mates[line] == pytest.approx(person_score(vectors[row], vectors[own], fusion), abs=1e-6)


def test_a_single_photo_has_no_mate() -> None:
    vectors, subject = simulate(5, 1, 2)
    assert np.isnan(mate_scores(vectors, subject, np.arange(5))).all()
    found = calibrate_on_labelled(templates(*simulate(100, 1, 2)), Request(FPIR, 0.2, 100))
    assert found.missed is None


@pytest.mark.parametrize("fusion", Fusion)
def test_searching_everybody_counts_mates_strangers_and_failures(fusion: Fusion) -> None:
    gallery, subject = simulate(6, 2, 3)
    probes, shown = simulate(6, 2, 3)
    probes = probes.copy()
    probes[3] = np.nan
    mate = shown.copy()
    mate[5], mate[7] = NON_MATED, NOT_ENROLLED
    found = search_everybody(gallery, subject, probes, mate, shown, fusion)
    scores = found.scores
    assert scores.subjects == 6
    assert len(scores.top) == 1
    expected = [person_score(probes[5], gallery[subject == each], fusion) for each in range(6)]
    np.testing.assert_allclose(scores.top[0], sorted(expected, reverse=True), atol=1e-6)
    partner = int(np.argmax(expected))
    assert found.nearest.tolist() == [int(np.argmax(np.where(subject == partner, gallery @ probes[5], -2)))]
    mated = np.flatnonzero(mate != NON_MATED)
    failed = np.isin(mated, [3, 7])
    assert np.isnan(scores.mate_score[failed]).all()
    if fusion is Fusion.MAX:
        np.testing.assert_allclose(scores.mate_score[~failed], 1, atol=1e-5)
    assert (scores.mate_rank[~failed] == 1).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_limit_is_at_most_the_target_and_holds_for_people_left_out(seed: int) -> None:
    """400 people of whom nobody is alike: fit on half, check on the others, as the command does."""
    found = calibrate_on_labelled(templates(*simulate(400, 3, seed)), Request(FPIR, 0.05, 400, seed=seed))
    calibration = found.calibration
    assert calibration.basis is Basis.EMPIRICAL
    assert calibration.estimate < calibration.limit <= 0.05
    assert (calibration.subjects, calibration.valid_up_to, calibration.measured_subjects) == (400, 400, 399)
    assert calibration.people == 200
    assert isinstance(found.held_out, FpirEstimate)
    assert (found.held_out.trials, found.held_out.subjects) == (600, 400)
    assert found.held_out.interval.low <= 0.05
    assert found.missed is not None
    assert 0 <= found.missed.value < 0.5
    point = calibrate_on_labelled(templates(*simulate(400, 3, seed)), Request(FPIR, 0.05, 400, 0.5, seed=seed))
    assert point.calibration.threshold < calibration.threshold
    assert point.calibration.limit == point.calibration.estimate <= 0.05


def test_the_check_is_made_on_the_people_left_out_and_at_the_size_asked_for() -> None:
    vectors, subject = simulate(60, 2, 21)
    product = vectors @ vectors.T
    product[subject[:, None] == subject] = -1
    fit = split_people(subject, seed=4)
    for size in (60, 20, 240):
        found = calibrate_on_labelled(
            templates(vectors, subject), Request(FPIR, 0.4, size, 0.5, seed=4, fusion=Fusion.MAX)
        )
        threshold = found.calibration.threshold
        alarms = product.max(axis=1) >= threshold
        assert isinstance(found.held_out, FpirEstimate)
        assert (found.held_out.errors, found.calibration.errors) == (alarms[~fit].sum(), alarms[fit].sum())
        people = [np.unique(subject[line >= threshold]).size for line in product[~fit]]
        if size > 59:
            expected = min(1.0, size / 59 * float(alarms[~fit].mean()))
        else:
            expected = float(np.mean([1 - math.comb(59 - m, size) / math.comb(59, size) for m in people]))
        assert found.held_out.value == pytest.approx(expected)


def test_look_alikes_that_alarm_for_each_other_count_once() -> None:
    """Pairs of people share a face: every alarm comes with the one of the other, and the limit must know it."""
    vectors, subject = simulate(200, 1, 31, spread=0.1)
    order = np.argsort(subject)
    pairs = vectors[order].copy()
    for a in range(0, 40, 2):
        pairs[a + 1] = pairs[a]
    known = templates(pairs, np.arange(200))
    scores = search_others(known.vectors, known.subject, np.arange(200)).scores
    units = scores.units(0.999)
    assert all(units[a] == units[a + 1] for a in range(0, 40, 2))
    assert np.unique(units).size == 180
    together = estimate_fpir(scores, 0.999, Request(FPIR, 0.3, 199))
    alone = estimate_fpir(replace(scores, partner=None), 0.999, Request(FPIR, 0.3, 199))
    assert together.value == alone.value
    ratio = (together.interval.high - together.interval.low) / (alone.interval.high - alone.interval.low)
    assert 1.3 < ratio < math.sqrt(2)


def test_strangers_give_the_threshold_a_loop_gives() -> None:
    gallery, subject = simulate(100, 2, 11)
    strangers, people = simulate(200, 1, 12)
    request = Request(FPIR, 0.1, 100, 0.5, split=False, fusion=Fusion.MAX)
    found = calibrate_on_strangers(templates(gallery, subject), templates(strangers, people), request)
    best = (strangers @ gallery.T).max(axis=1)
    alarms = int((best >= found.calibration.threshold).sum())
    assert alarms == found.calibration.errors == 20
    assert found.held_out is None
    assert found.missed is not None
    lower = np.sort(best)[-21]
    assert lower < found.calibration.threshold
    sure = calibrate_on_strangers(
        templates(gallery, subject), templates(strangers, people), replace(request, confidence=0.9)
    )
    errors = sure.calibration.errors
    # Clopper and Pearson's limit of k / (k + 1) of the searches, where k people alarm.
    share = errors / (errors + 1)
    limits = [betaincinv(share * count + 1, share * (200 - count), 0.9) for count in (errors, errors + 1)]
    assert limits[0] == pytest.approx(sure.calibration.limit, rel=0.01)
    assert limits[0] <= 0.1 < limits[1] * 1.01
    top = np.sort((strangers @ gallery.T).ravel())[::-1]
    assert [pair.score for pair in sure.tail] == pytest.approx(np.sort(best)[::-1][:5], abs=1e-6)
    assert sure.tail[0].score == pytest.approx(top[0], abs=1e-6)


def test_a_threshold_that_misses_most_mates_is_refused_until_the_wrong_label_is_left_out() -> None:
    vectors, subject = simulate(300, 2, 41, spread=1.0, dimension=128)
    vectors = vectors.copy()
    for person in range(20):
        wrong, right = np.flatnonzero(subject == person)[0], np.flatnonzero(subject == person + 100)[0]
        vectors[wrong] = vectors[right] + 0.4 * vectors[wrong]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    known = templates(vectors, subject)
    with pytest.raises(EvaluationError, match=r"miss .* of the mates") as caught:
        calibrate_on_labelled(known, Request(FPIR, 0.02, 300))
    assert "--leave-out" in (caught.value.hint or "")
    assert any(known.photos[np.flatnonzero(subject == person)[0]] in caught.value.message for person in range(20))
    wrong_labels = {known.photos[np.flatnonzero(subject == person)[0]] for person in range(20)}
    found = calibrate_on_labelled(without(known, wrong_labels), Request(FPIR, 0.02, 300))
    assert found.missed is not None
    assert found.missed.value < 0.5
    assert not wrong_labels & {photo for pair in found.tail for photo in (pair.photo_a, pair.photo_b)}
    with pytest.raises(EvaluationError, match="no part in this calibration"):
        without(known, {"elsewhere.jpg"})


def test_a_larger_gallery_gets_a_higher_threshold_of_another_basis() -> None:
    known = templates(*simulate(300, 2, 5))
    small = calibrate_on_labelled(known, Request(FPIR, 0.1, 300, split=False)).calibration
    large = calibrate_on_labelled(known, Request(FPIR, 0.1, 900, split=False)).calibration
    assert large.threshold > small.threshold
    assert large.basis is Basis.SCALED
    assert large.valid_up_to == 900


def test_what_the_data_cannot_support_is_refused_with_how_much_would() -> None:
    known = templates(*simulate(50, 2, 6))
    with pytest.raises(EvaluationError, match=r"FPIR 0\.0001 for 50 people") as caught:
        calibrate_on_labelled(known, Request(FPIR, 1e-4, 50))
    assert "people who are not enrolled" in (caught.value.hint or "")
    with pytest.raises(EvaluationError, match="non-mated comparisons") as caught:
        calibrate_on_labelled(known, Request(Metric.FAR, 1e-6, 50))
    assert "At least 3,900,000 are needed" in (caught.value.hint or "")
    one = templates(*simulate(1, 3, 6))
    with pytest.raises(EvaluationError, match="show 1 person, so nobody"):
        calibrate_on_labelled(one, Request(FPIR, 0.1, 1))


def test_a_far_is_checked_on_people_left_out() -> None:
    vectors, subject = simulate(120, 2, 8)
    known = templates(vectors, subject)
    found = calibrate_on_labelled(known, Request(Metric.FAR, 1e-2, 120))
    assert found.calibration.metric is Metric.FAR
    assert found.calibration.estimate < found.calibration.limit <= 1e-2
    assert isinstance(found.held_out, Rate)
    assert found.held_out.interval is not None
    assert not found.held_out.interval.assumes_independence
    assert found.held_out.total == (120**2 - 120 * 2) // 2
    left_out = ~split_people(subject, seed=0)
    product = vectors[left_out] @ vectors[left_out].T
    strangers = np.triu(subject[left_out][:, None] != subject[left_out], 1)
    assert found.held_out.count == np.count_nonzero(product[strangers] >= found.calibration.threshold)
    with pytest.raises(EvaluationError, match="FPIR"):
        calibrate_on_strangers(known, known, Request(Metric.FAR, 1e-2, 120))


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
