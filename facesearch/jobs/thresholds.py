"""A gallery's calibration: read, checked against the models in use, and in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from facesearch.errors import CorruptGalleryError, EvaluationError, ModelMismatchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from facesearch.evaluation.calibration import Calibration
    from facesearch.types import Fusion, ModelInfo

SCORE_SETTINGS = ("det_size", "detection_threshold", "nms_threshold", "alignment_version", "flip", "fusion")
"""Settings a calibration holds for: with others the same photo gives other scores."""


def read_calibration(document: Mapping[str, Any]) -> Calibration:
    """The calibration a gallery keeps; `CorruptGalleryError` where it cannot be read."""
    from facesearch.evaluation.calibration import Calibration  # many modules, and most galleries have none

    try:
        return Calibration.from_json(json.dumps(document))
    except EvaluationError as error:
        raise CorruptGalleryError(
            f"The gallery's calibration cannot be used: {error.message}",
            "Make it again: `facesearch calibrate --fpir 0.001`. Or remove it: `facesearch calibrate --forget`.",
        ) from error


def require_calibration_of(calibration: Calibration, info: ModelInfo, fusion: Fusion, source: str) -> None:
    """Raise `ModelMismatchError` unless `calibration` was made with this model, detector, fusion and settings.

    `source` begins the message: what the calibration is, or the file it is in.
    """
    made_with = (calibration.model_id, calibration.recognizer_sha256)
    if made_with != (info.model_id, info.recognizer_sha256):
        raise ModelMismatchError(
            f"{source} was made with another model: {calibration.model_id}, not {info.model_id}.",
            "Its scores mean something else. Calibrate again: facesearch calibrate --fpir 0.001",
        )
    theirs = {name: calibration.settings.get(name) for name in SCORE_SETTINGS}
    ours = {name: {**info.settings, "fusion": fusion.value}.get(name) for name in SCORE_SETTINGS}
    if calibration.detector_sha256 != info.detector_sha256 or theirs != ours:
        differing = ", ".join(
            f"{name} {theirs[name]} not {ours[name]}" for name in theirs if theirs[name] != ours[name]
        )
        raise ModelMismatchError(
            f"{source} was made with another detector or other settings: {differing or 'the detector file differs'}.",
            "Use the same settings, calibrate again with these, or give a --threshold.",
        )


def describe_basis(calibration: Calibration) -> str:
    """What a calibrated threshold rests on, in words."""
    from facesearch.evaluation.calibration import Basis, Metric

    only = "only " if calibration.flag else ""
    errors = f"{only}{calibration.errors:,} error{'' if calibration.errors == 1 else 's'} in {calibration.trials:,}"
    label = "EXTRAPOLATED" if calibration.basis is Basis.EXTRAPOLATED else calibration.basis.value
    if calibration.metric is Metric.FAR:
        return f"calibrated for FAR {calibration.target:g}: {label}, {errors} comparisons"
    return (
        f"calibrated for FPIR {calibration.target:g} in a gallery of up to {calibration.valid_up_to:,} people: "
        f"{label}, {errors} searches"
    )


def outgrown(calibration: Calibration | None, subjects: int) -> str | None:
    """A warning where the gallery has more people than the calibration holds for."""
    if calibration is None or subjects <= calibration.valid_up_to:
        return None
    from facesearch.evaluation.calibration import Metric

    if calibration.metric is Metric.FAR:
        return None
    return (
        f"The threshold was calibrated for up to {calibration.valid_up_to:,} people and the gallery has {subjects:,}: "
        f"more strangers than {calibration.target:g} of them will match. Run: facesearch calibrate "
        f"--fpir {calibration.target:g}"
    )
