"""External vector engines for the tests: real servers, one for all tests of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import milvus_address, pgvector_url


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Milvus."""
    mine = tmp_path_factory.getbasetemp()
    everybodys = mine.parent if os.environ.get("PYTEST_XDIST_WORKER") else mine
    with milvus_address(Path(everybodys)) as address:
        yield address


@pytest.fixture(scope="session")
def pgvector() -> Iterator[str]:
    """The URL of a PostgreSQL that has pgvector."""
    with pgvector_url() as url:
        yield url
