"""How much there is in a gallery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from facesearch.store.models import of_active_model
from facesearch.store.schema import FaceRow, PhotoRow, RejectionRow, SubjectRow, TemplateRow

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

TABLES: Final = {
    "subjects": SubjectRow,
    "photos": PhotoRow,
    "faces": FaceRow,
    "templates": TemplateRow,
    "rejected_photos": RejectionRow,
}


def counts(connection: Connection) -> dict[str, int]:
    """How many subjects, photos, faces, templates of the active model and refused photos there are."""
    count = sa.select(sa.func.count())
    return {
        name: connection.scalar(count.select_from(row).where(of_active_model() if row is TemplateRow else sa.true()))
        or 0
        for name, row in TABLES.items()
    }
