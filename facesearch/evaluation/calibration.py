"""A calibrated threshold with what it rests on: calibration.json, written and read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from facesearch.errors import EvaluationError
from facesearch.evaluation.documents import from_json, to_json
from facesearch.evaluation.rates import Flag, Interval
from facesearch.types import Fusion, ModelInfo, is_cosine

CALIBRATE_AGAIN = "Make it again: facesearch calibrate --fpir 0.001"
SCHEMA = 1
"""Version of calibration.json."""


class Basis(StrEnum):
    """What a threshold rests on."""

    EMPIRICAL = "empirical"
    SCALED = "scaled"
    EXTRAPOLATED = "extrapolated"


class Metric(StrEnum):
    """Which error the target limits."""

    FPIR = "fpir"
    FAR = "far"


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold and what it rests on: calibration.json.

    Raises EvaluationError: a threshold that is no cosine, or numbers that contradict each other.
    """

    threshold: float
    metric: Metric
    target: float
    basis: Basis
    confidence: float
    """One-sided, of the limit that was kept at the target; 0.5: the estimate was kept there."""
    errors: int
    """Counted at the threshold: probes that alarm (FPIR) or comparisons (FAR)."""
    trials: int
    people: int
    """Independent people behind the trials."""
    estimate: float
    """The metric at the threshold; for a scaled one the bound, for an extrapolated one the fitted tail."""
    limit: float
    """The metric's upper limit at the threshold, at this confidence: at most the target."""
    interval: Interval
    measured_subjects: int
    """N of the searches measured; 0 for a FAR."""
    subjects: int
    """n, the gallery size the threshold was made for; 0 for a FAR."""
    valid_up_to: int
    """The largest gallery for which the target still holds; 0 for a FAR, which has no size."""
    rank: int = 1
    """R of the FNIR that goes with it."""
    flag: Flag | None = None
    model_id: str = ""
    recognizer_sha256: str = ""
    detector_sha256: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Preprocessing and detector settings, and the fusion, as plain JSON values."""

    def __post_init__(self) -> None:
        if not is_cosine(self.threshold):
            raise EvaluationError(
                f"The calibration's threshold {self.threshold!r} is not a cosine similarity between -1 and 1.",
                hint=CALIBRATE_AGAIN,
            )
        _require_consistent(self)

    def bound_to(self, model: ModelInfo, fusion: Fusion = Fusion.MEAN) -> Calibration:
        """The same for one model, its settings and fusion: a threshold means nothing for another."""
        return replace(
            self,
            model_id=model.model_id,
            recognizer_sha256=model.recognizer_sha256,
            detector_sha256=model.detector_sha256,
            settings={**model.settings, "fusion": fusion.value},
        )

    def to_json(self) -> str:
        """calibration.json: one object, keys sorted."""
        return json.dumps({"schema": SCHEMA, **to_json(self)}, indent=2, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Read what `to_json` wrote.

        Raises EvaluationError: no JSON, another schema, a key missing, unknown or of the wrong type, contradicting
        values.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise EvaluationError("The calibration is not JSON.", hint=CALIBRATE_AGAIN) from error
        if not isinstance(values, dict) or values.pop("schema", None) != SCHEMA:
            raise EvaluationError("The calibration is of another version of facesearch.", hint=CALIBRATE_AGAIN)
        try:
            return from_json(cls, values)
        except ValueError as error:
            raise EvaluationError(f"The calibration is damaged: {error}.", hint=CALIBRATE_AGAIN) from error


def _require_consistent(calibration: Calibration) -> None:
    sound = (
        0 < calibration.target <= 1
        and 0 <= calibration.errors <= calibration.trials
        and 0 <= calibration.interval.low <= calibration.interval.high <= 1
        and 0 <= calibration.estimate <= 1
        and 0 <= calibration.limit <= 1
        and 0.5 <= calibration.confidence < 1
        and min(calibration.people, calibration.measured_subjects, calibration.subjects, calibration.valid_up_to) >= 0
        and calibration.rank >= 1
    )
    if not sound:
        raise EvaluationError("The numbers of the calibration contradict each other.", hint=CALIBRATE_AGAIN)
