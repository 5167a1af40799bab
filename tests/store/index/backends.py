"""Every search backend behind one face, for the conformance suite: made empty, opened again, and dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import sqlalchemy as sa

from facesearch.index.milvus import MilvusIndex, connect
from facesearch.index.pgvector import PgVectorIndex
from facesearch.index.policy import make_index
from facesearch.index.two_stage import FLOOR
from facesearch.types import IndexKind

if TYPE_CHECKING:
    import pytest

    from facesearch.index.base import VectorIndex
    from facesearch.index.external import ExternalIndex
    from facesearch.types import Ids, Vectors

EXTERNAL = ("pgvector", "milvus")


class Backend(Protocol):
    """One backend."""

    index: VectorIndex
    external: ExternalIndex | None
    """The same, where it is kept outside of this process."""
    error: float
    """How far its scores may be from the exact ones."""
    floor: float
    """Scores below it may be missing."""

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add to the index, with whatever records it needs."""

    def reopen(self) -> None:
        """Leave the index and open it again, as another process would."""

    def close(self) -> None:
        """Remove everything."""


class Local:
    """An index in this process."""

    error = 1e-6
    external: ExternalIndex | None = None

    def __init__(self, kind: IndexKind, dimension: int) -> None:
        self.kind = kind
        self.floor = FLOOR if kind is IndexKind.TWO_STAGE else -2.0
        self.index: VectorIndex = make_index(kind, dimension)

    def add(self, ids: Ids, vectors: Vectors) -> None:
        self.index.add(ids, vectors)

    def reopen(self) -> None:
        contents = self.index.contents()
        self.index = make_index(self.kind, self.index.dimension)
        self.index.add(*contents)

    def close(self) -> None:
        pass


class PgVector:
    index: VectorIndex
    external: ExternalIndex | None
    floor = -2.0

    def __init__(self, url: str, dimension: int) -> None:
        self.engine = sa.create_engine(url)
        self.dimension = dimension
        self.connection = self.engine.connect()
        self.schema = f"test_{np.random.SeedSequence().entropy}"
        self.connection.exec_driver_sql(f"CREATE SCHEMA {self.schema}")
        self.connection.exec_driver_sql(f"CREATE TABLE {self.schema}.templates (id bigint PRIMARY KEY)")
        self.connection.commit()
        self._open().create()

    def _open(self) -> PgVectorIndex:
        self.connection.exec_driver_sql(f"SET search_path TO {self.schema}, public")
        self.index = self.external = found = PgVectorIndex(self.connection, "codes", self.dimension)
        self.error = found.error
        return found

    def add(self, ids: Ids, vectors: Vectors) -> None:
        rows = "INSERT INTO templates SELECT unnest(%(ids)s::bigint[]) ON CONFLICT DO NOTHING"
        self.connection.exec_driver_sql(rows, {"ids": ids.tolist()})
        self.index.add(ids, vectors)

    def reopen(self) -> None:
        self.connection.commit()
        self.connection.close()
        self.connection = self.engine.connect()
        self._open()

    def close(self) -> None:
        self.connection.rollback()
        self.connection.exec_driver_sql(f"DROP SCHEMA {self.schema} CASCADE")
        self.connection.commit()
        self.connection.close()
        self.engine.dispose()


class Milvus:
    index: VectorIndex
    external: ExternalIndex | None
    floor = -2.0

    def __init__(self, address: str, dimension: int) -> None:
        self.address = address
        self.client = connect(address)
        collection = f"test_{np.random.SeedSequence().entropy}"
        self.index = self.external = self._open = MilvusIndex(self.client, collection, dimension)
        self.error = self._open.error
        self._open.create()

    def add(self, ids: Ids, vectors: Vectors) -> None:
        self.index.add(ids, vectors)

    def reopen(self) -> None:
        old = self._open
        if self.address.startswith("http"):  # milvus-lite lets one client in
            self.client = connect(self.address)
        self.index = self.external = self._open = MilvusIndex(self.client, old.collection, old.dimension, old.position)

    def close(self) -> None:
        self._open.drop()


def make_backend(name: str, request: pytest.FixtureRequest, dimension: int) -> Backend:
    """An empty index of that kind."""
    if name == "pgvector":
        return PgVector(request.getfixturevalue("pgvector"), dimension)
    if name == "milvus":
        return Milvus(request.getfixturevalue("milvus"), dimension)
    return Local(IndexKind(name), dimension)
