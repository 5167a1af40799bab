"""Small pictures of uploaded faces, which have no file to cut them from. Kept only where a server is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from facesearch.store.rows import insert, require_whole, stored_columns
from facesearch.store.schema import CropRow, PhotoRow

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from facesearch.store.database import Database


class CropStore:
    """The crops of one gallery; they go with their photos."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, photo_id: int, jpeg: bytes) -> None:
        """Keep a photo's crop, once; nothing happens where the photo was removed meanwhile."""

        def keep(connection: Connection) -> None:
            present = connection.scalar(sa.select(PhotoRow.id).where(PhotoRow.id == photo_id))
            kept = connection.scalar(sa.select(CropRow.id).where(CropRow.photo_id == photo_id))
            if present is not None and kept is None:
                insert(connection, CropRow, {"photo_id": photo_id, "jpeg": jpeg})

        self._database.transact(keep)

    def find(self, photo_id: int) -> bytes | None:
        """A photo's crop. Raises `CorruptGalleryError` where it is damaged."""
        with self._database.read() as connection:
            query = sa.select(*stored_columns(CropRow)).where(CropRow.photo_id == photo_id)
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        require_whole(CropRow, row)
        return bytes(row.jpeg)
