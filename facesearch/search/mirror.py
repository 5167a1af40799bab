"""The gallery's own index, as the threads of one process share it.

Three rules keep that sound, and this file is all there is to check them in:

- Who looks at what is to be searched, or changes it, holds `lock`; a search lets go of it before it reads vectors, so
  that searches go on side by side. It enters `_readers` while it still holds the lock.
- Who changes the live index, or its file, waits with the lock held until no reader is left.
- While the live index changes, `_live` is None: what is interrupted leaves an index that nobody searches.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.errors import GalleryError
from facesearch.files import INDEX_CACHE_NAME, INDEX_VECTORS_NAME, remove_index_cache
from facesearch.index.base import ChangedRowError
from facesearch.index.rowfiles import is_row_cache
from facesearch.search import recall
from facesearch.search.backlog import has_vector_database
from facesearch.search.live_index import LiveIndex
from facesearch.search.readers import Readers
from facesearch.search.recall import Recall, UnknownTemplateError
from facesearch.search.searching import search_subjects
from facesearch.store import models
from facesearch.store.revisions import read_revision
from facesearch.store.templates import templates_where
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
"""Bytes of vectors that are in memory alone before they are written to where they are mapped from: 4096 of 512-d. At a
million templates that takes 0.3 s."""


class IndexMirror:
    """Searched by several threads, brought up to date before each search, written to the folder's cache."""

    def __init__(self, database: Database, folder: Path, kind: IndexKind) -> None:
        self.lock = threading.RLock()
        """Of whoever changes the index, or a database that it is to follow. Threads queue for it."""
        self._database = database
        self._folder = folder
        self._kind = kind
        self._live: LiveIndex | None = None
        self._save_at = UNSAVED
        """Bytes in memory alone at which they are written next."""
        self._recall = Recall()
        self._readers = Readers()
        """Who searches `_live.index`."""

    # -- searching

    def open(self) -> None:
        """Load or build the index now, not with the first search. Raises `CorruptGalleryError` as a search does."""
        with self.lock, self._database.read() as connection:
            if not has_vector_database(connection):
                self._refreshed(connection)

    def search(
        self, vectors: Vectors, k: int, where: Mapping[str, str] | None, model_id: str | None
    ) -> list[tuple[Candidate, ...]] | None:
        """As `Gallery.search`; None where an engine is to be searched."""
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
        """Without a transaction; None where the database has changed, raises `UnknownTemplateError`."""
        with ExitStack() as reading:
            with self.lock:
                live, known = self._live, self._recall.memory(self._database.version())
                if live is None or known is None:
                    return None
                models.require_made_by(live.model_id, model_id)
                reading.enter_context(self._readers.enter())
            return search_subjects(live.index, vectors, k, None, partial(recall.describe, known))

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
                known = self._recall.start(version)
                reading.enter_context(self._readers.enter())
            allowed = templates_where(connection, where) if where else None
            return search_subjects(live.index, vectors, k, allowed, partial(recall.read, known, connection))

    def _refreshed(self, connection: Connection) -> LiveIndex | None:
        """The index, equal to what `connection` sees; None while no model is adopted."""
        active = models.active_model(connection)
        if active is None:
            return None
        row, info = active
        live = self._live
        if live is None or (live.model_id, live.model_row) != (info.model_id, row):
            live = LiveIndex(info.model_id, row, info.dimension, self._kind)
            live.load(self._folder)
        if live.token is None or live.token != read_revision(connection).token:
            self._readers.wait_for_none()
        self._live = None  # an interrupted refresh leaves an index that equals nothing
        live.refresh(connection)
        self._live = live
        return live

    # -- following the database

    def forget(self) -> None:
        """Start from what is on disk with the next search."""
        with self.lock:
            self._live = None

    def forget_people(self) -> None:
        """Keep nothing of what searches read: nobody who was removed stays in memory."""
        with self.lock:
            self._recall.start(None)

    def take_over(self, effect: Effect, before: Revision, after: Revision) -> None:
        """Follow a transaction that has been committed, as `LiveIndex.take_over`."""
        with self.lock:
            self.forget_people()
            live, self._live = self._live, None  # an interruption must not leave half of the effect
            if live is not None:
                self._readers.wait_for_none()
                live.take_over(effect, before, after)
                self._live = live
                self._save_when_large(live)

    def _save_when_large(self, live: LiveIndex) -> None:
        """Keep a long run's memory flat. What cannot be written is tried again when there is as much again."""
        if live.unsaved_bytes >= self._save_at:
            self.save()
            self._save_at = live.unsaved_bytes + UNSAVED

    def forget_on_disk(self, template_ids: Sequence[int], before: Revision, after: Revision) -> None:
        """Have no file hold these vectors: before the commit that removes them, since that acknowledges it."""
        with self.lock:
            self._readers.wait_for_none()
            self._forget_in_cache(template_ids, before.token, after.token)

    def _forget_in_cache(self, template_ids: Sequence[int], before: bytes, after: bytes) -> None:
        # Writers of a server's database run side by side.
        if not self._database.owns_folder or not is_row_cache(self._folder):
            remove_index_cache(self._folder)
            return
        from facesearch.index import row_index  # FAISS

        row_index.forget(self._folder, np.array(template_ids, np.int64), before, after)

    # -- the cache

    def save(self) -> None:
        """Write the cache if this process holds a newer one.

        A cache that cannot be written costs the next process some seconds, so it is a warning; a read-only gallery
        stays without.
        """
        with self.lock:
            if self._live is None or self._database.is_encrypted or not os.access(self._folder, os.W_OK):
                return
            try:
                self._save()
            except (OSError, GalleryError) as error:
                log.warning("The index cache was not written: %s", error)

    def rebuild(self) -> int:
        """Build the index from the database alone and write its cache; returns the number of templates."""
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

    def _save(self) -> LiveIndex | None:
        while True:
            with self._database.read() as connection:
                live = self._refreshed(connection)
            self._readers.wait_for_none()  # rows of the file that they have mapped may be blanked
            if live is None or self._database.is_encrypted or live.save(self._folder, self._held_at(live.token)):
                return live
            self._live = None

    @contextmanager
    def _held_at(self, token: bytes | None) -> Iterator[bool]:
        """Hold writers off; gives whether the database is of this revision."""
        with self._database.hold_writers_off() as connection:
            yield read_revision(connection).token == token

    def describe(self) -> str:
        """The kind of index and the state of its cache, in words."""
        if self._database.is_encrypted:
            return "flat (exact), built on opening: an encrypted gallery has no cache"
        files = [self._folder / name for name in (INDEX_CACHE_NAME, INDEX_VECTORS_NAME)]
        size = sum(file.stat().st_size for file in files if file.is_file())
        kind = "two-stage" if is_row_cache(self._folder) else "flat"
        cached = f"{kind}, {size / 1e6:.1f} MB cache" if size else "no cache yet"
        return cached if self._kind == IndexKind.AUTO else f"{cached}; {self._kind} here"
