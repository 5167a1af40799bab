"""Delivery: telling a vector database what changed.

A note names a template. Whether it came or went is looked up at delivery: what exists is put into the vector database
with the vector that the database has, what does not is taken out. So it does no harm to deliver a note twice, after a
crash, and it does not matter in which order notes become visible.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.errors import ConfigError, GalleryError
from facesearch.files import DELIVERY_LOCK_NAME, lock_file
from facesearch.search.backlog import (
    DatabaseVectors,
    VectorDatabaseKind,
    change_vector_database,
    pending,
    remove_notes,
)
from facesearch.store.models import all_models

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pymilvus import MilvusClient
    from sqlalchemy.engine import Connection

    from facesearch.index.base import ExternalIndex
    from facesearch.search.backlog import Note, VectorDatabase
    from facesearch.store.database import Database
    from facesearch.store.location import MilvusServer
    from facesearch.types import Ids, Vectors

TOGETHER: Final = 1000
"""Notes in one transaction."""


@contextmanager
def delivery_lease(database: Database, folder: Path) -> Iterator[bool]:
    """Let one process at a time deliver; give whether this one may. The lease ends with the process, however it ends.

    In a folder it is a lock on a file, on a server an advisory lock.
    """
    if not database.owns_folder:
        with _advisory_lock(database) as held:
            yield held
        return
    try:
        descriptor = os.open(folder / DELIVERY_LOCK_NAME, os.O_CREAT | os.O_RDWR, 0o600)
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


class Opener:
    """Opens the indexes of vector databases, over one connection to Milvus for all of them."""

    def __init__(self, milvus: MilvusServer | None) -> None:
        self._milvus = milvus
        self._client: MilvusClient | None = None

    def open(
        self, target: VectorDatabase, connection: Connection | None, model_row: int, dimension: int
    ) -> ExternalIndex:
        """Return the index of one model, which may have to be created. That of pgvector is bound to `connection`.

        Raises `ConfigError` where the address of Milvus is not given, `VectorDatabaseError` where it does not answer.
        """
        collection = target.collection(model_row)
        if target.kind is VectorDatabaseKind.MILVUS:
            from facesearch.index.milvus import MilvusIndex

            return MilvusIndex(self._connected(), collection, dimension, target.position)
        from facesearch.index.pgvector import PgVectorIndex

        assert connection is not None
        return PgVectorIndex(connection, collection, dimension)

    def _connected(self) -> MilvusClient:
        if self._milvus is None:
            raise ConfigError(
                "The gallery's vectors belong in Milvus, and it is not known where that is.",
                "Say where: FACESEARCH_MILVUS=http://host:19530",
            )
        if self._client is None:
            from facesearch.index.milvus import connect

            self._client = connect(self._milvus.address, self._milvus.token)
        return self._client

    def drop_all(self, target: VectorDatabase, connection: Connection | None) -> None:
        """Remove its indexes of all models, also of those that the gallery does not know any more."""
        if target.kind is VectorDatabaseKind.MILVUS:
            from facesearch.index.milvus import drop_collections

            drop_collections(self._connected(), f"{target.name}_")
            return
        from facesearch.index.pgvector import drop_tables

        assert connection is not None
        drop_tables(connection, f"{target.name}_")

    def require(self, kind: VectorDatabaseKind, database: Database, connection: Connection) -> None:
        """Raise `GalleryError` or `ConfigError` unless the vectors can go to such a vector database."""
        if database.is_encrypted:
            raise GalleryError(
                "The vectors of an encrypted gallery stay in it.",
                "Use a vector database only where its disk may be read.",
            )
        if kind is VectorDatabaseKind.MILVUS:
            self._connected()
            return
        if database.owns_folder:
            raise GalleryError(
                "pgvector keeps vectors beside records in PostgreSQL, and this gallery is a folder.",
                "Use flat, two-stage or milvus, or a gallery in PostgreSQL.",
            )
        from facesearch.index.pgvector import require_pgvector

        require_pgvector(connection)

    def close(self) -> None:
        """Close the connection to Milvus."""
        if self._client is not None:
            self._client.close()
            self._client = None


def deliver(database: Database, opener: Opener, target: VectorDatabase) -> None:
    """Deliver every waiting note to a vector database outside of the database.

    The caller holds the lease. Raises `VectorDatabaseError`; what was delivered until then is noted.
    """
    while True:
        with database.read() as connection:
            notes = pending(connection, target, TOGETHER)
            errands = list(_errands(connection, notes))
        if not notes:
            return
        position = max([target.position, *(_run_errand(opener, None, target, errand) for errand in errands)])
        database.transact(lambda connection: _note_delivery(connection, target, notes, position))  # noqa: B023  # at once


def deliver_within(connection: Connection, opener: Opener, target: VectorDatabase) -> None:
    """Deliver to a vector database in the database itself, in the transaction under way."""
    while notes := pending(connection, target, TOGETHER):
        for errand in _errands(connection, notes):
            _run_errand(opener, connection, target, errand)
        remove_notes(connection, notes)


def create_indexes(database: Database, opener: Opener, target: VectorDatabase) -> None:
    """Make an index of every model, if only an empty one."""

    def work(connection: Connection) -> None:
        for model in all_models(connection):
            opener.open(target, connection, model.row, model.info.dimension).create()

    database.transact(work)


@dataclass(frozen=True, slots=True, eq=False)
class _Errand:
    """What to tell a vector database about the templates of one model."""

    model_row: int
    dimension: int
    """0 where the gallery does not know the model any more."""
    present: tuple[Ids, Vectors]
    gone: Ids


def _run_errand(opener: Opener, connection: Connection | None, target: VectorDatabase, errand: _Errand) -> int:
    """Tell the vector database; return its position."""
    index = opener.open(target, connection, errand.model_row, errand.dimension)
    if not errand.dimension:
        index.drop()
        return 0
    index.create()
    if len(errand.present[0]):
        index.add(*errand.present)
    if len(errand.gone):
        index.remove(errand.gone)
    return index.position


def _errands(connection: Connection, notes: list[Note]) -> Iterator[_Errand]:
    dimensions = {model.row: model.info.dimension for model in all_models(connection)}
    for model_row in sorted({note.model_row for note in notes}):
        ids = np.unique(np.array([note.template_id for note in notes if note.model_row == model_row], np.int64))
        dimension = dimensions.get(model_row, 0)
        present = DatabaseVectors(connection, model_row, dimension).vectors(ids)
        yield _Errand(model_row, dimension, present, np.setdiff1d(ids, present[0]))


def _note_delivery(connection: Connection, target: VectorDatabase, notes: list[Note], position: int) -> None:
    remove_notes(connection, notes)
    change_vector_database(connection, target, position=position)
