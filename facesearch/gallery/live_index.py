"""The index a process searches, kept equal to the database.

The database is the truth. The index carries the database's revision token; before every search the two tokens are
compared, and where they differ the index catches up by comparing (id, checksum) of every template: what the database
lacks goes, what the index lacks comes. A template is never changed in place, so that is all there is to compare; the
checksum catches a restored backup that hands the same id to another face.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from facesearch.errors import CorruptGalleryError
from facesearch.gallery import templates
from facesearch.gallery.index.base import require_unit_vectors
from facesearch.gallery.index.flat import FlatIndex
from facesearch.gallery.index.snapshot import Snapshot, read_snapshot, write_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection

    from facesearch.gallery.index.base import VectorIndex
    from facesearch.types import Ids, Vectors

log = logging.getLogger("facesearch.gallery")


class LiveIndex:
    """A vector index with the checksums and the token that tie it to a database. Not thread-safe."""

    def __init__(self, model_id: str, model_row: int, dimension: int) -> None:
        self.model_id = model_id
        self.model_row = model_row
        self.index: VectorIndex = FlatIndex(dimension)
        self.token: bytes | None = None
        self.saved_token: bytes | None = None
        """The token of the snapshot on disk, as far as this process knows."""
        self._checksums: dict[int, int] = {}

    def load(self, folder: Path) -> None:
        """Start from the snapshot on disk, where there is a sound one of this model."""
        try:
            snapshot = read_snapshot(folder)
        except CorruptGalleryError as error:
            log.warning("%s: rebuilding it from the database", error.message)
            return
        if snapshot is None or snapshot.model_id != self.model_id:
            return
        if snapshot.vectors.shape[1] != self.index.dimension:
            return
        self.add(snapshot.ids, snapshot.checksums, snapshot.vectors)
        self.token = self.saved_token = snapshot.token

    def refresh(self, connection: Connection) -> None:
        """Make the index equal to the database as `connection` sees it."""
        token = templates.token(connection)
        if token == self.token:
            return
        ids, checksums = templates.template_keys(connection, self.model_row)
        wanted = dict(zip(ids.tolist(), checksums.tolist(), strict=True))
        stale = [key for key, value in self._checksums.items() if wanted.get(key) != value]
        self.forget(np.array(stale, np.int64))
        missing = np.array([key for key in wanted if key not in self._checksums], np.int64)
        whole = len(missing) == len(wanted)
        for block in templates.templates(connection, self.model_row, None if whole else missing):
            self.add(block.ids, block.checksums, block.vectors)
        self.token = token

    def save(self, folder: Path) -> None:
        """Write the snapshot, unless the one on disk is of the same revision."""
        if self.token is None or self.token == self.saved_token:
            return
        ids, vectors = self.index.contents()
        checksums = np.array([self._checksums[key] for key in ids.tolist()], np.uint32)
        write_snapshot(folder, Snapshot(self.token, self.model_id, ids, checksums, vectors))
        self.saved_token = self.token

    def forget(self, ids: Ids) -> None:
        """Remove templates."""
        self.index.remove(ids)
        for key in ids.tolist():
            self._checksums.pop(key, None)

    def add(self, ids: Ids, checksums: NDArray[np.uint32], vectors: Vectors) -> None:
        """Add templates with their checksums."""
        require_unit_vectors(vectors, self.index.dimension)
        self.index.add(ids, vectors)
        self._checksums.update(zip(ids.tolist(), checksums.tolist(), strict=True))
