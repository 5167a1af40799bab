"""The engine of one gallery: searched, told of changes, changed for another."""

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
from facesearch.search.delivery import create_indexes, deliver, deliver_within
from facesearch.search.exact import BoundIndex, LocalIndex
from facesearch.search.lease import delivery_lease
from facesearch.search.opening import Opener
from facesearch.search.searching import search_subjects
from facesearch.store import models
from facesearch.store.templates import describe_templates, templates_where

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from facesearch.search.searching import Searchable
    from facesearch.store.database import Database
    from facesearch.store.location import MilvusServer
    from facesearch.types import Candidate, ModelInfo, Vectors

log = logging.getLogger("facesearch.store")

AFTER: Final = 256
"""Notes after which a process that changes templates tells the engine. Until then searches look at them one by one."""
MANY_PENDING: Final = 1024
"""Notes after which a process that only searches tells it too."""
PATIENCE: Final = 30.0
"""Seconds to wait for another process that tells the engine."""
PAUSE: Final = 5.0
"""Seconds before an engine that did not answer is told again."""


class VectorDatabases:
    """Not thread-safe: the gallery takes turns."""

    def __init__(self, database: Database, folder: Path, milvus: MilvusServer | None) -> None:
        self.database = database
        self.folder = folder
        self.opener = Opener(milvus)
        self._wait_until = 0.0
        self._searched: int | None = None

    def search(
        self, vectors: Vectors, k: int, where: Mapping[str, str] | None, model_id: str | None
    ) -> list[tuple[Candidate, ...]] | None:
        """As `Gallery.search`, in the engine; None where another has taken its place meanwhile."""
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
        """The engine's index of a model, as `connection` sees it; None where the gallery's own index is searched."""
        engine = active_vector_database(connection)
        if engine is None:
            return None
        self._searched = engine.row
        row, info = model
        index = self.opener.open(engine, connection, row, info.dimension)
        truth = DatabaseVectors(connection, row, info.dimension)
        return BoundIndex(index, truth, pending_ids(connection, engine, row))

    def _has_changed(self) -> bool:
        """Whether another engine is to be searched than the one that was searched last."""
        with self.database.read() as connection:
            engine = active_vector_database(connection)
        return (engine.row if engine else None) != self._searched

    def search_newest(
        self, vectors: Vectors, k: int, where: Mapping[str, str] | None, model_id: str | None
    ) -> tuple[list[tuple[Candidate, ...]], bool]:
        """What can be searched without an engine: the newest templates; and whether that is all of them."""
        with self.database.read() as connection:
            active = models.active_model(connection)
            if active is None:
                return [() for _ in vectors], True
            models.require_made_by(active[1].model_id, model_id)
            index = LocalIndex(DatabaseVectors(connection, active[0], active[1].dimension))
            return _found(connection, index, vectors, k, where), index.complete

    def follow(self, connection: Connection) -> None:
        """Before a commit: tell the engines that are in the database itself."""
        for engine in vector_databases(connection):
            if engine.kind is VectorDatabaseKind.PGVECTOR and engine.active:
                deliver_within(connection, self.opener, engine)

    def catch_up(self, *, at_least: int = 1) -> None:
        """Tell the engine what it has not been told, if that is as much as `at_least`.

        One that does not answer is left alone for a while, with a warning: nothing is lost, and searches say so.
        """
        if time.monotonic() < self._wait_until:
            return
        try:
            with self.database.read() as connection:
                engine = active_vector_database(connection)
                waiting = count_pending(connection, engine) if engine else 0
            if engine is None or waiting < max(at_least, 1):
                return
            self.deliver()
        except GalleryUnavailableError:  # the change is committed all the same, and the next one comes here again
            return
        except (VectorDatabaseError, ConfigError) as error:
            self._wait_until = time.monotonic() + PAUSE
            log.warning("%s %d changes wait for it.", error.message, waiting)

    def deliver(self) -> bool:
        """Tell the engine everything, unless another process is at it; returns whether it was told."""
        with delivery_lease(self.database, self.folder) as held:
            if not held:
                return False
            with self.database.read() as connection:
                engine = active_vector_database(connection)
            if engine is None:
                return True
            if engine.kind is VectorDatabaseKind.PGVECTOR:
                self.database.transact(lambda connection: deliver_within(connection, self.opener, engine))
            else:
                deliver(self.database, self.opener, engine)
            return True

    def prepare(self) -> None:
        """Before another model is searched: have an index of every model, and tell it everything.

        Raises `VectorDatabaseError`, or `GalleryError` where another process is at it for long.
        """
        with self.database.read() as connection:
            engine = active_vector_database(connection)
        if engine is None:
            return
        create_indexes(self.database, self.opener, engine)
        deadline = time.monotonic() + PATIENCE
        while not self.deliver():
            if time.monotonic() > deadline:
                raise GalleryError("Another process is telling the engine what changed.", "Try again when it is done.")
            time.sleep(0.1)

    def is_told(self) -> bool:
        """Whether the engine knows of every change."""
        with self.database.read() as connection:
            engine = active_vector_database(connection)
            return engine is None or not count_pending(connection, engine)

    def remnants(self) -> list[str]:
        """Where vectors that were removed may still be, in words."""
        with self.database.read() as connection:
            engine = active_vector_database(connection)
        if engine is None or engine.kind is not VectorDatabaseKind.MILVUS:
            return []
        late = [] if self.is_told() else ["Milvus, which has not been told yet: it will be when it answers again"]
        return [*late, "Milvus's files, where removed vectors stay until it compacts them"]

    def describe(self) -> str | None:
        """The engine and its state in words; None where the gallery's own index is searched."""
        with self.database.read() as connection:
            engine = active_vector_database(connection)
            if engine is None:
                return None
            waiting = count_pending(connection, engine)
        return f"{engine.kind}, {waiting} changes wait to be sent" if waiting else str(engine.kind)

    def close(self) -> None:
        """Tell the engine what waits, and let it go."""
        with suppress(GalleryError):  # a database that cannot be read: whoever closes it has heard of that
            self.catch_up()
        self.opener.close()


def _found(
    connection: Connection, index: Searchable, vectors: Vectors, k: int, where: Mapping[str, str] | None
) -> list[tuple[Candidate, ...]]:
    allowed = templates_where(connection, where) if where else None
    return search_subjects(index, vectors, k, allowed, partial(describe_templates, connection))
