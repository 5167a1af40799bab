"""Calibration and audit over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image

from facesearch import FaceSearch
from facesearch.evaluation.assessment import evaluate_pairs
from facesearch.evaluation.audit import audit_templates
from facesearch.evaluation.calibration import Basis, Calibration, Metric
from facesearch.evaluation.rates import Interval
from facesearch.evaluation.report import VerificationReport, describe, digest
from facesearch.evaluation.trials.types import ScoredPairs
from facesearch.jobs.calibrate import gallery_templates
from facesearch.server import service
from facesearch.store.schema import AuditRow, EvaluationRow
from tests.server.conftest import serve_here


def test_the_audit_is_that_of_the_command_with_ids(engine: FaceSearch, people_folder: Path, tmp_path: Path) -> None:
    double = tmp_path / "double.png"
    with Image.open(people_folder / "Mira Quill" / "1.jpg") as photo:
        photo.save(double)
    assert [each.status for each in engine.enroll(double, subject="Mira's Twin")] == ["enrolled"]
    known = gallery_templates(engine.gallery)
    expected = audit_templates(known, engine.threshold.value)
    with serve_here(engine) as api:
        answer = api.get("/v1/audit").json()
        with engine.gallery.database.read() as connection:
            events = connection.scalars(sa.select(AuditRow.detail).where(AuditRow.action == "audit")).all()
        assert events == [{"templates": 49, "pages": 0}]
        people = {each["id"]: each["subject"] for each in api.get("/v1/subjects").json()["subjects"]}
    assert (answer["people"], answer["templates"], answer["complete"]) == (13, 49, True)
    assert answer["totals"] == {
        "look_alike": len(expected.look_alikes),
        "mislabelled": len(expected.mislabelled),
        "duplicate": len(expected.duplicates),
    }
    first = answer["findings"][0]
    assert first["kind"] == "look_alike"
    assert {first["a"]["subject"], first["b"]["subject"]} == {"Mira Quill", "Mira's Twin"}
    for found, each in zip(answer["findings"], expected.findings, strict=True):
        assert found["score"] == round(each.score, 6)
        for side, row in (("a", each.a), ("b", each.b)):
            assert found[side]["template_id"] == known.ids[row]
            assert people[found[side]["subject_id"]] == found[side]["subject"]


def test_a_long_audit_is_cut_and_says_so(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = api.get("/v1/audit").json()
    monkeypatch.setattr(service, "MOST", 3)
    cut = api.get("/v1/audit").json()
    assert cut["totals"] == whole["totals"]
    assert len(cut["findings"]) == 3 < len(whole["findings"])


def test_an_empty_gallery_has_nothing_to_look_at(tmp_path: Path, standin_pack: Path) -> None:
    with FaceSearch.open(tmp_path / "new", pack=standin_pack, provider="cpu") as engine, serve_here(engine) as api:
        answer = api.get("/v1/audit").json()
        assert (answer["templates"], answer["findings"]) == (0, [])
        assert api.get("/v1/calibration").json() == {"calibration": None}


def evaluate_something(engine: FaceSearch, page: str | None = None) -> dict[str, Any]:
    """Figures of made-up scores, kept as those of the engine's model."""
    random = np.random.default_rng(1)
    scores = np.concatenate([random.normal(0.6, 0.15, 300), random.normal(0.1, 0.15, 3000)])
    result = evaluate_pairs(ScoredPairs(scores, np.arange(3300) < 300), targets=(1e-1, 1e-2, 1e-6))
    model = {"model_id": engine.extractor.info.model_id, "faces": "largest"}
    made = digest(VerificationReport(describe("/home/somebody/pairs.txt", model), result), page)
    assert engine.keep_evaluation(made)
    return made


def test_the_newest_evaluation_of_the_model_is_shown(api: httpx.Client, engine: FaceSearch) -> None:
    assert api.get("/v1/evaluation").json() == {"verification": None, "identification": None}
    evaluate_something(engine)
    made = evaluate_something(engine, "/reports/report.html")
    found = api.get("/v1/evaluation").json()
    assert found == {"verification": json.loads(json.dumps(made)), "identification": None}
    assert "somebody" not in str(found)
    assert found["verification"]["points"][-1]["threshold"] is None, "one in a million is beyond 3,000 comparisons"
    with engine.gallery.database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(EvaluationRow)) == 1, "the newest alone is kept"


def put_calibration_in_force(engine: FaceSearch) -> Calibration:
    """One that nobody measured: what it says is to be shown, not believed."""
    made = Calibration(
        threshold=0.5123,
        metric=Metric.FPIR,
        target=0.01,
        basis=Basis.EMPIRICAL,
        confidence=0.9,
        errors=7,
        trials=1234,
        people=321,
        estimate=0.00567,
        limit=0.0099,
        interval=Interval(0.0023, 0.0117, "Wilson", assumes_independence=True),
        measured_subjects=12,
        subjects=12,
        valid_up_to=20,
    ).bound_to(engine.extractor.info)
    engine.adopt_calibration(made)
    return made


def test_the_calibration_is_the_one_in_force(api: httpx.Client, engine: FaceSearch) -> None:
    assert api.get("/v1/calibration").json() == {"calibration": None}
    made = put_calibration_in_force(engine)
    assert api.get("/v1/calibration").json()["calibration"] == json.loads(made.to_json())
    assert api.get("/v1/info").json()["threshold"] == 0.5123
