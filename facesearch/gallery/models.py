"""Models in the database: which one made the gallery's templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from facesearch.errors import ModelMismatchError
from facesearch.gallery.rows import insert, now, require_whole, stored_columns
from facesearch.gallery.schema import ModelRow
from facesearch.types import ModelInfo

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def active_model(connection: Connection) -> tuple[int, ModelInfo] | None:
    """The model whose templates are searched, with its row id; `CorruptGalleryError` where it is damaged."""
    query = sa.select(*stored_columns(ModelRow), ModelRow.settings.label("parsed")).where(ModelRow.active == 1)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    require_whole(ModelRow, row[:-1])
    return row.id, ModelInfo(
        model_id=row.model_id,
        pack=row.pack,
        dimension=row.dimension,
        detector_sha256=row.detector_sha256,
        recognizer_sha256=row.recognizer_sha256,
        settings=row.parsed,
        threshold=row.threshold,
        threshold_basis=row.threshold_basis,
    )


def require_model(active: ModelInfo, other: ModelInfo) -> None:
    """Raise `ModelMismatchError` unless `other` makes templates comparable with the gallery's."""
    if active.model_id != other.model_id:
        raise ModelMismatchError(
            f"The gallery holds templates of {active.model_id} (pack {active.pack}), not of {other.model_id}.",
            f"Use --pack {active.pack}, or another --gallery for the other model.",
        )


def adopt_model(connection: Connection, info: ModelInfo) -> int:
    """The row id of `info`, which becomes the active model of a gallery that has none yet."""
    active = active_model(connection)
    if active is not None:
        require_model(active[1], info)
        return active[0]
    values = {
        "model_id": info.model_id,
        "pack": info.pack,
        "dimension": info.dimension,
        "detector_sha256": info.detector_sha256,
        "recognizer_sha256": info.recognizer_sha256,
        "settings": dict(info.settings),
        "threshold": info.threshold,
        "threshold_basis": info.threshold_basis,
        "active": 1,
        "created_at": now(),
    }
    return insert(connection, ModelRow, values)
