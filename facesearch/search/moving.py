"""Moving a gallery's vectors to another engine while it is searched and changed.

A new engine is noted first: from then on the outbox takes every change for it. Then it is filled, template by template;
where that stops, the next run goes on. It is compared with the database, and in one transaction it becomes the one that
is searched. The old one is removed last. The process that fills holds the lease all the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import sqlalchemy as sa

from facesearch.errors import GalleryError
from facesearch.search.backlog import (
    DatabaseVectors,
    VectorDatabase,
    VectorDatabaseKind,
    add_vector_database,
    change_vector_database,
    forget_vector_databases,
    pending_ids,
    seen_whole,
    vector_databases,
)
from facesearch.search.comparing import compare, mend
from facesearch.search.delivery import create_indexes, deliver, deliver_within
from facesearch.search.lease import delivery_lease
from facesearch.store import audit
from facesearch.store.models import all_models
from facesearch.store.schema import TemplateRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

    from facesearch.search.vector_databases import VectorDatabases
    from facesearch.store.database import Database

TOGETHER: Final = 2000
"""Templates in one step: 4 MB at 512 dimensions."""
RETIRED: Final = -1
"""`filled_to` of an engine that is to be removed."""


def move(
    keeper: VectorDatabases, kind: VectorDatabaseKind | None, progress: Callable[[int, int], None] | None = None
) -> None:
    """Have the gallery's vectors searched by a new engine of this kind, or by its own index where `kind` is None.

    `progress` hears how many of how many templates were handed over. Raises `VectorDatabaseError`, `ConfigError`, or
    `GalleryError` where another process is at it; run again, it goes on from there.
    """
    with delivery_lease(keeper.database, keeper.folder) as held:
        if not held:
            raise GalleryError("Another process is telling the engine what changed.", "Try again when it is done.")
        engine = keeper.database.transact(lambda connection: _begin(keeper, connection, kind)) if kind else None
        if engine:
            _fill(keeper, engine, progress)
            equalise(keeper, engine)
        keeper.database.transact(lambda connection: _switch(keeper, connection, engine))
        remove_retired(keeper)


def _begin(keeper: VectorDatabases, connection: Connection, kind: VectorDatabaseKind) -> VectorDatabase:
    """The engine to fill: one whose filling was interrupted, else a new one."""
    keeper.opener.require(kind, connection, encrypted=keeper.database.is_encrypted)
    begun: VectorDatabase | None = None
    for engine in vector_databases(connection):
        if engine.active or engine.filled_to == RETIRED:
            continue
        if engine.kind is kind and begun is None:
            begun = engine
        else:
            change_vector_database(connection, engine, filled_to=RETIRED)
    return begun or add_vector_database(connection, kind)


def _fill(keeper: VectorDatabases, engine: VectorDatabase, progress: Callable[[int, int], None] | None) -> None:
    create_indexes(keeper.database, keeper.opener, engine)
    with keeper.database.read() as connection:
        last = connection.scalar(sa.select(sa.func.max(TemplateRow.id))) or 0
        done = _count_to(connection, engine.filled_to)
        total = _count_to(connection, last)
    while engine.filled_to < last:
        engine, handed = _step(keeper, engine)
        done += handed
        if progress:
            progress(done, total)


def _count_to(connection: Connection, last: int) -> int:
    query = sa.select(sa.func.count()).select_from(TemplateRow).where(TemplateRow.id <= last)
    return connection.scalar(query) or 0


def _step(keeper: VectorDatabases, engine: VectorDatabase) -> tuple[VectorDatabase, int]:
    """Hand over the next templates, and note how far that is."""
    database = keeper.database
    if engine.kind is VectorDatabaseKind.PGVECTOR:
        return database.transact(lambda connection: _noted(connection, engine, *_hand_over(keeper, connection, engine)))
    with database.read() as connection:
        handed = _hand_over(keeper, connection, engine)
    return database.transact(lambda connection: _noted(connection, engine, *handed))


def _hand_over(keeper: VectorDatabases, connection: Connection, engine: VectorDatabase) -> tuple[int, int, int]:
    """(id of the last one, position, how many)."""
    query = sa.select(TemplateRow.id, TemplateRow.model_id).where(TemplateRow.id > engine.filled_to)
    rows = connection.execute(query.order_by(TemplateRow.id).limit(TOGETHER)).all()
    position = engine.position
    for model in all_models(connection):
        ids = np.array([row.id for row in rows if row.model_id == model.row], np.int64)
        if len(ids):
            index = keeper.opener.open(engine, connection, model.row, model.info.dimension)
            index.add(*DatabaseVectors(connection, model.row, model.info.dimension).vectors(ids))
            position = max(position, index.position)
    return max((row.id for row in rows), default=engine.filled_to + 1), position, len(rows)


def _noted(
    connection: Connection, engine: VectorDatabase, last: int, position: int, handed: int
) -> tuple[VectorDatabase, int]:
    change_vector_database(connection, engine, filled_to=last, position=position)
    return VectorDatabase(engine.row, engine.kind, engine.name, engine.active, last, position), handed


def equalise(keeper: VectorDatabases, engine: VectorDatabase) -> None:
    """Tell an engine what changed, and mend what differs all the same. The caller holds the lease."""
    if engine.kind is VectorDatabaseKind.PGVECTOR:
        keeper.database.transact(lambda connection: _equalise_within(keeper, connection, engine))
        return
    deliver(keeper.database, keeper.opener, engine)
    with keeper.database.read() as connection:
        position = _equalise_within(keeper, connection, engine)
    keeper.database.transact(lambda connection: change_vector_database(connection, engine, position=position))


def _equalise_within(keeper: VectorDatabases, connection: Connection, engine: VectorDatabase) -> int:
    """Make every index of an engine equal to what `connection` sees; returns its position."""
    if engine.kind is VectorDatabaseKind.PGVECTOR:
        deliver_within(connection, keeper.opener, engine)
    position = engine.position
    for model in all_models(connection):
        index = keeper.opener.open(seen_whole(engine), connection, model.row, model.info.dimension)
        index.create()
        truth = DatabaseVectors(connection, model.row, model.info.dimension)
        mend(index, truth, compare(connection, index, truth, pending_ids(connection, engine, model.row)))
        position = max(position, index.position)
    return position


def _switch(keeper: VectorDatabases, connection: Connection, engine: VectorDatabase | None) -> None:
    """From the commit on the new one is searched; None is the gallery's own index."""
    for other in vector_databases(connection):
        if engine is None or other.row != engine.row:
            change_vector_database(connection, other, active=0, filled_to=RETIRED)
    if engine is not None:
        if engine.kind is VectorDatabaseKind.PGVECTOR:
            deliver_within(connection, keeper.opener, engine)
        change_vector_database(connection, engine, active=1)
    audit.record(connection, "reindex", {"engine": str(engine.kind) if engine else "local"})


def remove_retired(keeper: VectorDatabases) -> None:
    """Remove what engines hold that are not used any more."""
    with keeper.database.read() as connection:
        retired = [engine for engine in vector_databases(connection) if engine.filled_to == RETIRED]
    for engine in retired:
        _remove(keeper.database, keeper, engine)


def _remove(database: Database, keeper: VectorDatabases, engine: VectorDatabase) -> None:
    if engine.kind is VectorDatabaseKind.MILVUS:
        keeper.opener.drop_all(engine, None)

    def work(connection: Connection) -> None:
        if engine.kind is VectorDatabaseKind.PGVECTOR:
            keeper.opener.drop_all(engine, connection)
        forget_vector_databases(connection, [engine.row])

    database.transact(work)
