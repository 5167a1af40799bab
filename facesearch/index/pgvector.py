"""PostgreSQL's pgvector: half-precision codes in the same database, and the same transaction, as the templates.

A code takes 2 bytes a dimension and lies in a table of its own, which goes through memory at every search: no index is
built, because HNSW and IVF lose faces (docs/vector-databases.md has the figures). What half precision can change in a
score is bounded, so the search over the templates themselves, which starts from what the codes propose, is exact.

Limits: pgvector 0.7.0 or newer; 16,000 dimensions, of which PostgreSQL keeps about 4,000 in the table's own pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from facesearch.errors import GalleryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection, CursorResult

    from facesearch.types import Ids, Vectors

MINIMUM_VERSION = (0, 7, 0)
"""Of pgvector: the first with half precision."""
ROUNDING = 2.0**-11
"""Half precision keeps 11 bits of a number: what rounding changes of it, relative to it."""
SMALLEST = 2.0**-25
"""What rounding changes of a number that is too small for that."""
BLOCK = 1000
"""Rows per statement."""


class Service:
    """See `VectorService`. All is done by the connection to the gallery's own database."""

    leaves = ""

    def __init__(self, _: object) -> None:
        pass

    def require(self, connection: Connection | None) -> None:
        """See `VectorService`."""
        assert connection is not None
        require_pgvector(connection)

    def open(self, connection: Connection | None, name: str, dimension: int, _: int) -> PgVectorIndex:
        """See `VectorService`."""
        assert connection is not None
        return PgVectorIndex(connection, name, dimension)

    def drop(self, connection: Connection | None, beginning: str) -> None:
        """See `VectorService`."""
        assert connection is not None
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        query = f"{tables} AND starts_with(tablename, %(name)s)"
        for table in connection.exec_driver_sql(query, {"name": beginning}).scalars().all():
            connection.exec_driver_sql(f"DROP TABLE {table}")

    def close(self) -> None:
        """See `VectorService`."""


class PgVectorIndex:
    """The codes of one model. Bound to a connection: it sees and changes what that transaction does."""

    limit = 1 << 31
    position = 0

    def __init__(self, connection: Connection, table: str, dimension: int) -> None:
        """`table` is a name made here, never one that a user chose."""
        self.connection = connection
        self.table = table
        self.dimension = dimension
        # Query and code are both rounded: |q.v - q'.v'| <= |q - q'| |v| + |q'| |v - v'|, for unit vectors.
        self.error = 2.001 * (ROUNDING + SMALLEST * dimension**0.5)

    def create(self) -> None:
        """Make the table where there is none. Raises `GalleryError` without a pgvector that knows half precision."""
        require_pgvector(self.connection)
        self._run(
            "CREATE TABLE IF NOT EXISTS CODES "
            "(id bigint PRIMARY KEY REFERENCES templates (id) ON DELETE CASCADE, "
            f"code halfvec({self.dimension}) NOT NULL)"
        )
        # Never moved out of the table's pages, and not compressed: it would take longer to read than to compare.
        self._run("ALTER TABLE CODES ALTER COLUMN code SET STORAGE PLAIN")

    def __len__(self) -> int:
        """See `VectorIndex`."""
        return int(self._run("SELECT count(*) FROM CODES").scalar_one())

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """See `ExternalIndex`."""
        statement = (
            "INSERT INTO CODES (id, code) SELECT * FROM unnest(%(ids)s::bigint[], %(codes)s::halfvec[]) "
            "ON CONFLICT (id) DO UPDATE SET code = excluded.code"
        )
        for start in range(0, len(ids), BLOCK):
            part = slice(start, start + BLOCK)
            self._run(statement, ids=ids[part].tolist(), codes=[_text(each) for each in vectors[part]])

    def remove(self, ids: Ids) -> int:
        """See `VectorIndex.remove`."""
        return self._run("DELETE FROM CODES WHERE id = ANY(%(ids)s::bigint[])", ids=ids.tolist()).rowcount

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[NDArray[np.float32], Ids]:
        """See `VectorIndex.search`; scores are exact within `error`."""
        scores = np.full((len(queries), k), -np.inf, np.float32)
        ids = np.full((len(queries), k), -1, np.int64)
        among = "" if allowed is None else "WHERE id = ANY(%(allowed)s::bigint[])"
        statement = (
            "SELECT id, -(code <#> %(query)s::halfvec) AS score FROM CODES AMONG "
            "ORDER BY code <#> %(query)s::halfvec LIMIT %(k)s"
        ).replace("AMONG", among)
        listed = None if allowed is None else allowed.tolist()
        for row, query in enumerate(queries):
            found = self._run(statement, query=_text(query), k=k, allowed=listed).all()
            ids[row, : len(found)] = [each.id for each in found]
            scores[row, : len(found)] = [each.score for each in found]
        return scores, ids

    def ids(self) -> Iterator[Ids]:
        """See `ExternalIndex.ids`."""
        rows = self._run("SELECT id FROM CODES", stream=True)
        for block in rows.scalars().partitions(BLOCK):
            yield np.array(block, np.int64)

    def vectors(self, ids: Ids) -> tuple[Ids, Vectors]:
        """See `ExternalIndex.vectors`."""
        statement = "SELECT id, code::real[] AS code FROM CODES WHERE id = ANY(%(ids)s::bigint[]) ORDER BY id"
        rows = self._run(statement, ids=ids.tolist()).all()
        found = np.array([row.code for row in rows], np.float32).reshape(len(rows), self.dimension)
        return np.array([row.id for row in rows], np.int64), found

    def drop(self) -> None:
        """See `ExternalIndex.drop`."""
        self._run("DROP TABLE IF EXISTS CODES")

    def _run(self, statement: str, *, stream: bool = False, **values: object) -> CursorResult[*tuple[Any, ...]]:
        """Run a statement in which CODES stands for the table."""
        options = {"stream_results": True} if stream else {}
        return self.connection.exec_driver_sql(statement.replace("CODES", self.table), values or None, options)


def _text(vector: NDArray[np.float32]) -> str:
    """As pgvector reads it, rounded to half precision here: few digits are quick to send and to parse."""
    return f"[{','.join(map(str, vector.astype(np.float16).tolist()))}]"


def require_pgvector(connection: Connection) -> None:
    """Make the extension available in this database; `GalleryError` where it is missing or too old."""
    version = connection.exec_driver_sql(
        "SELECT coalesce((SELECT extversion FROM pg_extension WHERE extname = 'vector'), "
        "(SELECT default_version FROM pg_available_extensions WHERE name = 'vector'))"
    ).scalar()
    if version is None:
        raise GalleryError(
            "This PostgreSQL server has no pgvector.",
            "Install it there (Debian: postgresql-NN-pgvector), 0.7.0 or newer.",
        )
    if tuple(int(part) for part in str(version).split(".")[:3]) < MINIMUM_VERSION:
        raise GalleryError(
            f"This PostgreSQL server has pgvector {version}, which knows no half precision.",
            "Install 0.7.0 or newer there, and run: ALTER EXTENSION vector UPDATE",
        )
    connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS vector")
