"""The index that a process searches, shared by its threads and kept equal to the database.

Three rules keep that sound, and all of them can be checked in this file:

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
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from facesearch.errors import GalleryError
from facesearch.files import remove_index_cache
from facesearch.index.cache_file import CacheFile, FilesReplacedError
from facesearch.index.vector_file import ChangedRowError
from facesearch.search.backlog import has_vector_database
from facesearch.search.matching import search_subjects
from facesearch.search.tracked_index import TrackedIndex
from facesearch.store import models
from facesearch.store.revisions import read_revision
from facesearch.store.templates import Described, describe_templates, templates_where
from facesearch.types import IndexKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from facesearch.store.changes import Effect
    from facesearch.store.database import Database
    from facesearch.store.revisions import Revision
    from facesearch.types import Candidate, Vectors

log = logging.getLogger("facesearch.store")

UNSAVED: Final = 1 << 23
"""Bytes of vectors in memory from which on they are moved to the mapped file: 4096 vectors of 512 dimensions. Moving
them takes 0.3 s at a million templates."""
MOST_KNOWN: Final = 1 << 15
"""Templates whose descriptions are remembered: about 10 MB."""

Known: TypeAlias = dict[int, Described]
"""Descriptions by template id, proven when they were read."""


class UnknownTemplateError(Exception):
    """A template is not remembered: the database has to be asked."""


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


class IndexMirror:
    """Searched by several threads, brought up to date before each search, saved in the folder's cache."""

    def __init__(self, database: Database, folder: Path, kind: IndexKind) -> None:
        self.lock = threading.RLock()
        """Held by a thread that changes the index, or a database that it is to follow. Threads queue for it."""
        self.file = CacheFile(folder)
        self._database = database
        self._folder = folder
        self._kind = kind
        self._live: TrackedIndex | None = None
        self._save_at = UNSAVED
        """Bytes that wait in memory at which they are written next."""
        self._known_at: int | None = None
        self._known: Known = {}
        """What searches read while the database was of the version `_known_at`. It spares them a transaction."""
        self._readers = Readers()

    # -- searching

    def open(self) -> None:
        """Load or build the index now, not with the first search. Raises `CorruptGalleryError` as a search does."""
        with self.lock, self._database.read() as connection:
            if not has_vector_database(connection):
                self._refreshed(connection)

    def search(
        self, vectors: Vectors, k: int, where: Mapping[str, str] | None, model_id: str | None
    ) -> list[tuple[Candidate, ...]] | None:
        """Search as `Gallery.search`; None where a vector database is to be searched."""
        for attempt in range(2):
            try:
                return self._search(vectors, k, where, model_id)
            except ChangedRowError as error:
                # Another process removes somebody, and its transaction is not over, or the files are damaged.
                log.warning("%s They are read anew.", error.message)
                with self.lock:
                    self._live = None
                    if attempt:
                        remove_index_cache(self._folder)
        return self._search(vectors, k, where, model_id)

    def _search(
        self, vectors: Vectors, k: int, where: Mapping[str, str] | None, model_id: str | None
    ) -> list[tuple[Candidate, ...]] | None:
        if not where:
            with suppress(UnknownTemplateError):
                found = self._search_unchanged(vectors, k, model_id)
                if found is not None:
                    return found
        return self._search_refreshed(vectors, k, where, model_id)

    def _search_unchanged(self, vectors: Vectors, k: int, model_id: str | None) -> list[tuple[Candidate, ...]] | None:
        """Search without a transaction; None where the database has changed. Raises `UnknownTemplateError`."""
        with ExitStack() as reading:
            with self.lock:
                live, version = self._live, self._database.version()
                if live is None or version is None or version != self._known_at:
                    return None
                models.require_made_by(live.model_id, model_id)
                known = self._known
                reading.enter_context(self._readers.enter())
            return search_subjects(live.index, vectors, k, None, partial(_recall, known))

    def _search_refreshed(
        self, vectors: Vectors, k: int, where: Mapping[str, str] | None, model_id: str | None
    ) -> list[tuple[Candidate, ...]] | None:
        with ExitStack() as reading:
            with self.lock:
                version = self._database.version()
                connection = reading.enter_context(self._database.read())
                if has_vector_database(connection):
                    self._live = None
                    return None
                live = self._refreshed(connection)
                if live is None:
                    return [() for _ in vectors]
                models.require_made_by(live.model_id, model_id)
                known = self._known_of(version)
                reading.enter_context(self._readers.enter())
            allowed = templates_where(connection, where) if where else None
            return search_subjects(live.index, vectors, k, allowed, partial(_read, known, connection))

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
            live = TrackedIndex(info.model_id, row, info.dimension, self._kind)
            live.load(self.file)
        if live.token is None or live.token != read_revision(connection).token:
            self._readers.wait_for_none()
        self._live = None  # an interrupted refresh leaves an index that equals nothing
        live.refresh(connection)
        self._live = live
        return live

    # -- following the database

    def forget(self) -> None:
        """Start from the files with the next search."""
        with self.lock:
            self._live = None

    def forget_people(self) -> None:
        """Keep nothing of what searches read: no removed person stays in memory."""
        with self.lock:
            self._known_of(None)

    def take_over(self, effect: Effect, before: Revision, after: Revision) -> None:
        """Follow a transaction that has been committed, as `TrackedIndex.follow`."""
        with self.lock:
            self.forget_people()
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
                remove_index_cache(self._folder)

    # -- the files

    def save(self) -> None:
        """Write the files if this process holds a newer index.

        Files that cannot be written cost the next process some seconds, so it is a warning. A read-only gallery stays
        without.
        """
        with self.lock:
            if self._live is None or self._database.is_encrypted or not os.access(self._folder, os.W_OK):
                return
            try:
                self._save()
            except (OSError, GalleryError) as error:
                log.warning("The index cache was not written: %s", error)

    def rebuild(self) -> int:
        """Build the index from the database alone and write its files; return the number of templates."""
        with self.lock:
            self._live = None
            try:
                remove_index_cache(self._folder)
                live = self._save()
            except OSError as error:
                raise GalleryError(
                    f"The index cache in {self._folder} cannot be written: {error.strerror}.",
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

    def describe(self) -> str:
        """Describe the kind of index and the state of its files."""
        if self._database.is_encrypted:
            return "flat (exact), built on opening: an encrypted gallery has no cache"
        head, size = self.file.head(), self.file.size()
        cached = f"{head.kind if head else IndexKind.FLAT}, {size / 1e6:.1f} MB cache" if size else "no cache yet"
        return cached if self._kind == IndexKind.AUTO else f"{cached}; {self._kind} here"


def _recall(known: Known, ids: Sequence[int]) -> Known:
    """Describe templates from memory alone; raises `UnknownTemplateError`."""
    try:
        return {each: known[each] for each in ids}
    except KeyError as error:
        raise UnknownTemplateError from error


def _read(known: Known, connection: Connection, ids: Sequence[int]) -> Known:
    """Describe templates, and remember the answer."""
    found = describe_templates(connection, ids)
    if len(known) + len(found) > MOST_KNOWN:
        known.clear()
    known.update(found)
    return found
