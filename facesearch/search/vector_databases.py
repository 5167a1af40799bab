"""The vector databases of a gallery: which there are, what they have not been told yet, and telling it.

Triggers note every template that came or went: the backlog. Whether it came or went is looked up at delivery: what
exists is put into the vector database with the vector that the database has, what does not is taken out. So it does no
harm to deliver a note twice, after a crash, and it does not matter in which order notes become visible.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import numpy as np
import sqlalchemy as sa

from facesearch.errors import ConfigError, GalleryError, GalleryUnavailableError, VectorDatabaseError
from facesearch.files import DELIVERY_LOCK_NAME, lock_file
from facesearch.index.services import VectorDatabaseKind, open_service
from facesearch.store import templates
from facesearch.store.models import all_models
from facesearch.store.rows import chunks, require_whole, stored_columns, update
from facesearch.store.schema import BacklogRow, VectorDatabaseRow
from facesearch.types import IndexKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy.engine import Connection, Row

    from facesearch.index.base import ExternalIndex
    from facesearch.index.services import VectorServer, VectorService
    from facesearch.store.database import Database
    from facesearch.types import Ids, Vectors

    Note: TypeAlias = Row[int, int, int]
    """`id`, `template_id` and `model_id` of a row of the backlog."""

Result = TypeVar("Result")
log = logging.getLogger("facesearch.store")

AFTER: Final = 256
"""Notes from which on a process that adds templates delivers them. Until then searches read them one by one."""
MANY_PENDING: Final = 1024
"""Notes from which on a process that only searches delivers them too."""
TOGETHER: Final = 1000
"""Notes in one transaction."""
PATIENCE: Final = 30.0
"""Seconds to wait for another process that delivers."""
PAUSE: Final = 5.0
"""Seconds before a vector database that did not answer is tried again."""


def parse_vector_database(kind: str) -> VectorDatabaseKind | None:
    """Return the vector database of that name; None for the index in the process. Raises `ConfigError` for others."""
    if kind in set(IndexKind):
        return None
    try:
        return VectorDatabaseKind(kind)
    except ValueError:
        every = ", ".join([*IndexKind, *VectorDatabaseKind])
        raise ConfigError(f"There is no index {kind}.", f"Take one of {every}.") from None


@dataclass(frozen=True, slots=True)
class VectorDatabase:
    """A vector database that holds vectors of the gallery."""

    row: int
    kind: VectorDatabaseKind
    name: str
    """The beginning of its tables' or collections' names: random, so that no two galleries share one."""
    active: bool
    """Whether it is searched. Otherwise it is being filled."""
    filled_to: int
    """Templates up to this id were handed to it; later changes are in the backlog."""
    position: int
    """`ExternalIndex.position` of the newest change that was delivered."""


def vector_databases(connection: Connection) -> list[VectorDatabase]:
    """Return all of them, oldest first."""
    rows = connection.execute(sa.select(*stored_columns(VectorDatabaseRow)).order_by(VectorDatabaseRow.id)).all()
    for row in rows:
        require_whole(VectorDatabaseRow, row)
    return [
        VectorDatabase(row.id, VectorDatabaseKind(row.kind), row.name, bool(row.active), row.filled_to, row.position)
        for row in rows
    ]


def active_vector_database(connection: Connection) -> VectorDatabase | None:
    """Return the one that is searched; None where the index in the process is."""
    if not connection.exec_driver_sql("SELECT count(*) FROM vector_databases WHERE active = 1").scalar():
        return None  # quickly: every search and every commit asks
    return next((target for target in vector_databases(connection) if target.active), None)


def change_vector_database(connection: Connection, target: VectorDatabase, **values: int) -> None:
    """Note that it is `active`, how far it is `filled_to`, or its `position`."""
    update(connection, VectorDatabaseRow, VectorDatabaseRow.id == target.row, values)


def pending_ids(connection: Connection, target: VectorDatabase, model_row: int) -> Ids:
    """Return the templates of a model that the vector database may lack or have too many."""
    query = sa.select(BacklogRow.template_id).where(
        BacklogRow.vector_database_id == target.row, BacklogRow.model_id == model_row
    )
    return np.unique(np.array(connection.scalars(query).all(), np.int64))


def count_pending(connection: Connection, target: VectorDatabase) -> int:
    """Return how many notes wait."""
    query = sa.select(sa.func.count()).select_from(BacklogRow).where(BacklogRow.vector_database_id == target.row)
    return connection.scalar(query) or 0


class DatabaseVectors:
    """The vectors of one model as the database has them, their checksums proven: an `exact.Truth`."""

    def __init__(self, connection: Connection, model_row: int, dimension: int) -> None:
        self.connection = connection
        self.model_row = model_row
        self.dimension = dimension

    def vectors(self, ids: Ids) -> tuple[Ids, Vectors]:
        """See `Truth.vectors`."""
        blocks = list(self.blocks(np.unique(ids)))
        return (
            np.concatenate([np.empty(0, np.int64), *(block[0] for block in blocks)]),
            np.concatenate([np.empty((0, self.dimension), np.float32), *(block[1] for block in blocks)]),
        )

    def blocks(self, ids: Ids | None = None) -> Iterator[tuple[Ids, Vectors]]:
        """See `Truth.blocks`; of `ids` alone where they are given."""
        for block in templates.templates(self.connection, self.model_row, self.dimension, ids):
            yield block.ids, block.vectors


class VectorDatabases:
    """The vector databases of one gallery, of which one may be searched. Not thread-safe: the gallery takes turns."""

    def __init__(self, database: Database, folder: Path, servers: Mapping[VectorDatabaseKind, VectorServer]) -> None:
        self.database = database
        self._folder = folder
        self._servers = servers
        self._services: dict[VectorDatabaseKind, VectorService] = {}
        self._wait_until = 0.0

    def open(
        self, target: VectorDatabase, connection: Connection | None, model_row: int, dimension: int
    ) -> ExternalIndex:
        """Return the index of one model, which may have to be created. One within the database uses `connection`.

        Raises `ConfigError` where the address of its server is not given, `VectorDatabaseError` where it does not
        answer.
        """
        return self.service(target.kind).open(connection, f"{target.name}_{model_row}", dimension, target.position)

    def service(self, kind: VectorDatabaseKind) -> VectorService:
        """Return the one connection to a vector database. Raises `ConfigError` as `open`."""
        if kind not in self._services:
            self._services[kind] = open_service(kind, self._servers.get(kind))
        return self._services[kind]

    def close(self) -> None:
        """Deliver the backlog, and close the connections."""
        with suppress(GalleryError):  # a database that cannot be read: whoever closes it has heard of that
            self.catch_up()
        for service in self._services.values():
            service.close()

    # -- delivering

    @contextmanager
    def lease(self) -> Iterator[bool]:
        """Let one process at a time deliver; give whether this one may. It ends with the process, however it ends.

        In a folder it is a lock on a file, on a server an advisory lock.
        """
        if not self.database.owns_folder:
            with _advisory_lock(self.database) as held:
                yield held
            return
        try:
            descriptor = os.open(self._folder / DELIVERY_LOCK_NAME, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError:  # a gallery that cannot be written to
            yield False
            return
        try:
            try:
                lock_file(descriptor)
            except OSError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def follow(self, connection: Connection) -> bool:
        """Deliver to a vector database in the database itself, before a commit.

        Returns whether there is one, which may have to catch up after the commit.
        """
        target = active_vector_database(connection)
        if target is not None and target.kind.is_within:
            self.deliver_within(connection, target)
        return target is not None

    def catch_up(self, *, at_least: int = 1) -> None:
        """Deliver the backlog if it has `at_least` notes.

        A vector database that does not answer is left alone for a while, with a warning. Nothing is lost.
        """
        if time.monotonic() < self._wait_until:
            return
        waiting = 0
        try:
            target, waiting = self.state()
            if target is not None and waiting >= at_least:
                self.deliver()
        except GalleryUnavailableError:  # the change is committed all the same, and the next one comes here again
            return
        except (VectorDatabaseError, ConfigError) as error:
            self._wait_until = time.monotonic() + PAUSE
            log.warning("%s %d changes are kept for it and follow when it answers.", error.message, waiting)

    def deliver(self) -> bool:
        """Deliver the backlog unless another process is at it; return whether it was delivered."""
        with self.lease() as held:
            if held:
                target, _ = self.state()
                if target is not None:
                    self.deliver_to(target)
            return held

    def deliver_to(self, target: VectorDatabase) -> None:
        """Deliver every waiting note of a vector database. The caller holds the lease.

        Raises `VectorDatabaseError`; what was delivered until then is noted.
        """
        while True:
            target, notes = self.tell(target, partial(self._deliver_some, target=target), _remove_notes)
            if len(notes) < TOGETHER:
                return

    def deliver_within(self, connection: Connection, target: VectorDatabase) -> None:
        """Deliver to a vector database in the database itself, in the transaction under way."""
        while notes := self._deliver_some(connection, target)[1]:
            _remove_notes(connection, notes)

    def tell(
        self,
        target: VectorDatabase,
        work: Callable[[Connection], tuple[VectorDatabase, Result]],
        then: Callable[[Connection, Result], None] | None = None,
    ) -> tuple[VectorDatabase, Result]:
        """Have `work` tell a vector database something, and note how far that is then; `then` is part of the note.

        One in the database itself is told in the transaction that notes it, another before it.
        """

        def noted(connection: Connection, done: tuple[VectorDatabase, Result]) -> tuple[VectorDatabase, Result]:
            change_vector_database(connection, done[0], filled_to=done[0].filled_to, position=done[0].position)
            if then:
                then(connection, done[1])
            return done

        if target.kind.is_within:
            return self.database.transact(lambda connection: noted(connection, work(connection)))
        with self.database.read() as connection:
            done = work(connection)
        return self.database.transact(lambda connection: noted(connection, done))

    def _deliver_some(self, connection: Connection, target: VectorDatabase) -> tuple[VectorDatabase, Sequence[Note]]:
        """Put in and take out what the oldest notes name, as `connection` sees it; return the target then, and them."""
        query = sa.select(BacklogRow.id, BacklogRow.template_id, BacklogRow.model_id)
        query = query.where(BacklogRow.vector_database_id == target.row)
        notes = connection.execute(query.order_by(BacklogRow.id).limit(TOGETHER)).all()
        position = target.position
        dimensions = {model.row: model.info.dimension for model in all_models(connection)}
        for model_row in sorted({note.model_id for note in notes}):
            dimension = dimensions.get(model_row, 0)
            index = self.open(target, connection, model_row, dimension)
            if not dimension:  # the gallery does not know the model any more
                index.drop()
                continue
            index.create()
            ids = np.unique(np.array([note.template_id for note in notes if note.model_id == model_row], np.int64))
            present = DatabaseVectors(connection, model_row, dimension).vectors(ids)
            gone = np.setdiff1d(ids, present[0])
            if len(present[0]):
                index.add(*present)
            if len(gone):
                index.remove(gone)
            position = max(position, index.position)
        return replace(target, position=position), notes

    def create_indexes(self, target: VectorDatabase) -> None:
        """Make an index of every model, if only an empty one."""

        def work(connection: Connection) -> None:
            for model in all_models(connection):
                self.open(target, connection, model.row, model.info.dimension).create()

        self.database.transact(work)

    def prepare(self) -> None:
        """Make an index of every model and deliver the backlog, before another model is searched.

        Raises `VectorDatabaseError`, or `GalleryError` where another process is at it for long.
        """
        target, _ = self.state()
        if target is None:
            return
        self.create_indexes(target)
        deadline = time.monotonic() + PATIENCE
        while not self.deliver():
            if time.monotonic() > deadline:
                raise delivered_by_another()
            time.sleep(0.1)

    # -- telling people

    def state(self) -> tuple[VectorDatabase | None, int]:
        """Return the vector database that is searched, and how many notes wait for it."""
        with self.database.read() as connection:
            target = active_vector_database(connection)
            return target, count_pending(connection, target) if target else 0

    def remnants(self) -> list[str]:
        """Describe where vectors that were removed may still be."""
        target, waiting = self.state()
        if target is None:
            return []
        late = f"{target.kind.title()}, which has not been told yet: it will be when it answers again"
        return [each for each in (late if waiting else "", self.service(target.kind).leaves) if each]

    def describe(self) -> str | None:
        """Describe the vector database and its backlog; None where the index in the process is searched."""
        target, waiting = self.state()
        if target is None:
            return None
        return f"{target.kind}, {waiting} changes wait to be sent" if waiting else str(target.kind)


def delivered_by_another() -> GalleryError:
    """Return the error for a lease that another process holds."""
    return GalleryError("Another process is telling the vector database what changed.", "Try again when it is done.")


@contextmanager
def _advisory_lock(database: Database) -> Iterator[bool]:
    outside = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    with outside.connect() as connection:
        # One per gallery: several may live in the schemas of one database.
        key = "hashtext('facesearch.jobs'), hashtext(current_schema())"
        held = bool(connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({key})").scalar())  # constant
        try:
            yield held
        finally:
            if held:
                connection.exec_driver_sql(f"SELECT pg_advisory_unlock({key})")


def _remove_notes(connection: Connection, notes: Sequence[Note]) -> None:
    for chunk in chunks([note.id for note in notes]):
        connection.execute(sa.delete(BacklogRow).where(BacklogRow.id.in_(chunk)))
