"""The scripts of `examples/` run as they stand, each within 40 lines."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn

from facesearch import FaceSearch
from facesearch.server.app import create_app

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
Script = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def script(standin_pack: Path, tmp_path: Path) -> Script:
    """Run a script by its name, in an empty folder, with the stand-in pack."""

    def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, ROOT / "examples" / name, *map(str, arguments)],
            cwd=tmp_path,
            env={
                **os.environ,
                "FACESEARCH_PACK": os.fspath(standin_pack),
                "FACESEARCH_PROVIDER": "cpu",
                "PYTHONPATH": os.fspath(ROOT),
                "PYTHONUTF8": "1",
            },
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    return run


def test_five_scripts_have_fewer_than_forty_lines() -> None:
    assert len(SCRIPTS) == 5
    assert [each.name for each in SCRIPTS if len(each.read_text(encoding="utf-8").splitlines()) >= 40] == []


@pytest.fixture
def two_people(people_folder: Path, tmp_path: Path) -> Path:
    """A folder with eight photos of two people."""
    folder = tmp_path / "two"
    for person in ("Kofi Ember", "Mira Quill"):
        shutil.copytree(people_folder / person, folder / person)
    return folder


def test_enroll_and_query(script: Script, two_people: Path, scenes_folder: Path) -> None:
    done = script("enroll_and_query.py", two_people, scenes_folder / "group.jpg")
    assert done.returncode == 0, done.stderr
    assert "face 3: Kofi Ember, score 0.88" in done.stdout
    assert "face 1: unknown" in done.stdout
    assert "threshold 0.48" in done.stdout


@pytest.mark.parametrize(
    ("a", "b", "code", "says"),
    [
        ("Mira Quill/1.jpg", "Mira Quill/2.jpg", 0, "same person"),
        ("Mira Quill/1.jpg", "Kofi Ember/2.jpg", 1, "different people"),
        ("Mira Quill/1.jpg", "no-such.jpg", 3, "no-such.jpg"),
    ],
)
def test_verify_two_photos(script: Script, people_folder: Path, a: str, b: str, code: int, says: str) -> None:
    done = script("verify_two_photos.py", people_folder / a, people_folder / b)
    assert (done.returncode, done.stderr) == (code, "")
    assert says in done.stdout


def test_calibrate_from_folder(script: Script, two_people: Path) -> None:
    a, b = two_people / "Mira Quill/1.jpg", two_people / "Mira Quill/2.jpg"
    done = script("calibrate_from_folder.py", two_people, a, b, 0.1)
    assert done.returncode == 0, done.stderr
    assert "1 of 16 false matches, 0 of 12 missed" in done.stdout
    assert "same person" in done.stdout
    refused = script("calibrate_from_folder.py", two_people, a, b)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "cannot support a rate of 0.01" in refused.stderr


@pytest.fixture
def url(standin_pack: Path, tmp_path: Path) -> Iterator[str]:
    """A server over an empty gallery."""
    with FaceSearch.open(tmp_path / "served", pack=standin_pack, provider="cpu") as engine:
        server = uvicorn.Server(uvicorn.Config(create_app(engine), port=0, log_level="warning", lifespan="on"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join()


@pytest.mark.needs("loopback")
def test_use_a_server(script: Script, people_folder: Path, scenes_folder: Path, url: str) -> None:
    photo = people_folder / "Mira Quill" / "1.jpg"
    done = script("use_a_server.py", "Mira Quill", photo, people_folder / "Mira Quill" / "2.jpg", url)
    assert done.returncode == 0, done.stderr
    assert "1.jpg: enrolled" in done.stdout
    assert "2.jpg: match, Mira Quill" in done.stdout
    assert "enrolled: Mira Quill" in done.stdout


def test_watch_folder(script: Script, two_people: Path, tmp_path: Path) -> None:
    done = script("watch_folder.py", two_people, tmp_path / "gallery", 0, 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("enrolled: Mira Quill") == 4
