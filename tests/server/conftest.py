"""Servers over the drawn people: in this process, and as processes of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from facesearch import FaceSearch, VectorDatabaseError
from facesearch.index.services import VectorDatabaseKind
from facesearch.search.moving import add_vector_database
from facesearch.search.vector_databases import VectorDatabases, change_vector_database
from facesearch.server.app import configure, create_app
from facesearch.server.options import ServerOptions
from tests.capabilities import require

LOCAL = "http://127.0.0.1"


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Erasing looks into the cache of evaluations: never into the developer's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACESEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _cache(_clean_environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FACESEARCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def enrolled_gallery(tmp_path_factory: pytest.TempPathFactory, enrolled_folder: Path) -> Path:
    """A gallery of all the drawn people; tests that change it take `gallery`."""
    return Path(shutil.copytree(enrolled_folder, tmp_path_factory.mktemp("served") / "gallery"))


@pytest.fixture(scope="session")
def read_only(enrolled_gallery: Path) -> Iterator[httpx.Client]:
    """A server that no test changes anything through."""
    with FaceSearch.open(enrolled_gallery, provider="cpu") as engine, serve_here(engine) as client:
        yield client


@pytest.fixture
def gallery(enrolled_gallery: Path, tmp_path: Path) -> Path:
    """A copy of the gallery, to be changed."""
    folder = tmp_path / "gallery"
    shutil.copytree(enrolled_gallery, folder)
    return folder


@pytest.fixture
def engine(gallery: Path) -> Iterator[FaceSearch]:
    """An engine over that copy."""
    with FaceSearch.open(gallery, provider="cpu") as opened:
        yield opened


@pytest.fixture
def bereft(engine: FaceSearch, monkeypatch: pytest.MonkeyPatch) -> FaceSearch:
    """An engine over a gallery whose vectors are in a Milvus that does not answer."""

    def unavailable(*_: object) -> None:
        raise VectorDatabaseError("Milvus does not answer.", "Start it.")

    with engine.gallery.database.write() as connection:
        change_vector_database(connection, add_vector_database(connection, VectorDatabaseKind.MILVUS), active=1)
    monkeypatch.setattr(VectorDatabases, "open", unavailable)
    return engine


@pytest.fixture
def api(engine: FaceSearch) -> Iterator[httpx.Client]:
    """A server over that copy."""
    with serve_here(engine) as client:
        yield client


@contextmanager
def serve_here(engine: FaceSearch, options: ServerOptions | None = None) -> Iterator[httpx.Client]:
    """A client of a server in this process."""
    with serve_on_socket(engine, options) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


@contextmanager
def serve_on_socket(engine: FaceSearch, options: ServerOptions | None = None) -> Iterator[str]:
    """A server in a thread of this process, on a real socket; gives its URL."""
    with serve_app(create_app(engine, options), options) as url:
        yield url


@contextmanager
def serve_app(app: FastAPI, options: ServerOptions | None = None) -> Iterator[str]:
    """The same of an application."""
    require("loopback")
    config = configure(app, options or ServerOptions())
    config.port = 0
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"{LOCAL}:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@dataclass
class Process:
    """`facesearch serve` as a user starts it."""

    url: str
    process: subprocess.Popen[str]


@contextmanager
def serve_process(gallery: Path, *options: str) -> Iterator[Process]:
    """A server process, ended when the block ends."""
    require("ipv6" if "::1" in options else "loopback")
    command = [sys.executable, "-m", "facesearch", "serve", "--port", "0", "--gallery", str(gallery)]
    with subprocess.Popen([*command, "--provider", "cpu", *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "http" in line, "the server did not start"
            yield Process(line.split()[-1], process)
        finally:
            process.terminate()
            process.wait(30)
