from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from facesearch.index.services import VectorDatabaseKind, VectorServer
from facesearch.search.gallery import Gallery
from facesearch.store.location import Location, parse_location
from tests.servers import new_database
from tests.store.makers import MODEL


@dataclass
class Place:
    """Where a gallery and its vectors are to be."""

    location: Location
    kind: VectorDatabaseKind
    servers: dict[VectorDatabaseKind, VectorServer]

    def open(self) -> Gallery:
        """The gallery, as another process would open it."""
        return Gallery.open(self.location, servers=self.servers)

    def make(self, enroll: Callable[[Gallery], object] | None = None) -> Gallery:
        """A gallery, people enrolled in it, whose vectors are then in the engine."""
        gallery = Gallery.open(self.location, create=True, servers=self.servers)
        gallery.adopt(MODEL)
        if enroll is not None:
            enroll(gallery)
        gallery.move_index(self.kind)
        return gallery


@pytest.fixture(params=list(VectorDatabaseKind))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A folder with its vectors in Milvus; a PostgreSQL database with its vectors in pgvector."""
    if request.param is VectorDatabaseKind.MILVUS:
        address = request.getfixturevalue("milvus")
        servers = {VectorDatabaseKind.MILVUS: VectorServer(address)}
        yield Place(tmp_path / "gallery", VectorDatabaseKind.MILVUS, servers)
        return
    with new_database(request.getfixturevalue("pgvector")) as url:
        yield Place(parse_location(url, tmp_path), VectorDatabaseKind.PGVECTOR, {})
