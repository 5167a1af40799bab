"""The PostgreSQL server of a test run, and new databases on it; tests that need one are skipped, visibly, without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from facesearch.store.location import DatabaseUrl
from tests.capabilities import require

if TYPE_CHECKING:
    from tests.postgres_server import PostgresServer

SHARED = "shared_gallery"


@pytest.fixture(scope="session")
def postgres_binaries() -> Path:
    """The folder of the server's programs."""
    require("proc")  # processes of a server are found there
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    from tests.postgres_server import find_binaries

    found = find_binaries()
    if found is None:
        pytest.skip("no PostgreSQL server is installed: apt-get install postgresql")
    return found


@pytest.fixture(scope="session")
def postgres_server(postgres_binaries: Path) -> Iterator[PostgresServer]:
    """A server with one gallery in it, which tests share one after the other."""
    from facesearch.store.postgres import PostgresDatabase
    from tests.postgres_server import PostgresServer

    server = PostgresServer(postgres_binaries)
    try:
        server.execute(f"CREATE DATABASE {SHARED}")
        database = PostgresDatabase(server.location(SHARED, server.folder))
        database.upgrade()
        database.close()
        yield server
    finally:
        server.stop()


@pytest.fixture
def emptied_postgres(postgres_server: PostgresServer) -> Callable[[Path], DatabaseUrl]:
    """Empties the shared gallery and gives it, with its index cache below the folder given."""
    from facesearch.store.rows import Base

    def empty(cache: Path) -> DatabaseUrl:
        tables = ", ".join(sorted(set(Base.metadata.tables) - {"revision"}))
        postgres_server.execute(f"TRUNCATE {tables} RESTART IDENTITY", SHARED)
        return postgres_server.location(SHARED, cache)

    return empty


@pytest.fixture
def new_postgres(postgres_server: PostgresServer) -> Callable[[Path], DatabaseUrl]:
    """Makes an empty database, with its index cache below the folder given. Takes ten times as long."""
    return lambda cache: postgres_server.location(postgres_server.new_database(), cache)
