"""kill -9 of the process that enrolls, and of PostgreSQL under it, at random moments."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import subjects, templates
from facesearch.store.location import DatabaseUrl
from tests.postgres_server import PostgresServer
from tests.store.makers import found_subject

pytestmark = pytest.mark.needs("proc")  # the server's processes are found there
Child = subprocess.Popen[bytes]
COUNTS = [2, pytest.param(50, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])]


class Said:
    """What a gallery must hold after everything that children acknowledged."""

    def __init__(self) -> None:
        self.present: set[int] = set()
        self.removed: set[int] = set()
        self.unsure: set[int] = set()
        self.acknowledged = 0
        self.failed_searches = 0

    def read(self, text: str) -> None:
        # A line that the kill cut short acknowledged nothing.
        for line in (line for line in text.splitlines(keepends=True) if line.endswith("\n")):
            sign, number = line[0], int(line[1:])
            self.unsure.discard(number)
            self.acknowledged += sign in "+-"
            self.failed_searches += sign == "!"
            if sign == "+":
                self.present.add(number)
            elif sign == "-":
                self.present.discard(number)
                self.removed.add(number)
            elif sign == "?":
                self.unsure.add(number)

    def check(self, gallery: Gallery) -> None:
        """Nothing acknowledged is lost, nobody removed is back, everything agrees; what was under way may be either."""
        names = {int(subject.name) for subject in gallery.read(subjects.list_subjects)}
        assert self.present - self.unsure <= names, "an acknowledged enrolment is lost"
        assert not self.removed & names, "an acknowledged removal was undone"
        assert len(names - self.present) <= 8, "at most the commit that was under way"
        assert gallery.read(templates.counts)["templates"] == gallery.read(templates.counts)["photos"] == len(names), (
            "something is there twice"
        )
        assert all(found_subject(gallery, number) == str(number) for number in names)
        assert all(found_subject(gallery, number) is None for number in self.removed)
        assert [finding for finding in check_gallery(gallery) if not finding.ok] == []
        self.removed |= self.unsure - names
        self.unsure.clear()
        self.present = names


@contextmanager
def child_at_work(place: DatabaseUrl, folder: Path, rng: random.Random, first: int, out: IO[bytes]) -> Iterator[Child]:
    """Runs until the block ends, and is killed then."""
    command = [sys.executable, "-m", "tests.durability.on_server", place.url, str(folder)]
    command += [str(rng.randrange(2**32)), str(first)]
    with subprocess.Popen(command, stdout=out) as child:
        deadline = time.monotonic() + 60
        before = Path(out.name).stat().st_size
        while Path(out.name).stat().st_size == before:
            assert child.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield child
        assert child.poll() is None, "it ended by itself"
        child.kill()


@pytest.fixture
def durable(postgres_binaries: Path, tmp_path: Path) -> Iterator[tuple[PostgresServer, DatabaseUrl]]:
    """A server that syncs, and a place for a gallery on it, with its index cache in `tmp_path`."""
    server = PostgresServer(postgres_binaries, durable=True)
    try:
        yield server, server.location(server.new_database(), tmp_path)
    finally:
        server.stop()


def seeded() -> random.Random:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201  # shown where the test fails
    return random.Random(seed)


@pytest.mark.parametrize("kills", COUNTS)
def test_a_killed_process_loses_nothing_acknowledged_on_a_server(
    durable: tuple[PostgresServer, DatabaseUrl], tmp_path: Path, kills: int
) -> None:
    rng, said = seeded(), Said()
    _, place = durable
    for kill in range(kills):
        with (tmp_path / f"said-{kill}").open("wb") as out:
            with child_at_work(place, tmp_path, rng, 10_000 * kill, out):
                time.sleep(rng.random())
            said.read(Path(out.name).read_text(encoding="utf-8"))
        with Gallery.open(place) as gallery:  # with the cache that the child left
            said.check(gallery)
    print(f"{kills} kills, {said.acknowledged} acknowledged, {len(said.removed)} removed")  # noqa: T201
    assert said.acknowledged > kills


@pytest.mark.parametrize("kills", COUNTS)
def test_a_killed_server_loses_nothing_acknowledged_and_those_who_enroll_go_on(
    durable: tuple[PostgresServer, DatabaseUrl], tmp_path: Path, kills: int
) -> None:
    rng, said = seeded(), Said()
    server, place = durable
    other = server.location("test_other", tmp_path / "other")
    elsewhere = DatabaseUrl(place.url, other.folder)  # the same gallery from another machine: a cache of its own
    with (tmp_path / "said").open("wb") as out:
        with child_at_work(place, tmp_path, rng, 0, out) as child:
            for _ in range(kills):
                time.sleep(rng.uniform(0.2, 1.5))
                server.kill()
                server.start()
            acknowledged = Path(out.name).stat().st_size
            while Path(out.name).stat().st_size == acknowledged:  # it goes on
                assert child.poll() is None, "it ended by itself"
                time.sleep(0.05)
        said.read(Path(out.name).read_text(encoding="utf-8"))
    with Gallery.open(place) as gallery, Gallery.open(elsewhere) as second:
        said.check(gallery)
        said.check(second)
    print(  # noqa: T201
        f"{kills} kills, {said.acknowledged} acknowledged, {len(said.removed)} removed, "
        f"{said.failed_searches} searches failed"
    )
    assert said.acknowledged > kills
