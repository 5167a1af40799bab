"""The figures that are kept of an evaluation are those of its report."""

from __future__ import annotations

import json

import numpy as np
import pytest

from facesearch.evaluation.assessment import evaluate_pairs
from facesearch.evaluation.identification import evaluate_searches
from facesearch.evaluation.report import PER_DECADE, About, IdentificationReport, VerificationReport, digest
from facesearch.evaluation.searches import SearchScores
from facesearch.evaluation.trials.types import ScoredPairs

ABOUT = About("a title", "people/Ada Lovelace/pairs.txt", "2026-01-02T03:04:05+00:00", "1.0", {"model_id": "m"})


def test_a_verification_keeps_its_figures_and_exact_points_of_its_curve() -> None:
    random = np.random.default_rng(3)
    scores = np.concatenate([random.normal(0.5, 0.2, 500), random.normal(0.0, 0.2, 5000)])
    result = evaluate_pairs(ScoredPairs(scores, np.arange(5500) < 500), targets=(1e-1, 1e-2, 1e-9))
    kept = digest(VerificationReport(ABOUT, result), "out/report.html")
    assert json.loads(json.dumps(kept)) == kept
    assert "Ada" not in str(kept)
    for point, wanted in zip(kept["points"], result.points, strict=True):
        assert point["threshold"] == wanted.threshold
        assert point["rate"] == (wanted.tar.value if wanted.tar else None)
    assert (kept["eer"]["value"], kept["auc"]) == (result.eer.midpoint, result.auc)
    curve = np.array(kept["curve"])
    assert len(curve) <= PER_DECADE * 4 + 2
    assert (np.diff(curve[:, 0]) <= 0).all()
    for error, rate in curve:
        row = int(np.argmin(np.abs(result.curve.fmr - error)))
        near = result.curve.tar[np.abs(result.curve.fmr - result.curve.fmr[row]) < 1e-12]
        assert np.abs(near - rate).min() < 1e-5
    assert curve[-1, 0] == pytest.approx(1 / 5000)


def test_a_search_keeps_how_often_people_are_found() -> None:
    random = np.random.default_rng(4)
    top = np.sort(random.normal(0.2, 0.1, (400, 5)), axis=1)[:, ::-1]
    ranks = np.where(random.random(300) < 0.9, 1, 2)
    result = evaluate_searches(SearchScores(50, random.normal(0.6, 0.1, 300), ranks, top.copy()), targets=(1e-1, 1e-2))
    kept = digest(IdentificationReport(ABOUT, result))
    wanted = [each for each in result.points if each.rank == 1]
    for point, each in zip(kept["points"], wanted, strict=True):
        assert each.fnir is not None
        assert point["rate"] == pytest.approx(1 - each.fnir.value)
        assert point["low"] <= point["rate"] <= point["high"]
    assert kept["report"] is None
    assert kept["curve"][0][0] == 1.0
