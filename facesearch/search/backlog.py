"""The backlog of vector databases: which there are, and the changes that they have not been told yet."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from facesearch.errors import ConfigError
from facesearch.store import templates
from facesearch.store.rows import chunks, insert, now, require_whole, stored_columns, update
from facesearch.store.schema import COLLECTION_PREFIX, BacklogRow, VectorDatabaseRow
from facesearch.types import IndexKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import Connection

    from facesearch.types import Ids, Vectors


class VectorDatabaseKind(StrEnum):
    """The vector databases that facesearch can use."""

    PGVECTOR = "pgvector"
    MILVUS = "milvus"


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

    def collection(self, model_row: int) -> str:
        """Return the table or collection of a model's vectors."""
        return f"{self.name}_{model_row}"


def seen_whole(target: VectorDatabase) -> VectorDatabase:
    """Return the same one seen with every change that anybody ever made, to compare it."""
    return replace(target, position=0)


def vector_databases(connection: Connection) -> list[VectorDatabase]:
    """Return all of them, oldest first."""
    rows = connection.execute(sa.select(*stored_columns(VectorDatabaseRow)).order_by(VectorDatabaseRow.id)).all()
    for row in rows:
        require_whole(VectorDatabaseRow, row)
    return [
        VectorDatabase(row.id, VectorDatabaseKind(row.kind), row.name, bool(row.active), row.filled_to, row.position)
        for row in rows
    ]


def has_vector_database(connection: Connection) -> bool:
    """Tell whether a vector database is searched."""
    return bool(connection.exec_driver_sql("SELECT count(*) FROM vector_databases WHERE active = 1").scalar())


def active_vector_database(connection: Connection) -> VectorDatabase | None:
    """Return the one that is searched; None where the index in the process is."""
    return next((target for target in vector_databases(connection) if target.active), None)


def add_vector_database(connection: Connection, kind: VectorDatabaseKind) -> VectorDatabase:
    """Add one to be filled. From its commit on, the backlog takes every change."""
    name = f"{COLLECTION_PREFIX}{secrets.token_hex(8)}"
    values = {"kind": kind.value, "name": name, "active": 0, "filled_to": 0, "position": 0, "created_at": now()}
    return VectorDatabase(
        insert(connection, VectorDatabaseRow, values), kind, name, active=False, filled_to=0, position=0
    )


def change_vector_database(connection: Connection, target: VectorDatabase, **values: int) -> None:
    """Note that it is `active`, how far it is `filled_to`, or its `position`."""
    update(connection, VectorDatabaseRow, VectorDatabaseRow.id == target.row, values)


def forget_vector_databases(connection: Connection, rows: Sequence[int]) -> None:
    """Remove vector databases with their backlog."""
    connection.execute(sa.delete(BacklogRow).where(BacklogRow.vector_database_id.in_(rows)))
    connection.execute(sa.delete(VectorDatabaseRow).where(VectorDatabaseRow.id.in_(rows)))


@dataclass(frozen=True, slots=True)
class Note:
    """A template that came or went; whether it exists tells which."""

    row: int
    template_id: int
    model_row: int


def pending(connection: Connection, target: VectorDatabase, limit: int) -> list[Note]:
    """Return the oldest notes that wait, `limit` at most."""
    query = sa.select(BacklogRow.id, BacklogRow.template_id, BacklogRow.model_id)
    rows = connection.execute(
        query.where(BacklogRow.vector_database_id == target.row).order_by(BacklogRow.id).limit(limit)
    )
    return [Note(*row) for row in rows]


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


def remove_notes(connection: Connection, notes: Sequence[Note]) -> None:
    """Remove notes that were delivered."""
    for chunk in chunks([note.row for note in notes]):
        connection.execute(sa.delete(BacklogRow).where(BacklogRow.id.in_(chunk)))


class DatabaseVectors:
    """The vectors of one model as the database has them, their checksums proven: an `exact.Truth`."""

    def __init__(self, connection: Connection, model_row: int, dimension: int) -> None:
        self.connection = connection
        self.model_row = model_row
        self.dimension = dimension

    def vectors(self, ids: Ids) -> tuple[Ids, Vectors]:
        """See `Truth.vectors`."""
        blocks = list(self._read(np.unique(ids)))
        return (
            np.concatenate([np.empty(0, np.int64), *(block[0] for block in blocks)]),
            np.concatenate([np.empty((0, self.dimension), np.float32), *(block[1] for block in blocks)]),
        )

    def blocks(self) -> Iterator[tuple[Ids, Vectors]]:
        """See `Truth.blocks`."""
        return self._read(None)

    def _read(self, ids: Ids | None) -> Iterator[tuple[Ids, Vectors]]:
        for block in templates.templates(self.connection, self.model_row, self.dimension, ids):
            yield block.ids, block.vectors
