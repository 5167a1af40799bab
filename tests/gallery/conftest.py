from __future__ import annotations

from typing import TYPE_CHECKING

import faiss
import pytest

from tests.gallery.makers import make_gallery

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from facesearch.gallery.gallery import Gallery


faiss.omp_set_num_threads(1)  # galleries of a few vectors: threads would only wait for each other


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the gallery of a test lies."""
    return tmp_path / "gallery"


@pytest.fixture
def gallery(folder: Path) -> Iterator[Gallery]:
    """A new gallery bound to a model."""
    with make_gallery(folder) as made:
        yield made
