"""Calibrated thresholds in the database: documents, bound to the model that made the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from facesearch.gallery.rows import insert, now, require_whole, stored_columns
from facesearch.gallery.schema import CalibrationRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection


def store(connection: Connection, model_row: int, document: Mapping[str, Any]) -> None:
    """Keep a calibration; the newest of a model is the one in force."""
    insert(connection, CalibrationRow, {"model_id": model_row, "document": dict(document), "created_at": now()})


def newest(connection: Connection, model_row: int) -> dict[str, Any] | None:
    """The calibration in force, or None; `CorruptGalleryError` where it is damaged."""
    query = sa.select(CalibrationRow.document.label("parsed"), *stored_columns(CalibrationRow))
    query = query.where(CalibrationRow.model_id == model_row).order_by(CalibrationRow.id.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    require_whole(CalibrationRow, row[1:])
    return dict(row[0])


def forget(connection: Connection, model_row: int) -> int:
    """Remove all calibrations of a model; returns how many there were."""
    return connection.execute(sa.delete(CalibrationRow).where(CalibrationRow.model_id == model_row)).rowcount
