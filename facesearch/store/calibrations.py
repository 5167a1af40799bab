"""Calibrated thresholds in the database: documents, bound to the model that made the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from facesearch.store import audit, models
from facesearch.store.rows import insert, now, require_whole, stored_columns
from facesearch.store.schema import CalibrationRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection

    from facesearch.types import ModelInfo


def put_in_force(connection: Connection, document: Mapping[str, Any], info: ModelInfo) -> None:
    """Keep a calibration of the active model; as `Gallery.store_calibration`."""
    row = models.require_active(connection, info, "there is nothing to calibrate")
    insert(connection, CalibrationRow, {"model_id": row, "document": dict(document), "created_at": now()})
    audit.record(connection, "calibrate", {"threshold": str(document.get("threshold"))})


def in_force(connection: Connection) -> dict[str, Any] | None:
    """The newest calibration of the active model, or None; `CorruptGalleryError` where it is damaged."""
    active = models.active_model(connection)
    if active is None:
        return None
    query = sa.select(CalibrationRow.document.label("parsed"), *stored_columns(CalibrationRow))
    query = query.where(CalibrationRow.model_id == active[0]).order_by(CalibrationRow.id.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    require_whole(CalibrationRow, row[1:])
    return dict(row[0])


def forget(connection: Connection) -> int:
    """Remove all calibrations of the active model; returns how many there were."""
    active = models.active_model(connection)
    removed = 0
    if active is not None:
        removed = connection.execute(sa.delete(CalibrationRow).where(CalibrationRow.model_id == active[0])).rowcount
    audit.record(connection, "calibrate.forget", {"calibrations": removed})
    return removed
