"""An index that knows which state of the database it equals, and catches up.

The database is the truth. The index carries the revision that it equals. Where the database's is another, the templates
that were touched in between are read anew, as far as the database still tells (`revisions`). Else id and checksum of
every template are compared. A template is never changed in place, so that is all there is to compare. The checksum
notices a restored backup that gave the same id to another face.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from facesearch.arguments import require_unit_vectors
from facesearch.errors import GalleryError
from facesearch.index.base import chosen_kind, make_index
from facesearch.index.cache_file import Stamp
from facesearch.store import templates
from facesearch.store.revisions import Revision, read_revision, touched_since

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection

    from facesearch.index.base import LocalIndex
    from facesearch.index.cache_file import CacheFile
    from facesearch.store.changes import Effect
    from facesearch.types import Ids, IndexKind, Vectors

log = logging.getLogger("facesearch.store")


class TrackedIndex:
    """An index with the checksums and the revision that tie it to a database. Not thread-safe."""

    def __init__(self, model_id: str, model_row: int, dimension: int, wanted: IndexKind) -> None:
        self.model_id = model_id
        self.model_row = model_row
        self._wanted = wanted
        self.index: LocalIndex = make_index(chosen_kind(wanted, 0), dimension)
        self.revision: Revision | None = None
        """The state of the database that the index equals; None while it equals none."""
        self._saved: bytes | None = None
        """The revision of the files."""
        # Sorted by id: 12 bytes a template, where a dict takes more than 100.
        self._ids: Ids = np.empty(0, np.int64)
        self._checksums: NDArray[np.uint32] = np.empty(0, np.uint32)

    @property
    def token(self) -> bytes | None:
        """The token of the revision; None while the index equals no state."""
        return self.revision.token if self.revision else None

    def load(self, file: CacheFile) -> None:
        """Start from the files, where there are sound ones of this model."""
        try:
            opened = file.open()
            if opened is None or (opened[0].model_id, opened[0].dimension) != (self.model_id, self.index.dimension):
                return
            cache, rows = opened
            index = make_index(cache.kind, cache.dimension)
            index.load(cache, rows)
            index = _as_kind(index, chosen_kind(self._wanted, len(index)))
        except GalleryError as error:
            log.warning("%s It is built anew from the database.", error.message)
            return
        self.index, self._ids, self._checksums = index, cache.ids[cache.rows], cache.checksums[cache.rows]
        self.revision = Revision(frozenset([cache.revision])) if cache.revision else None
        self._saved = cache.revision or None

    def save(self, file: CacheFile, current: AbstractContextManager[bool]) -> None:
        """Write the files unless they are of the same revision; `current` and errors are as in `LocalIndex.save`."""
        if self.token is None or self.token == self._saved:
            return
        if self.index.save(file, Stamp(self.token, self.model_id, self._checksums), current):
            self._saved = self.token

    def refresh(self, connection: Connection) -> None:
        """Make the index equal to what `connection` sees; `CorruptGalleryError` if a template is damaged.

        After an error the index equals no state of the database, and the next refresh starts from what it holds.
        """
        now, known = read_revision(connection), self.revision
        self.revision = None
        if known is None or now.token != known.token:
            touched = touched_since(connection, known, now) if known else None
            if touched is None:
                self._compare(connection)
            else:
                held = np.searchsorted(self._ids, touched, "left") < np.searchsorted(self._ids, touched, "right")
                self._remove(touched[held])
                self._fetch(connection, touched)
        self.revision = now

    def follow(self, effect: Effect, before: Revision, after: Revision) -> None:
        """Take over a transaction that began at `before` and ends at `after`.

        The index lacks what others committed meanwhile, as before. An index that could not be told apart, or that is of
        another model than others have made the active one meanwhile, stays as it is.
        """
        revision = self.revision and self.revision.with_change(before, after)
        if revision is None or effect.model_row not in {None, self.model_row}:
            return
        self._remove(np.array(effect.removed, np.int64))
        removed = set(effect.removed)
        added = [row for row in effect.added if row[0] not in removed]  # one commit may name a path twice
        if added:
            ids, checksums, vectors = zip(*added, strict=True)
            self._add(np.array(ids, np.int64), np.array(checksums, np.uint32), np.array(vectors, np.float32))
        self.revision = revision

    def _compare(self, connection: Connection) -> None:
        ids, checksums = templates.template_keys(connection, self.model_row)
        self._remove(self._ids[~_holds(ids, checksums, self._ids, self._checksums)])
        missing = ids[~_holds(self._ids, self._checksums, ids, checksums)]
        self.index = _as_kind(self.index, chosen_kind(self._wanted, len(ids)))
        self._fetch(connection, None if len(missing) == len(ids) else missing)

    def _fetch(self, connection: Connection, ids: Ids | None) -> None:
        for block in templates.templates(connection, self.model_row, self.index.dimension, ids):
            self._add(block.ids, block.checksums, block.vectors)

    def _remove(self, ids: Ids) -> None:
        if not len(ids):
            return
        self.index.remove(ids)
        places = np.searchsorted(self._ids, ids)
        places = places[places < len(self._ids)]
        places = places[np.isin(self._ids[places], ids)]
        self._ids, self._checksums = np.delete(self._ids, places), np.delete(self._checksums, places)

    def _add(self, ids: Ids, checksums: NDArray[np.uint32], vectors: Vectors) -> None:
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
        self.index = _as_kind(self.index, chosen_kind(self._wanted, len(self._ids), self.index.kind))


def _as_kind(index: LocalIndex, kind: IndexKind) -> LocalIndex:
    """Return an index of this kind that holds the same."""
    if index.kind == kind:
        return index
    made = make_index(kind, index.dimension)
    made.add(*index.contents())
    return made


def _holds(
    ids: Ids, checksums: NDArray[np.uint32], some_ids: Ids, some_checksums: NDArray[np.uint32]
) -> NDArray[np.bool]:
    """Tell which of `some` (id, checksum) pairs are among `ids` (sorted) with `checksums`: (len(some_ids),) bool."""
    if not len(ids):
        return np.zeros(len(some_ids), np.bool)
    place = np.minimum(np.searchsorted(ids, some_ids), len(ids) - 1)
    same: NDArray[np.bool] = (ids[place] == some_ids) & (checksums[place] == some_checksums)
    return same
