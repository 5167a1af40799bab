"""From an engine's record to its index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facesearch.errors import ConfigError, GalleryError
from facesearch.search.backlog import VectorDatabaseKind

if TYPE_CHECKING:
    from pymilvus import MilvusClient
    from sqlalchemy.engine import Connection

    from facesearch.index.external import ExternalIndex
    from facesearch.search.backlog import VectorDatabase
    from facesearch.store.location import MilvusServer


class Opener:
    """Opens indexes, over one connection to Milvus for all of them."""

    def __init__(self, milvus: MilvusServer | None) -> None:
        self._milvus = milvus
        self._client: MilvusClient | None = None

    def open(
        self, engine: VectorDatabase, connection: Connection | None, model_row: int, dimension: int
    ) -> ExternalIndex:
        """The index of one model, which may have to be created; one in the database is bound to `connection`.

        Raises `ConfigError` where nobody said where Milvus is, `VectorDatabaseError` where it does not answer.
        """
        collection = engine.collection(model_row)
        if engine.kind is VectorDatabaseKind.MILVUS:
            from facesearch.index.milvus import MilvusIndex

            return MilvusIndex(self._connected(), collection, dimension, engine.position)
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

    def drop_all(self, engine: VectorDatabase, connection: Connection | None) -> None:
        """Remove the engine's indexes of all models, also of those that the gallery does not know any more."""
        if engine.kind is VectorDatabaseKind.MILVUS:
            from facesearch.index.milvus import drop_collections

            drop_collections(self._connected(), f"{engine.name}_")
            return
        from facesearch.index.pgvector import drop_tables

        assert connection is not None
        drop_tables(connection, f"{engine.name}_")

    def require(self, kind: VectorDatabaseKind, connection: Connection, *, encrypted: bool) -> None:
        """Raise `GalleryError` or `ConfigError` unless the gallery's vectors can go to an engine of this kind."""
        if encrypted:
            raise GalleryError(
                "The vectors of an encrypted gallery stay in it.", "Use an engine only where its disk may be read."
            )
        if kind is VectorDatabaseKind.MILVUS:
            self._connected()
            return
        if connection.dialect.name != "postgresql":
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
