"""Kills at random moments while a gallery is made: the same command goes on from there."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import subjects, templates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from facesearch.store.location import DatabaseUrl

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither SIGKILL nor fork.")

MAKING = """
import os, random, sys, time
from pathlib import Path
from facesearch.store.location import parse_location
from tests.store.makers import enroll, make_gallery
import alembic.command, facesearch.store.postgres, facesearch.store.sqlite  # not in each child

kills, rng = int(sys.argv[2]), random.Random(int(sys.argv[3]))
for number in range(kills):
    child = os.fork()
    if child == 0:
        place = parse_location(sys.argv[1].replace("{}", str(number)), Path(sys.argv[4]))
        with make_gallery(place) as gallery:
            enroll(gallery, "anna", 1)
        os._exit(0)
    time.sleep(rng.random() * float(sys.argv[5]))
    os.kill(child, 9)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def kill_makers(place: str, cache: Path, kills: int, within: float) -> int:
    """Kill processes that make a gallery at `place`; returns how many did not come to their end."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    command = [sys.executable, "-c", MAKING, place, str(kills), str(seed), os.fspath(cache), str(within)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=200)
    return sum(int(line) != 0 for line in done.stdout.split())


@pytest.mark.parametrize("kills", [16, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
def test_a_folder_holds_a_whole_gallery_or_none_after_a_kill(tmp_path: Path, kills: int) -> None:
    assert kill_makers(os.fspath(tmp_path / "{}"), tmp_path, kills, 0.3) > kills / 4
    for number in range(kills):
        look(tmp_path / str(number))


def test_a_server_holds_a_whole_gallery_or_none_after_a_kill(
    new_postgres: Callable[[Path], DatabaseUrl], tmp_path: Path
) -> None:
    place = new_postgres(tmp_path)
    kill_makers(place.url, tmp_path, 5, 0.3)  # each meets what the one before it left
    look(place)


def look(place: Path | DatabaseUrl) -> None:
    with Gallery.open(place, create=True) as gallery:
        assert {subject.name for subject in gallery.read(subjects.list_subjects)} <= {"anna"}
        assert [finding for finding in check_gallery(gallery) if not finding.ok] == []


def test_enroll_goes_on_after_kills_in_its_first_second(
    tmp_path: Path, people_folder: Path, standin_pack: Path
) -> None:
    """By the real command line."""
    command = [sys.executable, "-m", "facesearch", "enroll", os.fspath(people_folder / "Mira Quill")]
    command += ["--as", "Mira Quill", "--pack", os.fspath(standin_pack), "--gallery", os.fspath(tmp_path / "gallery")]
    taken = time.monotonic()
    subprocess.run([*command, "--gallery", os.fspath(tmp_path / "measured")], check=True, capture_output=True)
    taken = time.monotonic() - taken
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            time.sleep(random.uniform(0.4, 1.0) * taken)
            child.kill()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with Gallery.open(tmp_path / "gallery") as gallery:
        assert gallery.read(templates.counts)["photos"] == 4
        assert [finding for finding in check_gallery(gallery) if not finding.ok] == []
