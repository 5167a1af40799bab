"""Every search backend behind one face, for the conformance suite: made empty, opened again, and dropped."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

import numpy as np
import sqlalchemy as sa

from facesearch.index.base import make_index
from facesearch.index.cache_file import CacheFile, Stamp
from facesearch.index.milvus import MilvusIndex, connect
from facesearch.index.pgvector import PgVectorIndex
from facesearch.index.two_stage import FLOOR
from facesearch.types import IndexKind

if TYPE_CHECKING:
    import pytest

    from facesearch.index.base import ExternalIndex, LocalIndex, VectorIndex
    from facesearch.types import Ids, Vectors

EXTERNAL = ("pgvector", "milvus")


class Backend(Protocol):
    """One backend."""

    @property
    def index(self) -> VectorIndex: ...

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

    def erase(self, ids: Ids) -> None:
        """Remove from the index for good, and from its files if it has any."""

    def contents(self) -> tuple[Ids, Vectors]:
        """Everything in the index."""

    def close(self) -> None:
        """Remove everything."""


class Local:
    """An index in this process with its files."""

    error = 1e-6
    external: ExternalIndex | None = None

    def __init__(self, kind: IndexKind, dimension: int) -> None:
        self.floor = FLOOR if kind is IndexKind.TWO_STAGE else -2.0
        self.folder = TemporaryDirectory()
        self.file = CacheFile(Path(self.folder.name))
        self.index: LocalIndex = make_index(kind, dimension)
        self.revision = 0

    def add(self, ids: Ids, vectors: Vectors) -> None:
        self.index.add(ids, vectors)

    def reopen(self) -> None:
        self.revision += 1
        ids = np.sort(self.index.contents()[0])
        stamp = Stamp(self._token(), "model", (7 * ids).astype(np.uint32))
        assert self.index.save(self.file, stamp, nullcontext(enter_result=True))
        opened = self.file.open()
        assert opened is not None
        cache, rows = opened
        assert cache.ids[cache.rows].tolist() == ids.tolist()
        assert cache.checksums[cache.rows].tolist() == (7 * ids).tolist()
        self.index = make_index(self.index.kind, self.index.dimension)
        self.index.load(cache, rows)

    def erase(self, ids: Ids) -> None:
        before, self.revision = self._token(), self.revision + 1
        self.file.erase(ids, before, self._token())
        self.index.remove(ids)

    def contents(self) -> tuple[Ids, Vectors]:
        return self.index.contents()

    def _token(self) -> bytes:
        return self.revision.to_bytes(16)

    def close(self) -> None:
        self.folder.cleanup()


class External:
    """An index in a vector database."""

    external: ExternalIndex | None
    floor = -2.0

    @property
    def index(self) -> ExternalIndex:
        assert self.external is not None
        return self.external

    def erase(self, ids: Ids) -> None:
        self.index.remove(ids)

    def contents(self) -> tuple[Ids, Vectors]:
        blocks = [self.index.vectors(ids) for ids in self.index.ids()]
        ids = np.concatenate([np.empty(0, np.int64), *(block[0] for block in blocks)])
        return ids, np.concatenate([np.empty((0, self.index.dimension), np.float32), *(block[1] for block in blocks)])


class PgVector(External):
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
        self.external = found = PgVectorIndex(self.connection, "codes", self.dimension)
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


class Milvus(External):
    def __init__(self, address: str, dimension: int) -> None:
        self.address = address
        self.client = connect(address)
        collection = f"test_{np.random.SeedSequence().entropy}"
        self.external = self._open = MilvusIndex(self.client, collection, dimension)
        self.error = self._open.error
        self._open.create()

    def add(self, ids: Ids, vectors: Vectors) -> None:
        self.index.add(ids, vectors)

    def reopen(self) -> None:
        old = self._open
        if self.address.startswith("http"):  # milvus-lite lets one client in
            self.client = connect(self.address)
        self.external = self._open = MilvusIndex(self.client, old.collection, old.dimension, old.position)

    def close(self) -> None:
        self._open.drop()


def make_backend(name: str, request: pytest.FixtureRequest, dimension: int) -> Backend:
    """An empty index of that kind."""
    if name == "pgvector":
        return PgVector(request.getfixturevalue("pgvector"), dimension)
    if name == "milvus":
        return Milvus(request.getfixturevalue("milvus"), dimension)
    return Local(IndexKind(name), dimension)
