from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import faiss
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

faiss.omp_set_num_threads(1)  # galleries of a few vectors: threads would only wait for each other


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: thousands of small galleries are opened, each with its syncs."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="facesearch-test-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)
