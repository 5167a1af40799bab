"""The index that a process searches, shared by its threads and kept equal to the database.

Three rules keep threads apart, and all of them can be checked in this file:

- A thread that looks up which index is to be searched, or changes it, holds `lock`. A search lets go of the lock before
  it reads vectors, so that searches run side by side. It enters `_readers` while it still holds the lock.
- A thread that changes the index, or its files, waits with the lock held until no reader is left.
- While the index changes, `_live` is None: an interrupted change leaves an index that nobody searches.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.arguments import require_unit_vectors
from facesearch.errors import GalleryError
from facesearch.files import remove_index_cache
from facesearch.index.base import make_index
from facesearch.index.cache_file import CacheFile, FilesReplacedError, Stamp
from facesearch.index.vector_file import ChangedRowError, inserted
from facesearch.search.matching import UnknownTemplateError, search_subjects
from facesearch.search.vector_databases import active_vector_database
from facesearch.store import models, templates
from facesearch.store.database import Revision, read_revision, touched_since
from facesearch.types import IndexKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection

    from facesearch.index.base import LocalIndex
    from facesearch.search.matching import Asked, Known
    from facesearch.store.changes import Effect
    from facesearch.store.database import Database
    from facesearch.types import Candidate, Ids, ModelInfo, Vectors

log = logging.getLogger("facesearch.store")

TWO_STAGE_FROM: Final = 50_000
"""Vectors from which on `auto` takes two stages."""
UNSAVED: Final = 1 << 23
"""Bytes of vectors in memory from which on they are moved to the mapped file: 4096 vectors of 512 dimensions. Moving
them takes 0.3 s at a million templates."""


class IndexMirror:
    """Searched by several threads, brought up to date before each search, saved in the folder's cache."""

    def __init__(self, database: Database, folder: Path, wanted: IndexKind) -> None:
        self.lock = threading.RLock()
        """Held by a thread that changes the index, or a database that it is to follow. Threads queue for it."""
        self.file = CacheFile(folder)
        self._database = database
        self.wanted = wanted
        self._live: TrackedIndex | None = None
        self._save_at = UNSAVED
        """Bytes that wait in memory at which they are written next."""
        self._known_at: int | None = None
        self._known: Known = {}
        """What searches read while the database was of the version `_known_at`. It spares them a transaction."""
        self._readers = Readers()

    def open(self) -> None:
        """Load or build the index now, not with the first search. Raises `CorruptGalleryError`."""
        with self.lock, self._database.read() as connection:
            if active_vector_database(connection) is None:
                self._refreshed(connection)

    def search(self, vectors: Vectors, asked: Asked) -> list[tuple[Candidate, ...]] | None:
        """Search as `Gallery.search`; None where a vector database is to be searched."""
        attempt = 0
        while True:
            try:
                with suppress(UnknownTemplateError):
                    found = None if asked.where else self._search_unchanged(vectors, asked)
                    if found is not None:
                        return found
                return self._search_refreshed(vectors, asked)
            except ChangedRowError as error:
                # Another process removes somebody, and its transaction is not over, or the files are damaged.
                attempt += 1
                if attempt == 3:
                    raise
                log.warning("%s They are read anew.", error.message)
                with self.lock:
                    self._live = None
                    if attempt == 2:
                        remove_index_cache(self.file.folder)

    def _search_unchanged(self, vectors: Vectors, asked: Asked) -> list[tuple[Candidate, ...]] | None:
        """Search without a transaction; None where the database has changed. Raises `UnknownTemplateError`."""
        with ExitStack() as reading:
            with self.lock:
                live, version = self._live, self._database.version()
                if live is None or version is None or version != self._known_at:
                    return None
                models.require_made_by(live.model_id, asked.model_id)
                known = self._known
                reading.enter_context(self._readers.enter())
            return search_subjects(live.index, vectors, asked, None, known, None)

    def _search_refreshed(self, vectors: Vectors, asked: Asked) -> list[tuple[Candidate, ...]] | None:
        with ExitStack() as reading:
            with self.lock:
                version = self._database.version()
                connection = reading.enter_context(self._database.read())
                if active_vector_database(connection) is not None:
                    self._live = None
                    return None
                live = self._refreshed(connection)
                if live is None:
                    return [() for _ in vectors]
                models.require_made_by(live.model_id, asked.model_id)
                known = self._known_of(version)
                reading.enter_context(self._readers.enter())
            allowed = templates.templates_where(connection, asked.where) if asked.where else None
            return search_subjects(live.index, vectors, asked, allowed, known, connection)

    def _known_of(self, version: int | None) -> Known:
        """Return where to remember what is read from now on, at this version or a later one; None remembers nothing."""
        if version is None or version != self._known_at:
            self._known = {}
        self._known_at = version
        return self._known if version is not None else {}

    def _refreshed(self, connection: Connection) -> TrackedIndex | None:
        """Return the index, equal to what `connection` sees; None while no model is adopted."""
        active = models.active_model(connection)
        if active is None:
            return None
        row, info = active
        live = self._live
        if live is None or (live.model_id, live.model_row) != (info.model_id, row):
            live = TrackedIndex(row, info, self.wanted)
            live.load(self.file)
        if live.token is None or live.token != read_revision(connection).token:
            self._readers.wait_for_none()
        self._live = None  # an interrupted refresh leaves an index that equals nothing
        live.refresh(connection)
        self._live = live
        return live

    # -- following the database

    def take_over(self, effect: Effect, before: Revision, after: Revision) -> None:
        """Follow a transaction that has been committed, as `TrackedIndex.follow`; no removed person stays in memory."""
        with self.lock:
            self._known_of(None)
            if not effect.is_known:
                return
            live, self._live = self._live, None  # an interruption must not leave half of the effect
            if live is not None:
                self._readers.wait_for_none()
                live.follow(effect, before, after)
                self._live = live
                self._save_when_large(live)

    def _save_when_large(self, live: TrackedIndex) -> None:
        """Keep a long run's memory flat. A failed write is tried again when there is as much again."""
        if live.index.unsaved_bytes >= self._save_at:
            self.save()
            self._save_at = live.index.unsaved_bytes + UNSAVED

    def erase_on_disk(self, template_ids: Sequence[int], before: Revision, after: Revision) -> None:
        """Leave these vectors in no file. Called before the commit that removes them, which acknowledges it."""
        with self.lock:
            self._readers.wait_for_none()
            if self._database.owns_folder:
                self.file.erase(np.array(template_ids, np.int64), before.token, after.token)
            else:  # on a server writers run side by side: the files may already be of another transaction's state
                remove_index_cache(self.file.folder)

    # -- the files

    def save(self) -> None:
        """Write the files if this process holds a newer index; where that fails, the next one takes some seconds."""
        with self.lock:
            try:
                if self._live is not None and os.access(self.file.folder, os.W_OK):
                    self._save()
            except (OSError, GalleryError) as error:
                log.warning("The index cache was not written: %s", error)

    def rebuild(self) -> int:
        """Build the index from the database alone and write its files; return the number of templates."""
        with self.lock:
            self._live = None
            try:
                remove_index_cache(self.file.folder)
                live = self._save()
            except OSError as error:
                raise GalleryError(
                    f"The index cache in {self.file.folder} cannot be written: {error.strerror}.",
                    "Check the folder's permissions and the free space.",
                ) from error
            return len(live.index) if live else 0

    def _save(self) -> TrackedIndex | None:
        while True:
            with self._database.read() as connection:
                live = self._refreshed(connection)
            self._readers.wait_for_none()  # rows of the file that they have mapped may be blanked
            if live is None or self._database.is_encrypted:
                return live
            try:
                live.save(self.file, self._held_at(live.token))
            except FilesReplacedError:
                self._live = None
            else:
                return live

    @contextmanager
    def _held_at(self, token: bytes | None) -> Iterator[bool]:
        """Hold writers off; give whether the database is of this revision."""
        with self._database.hold_writers_off() as connection:
            yield read_revision(connection).token == token


class Readers:
    """Counts the searches that run after having let go of a lock.

    `enter` and `wait_for_none` are called with the lock held: while a change waits, no search comes in. A reader must
    not take the lock before it has left.
    """

    def __init__(self) -> None:
        self._inside = 0
        self._left = threading.Condition()

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Keep changes out until the end, which may come without the lock."""
        with self._left:
            self._inside += 1
        try:
            yield
        finally:
            with self._left:
                self._inside -= 1
                self._left.notify_all()

    def wait_for_none(self) -> None:
        """Return when no reader is inside."""
        with self._left:
            self._left.wait_for(lambda: not self._inside)


class TrackedIndex:
    """An index with the checksums and the revision that tie it to a database. Not thread-safe.

    Where the database's revision is another, the templates that were touched in between are read anew, as far as the
    database still tells (`revisions`). Else id and checksum of every template are compared. A template is never changed
    in place. The checksum notices a restored backup that gave the same id to another face.
    """

    def __init__(self, model_row: int, model: ModelInfo, wanted: IndexKind) -> None:
        self.model_id = model.model_id
        self.model_row = model_row
        self._wanted = wanted
        self.index: LocalIndex = make_index(chosen_kind(wanted, 0), model.dimension)
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
                touched = self._compare(connection)
            else:
                self._remove(touched)
            for block in templates.templates(connection, self.model_row, self.index.dimension, touched):
                self._add(block.ids, block.checksums, block.vectors)
        self.revision = now

    def follow(self, effect: Effect, before: Revision, after: Revision) -> None:
        """Take over a transaction that began at `before` and ends at `after`.

        The index lacks what others committed meanwhile, as before. An index that could not be told apart, or that is of
        another model than others have made the active one meanwhile, stays as it is.
        """
        swept = before.changes - after.changes
        if self.revision is None or not swept <= self.revision.changes:
            return
        if effect.model_row not in {None, self.model_row}:
            return
        self._remove(np.array(effect.removed, np.int64))
        removed = set(effect.removed)
        added = [row for row in effect.added if row[0] not in removed]  # one commit may name a path twice
        if added:
            ids, checksums, vectors = zip(*added, strict=True)
            self._add(np.array(ids, np.int64), np.array(checksums, np.uint32), np.array(vectors, np.float32))
        self.revision = Revision(self.revision.changes - swept | (after.changes - before.changes))

    def _compare(self, connection: Connection) -> Ids | None:
        """Remove what the database does not have; return what the index lacks, None for everything."""
        ids, checksums = templates.template_keys(connection, self.model_row)
        self._remove(self._ids[~_holds(ids, checksums, self._ids, self._checksums)])
        self.index = _as_kind(self.index, chosen_kind(self._wanted, len(ids)))
        missing: Ids = ids[~_holds(self._ids, self._checksums, ids, checksums)]
        return None if len(missing) == len(ids) else missing

    def _remove(self, ids: Ids) -> None:
        places = np.searchsorted(self._ids, ids)
        places = places[np.searchsorted(self._ids, ids, "right") > places]  # of those that are held
        if len(places):
            self.index.remove(self._ids[places])
            self._ids, self._checksums = np.delete(self._ids, places), np.delete(self._checksums, places)

    def _add(self, ids: Ids, checksums: NDArray[np.uint32], vectors: Vectors) -> None:
        require_unit_vectors(vectors, self.index.dimension)
        places = np.searchsorted(self._ids, ids)
        order = np.argsort(ids)
        held = self._ids[np.minimum(places, len(self._ids) - 1)] == ids if len(self._ids) else np.zeros(len(ids), bool)
        if bool(np.any(held)) or not bool(np.all(np.diff(ids[order]) > 0)):
            raise GalleryError("An index cannot hold two templates of one id.", "Run: facesearch check")
        self.index.add(ids, vectors)
        self._ids = inserted(self._ids, places[order], ids[order])
        self._checksums = inserted(self._checksums, places[order], checksums[order])
        self.index = _as_kind(self.index, chosen_kind(self._wanted, len(self._ids), self.index.kind))


def chosen_kind(wanted: IndexKind, count: int, now: IndexKind = IndexKind.FLAT) -> IndexKind:
    """Return `wanted`, or what `auto` means for `count` vectors that an index of the kind `now` holds.

    An index in two stages stays one when it shrinks: to and fro would cost more than it gains.
    """
    if wanted != IndexKind.AUTO:
        return wanted
    return IndexKind.TWO_STAGE if count >= TWO_STAGE_FROM else now


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
    place = np.searchsorted(ids, some_ids)
    same: NDArray[np.bool] = np.append(ids, -1)[place] == some_ids
    same &= np.append(checksums, 0)[place] == some_checksums
    return same
