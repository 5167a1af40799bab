"""Figures of evaluations in the database: documents, bound to the model that was evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from facesearch.gallery.rows import insert, now, require_whole, stored_columns
from facesearch.gallery.schema import EvaluationRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection


def store(connection: Connection, model_row: int, kind: str, document: Mapping[str, Any]) -> None:
    """Keep the newest evaluation of a kind; the one before it goes."""
    of_kind = (EvaluationRow.model_id == model_row, EvaluationRow.kind == kind)
    connection.execute(sa.delete(EvaluationRow).where(*of_kind))
    values = {"model_id": model_row, "kind": kind, "document": dict(document), "created_at": now()}
    insert(connection, EvaluationRow, values)


def newest(connection: Connection, model_row: int) -> dict[str, dict[str, Any]]:
    """The documents by kind; `CorruptGalleryError` where one is damaged."""
    query = sa.select(EvaluationRow.document.label("parsed"), *stored_columns(EvaluationRow))
    found: dict[str, dict[str, Any]] = {}
    for row in connection.execute(query.where(EvaluationRow.model_id == model_row).order_by(EvaluationRow.id)):
        require_whole(EvaluationRow, row[1:])
        found[row.kind] = dict(row[0])
    return found
