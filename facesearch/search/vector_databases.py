"""The vector database of a gallery: searching it, and telling it what changed."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from facesearch.errors import ConfigError, GalleryError, GalleryUnavailableError, VectorDatabaseError
from facesearch.search.backlog import (
    DatabaseVectors,
    VectorDatabaseKind,
    active_vector_database,
    count_pending,
    pending_ids,
    vector_databases,
)
from facesearch.search.delivery import Opener, create_indexes, deliver, deliver_within, delivery_lease
from facesearch.search.exact import BoundIndex, NewestTemplates
from facesearch.search.matching import search_subjects
from facesearch.store import models
from facesearch.store.templates import describe_templates, templates_where

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from facesearch.search.matching import Searchable
    from facesearch.store.database import Database
    from facesearch.store.location import MilvusServer
    from facesearch.types import Candidate, ModelInfo, Vectors

log = logging.getLogger("facesearch.store")

AFTER: Final = 256
"""Notes from which on a process that changes templates delivers them. Until then searches read them one by one."""
MANY_PENDING: Final = 1024
"""Notes from which on a process that only searches delivers them too."""
PATIENCE: Final = 30.0
"""Seconds to wait for another process that delivers."""
PAUSE: Final = 5.0
"""Seconds before a vector database that did not answer is tried again."""


class VectorDatabases:
    """The vector databases of one gallery, of which one is searched. Not thread-safe: the gallery takes turns."""

    def __init__(self, database: Database, folder: Path, milvus: MilvusServer | None) -> None:
        self.database = database
        self.folder = folder
        self.opener = Opener(milvus)
        self._wait_until = 0.0
        self._searched: int | None = None

    def search(
        self, vectors: Vectors, k: int, where: Mapping[str, str] | None, model_id: str | None
    ) -> list[tuple[Candidate, ...]] | None:
        """Search as `Gallery.search`; None where another index has taken its place meanwhile."""
        self.catch_up(at_least=MANY_PENDING)
        try:
            return self._search(vectors, k, where, model_id)
        except VectorDatabaseError:
            if not self._has_changed():
                raise
            return None

    def _search(
        self, vectors: Vectors, k: int, where: Mapping[str, str] | None, model_id: str | None
    ) -> list[tuple[Candidate, ...]] | None:
        with self.database.read() as connection:
            active = models.active_model(connection)
            if active is None:
                return [() for _ in vectors]
            models.require_made_by(active[1].model_id, model_id)
            index = self._bound(connection, active)
            return None if index is None else _found(connection, index, vectors, k, where)

    def _bound(self, connection: Connection, model: tuple[int, ModelInfo]) -> BoundIndex | None:
        """Return its index of a model, as `connection` sees it; None where the index in the process is searched."""
        target = active_vector_database(connection)
        if target is None:
            return None
        self._searched = target.row
        row, info = model
        index = self.opener.open(target, connection, row, info.dimension)
        truth = DatabaseVectors(connection, row, info.dimension)
        return BoundIndex(index, truth, pending_ids(connection, target, row))

    def _has_changed(self) -> bool:
        """Tell whether another index is to be searched than the one that was searched last."""
        with self.database.read() as connection:
            target = active_vector_database(connection)
        return (target.row if target else None) != self._searched

    def search_newest(
        self, vectors: Vectors, k: int, where: Mapping[str, str] | None, model_id: str | None
    ) -> tuple[list[tuple[Candidate, ...]], bool]:
        """Search the newest templates without a vector database; return whether these are all, too."""
        with self.database.read() as connection:
            active = models.active_model(connection)
            if active is None:
                return [() for _ in vectors], True
            models.require_made_by(active[1].model_id, model_id)
            index = NewestTemplates(DatabaseVectors(connection, active[0], active[1].dimension))
            return _found(connection, index, vectors, k, where), index.complete

    def follow(self, connection: Connection) -> None:
        """Deliver to vector databases in the database itself, before a commit."""
        for target in vector_databases(connection):
            if target.kind is VectorDatabaseKind.PGVECTOR and target.active:
                deliver_within(connection, self.opener, target)

    def catch_up(self, *, at_least: int = 1) -> None:
        """Deliver the backlog if it has `at_least` notes.

        A vector database that does not answer is left alone for a while, with a warning. Nothing is lost.
        """
        if time.monotonic() < self._wait_until:
            return
        try:
            with self.database.read() as connection:
                target = active_vector_database(connection)
                waiting = count_pending(connection, target) if target else 0
            if target is None or waiting < max(at_least, 1):
                return
            self.deliver()
        except GalleryUnavailableError:  # the change is committed all the same, and the next one comes here again
            return
        except (VectorDatabaseError, ConfigError) as error:
            self._wait_until = time.monotonic() + PAUSE
            log.warning("%s %d changes wait for it.", error.message, waiting)

    def deliver(self) -> bool:
        """Deliver the backlog unless another process is at it; return whether it was delivered."""
        with delivery_lease(self.database, self.folder) as held:
            if not held:
                return False
            with self.database.read() as connection:
                target = active_vector_database(connection)
            if target is None:
                return True
            if target.kind is VectorDatabaseKind.PGVECTOR:
                self.database.transact(lambda connection: deliver_within(connection, self.opener, target))
            else:
                deliver(self.database, self.opener, target)
            return True

    def prepare(self) -> None:
        """Make an index of every model and deliver the backlog, before another model is searched.

        Raises `VectorDatabaseError`, or `GalleryError` where another process is at it for long.
        """
        with self.database.read() as connection:
            target = active_vector_database(connection)
        if target is None:
            return
        create_indexes(self.database, self.opener, target)
        deadline = time.monotonic() + PATIENCE
        while not self.deliver():
            if time.monotonic() > deadline:
                raise GalleryError(
                    "Another process is telling the vector database what changed.", "Try again when it is done."
                )
            time.sleep(0.1)

    def is_told(self) -> bool:
        """Tell whether the backlog is empty."""
        with self.database.read() as connection:
            target = active_vector_database(connection)
            return target is None or not count_pending(connection, target)

    def remnants(self) -> list[str]:
        """Describe where vectors that were removed may still be."""
        with self.database.read() as connection:
            target = active_vector_database(connection)
        if target is None or target.kind is not VectorDatabaseKind.MILVUS:
            return []
        late = [] if self.is_told() else ["Milvus, which has not been told yet: it will be when it answers again"]
        return [*late, "Milvus's files, where removed vectors stay until it compacts them"]

    def describe(self) -> str | None:
        """Describe the vector database and its backlog; None where the index in the process is searched."""
        with self.database.read() as connection:
            target = active_vector_database(connection)
            if target is None:
                return None
            waiting = count_pending(connection, target)
        return f"{target.kind}, {waiting} changes wait to be sent" if waiting else str(target.kind)

    def close(self) -> None:
        """Deliver the backlog, and close the connection."""
        with suppress(GalleryError):  # a database that cannot be read: whoever closes it has heard of that
            self.catch_up()
        self.opener.close()


def _found(
    connection: Connection, index: Searchable, vectors: Vectors, k: int, where: Mapping[str, str] | None
) -> list[tuple[Candidate, ...]]:
    allowed = templates_where(connection, where) if where else None
    return search_subjects(index, vectors, k, allowed, partial(describe_templates, connection))
