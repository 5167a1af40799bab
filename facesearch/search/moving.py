"""Moving a gallery's vectors to another vector database while it is searched and changed.

The new one is noted first: from then on the backlog takes every change for it. Then it is filled, template by template;
where that stops, the next run goes on. It is compared with the database and mended, and in one transaction it becomes
the one that is searched. The old one is removed last. The process that fills holds the lease all the time.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import sqlalchemy as sa

from facesearch.errors import GalleryError
from facesearch.search.vector_databases import (
    DatabaseVectors,
    VectorDatabase,
    change_vector_database,
    delivered_by_another,
    pending_ids,
    vector_databases,
)
from facesearch.store import audit, templates
from facesearch.store.models import all_models
from facesearch.store.rows import insert, now
from facesearch.store.schema import COLLECTION_PREFIX, BacklogRow, TemplateRow, VectorDatabaseRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

    from facesearch.index.base import ExternalIndex
    from facesearch.index.services import VectorDatabaseKind, VectorService
    from facesearch.search.vector_databases import VectorDatabases
    from facesearch.types import Ids

TOGETHER: Final = 2000
"""Templates in one step: 4 MB at 512 dimensions."""
RETIRED: Final = -1
"""`filled_to` of a vector database that is to be removed."""
SAMPLED: Final = 200
"""Vectors that are compared, spread over all of them."""


def move(
    databases: VectorDatabases, kind: VectorDatabaseKind | None, progress: Callable[[int, int], None] | None = None
) -> None:
    """Have a new vector database of this kind searched, or the index in the process where `kind` is None.

    `progress` is called with how many of how many templates were handed over. A second run goes on where the first was
    interrupted. Raises `VectorDatabaseError`, `ConfigError`, or `GalleryError` where another process is at it.
    """
    with databases.lease() as held:
        if not held:
            raise delivered_by_another()
        target = databases.database.transact(lambda connection: _begin(databases, connection, kind)) if kind else None
        if target:
            _fill(databases, target, progress)
            equalise(databases, target)
        databases.database.transact(lambda connection: _switch(databases, connection, target))
        remove_retired(databases)


def _begin(databases: VectorDatabases, connection: Connection, kind: VectorDatabaseKind) -> VectorDatabase:
    """Return the vector database to fill: one whose filling was interrupted, else a new one."""
    _require(databases, connection, kind)
    begun: VectorDatabase | None = None
    for target in vector_databases(connection):
        if target.active or target.filled_to == RETIRED:
            continue
        if target.kind is kind and begun is None:
            begun = target
        else:
            change_vector_database(connection, target, filled_to=RETIRED)
    return begun or add_vector_database(connection, kind)


def _require(databases: VectorDatabases, connection: Connection, kind: VectorDatabaseKind) -> None:
    """Raise `GalleryError` or `ConfigError` unless the vectors can go to such a vector database."""
    if databases.database.is_encrypted:
        raise GalleryError(
            "The vectors of an encrypted gallery stay in it.", "Use a vector database only where its disk may be read."
        )
    if kind.is_within and databases.database.owns_folder:
        raise GalleryError(
            f"{kind} keeps vectors beside records in PostgreSQL, and this gallery is a folder.",
            "Use flat, two-stage or milvus, or a gallery in PostgreSQL.",
        )
    databases.service(kind).require(connection if kind.is_within else None)


def add_vector_database(connection: Connection, kind: VectorDatabaseKind) -> VectorDatabase:
    """Add one to be filled. From its commit on, the backlog takes every change."""
    name = f"{COLLECTION_PREFIX}{secrets.token_hex(8)}"
    values = {"kind": kind.value, "name": name, "active": 0, "filled_to": 0, "position": 0, "created_at": now()}
    row = insert(connection, VectorDatabaseRow, values)
    return VectorDatabase(row, kind, name, active=False, filled_to=0, position=0)


def _fill(databases: VectorDatabases, target: VectorDatabase, progress: Callable[[int, int], None] | None) -> None:
    databases.create_indexes(target)
    with databases.database.read() as connection:
        last = connection.scalar(sa.select(sa.func.max(TemplateRow.id))) or 0
        done = _count_to(connection, target.filled_to)
        total = _count_to(connection, last)
    while target.filled_to < last:
        target, handed = databases.tell(target, partial(_hand_over, databases, target=target))
        done += handed
        if progress:
            progress(done, total)


def _count_to(connection: Connection, last: int) -> int:
    query = sa.select(sa.func.count()).select_from(TemplateRow).where(TemplateRow.id <= last)
    return connection.scalar(query) or 0


def _hand_over(
    databases: VectorDatabases, connection: Connection, target: VectorDatabase
) -> tuple[VectorDatabase, int]:
    """Hand over the next templates; return how far the target is then, and how many they were."""
    query = sa.select(TemplateRow.id, TemplateRow.model_id).where(TemplateRow.id > target.filled_to)
    rows = connection.execute(query.order_by(TemplateRow.id).limit(TOGETHER)).all()
    position = target.position
    for model in all_models(connection):
        ids = np.array([row.id for row in rows if row.model_id == model.row], np.int64)
        if len(ids):
            index = databases.open(target, connection, model.row, model.info.dimension)
            index.add(*DatabaseVectors(connection, model.row, model.info.dimension).vectors(ids))
            position = max(position, index.position)
    last = max((row.id for row in rows), default=target.filled_to + 1)
    return replace(target, filled_to=last, position=position), len(rows)


def equalise(databases: VectorDatabases, target: VectorDatabase) -> None:
    """Deliver what waits, and mend what differs all the same. The caller holds the lease."""
    databases.create_indexes(target)
    databases.deliver_to(target)
    databases.tell(target, partial(_mend, databases, target=target))


def _mend(databases: VectorDatabases, connection: Connection, target: VectorDatabase) -> tuple[VectorDatabase, None]:
    """Make every index equal to what `connection` sees; return the target at its new position.

    Where one of the compared vectors was wrong, all are put in again.
    """
    position = target.position
    for index, truth, difference in differences(databases, connection, target):
        for start in range(0, len(difference.extra), TOGETHER):
            index.remove(difference.extra[start : start + TOGETHER])
        for start in range(0, len(difference.missing), TOGETHER):
            index.add(*truth.vectors(difference.missing[start : start + TOGETHER]))
        if len(difference.wrong):
            for ids, vectors in truth.blocks():
                index.add(ids, vectors)
        position = max(position, index.position)
    return replace(target, position=position), None


def _switch(databases: VectorDatabases, connection: Connection, target: VectorDatabase | None) -> None:
    """Have the new one searched from the commit on; None is the index in the process."""
    for other in vector_databases(connection):
        if target is None or other.row != target.row:
            change_vector_database(connection, other, active=0, filled_to=RETIRED)
    if target is not None:
        if target.kind.is_within:
            databases.deliver_within(connection, target)
        change_vector_database(connection, target, active=1)
    audit.record(connection, "reindex", {"index": str(target.kind) if target else "local"})


def remove_retired(databases: VectorDatabases) -> None:
    """Remove vector databases that are not used any more, with all they hold, also for models of long ago."""
    with databases.database.read() as connection:
        retired = [target for target in vector_databases(connection) if target.filled_to == RETIRED]
    for target in retired:
        service = databases.service(target.kind)
        if not target.kind.is_within:
            service.drop(None, f"{target.name}_")
        databases.database.transact(partial(_forget, service=service, target=target))


def _forget(connection: Connection, service: VectorService, target: VectorDatabase) -> None:
    if target.kind.is_within:
        service.drop(connection, f"{target.name}_")
    connection.execute(sa.delete(BacklogRow).where(BacklogRow.vector_database_id == target.row))
    connection.execute(sa.delete(VectorDatabaseRow).where(VectorDatabaseRow.id == target.row))


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """How an index of a vector database differs from the database, apart from its backlog."""

    count: int
    """Templates in the database."""
    missing: Ids
    """Ids that the index lacks."""
    extra: Ids
    """Ids that the database does not know."""
    wrong: Ids
    """Ids with another vector, among those that were compared."""

    def __str__(self) -> str:
        """Say it in words; empty where they are equal."""
        parts = (("lacks", self.missing), ("holds too many:", self.extra), ("holds another vector for", self.wrong))
        return ", ".join(f"{words} {len(ids)}" for words, ids in parts if len(ids))


def differences(
    databases: VectorDatabases, connection: Connection, target: VectorDatabase
) -> Iterator[tuple[ExternalIndex, DatabaseVectors, Difference]]:
    """Compare the index of every model, with every change that anybody ever made in it, with what `connection` sees.

    The caller holds the lease.
    """
    for model in all_models(connection):
        index = databases.open(replace(target, position=0), connection, model.row, model.info.dimension)
        truth = DatabaseVectors(connection, model.row, model.info.dimension)
        pending = pending_ids(connection, target, model.row)
        stored, _ = templates.template_keys(connection, model.row)
        held = np.sort(np.concatenate([np.empty(0, np.int64), *index.ids()]))
        both = np.setdiff1d(np.intersect1d(stored, held), pending)
        sample = both[np.linspace(0, len(both) - 1, min(SAMPLED, len(both))).astype(int)]
        missing, extra = (np.setdiff1d(np.setdiff1d(*pair), pending) for pair in ((stored, held), (held, stored)))
        yield index, truth, Difference(len(stored), missing, extra, _wrong(index, truth, sample))


def _wrong(index: ExternalIndex, truth: DatabaseVectors, sample: Ids) -> Ids:
    ids, vectors = truth.vectors(sample)
    held_ids, held = index.vectors(sample)
    found = np.isin(ids, held_ids)
    differences = np.abs(vectors[found] - held).max(axis=1, initial=0)
    return np.concatenate([ids[~found], ids[found][differences > index.error]])
