"""Models in the database, and the calibrations and evaluations bound to them.

A model made the gallery's templates. One is active: its templates are searched.
"""

from __future__ import annotations

import secrets
import shlex
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from facesearch.errors import GalleryConflictError, GalleryError, ModelMismatchError
from facesearch.names import told_apart
from facesearch.store import audit
from facesearch.store.database import TOKEN_BYTES, Database
from facesearch.store.rows import fetch, insert, now, update
from facesearch.store.schema import CalibrationRow, EvaluationRow, FaceRow, ModelRow, RevisionRow, TemplateRow
from facesearch.types import MAX_SCORE_SHIFT, ModelInfo, Precision, mixing_shift

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model as the gallery knows it."""

    row: int
    """What `templates.model_id` refers to."""
    info: ModelInfo
    active: bool


def active_model(connection: Connection, *, hold: bool = False) -> tuple[int, ModelInfo] | None:
    """Return the row id and the model whose templates are searched; None while no face is enrolled.

    `hold` keeps it the active one until the transaction ends: for who writes templates of it. Raises
    `CorruptGalleryError` where it is damaged.
    """
    some_face = sa.exists(sa.select(FaceRow.id))
    found = _models(connection, ModelRow.active == 1, some_face, hold=hold)
    return (found[0].row, found[0].info) if found else None


def last_model(connection: Connection) -> ModelInfo | None:
    """Return the active model, or the one that was active when the last face went; None before the first face."""
    found = _models(connection, ModelRow.active == 1)
    return found[0].info if found else None


def all_models(connection: Connection) -> list[StoredModel]:
    """Every model of the gallery, oldest first; `CorruptGalleryError` where one is damaged."""
    return _models(connection)


def other_models(connection: Connection) -> dict[str, int]:
    """How many templates there are of each model that is not active, by its id."""
    counted = sa.func.count(TemplateRow.id)
    of_model = TemplateRow.model_id == ModelRow.id
    query = sa.select(ModelRow.model_id, counted).select_from(ModelRow).outerjoin(TemplateRow, of_model)
    found = connection.execute(query.where(ModelRow.active == 0).group_by(ModelRow.id).order_by(ModelRow.id))
    return {row[0]: row[1] for row in found}


def find_model(connection: Connection, model_id: str) -> StoredModel | None:
    """The model of that id."""
    found = _models(connection, ModelRow.model_id == model_id)
    return found[0] if found else None


def _models(connection: Connection, *conditions: sa.ColumnElement[bool], hold: bool = False) -> list[StoredModel]:
    return [
        StoredModel(
            row.id,
            ModelInfo(
                model_id=row.model_id,
                pack=row.pack,
                dimension=row.dimension,
                detector_sha256=row.detector_sha256,
                recognizer_sha256=row.recognizer_sha256,
                settings=row.settings,
                threshold=row.threshold,
                threshold_basis=row.threshold_basis,
            ),
            bool(row.active),
        )
        for row in fetch(connection, ModelRow, *conditions, hold=hold)
    ]


def of_active_model() -> sa.ColumnElement[bool]:
    """Condition on `TemplateRow`: it is a template of the model that is searched."""
    return TemplateRow.model_id == sa.select(ModelRow.id).where(ModelRow.active == 1).scalar_subquery()


def require_active(connection: Connection, info: ModelInfo, lacking: str) -> int:
    """The row of the active model, which `info` has to be: `ModelMismatchError` where it is not.

    `GalleryError` where there is none; `lacking` says what an empty gallery cannot have.
    """
    active = active_model(connection)
    if active is None:
        raise GalleryError(f"The gallery is empty: {lacking}.", "Enroll people first.")
    require_model(active[1], info)
    return active[0]


def require_model(active: ModelInfo, other: ModelInfo) -> None:
    """Raise `ModelMismatchError` unless `other` makes templates comparable with the gallery's."""
    if active.model_id != other.model_id:
        _refuse_precision(active, other)
        raise ModelMismatchError(
            f"The gallery holds templates of {active.model_id} (pack {active.pack}), not of {other.model_id}.",
            f"Use --pack {active.pack}, or another --gallery for the other model.",
        )


def require_made_by(active_id: str, model_id: str | None) -> None:
    """Raise `ModelMismatchError` where vectors of `model_id` are to be searched among templates of another model.

    None is for vectors that are the gallery's own.
    """
    if model_id not in {None, active_id}:
        raise ModelMismatchError(
            f"The gallery's model is {active_id} by now, not {model_id}.", "Ask again with the gallery's model pack."
        )


def options_of(info: ModelInfo) -> str:
    """The options that make a command use this model, its arithmetic and its detection size."""
    det_size = info.settings.get("det_size", "auto")
    size = "" if det_size == "auto" else f" --det-size {det_size}"
    return f"--pack {shlex.quote(info.pack)} --precision {_arithmetic_of(info)}{size}"


def _arithmetic_of(info: ModelInfo) -> str:
    """As the options that ask for it."""
    provider = info.settings.get("provider")
    precision = info.settings.get("precision", Precision.FP32)
    return f"{precision} --provider {provider}" if provider else str(precision)


def _refuse_precision(active: ModelInfo, other: ModelInfo) -> None:
    """Raise `ModelMismatchError` where both are one recogniser in two precisions."""
    ours, theirs = (_arithmetic_of(info) for info in (active, other))
    ids = [info.settings.get("fp32_model_id", info.model_id) for info in (active, other)]
    if ids[0] != ids[1]:
        return
    shift = mixing_shift(active, other)
    how = (
        "by up to {}, and less than {} is allowed".format(*told_apart(shift, MAX_SCORE_SHIFT, 3))
        if isfinite(shift)
        else "nobody knows how"
    )
    raise ModelMismatchError(
        f"The gallery's templates were computed with --precision {ours}, and these are with --precision {theirs}: "
        f"their scores differ, {how}.",
        f"Use --precision {ours}; measure the difference with `facesearch models quantize PACK PHOTOS`; or change the "
        f"gallery with `facesearch reembed --precision {theirs}`.",
    )


def bind_model(connection: Connection, info: ModelInfo) -> int:
    """Make `info` the active model of a gallery without a face; as `bind_row`. Returns its row id."""
    _hold_unbound(connection)  # before the row: whoever waits for another's row may hold up that one's lock
    known = find_model(connection, info.model_id)
    row = known.row if known else insert_model(connection, info)
    make_active(connection, row)
    return row


def bind_row(connection: Connection, row: int) -> None:
    """Make a model the active one of a gallery without a face, in the transaction that adds its first face.

    Calibrations and evaluations of the model before it stay with that model. Raises `GalleryConflictError` where
    another process enrolled a face meanwhile.
    """
    _hold_unbound(connection)
    make_active(connection, row)


def _hold_unbound(connection: Connection) -> None:
    """Let nobody else choose a model until the transaction ends. Raises as `bind_row`."""
    database = Database.of(connection)
    database.hold_models(connection)
    with database.read() as now_committed:  # a transaction that began before it had the lock may not see all faces
        if active_model(now_committed) is not None:
            raise GalleryConflictError("Another process enrolled the gallery's first face.", "Run the same again.")


def make_active(connection: Connection, row: int) -> None:
    """Have the templates of this model searched from the commit on, and no others."""
    others = sa.and_(ModelRow.active == 1, ModelRow.id != row)
    if connection.scalar(sa.select(ModelRow.id).where(others)) is not None:
        update(connection, ModelRow, others, {"active": 0})
        renew_token(connection)
    update(connection, ModelRow, ModelRow.id == row, {"active": 1})


def renew_token(connection: Connection) -> None:
    """Change the revision although no template changed: what an index has to hold did."""
    connection.execute(sa.insert(RevisionRow), [{"token": secrets.token_bytes(TOKEN_BYTES)}])


def insert_model(connection: Connection, info: ModelInfo) -> int:
    """Add a model that the gallery does not know yet, without making it the active one; returns its row id."""
    values = {
        "model_id": info.model_id,
        "pack": info.pack,
        "dimension": info.dimension,
        "detector_sha256": info.detector_sha256,
        "recognizer_sha256": info.recognizer_sha256,
        "settings": dict(info.settings),
        "threshold": info.threshold,
        "threshold_basis": info.threshold_basis,
        "active": 0,
        "created_at": now(),
    }
    return insert(connection, ModelRow, values)


def put_calibration(connection: Connection, document: Mapping[str, Any], info: ModelInfo) -> None:
    """Keep a calibration of the active model; as `Gallery.store_calibration`."""
    row = require_active(connection, info, "there is nothing to calibrate")
    insert(connection, CalibrationRow, {"model_id": row, "document": dict(document), "created_at": now()})
    audit.record(connection, "calibrate", {"threshold": str(document.get("threshold"))})


def calibration(connection: Connection) -> dict[str, Any] | None:
    """The newest calibration of the active model, or None; `CorruptGalleryError` where it is damaged."""
    active = active_model(connection)
    if active is None:
        return None
    of_model = CalibrationRow.model_id == active[0]
    found = fetch(connection, CalibrationRow, of_model, order=CalibrationRow.id.desc(), limit=1)
    return found[0].document if found else None


def forget_calibrations(connection: Connection) -> int:
    """Remove all calibrations of the active model; returns how many there were."""
    active = active_model(connection)
    removed = 0
    if active is not None:
        removed = connection.execute(sa.delete(CalibrationRow).where(CalibrationRow.model_id == active[0])).rowcount
    audit.record(connection, "calibrate.forget", {"calibrations": removed})
    return removed


def put_evaluation(connection: Connection, kind: str, document: Mapping[str, Any], info: ModelInfo) -> None:
    """Keep the newest evaluation of a kind; the one before it goes. As `Gallery.store_evaluation`."""
    row = require_active(connection, info, "it has no model yet")
    of_kind = (EvaluationRow.model_id == row, EvaluationRow.kind == kind)
    connection.execute(sa.delete(EvaluationRow).where(*of_kind))
    values = {"model_id": row, "kind": kind, "document": dict(document), "created_at": now()}
    insert(connection, EvaluationRow, values)
    audit.record(connection, "evaluate", {"kind": kind})


def evaluations(connection: Connection) -> dict[str, dict[str, Any]]:
    """The documents of the active model by kind; `CorruptGalleryError` where one is damaged."""
    active = active_model(connection)
    if active is None:
        return {}
    return {row.kind: row.document for row in fetch(connection, EvaluationRow, EvaluationRow.model_id == active[0])}
