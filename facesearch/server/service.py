"""What the scores of this gallery mean, what in it a person should look at, and the server itself."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from facesearch.evaluation.audit import Audit, Kind, LabelledTemplates, audit_templates
from facesearch.evaluation.report import IDENTIFICATION, VERIFICATION
from facesearch.jobs.calibrate import gallery_templates
from facesearch.recognition.photo import MAX_BYTES
from facesearch.records import FindingRecord, rounded
from facesearch.server.metrics import MEDIA_TYPE
from facesearch.server.options import MAX_PHOTOS
from facesearch.server.problems import problems
from facesearch.server.schemas import Findings, Health, Info, Limits
from facesearch.server.security import Anybody, Monitor, Reader
from facesearch.server.state import State, StateOf
from facesearch.store import templates as stored_templates

if TYPE_CHECKING:
    from facesearch.server.following import InForce

report = APIRouter(tags=["report"])
router = APIRouter(tags=["service"])

MOST: Final = 100
"""Findings of each kind in one answer, worst first; the totals tell how many there are."""


class CalibrationInForce(BaseModel):
    """calibration.json as it is in force."""

    calibration: dict[str, Any] | None = Field(description="Null where the gallery has none.")


class EvaluationPoint(BaseModel):
    """The rate of matches found at the smallest threshold that keeps an error rate; nulls where data cannot say."""

    target: float = Field(description="Error rate that was asked for, 0 to 1.")
    threshold: float | Literal["inf", "-inf"] | None
    errors: int | None = Field(description="Errors that were counted at this threshold.")
    trials: int | None
    rate: float | None
    low: float | None = Field(description="Ends of the 95 % interval of the rate.")
    high: float | None
    flag: Literal["unsupported", "low_support"] | None


class EqualErrors(BaseModel):
    """Where misses and false matches are equally frequent."""

    value: float
    threshold: float | Literal["inf", "-inf"]
    low: float | None
    high: float | None


class EvaluationFigures(BaseModel):
    """What `facesearch eval` measured with the gallery's model: figures, no scores, no names, no photos."""

    kind: Literal["verification", "identification"] = Field(
        description="verification: TAR at FAR of comparisons; identification: TPIR (rank 1) at FPIR of searches."
    )
    evaluated: str = Field(description="Name of the list or folder.")
    protocol: str
    created_at: str
    facesearch: str
    model_id: str
    faces: str = Field(description="Which face of a photo was taken: largest, single, aligned crops.")
    report: str | None = Field(description="Where the whole report was written, on the machine that made it.")
    counts: dict[Literal["mated", "non_mated", "failed", "subjects"], int | None]
    points: list[EvaluationPoint]
    eer: EqualErrors | None
    auc: float | None
    curve: list[tuple[float, float]] = Field(description="[error, rate], errors falling; every point is exact.")


class Evaluations(BaseModel):
    """The newest evaluation of each kind; null where there is none."""

    verification: EvaluationFigures | None
    identification: EvaluationFigures | None


class AuditSide(BaseModel):
    """One of the two faces of a finding."""

    subject: str
    subject_id: int | None = Field(description="None where the person was removed meanwhile.")
    photo: str
    photo_id: int | None
    template_id: int


class AuditFinding(BaseModel):
    """Two templates, and what is odd about them."""

    kind: Literal["look_alike", "mislabelled", "duplicate"]
    score: float = Field(description="Cosine similarity of the two, -1 to 1.")
    a: AuditSide
    b: AuditSide
    note: str | None


class AuditReport(BaseModel):
    """What a person should look at, each kind worst first."""

    threshold: float
    people: int
    templates: int
    complete: bool = Field(description="False where more pairs reach the threshold than are kept.")
    totals: dict[Literal["look_alike", "mislabelled", "duplicate"], int]
    findings: list[AuditFinding] = Field(description=f"At most {MOST} of each kind.")


@report.get(
    "/calibration",
    response_model=CalibrationInForce,
    responses=problems(),
    summary="The calibration behind the threshold",
)
def calibration(state: StateOf, _: Reader) -> dict[str, Any]:
    """What `facesearch calibrate` made for this gallery, if it was asked to."""
    found = state.engine.calibration
    return {"calibration": None if found is None else json.loads(found.to_json())}


@report.get(
    "/evaluation", response_model=Evaluations, responses=problems(), summary="The newest evaluations of the model"
)
def evaluation(state: StateOf, _: Reader) -> dict[str, Any]:
    """What `facesearch eval` and `facesearch eval search` measured last with the model of this gallery."""
    found = state.engine.evaluations
    return {kind: found.get(kind) for kind in (VERIFICATION, IDENTIFICATION)}


@report.get("/audit", response_model=AuditReport, responses=problems(429), summary="Compare the gallery with itself")
def audit(state: StateOf, _: Reader) -> dict[str, Any]:
    """What `facesearch audit` finds. It compares all templates, so one audit or check runs at a time."""
    with state.alone(state.checking, "A check or an audit"):
        found = state.models.run(lambda now: audit_gallery(state, now))
        state.trail.put("audit", {"templates": found["templates"], "pages": 0}).result()
    return found


def audit_gallery(state: State, now: InForce) -> dict[str, Any]:
    """What a person should look at. A gallery of fewer than two templates has nothing."""
    threshold, counts = now.threshold.value, state.gallery.read(stored_templates.counts)
    answer: dict[str, Any] = {"threshold": threshold, "people": counts["subjects"], "templates": counts["templates"]}
    if counts["templates"] < 2:
        return {**answer, "complete": True, "totals": dict.fromkeys(Kind, 0), "findings": []}
    known = gallery_templates(state.gallery)
    state.models.require_still(now)
    found = audit_templates(known, threshold)
    return {
        "threshold": threshold,
        "people": len(known.names),
        "templates": len(known.subject),
        "complete": found.complete,
        "totals": {kind.value: len(findings) for kind, findings in found.by_kind.items()},
        "findings": _records(state, known, found),
    }


def _records(state: State, known: LabelledTemplates, found: Audit) -> list[dict[str, Any]]:
    some = [each for findings in found.by_kind.values() for each in findings[:MOST]]
    ids = [int(known.ids[row]) for each in some for row in (each.a, each.b)]
    places = state.gallery.read(stored_templates.locate, ids)

    def side(row: int) -> dict[str, Any]:
        template_id = int(known.ids[row])
        subject_id, photo_id = places.get(template_id, (None, None))
        return {
            "subject": known.names[known.subject[row]],
            "subject_id": subject_id,
            "photo": known.photos[row],
            "photo_id": photo_id,
            "template_id": template_id,
        }

    return [
        {
            "kind": each.kind.value,
            "score": rounded(each.score),
            "a": side(each.a),
            "b": side(each.b),
            "note": each.note or None,
        }
        for each in some
    ]


@router.get("/info", responses=problems(), summary="The gallery, the model and the bounds")
def info(state: StateOf, caller: Anybody) -> Info | Limits:
    """What `facesearch info` prints, and what this server allows. A key without the scope `read` gets the latter."""
    limits = Limits(
        thumbnails=state.options.thumbnails,
        scopes=sorted(caller.scopes),
        max_photo_bytes=MAX_BYTES,
        max_photos=MAX_PHOTOS,
        version=version("facesearch"),
    )
    if not caller.reads:
        return limits
    return Info(**state.models.run(lambda now: _described(state, now)), **limits.model_dump())


def _described(state: State, now: InForce) -> dict[str, Any]:
    found = now.engine.describe()
    state.models.require_still(now)
    return found


@router.get("/check", response_model=Findings, responses=problems(429), summary="Prove that the gallery is sound")
def check(state: StateOf, _: Reader) -> dict[str, Any]:
    """What `facesearch check` finds. It reads everything, so one runs at a time."""
    with state.alone(state.checking, "A check"):
        found = list(state.engine.check())
    return {"ok": all(each.ok for each in found), "findings": list(map(FindingRecord.of, found))}


@router.get("/health/live", response_model=Health, responses=problems(), summary="Is the process alive?")
async def live() -> dict[str, str]:
    """Answers without looking at anything; needs no key."""
    return {"status": "ok"}


@router.get("/health/ready", response_model=Health, responses=problems(), summary="Can it answer?")
def ready(state: StateOf) -> dict[str, str]:
    """503 where nobody can be identified, with what is lacking: the model's pack, the index, the vector database.

    A search is made, among whatever is enrolled. It needs no key.
    """
    now = state.models.look()
    probe = np.eye(1, now.engine.extractor.info.dimension, dtype=np.float32)
    state.gallery.search(probe, 1, model_id=now.model_id)
    return {"status": "ok"}


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}, **problems()},
    summary="Metrics for Prometheus",
)
def metrics(state: StateOf, _: Monitor) -> Response:
    """Requests, queue, batches, decisions, gallery size and memory; for keys with the scope `metrics` or `read`."""
    return Response(state.metrics.render(), media_type=MEDIA_TYPE)
