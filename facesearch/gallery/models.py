"""Models in the database: which made the gallery's templates, and which one of them is searched."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from facesearch.errors import GalleryError, ModelMismatchError
from facesearch.gallery.rows import insert, now, require_whole, stored_columns
from facesearch.gallery.schema import ModelRow, TemplateRow
from facesearch.types import MAX_SCORE_SHIFT, ModelInfo, Precision, mixing_shift

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Row


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model as the gallery knows it."""

    row: int
    """What `templates.model_id` refers to."""
    info: ModelInfo
    active: bool


def active_model(connection: Connection, *, hold: bool = False) -> tuple[int, ModelInfo] | None:
    """The model whose templates are searched, with its row id; `CorruptGalleryError` where it is damaged.

    `hold` keeps it the active one until the transaction ends: for who writes templates of it.
    """
    found = _models(connection, ModelRow.active == 1, hold=hold)
    return (found[0].row, found[0].info) if found else None


def all_models(connection: Connection) -> list[StoredModel]:
    """Every model of the gallery, oldest first; `CorruptGalleryError` where one is damaged."""
    return _models(connection, sa.true())


def find_model(connection: Connection, model_id: str) -> StoredModel | None:
    """The model of that id."""
    found = _models(connection, ModelRow.model_id == model_id)
    return found[0] if found else None


def _models(connection: Connection, condition: sa.ColumnElement[bool], *, hold: bool = False) -> list[StoredModel]:
    query = sa.select(*stored_columns(ModelRow), ModelRow.settings.label("parsed")).where(condition)
    query = query.order_by(ModelRow.id)
    return [_stored(row) for row in connection.execute(query.with_for_update(read=True) if hold else query)]


def hold_models(connection: Connection) -> None:
    """Wait for everybody who holds the active model, and let nobody do so until the transaction ends.

    It has to be the transaction's first statement, which then sees what it waited for. SQLite has one writer anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE models IN EXCLUSIVE MODE")


def _stored(row: Row[*tuple[Any, ...]]) -> StoredModel:
    require_whole(ModelRow, row[:-1])
    info = ModelInfo(
        model_id=row.model_id,
        pack=row.pack,
        dimension=row.dimension,
        detector_sha256=row.detector_sha256,
        recognizer_sha256=row.recognizer_sha256,
        settings=row.parsed,
        threshold=row.threshold,
        threshold_basis=row.threshold_basis,
    )
    return StoredModel(row.id, info, bool(row.active))


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
        f"by up to {shift:.3f}, and less than {MAX_SCORE_SHIFT:g} is allowed" if isfinite(shift) else "nobody knows how"
    )
    raise ModelMismatchError(
        f"The gallery's templates were computed with --precision {ours}, and these are with --precision {theirs}: "
        f"their scores differ, {how}.",
        f"Use --precision {ours}; measure the difference with `facesearch models quantize`; or change the gallery with "
        f"`facesearch reembed --precision {theirs}`.",
    )


def adopt_model(connection: Connection, info: ModelInfo) -> int:
    """The row id of `info`, which becomes the active model of a gallery that has none yet."""
    active = active_model(connection)
    if active is not None:
        require_model(active[1], info)
        return active[0]
    return insert_model(connection, info, active=True)


def insert_model(connection: Connection, info: ModelInfo, *, active: bool) -> int:
    """Add a model that the gallery does not know yet; returns its row id."""
    values = {
        "model_id": info.model_id,
        "pack": info.pack,
        "dimension": info.dimension,
        "detector_sha256": info.detector_sha256,
        "recognizer_sha256": info.recognizer_sha256,
        "settings": dict(info.settings),
        "threshold": info.threshold,
        "threshold_basis": info.threshold_basis,
        "active": int(active),
        "created_at": now(),
    }
    return insert(connection, ModelRow, values)
