"""What the scores of this gallery mean, and what in it a person should look at."""

from __future__ import annotations

import json
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from facesearch.evaluation.report import IDENTIFICATION, VERIFICATION
from facesearch.server.routes.documented import problems
from facesearch.server.security import Reader
from facesearch.server.selfcheck import MOST, audit_gallery
from facesearch.server.state import StateOf
from facesearch.store.audit import acting_as

router = APIRouter(tags=["report"])


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


@router.get(
    "/calibration",
    response_model=CalibrationInForce,
    responses=problems(),
    summary="The calibration behind the threshold",
)
def calibration(state: StateOf, _: Reader) -> dict[str, Any]:
    """What `facesearch calibrate` made for this gallery, if it was asked to."""
    found = state.engine.calibration
    return {"calibration": None if found is None else json.loads(found.to_json())}


@router.get(
    "/evaluation", response_model=Evaluations, responses=problems(), summary="The newest evaluations of the model"
)
def evaluation(state: StateOf, _: Reader) -> dict[str, Any]:
    """What `facesearch eval` and `facesearch eval search` measured last with the model of this gallery."""
    found = state.engine.evaluations
    return {kind: found.get(kind) for kind in (VERIFICATION, IDENTIFICATION)}


@router.get("/audit", response_model=AuditReport, responses=problems(429), summary="Compare the gallery with itself")
def audit(state: StateOf, caller: Reader) -> dict[str, Any]:
    """What `facesearch audit` finds. It compares all templates, so one audit or check runs at a time."""
    with state.alone(state.checking, "A check or an audit"), acting_as(caller.actor):
        found = state.models.run(lambda now: audit_gallery(state, now))
        state.engine.record_use("audit", {"templates": found["templates"], "pages": 0})
    return found
