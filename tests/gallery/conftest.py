from __future__ import annotations

from typing import TYPE_CHECKING

import faiss
import pytest

from tests.gallery.makers import make_gallery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from facesearch.gallery.gallery import Gallery
    from facesearch.gallery.location import DatabaseUrl, Location


faiss.omp_set_num_threads(1)  # galleries of a few vectors: threads would only wait for each other


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the gallery of a test lies."""
    return tmp_path / "gallery"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames and metafunc.definition.get_closest_marker("both_databases"):
        metafunc.parametrize("place", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def place(request: pytest.FixtureRequest, folder: Path) -> Location:
    """Where the gallery is to be made: the folder, or for tests marked `both_databases` a PostgreSQL database too."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return folder
    emptied_postgres: Callable[[Path], DatabaseUrl] = request.getfixturevalue("emptied_postgres")
    return emptied_postgres(folder)


@pytest.fixture
def gallery(place: Location) -> Iterator[Gallery]:
    """A new gallery bound to a model."""
    with make_gallery(place) as made:
        yield made
