"""The threshold without a calibration: by the pack's table and the gallery's size, and what is to be expected at it."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from facesearch import FaceSearch
from facesearch.errors import ConfigError
from facesearch.jobs.thresholds import (
    STEP,
    Facts,
    NonMated,
    is_due,
    judge,
    measure,
    point_for,
    read_facts,
    record_step,
)
from facesearch.search.gallery import Gallery
from facesearch.store import audit
from facesearch.store.changes import NewPhoto
from facesearch.types import FmrPoint, Fusion, ModelInfo, Template, Vectors
from tests.store.makers import FACE, QUALITY, photo_file

DIMENSION = 64
MODEL = ModelInfo("model", "pack", DIMENSION, "d" * 64, "e" * 64, {}, 0.45, "a number of the pack")
RATES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
NOTHING = (None, None)


def people(seed: int, count: int) -> Vectors:
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def score_at(fmr: float) -> float:
    """The cosine that two random directions reach with this chance: (1 + cosine) / 2 is beta distributed."""
    from scipy.stats import beta

    half = (DIMENSION - 1) / 2
    return float(2 * beta.isf(fmr, half, half) - 1)


TABLE = tuple(FmrPoint(rate, score_at(rate), "made up") for rate in RATES)


def enrolled(folder: Path, vectors: Vectors) -> Gallery:
    gallery = Gallery.open(folder, create=True)
    gallery.adopt(MODEL)
    gallery.apply(
        [
            NewPhoto(photo_file(f"{row}.jpg"), f"person {row}", {}, 9, 9, (Template(vector, "model", FACE, QUALITY),))
            for row, vector in enumerate(vectors)
        ]
    )
    return gallery


def facts(size: int, scores: list[float] | None = None) -> Facts:
    made = {"model_id": "model", "fusion": "mean", "subjects": size, "scores": scores}
    return Facts(size, "model", None, None if scores is None else made)


@pytest.mark.parametrize(
    ("size", "fmr"),
    [(0, 1e-3), (10, 1e-3), (11, 1e-4), (100, 1e-4), (101, 1e-5), (1000, 1e-5), (10_000, 1e-6), (10_001, 1e-7)],
)
def test_the_threshold_rises_by_a_decade_as_the_gallery_grows(size: int, fmr: float) -> None:
    assert point_for(TABLE, size, 0.01).fmr == fmr
    judged = judge(NOTHING, TABLE, MODEL, Fusion.MEAN, facts(size))
    assert judged.threshold.value == score_at(fmr)
    assert judged.warning is None
    if size:
        assert judged.threshold.expected_fpir == pytest.approx(size * fmr)


def test_a_table_that_ends_warns_instead_of_promising() -> None:
    judged = judge(NOTHING, TABLE[:2], MODEL, Fusion.MEAN, facts(1000))
    assert judged.threshold.value == TABLE[1].score
    assert judged.warning is not None
    assert "10.0%" in judged.warning
    assert judged.warning.endswith("facesearch calibrate --fpir 0.01")


def test_what_a_user_asks_for_comes_first() -> None:
    given = judge((0.2, 0.5), TABLE, MODEL, Fusion.MEAN, facts(1000)).threshold
    assert (given.value, given.basis, given.expected_fpir) == (0.2, "given", None)
    loose = judge((None, 0.5), TABLE, MODEL, Fusion.MEAN, facts(1000)).threshold
    assert loose.value == score_at(1e-4)
    with pytest.raises(ConfigError, match="no table"):
        judge((None, 0.5), (), MODEL, Fusion.MEAN, facts(1000))
    alone = judge(NOTHING, (), MODEL, Fusion.MEAN, facts(1000)).threshold
    assert (alone.value, alone.basis, alone.expected_fpir) == (0.45, "a number of the pack", None)


def test_alarms_beyond_the_promise_name_the_threshold_that_keeps_it() -> None:
    """Everybody resembles somebody more than the table says: 100 of 1,000 searches alarm where 10 should."""
    scores = sorted(np.linspace(0.9, 0.2, 1000).tolist(), reverse=True)
    strict = FmrPoint(1e-5, float(np.quantile(scores, 0.9)), "another population")
    judged = judge(NOTHING, (strict,), MODEL, Fusion.MEAN, facts(1000, scores))
    assert judged.threshold.expected_fpir == pytest.approx(0.1, rel=0.5)
    assert judged.warning is not None
    measured = NonMated(1000, scores)
    better = measured.threshold_for(0.01, 1000)
    assert better is not None
    assert f"A threshold of {better:g} keeps 1.0% here" in judged.warning
    assert measured.alarms(better) <= 10 < measured.alarms(better - 0.002)
    assert judge((0.3, None), (strict,), MODEL, Fusion.MEAN, facts(1000, scores)).warning is None, "it was chosen"


def test_a_measurement_with_another_fusion_or_model_says_nothing() -> None:
    known = facts(1000, [0.5] * 1000)
    assert known.measured(MODEL, Fusion.MEAN) is not None
    assert known.measured(MODEL, Fusion.MAX) is None
    assert is_due(known, MODEL, Fusion.MAX)
    assert not is_due(known, MODEL, Fusion.MEAN)
    assert not is_due(facts(99), MODEL, Fusion.MEAN)


def test_a_step_is_recorded_and_said_once(tmp_path: Path) -> None:
    with enrolled(tmp_path / "gallery", people(1, 3)) as gallery:
        first, second = (judge(NOTHING, TABLE, MODEL, Fusion.MEAN, facts(size)) for size in (10, 11))
        assert record_step(gallery, first, 10) is None, "nothing has changed yet"
        said = record_step(gallery, second, 11)
        assert said is not None
        assert f"--threshold {first.threshold.value:g}" in said
        assert record_step(gallery, second, 11) is None
        assert [each.detail["people"] for each in gallery.read(audit.events, action=STEP)] == [10, 11]


@pytest.mark.parametrize("size", [300, 1000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_the_default_keeps_one_percent_and_knows_what_to_expect(tmp_path: Path, size: int) -> None:
    with enrolled(tmp_path / "gallery", people(size, size)) as gallery:
        measure(gallery, MODEL, size)
        known = gallery.read(read_facts)
    found = judge(NOTHING, TABLE, MODEL, Fusion.MEAN, known)
    vectors, strangers = people(size, size), people(7, 20_000)
    made = known.measured(MODEL, Fusion.MEAN)
    assert made is not None
    if size <= 1000:
        products = vectors @ vectors.T
        np.fill_diagonal(products, -1)
        assert made.alarms(0.4) == np.count_nonzero(products.max(axis=1).round(4) >= 0.4)
    rows = (strangers[start : start + 2000] @ vectors.T for start in range(0, 20_000, 2000))
    fpir = float(np.mean(np.concatenate([row.max(axis=1) for row in rows]) >= found.threshold.value))
    assert fpir <= 0.015
    assert found.threshold.expected_fpir is not None
    assert abs(math.log(found.threshold.expected_fpir / fpir)) < math.log(1.5)
    assert found.warning is None


def test_a_first_run_is_judged_as_the_gallery_that_it_fills(
    people_folder: Path, standin_pack: Path, tmp_path: Path
) -> None:
    """Twelve people need the row of 1e-4. That of an empty gallery would take everybody for everybody."""
    pack = Path(shutil.copytree(standin_pack, tmp_path / "pack"))
    text = (pack / "pack.toml").read_text(encoding="utf-8")
    rows = "".join(
        f'[[threshold]]\nfmr = {fmr}\nscore = {score}\nbasis = "made up"\n'
        for fmr, score in ((1e-3, -1.0), (1e-4, 0.6))
    )
    start = text.index("[threshold]")
    end = text.find("\n[", start + 1)
    (pack / "pack.toml").write_text(text[:start] + (text[end:] if end > 0 else "") + "\n" + rows, encoding="utf-8")
    with FaceSearch.open(tmp_path / "gallery", pack=pack, provider="cpu") as engine:
        outcomes = list(engine.enroll(people_folder, strict=True))
        assert {outcome.status.value for outcome in outcomes} == {"enrolled"}
        assert engine.threshold.value == 0.6
