"""Milvus: a vector database of its own, for galleries that outgrow a machine.

One collection per model holds ids and vectors, nothing else: no names and no attributes, so that nothing but the
templates themselves has to be kept equal. Searching among some people hands their template ids over.

The index is FLAT by inner product, which compares every vector: of Milvus's kinds, the only one that loses no faces
(docs/vector-databases.md has the figures).

Consistency: a write is answered with Milvus's own time stamp. Whoever searches names the newest one that the database
has recorded (`position`), and Milvus waits until it has taken in everything up to it. Other levels would either wait
for all writes of everybody (Strong: 200 ms a search) or not see what was just written (Bounded).
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from facesearch.errors import InstallationError, VectorDatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from pymilvus import MilvusClient
    from sqlalchemy.engine import Connection

    from facesearch.index.services import VectorServer
    from facesearch.types import Ids, Vectors

TIMEOUT = 10.0
"""Seconds for one call."""
BLOCK = 1000
"""Rows per call: 2 MB at 512 dimensions, where Milvus takes 64 MB at most."""
AMONG = 50_000
"""Ids per filter expression: 0.5 MB of text."""


class Service:
    """See `VectorService`."""

    leaves = "Milvus's files, where removed vectors stay until it compacts them"

    def __init__(self, server: VectorServer) -> None:
        self._server = server

    @cached_property
    def client(self) -> MilvusClient:
        """The connection. Raises as `connect`."""
        return connect(self._server.address, self._server.token)

    def require(self, _: Connection | None) -> None:
        """See `VectorService`."""
        _ = self.client

    def open(self, _: Connection | None, name: str, dimension: int, position: int) -> MilvusIndex:
        """See `VectorService`."""
        return MilvusIndex(self.client, name, dimension, position)

    def drop(self, _: Connection | None, beginning: str) -> None:
        """See `VectorService`."""
        with _translated():
            for name in self.client.list_collections(timeout=TIMEOUT):
                if name.startswith(beginning):
                    self.client.drop_collection(name, timeout=TIMEOUT)

    def close(self) -> None:
        """See `VectorService`."""
        if "client" in self.__dict__:
            self.client.close()


def connect(address: str, token: str | None = None) -> MilvusClient:
    """A client of the Milvus at `http://host:19530`. Raises `InstallationError` or `VectorDatabaseError`."""
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise InstallationError("Milvus needs pymilvus.", "Run: pip install 'facesearch[milvus]'") from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it would write to stderr what is raised anyway
    with _translated(f"Milvus at {address}"):
        return MilvusClient(address, token=token or "", timeout=TIMEOUT)


class MilvusIndex:
    """The vectors of one model, in one collection."""

    error = 1e-5
    """Rounding of float32 sums in another order than here: below 1e-6 for 512 dimensions."""
    limit = 16_384
    """Milvus gives no more results for a query."""

    def __init__(self, client: MilvusClient, collection: str, dimension: int, position: int = 0) -> None:
        self.client = client
        self.collection = collection
        self.dimension = dimension
        self.position = position
        """Milvus's time stamp of the newest change that must be seen; 0 waits for every change that was ever made."""

    def create(self) -> None:
        """Make the collection where there is none."""
        from pymilvus import DataType

        with _translated():
            if self.client.has_collection(self.collection):
                return
            schema = self.client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("id", DataType.INT64, is_primary=True)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self.dimension)
            parameters = self.client.prepare_index_params()
            parameters.add_index("vector", index_type="FLAT", metric_type="IP")
            self.client.create_collection(self.collection, schema=schema, index_params=parameters)

    def __len__(self) -> int:
        """See `VectorIndex`."""
        with _translated():
            (row,) = self.client.query(self.collection, filter="", output_fields=["count(*)"], **self._consistency())
        return int(row["count(*)"])

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """See `ExternalIndex`."""
        for start in range(0, len(ids), BLOCK):
            part = slice(start, start + BLOCK)
            rows = [
                {"id": key, "vector": vector} for key, vector in zip(ids[part].tolist(), vectors[part], strict=True)
            ]
            with _translated():
                self.client.upsert(self.collection, rows)
            self._note_position()

    def remove(self, ids: Ids) -> int:
        """See `VectorIndex.remove`."""
        present, _ = self.vectors(ids)
        for start in range(0, len(ids), BLOCK):
            with _translated():
                self.client.delete(self.collection, ids=ids[start : start + BLOCK].tolist())
        with _translated():  # Milvus 2.3 gives no time stamp for a removal: wait until all there is was taken in
            self.client.query(
                self.collection, ids=[0], output_fields=["id"], consistency_level="Strong", timeout=TIMEOUT
            )
        return len(present)

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[NDArray[np.float32], Ids]:
        """See `VectorIndex.search`."""
        scores = np.full((len(queries), k), -np.inf, np.float32)
        ids = np.full((len(queries), k), -1, np.int64)
        if not len(queries) or not k:
            return scores, ids
        for expression in _expressions(allowed):
            with _translated():
                found = self.client.search(
                    self.collection,
                    data=list(np.ascontiguousarray(queries, np.float32)),
                    limit=k,
                    filter=expression,
                    anns_field="vector",
                    **self._consistency(),
                )
            for row, hits in enumerate(found):
                row_scores = np.concatenate([scores[row], [hit["distance"] for hit in hits]])
                row_ids = np.concatenate([ids[row], np.array([hit["id"] for hit in hits], np.int64)])
                order = np.lexsort((row_ids, -row_scores))[:k]
                scores[row], ids[row] = row_scores[order], row_ids[order]
        return scores, ids

    def ids(self) -> Iterator[Ids]:
        """See `ExternalIndex.ids`."""
        last = -1  # ids are above 0, and come in their order
        while True:
            with _translated():
                rows = self.client.query(
                    self.collection,
                    filter=f"id > {last}",
                    limit=BLOCK,
                    output_fields=["id"],
                    **self._consistency(),
                )
            if not rows:
                return
            block = np.sort(np.array([row["id"] for row in rows], np.int64))
            yield block
            last = int(block[-1])

    def vectors(self, ids: Ids) -> tuple[Ids, Vectors]:
        """See `ExternalIndex.vectors`."""
        found: dict[int, Any] = {}
        for start in range(0, len(ids), BLOCK):
            with _translated():
                rows = self.client.query(
                    self.collection,
                    ids=ids[start : start + BLOCK].tolist(),
                    output_fields=["id", "vector"],
                    **self._consistency(),
                )
            found.update((row["id"], row["vector"]) for row in rows)
        keys = sorted(found)
        vectors = np.array([found[key] for key in keys], np.float32).reshape(len(keys), self.dimension)
        return np.array(keys, np.int64), vectors

    def drop(self) -> None:
        """See `ExternalIndex.drop`."""
        with _translated():
            self.client.drop_collection(self.collection)

    def _consistency(self) -> dict[str, Any]:
        if not self.position:
            return {"consistency_level": "Strong", "timeout": TIMEOUT}
        return {"consistency_level": "Customized", "guarantee_timestamp": self.position, "timeout": TIMEOUT}

    def _note_position(self) -> None:
        """Take over the time stamp of the write that was just answered, which pymilvus keeps to itself."""
        from pymilvus.client.ts_utils import get_collection_ts

        address = self.client._get_connection().server_address  # the key that it keeps it under
        self.position = max(self.position, get_collection_ts(self.collection, address) or 0)


def _expressions(allowed: Ids | None) -> Iterator[str]:
    if allowed is None:
        yield ""
        return
    for start in range(0, len(allowed), AMONG):
        yield f"id in {allowed[start : start + AMONG].tolist()}"


@contextmanager
def _translated(what: str = "Milvus") -> Iterator[None]:
    import grpc
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except (MilvusException, grpc.RpcError) as error:
        text = error.message if isinstance(error, MilvusException) else type(error).__name__
        raise VectorDatabaseError(
            f"{what} does not answer as it should: {text}",
            "Start it, or look at FACESEARCH_MILVUS. Nothing is lost: what changes meanwhile is sent when it is back.",
        ) from error
