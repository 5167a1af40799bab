"""Figures of evaluations in the database: documents, bound to the model that was evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from facesearch.store import audit, models
from facesearch.store.rows import insert, now, require_whole, stored_columns
from facesearch.store.schema import EvaluationRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection

    from facesearch.types import ModelInfo


def store(connection: Connection, kind: str, document: Mapping[str, Any], info: ModelInfo) -> None:
    """Keep the newest evaluation of a kind; the one before it goes. As `Gallery.store_evaluation`."""
    row = models.require_active(connection, info, "it has no model yet")
    of_kind = (EvaluationRow.model_id == row, EvaluationRow.kind == kind)
    connection.execute(sa.delete(EvaluationRow).where(*of_kind))
    values = {"model_id": row, "kind": kind, "document": dict(document), "created_at": now()}
    insert(connection, EvaluationRow, values)
    audit.record(connection, "evaluate", {"kind": kind})


def newest(connection: Connection) -> dict[str, dict[str, Any]]:
    """The documents of the active model by kind; `CorruptGalleryError` where one is damaged."""
    active = models.active_model(connection)
    if active is None:
        return {}
    query = sa.select(EvaluationRow.document.label("parsed"), *stored_columns(EvaluationRow))
    found: dict[str, dict[str, Any]] = {}
    for row in connection.execute(query.where(EvaluationRow.model_id == active[0]).order_by(EvaluationRow.id)):
        require_whole(EvaluationRow, row[1:])
        found[row.kind] = dict(row[0])
    return found
