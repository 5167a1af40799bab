"""The index a process searches, kept equal to the database.

The database is the truth. The index carries the revision that it equals; before every search that is compared with the
database's, and where they differ the index catches up: by reading anew what was touched in between, where the database
still tells (`revisions`), else by comparing (id, checksum) of every template: what the database lacks goes, what the
index lacks comes. A template is never changed in place, so that is all there is to compare; the checksum catches a
restored backup that hands the same id to another face.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from facesearch.arguments import require_unit_vectors
from facesearch.errors import GalleryError
from facesearch.index.policy import chosen_kind, make_index
from facesearch.index.rowfiles import is_row_cache
from facesearch.index.snapshot import Snapshot, read_snapshot, write_snapshot
from facesearch.store import templates
from facesearch.store.revisions import Revision, read_revision, touched_since
from facesearch.types import IndexKind

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection

    from facesearch.index.base import VectorIndex
    from facesearch.store.changes import Effect
    from facesearch.types import Ids, Vectors

log = logging.getLogger("facesearch.store")


class LiveIndex:
    """A vector index with the checksums and the token that tie it to a database. Not thread-safe."""

    def __init__(self, model_id: str, model_row: int, dimension: int, kind: IndexKind) -> None:
        self.model_id = model_id
        self.model_row = model_row
        self._wanted = kind
        self.kind = chosen_kind(kind, 0)
        """What `index` is."""
        self.index: VectorIndex = make_index(self.kind, dimension)
        self.revision: Revision | None = None
        """The state of the database that the index equals; None while it equals none."""
        self._saved_token: bytes | None = None
        # Sorted by id: 12 bytes a template, where a dict takes more than 100.
        self._ids: Ids = np.empty(0, np.int64)
        self._checksums: NDArray[np.uint32] = np.empty(0, np.uint32)

    def load(self, folder: Path) -> None:
        """Start from the cache on disk, where there is a sound one of this model."""
        try:
            token = self._load_rows(folder) if is_row_cache(folder) else self._load_snapshot(folder)
        except GalleryError as error:
            log.warning("%s It is built anew from the database.", error.message)
            self.kind = chosen_kind(self._wanted, 0)
            self.index = make_index(self.kind, self.index.dimension)
            self._ids, self._checksums = np.empty(0, np.int64), np.empty(0, np.uint32)
            return
        self.revision = Revision(frozenset([token])) if token else None
        self._saved_token = token

    @property
    def token(self) -> bytes | None:
        """Of the state of the database that the index equals; None while it equals none."""
        return self.revision.token if self.revision else None

    @property
    def unsaved_bytes(self) -> int:
        """Of vectors that are in memory because no file that is mapped has them yet; 0 for an index that maps none."""
        if self.kind != IndexKind.TWO_STAGE:
            return 0
        from facesearch.index.two_stage import TwoStageIndex  # FAISS

        assert isinstance(self.index, TwoStageIndex)
        return self.index.stored.recent.nbytes

    def _load_snapshot(self, folder: Path) -> bytes | None:
        snapshot = read_snapshot(folder)
        if snapshot is None or snapshot.model_id != self.model_id:
            return None
        self._prepare(len(snapshot.ids))
        self.add(snapshot.ids, snapshot.checksums, snapshot.vectors)
        return snapshot.token

    def _load_rows(self, folder: Path) -> bytes | None:
        from facesearch.index import row_index  # FAISS

        loaded = row_index.load(folder, self.model_id, self.index.dimension)
        if loaded is None:
            return None
        index, state = loaded
        self.index, self.kind, self._ids, self._checksums = index, IndexKind.TWO_STAGE, index.ids, state.checksums
        self._prepare(len(index))
        return state.token

    def refresh(self, connection: Connection) -> None:
        """Make the index equal to the database as `connection` sees it; `CorruptGalleryError` if a template is damaged.

        After an error the index equals no state of the database, and the next refresh starts from what it holds.
        """
        now, known = read_revision(connection), self.revision
        self.revision = None
        if known is None or now.token != known.token:
            touched = touched_since(connection, known, now) if known else None
            if touched is None:
                self._compare(connection)
            else:
                self._replace(connection, touched)
        self.revision = now

    def _replace(self, connection: Connection, ids: Ids) -> None:
        """Hold of these templates what the database holds of them."""
        held = np.searchsorted(self._ids, ids, "left") < np.searchsorted(self._ids, ids, "right")
        self.forget(ids[held])
        self._fetch(connection, ids)

    def _fetch(self, connection: Connection, ids: Ids | None) -> None:
        for block in templates.templates(connection, self.model_row, self.index.dimension, ids):
            self.add(block.ids, block.checksums, block.vectors)

    def _compare(self, connection: Connection) -> None:
        ids, checksums = templates.template_keys(connection, self.model_row)
        self.forget(self._ids[~_holds(ids, checksums, self._ids, self._checksums)])
        missing = ids[~_holds(self._ids, self._checksums, ids, checksums)]
        whole = len(missing) == len(ids)
        self._prepare(len(ids))
        self._fetch(connection, None if whole else missing)

    def _prepare(self, count: int) -> None:
        """Be of the kind that suits `count` templates."""
        self._become(chosen_kind(self._wanted, count))

    def _grow(self) -> None:
        """Be of the kind that suits what there is, if it is that for more: to and fro would cost more than it gains."""
        if chosen_kind(self._wanted, len(self._ids)) == IndexKind.TWO_STAGE:
            self._become(IndexKind.TWO_STAGE)

    def _become(self, kind: IndexKind) -> None:
        if kind != self.kind:
            index = make_index(kind, self.index.dimension)
            index.add(*self.index.contents())
            self.index, self.kind = index, kind

    def save(self, folder: Path, current: AbstractContextManager[bool]) -> bool:
        """Write the cache, unless the one on disk is of the same revision; `current` as in `write_snapshot`.

        False says that another process has replaced the cache that this index goes on from: load it, and save again.
        """
        if self.token is None or self.token == self._saved_token:
            return True
        saved: bool | None
        if self.kind == IndexKind.TWO_STAGE:
            from facesearch.index import row_index  # FAISS
            from facesearch.index.two_stage import TwoStageIndex

            assert isinstance(self.index, TwoStageIndex)
            state = row_index.State(self.token, self.model_id, self._checksums)
            saved = row_index.save(folder, self.index, state, current)
        else:
            ids, vectors = self.index.contents()
            checksums = self._checksums[np.searchsorted(self._ids, ids)]
            saved = write_snapshot(folder, Snapshot(self.token, self.model_id, ids, checksums, vectors), current)
        if saved:
            self._saved_token = self.token
        return saved is not None

    def take_over(self, effect: Effect, before: Revision, after: Revision) -> None:
        """Take over a transaction's effect, which began at `before` and ended at `after`.

        What others committed meanwhile, the index lacks as before. An index that could not be told apart, or that is of
        another model than others have made the active one meanwhile, stays as it is.
        """
        revision = self.revision and self.revision.with_change(before, after)
        if revision is None or effect.model_row not in {None, self.model_row}:
            return
        self.forget(np.array(effect.removed, np.int64))
        removed = set(effect.removed)
        added = [row for row in effect.added if row[0] not in removed]  # one commit may name a path twice
        if added:
            ids = np.array([row[0] for row in added], np.int64)
            checksums = np.array([row[1] for row in added], np.uint32)
            self.add(ids, checksums, np.array([row[2] for row in added], np.float32))
        self.revision = revision

    def forget(self, ids: Ids) -> None:
        """Remove templates; unknown ids are passed over."""
        if not len(ids):
            return
        self.index.remove(ids)
        places = np.searchsorted(self._ids, ids)
        places = places[places < len(self._ids)]
        places = places[np.isin(self._ids[places], ids)]
        self._ids, self._checksums = np.delete(self._ids, places), np.delete(self._checksums, places)

    def add(self, ids: Ids, checksums: NDArray[np.uint32], vectors: Vectors) -> None:
        """Add templates with their checksums. Raises `GalleryError` for vectors or ids that no index may hold."""
        if not len(ids):
            return
        require_unit_vectors(vectors, self.index.dimension)
        all_ids = np.concatenate([self._ids, ids])
        order = np.argsort(all_ids, kind="stable")  # a merge where both parts are sorted, as they nearly always are
        all_ids = all_ids[order]
        if not bool(np.all(np.diff(all_ids) > 0)):
            raise GalleryError("An index cannot hold two templates of one id.", "Run: facesearch check")
        self.index.add(ids, vectors)
        self._ids, self._checksums = all_ids, np.concatenate([self._checksums, checksums])[order]
        self._grow()


def _holds(
    ids: Ids, checksums: NDArray[np.uint32], some_ids: Ids, some_checksums: NDArray[np.uint32]
) -> NDArray[np.bool]:
    """Which of `some` (id, checksum) pairs are among `ids` (sorted) with `checksums`: (len(some_ids),) bool."""
    if not len(ids):
        return np.zeros(len(some_ids), np.bool)
    place = np.minimum(np.searchsorted(ids, some_ids), len(ids) - 1)
    same: NDArray[np.bool] = (ids[place] == some_ids) & (checksums[place] == some_checksums)
    return same
