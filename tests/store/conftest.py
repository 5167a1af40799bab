from __future__ import annotations

from typing import TYPE_CHECKING

import faiss
import pytest

from facesearch.search.gallery import Gallery
from facesearch.store import templates
from facesearch.store.location import DatabaseUrl
from tests.store.makers import MODEL, make_gallery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from facesearch.store.location import Location


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


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one where an index compares itself with the whole database."""
    found: list[int] = []
    read = templates.template_keys

    def counted(connection: Connection, model_row: int) -> object:
        found.append(1)
        return read(connection, model_row)

    monkeypatch.setattr(templates, "template_keys", counted)
    return found


@pytest.fixture
def second(place: Location, gallery: Gallery, tmp_path: Path) -> Iterator[Gallery]:
    """The same gallery as another process opens it, or one on a server another machine, with a cache of its own."""
    elsewhere = DatabaseUrl(place.url, tmp_path / "elsewhere") if isinstance(place, DatabaseUrl) else place
    with Gallery.open(elsewhere) as other:
        other.adopt(MODEL)
        yield other
