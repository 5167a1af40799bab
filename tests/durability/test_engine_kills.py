"""kill -9 of a process that enrolls, and of Milvus: nothing acknowledged is lost, nobody who was removed comes back."""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from facesearch.index.services import VectorDatabaseKind, VectorServer
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import subjects
from tests.servers import (
    free_port,
    has_milvus_server,
    kill_group,
    require_milvus,
    restart_milvus,
    start_milvus,
    wait_until,
)
from tests.store.makers import DIMENSION, enroll, make_gallery, unit

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL.")


class Ledger:
    """What was acknowledged, and what may be either way."""

    def __init__(self) -> None:
        self.present: set[int] = set()
        self.removed: set[int] = set()
        self.unsure: set[int] = set()
        self.acknowledged = 0

    def hear(self, lines: list[tuple[str, int]]) -> None:
        for sign, number in lines:
            self.acknowledged += 1
            self.unsure.discard(number)
            if sign == "+":
                self.present.add(number)
            elif sign == "-":
                self.present.discard(number)
                self.removed.add(number)
            else:
                self.unsure.add(number)

    def compare(self, gallery: Gallery) -> None:
        """Before and after the engine was told what it has not been told."""
        for told in (False, True):
            if told:
                assert gallery.vector_databases.deliver()
            names = {int(subject.name) for subject in gallery.read(subjects.list_subjects)}
            assert self.present - self.unsure <= names, "an acknowledged enrolment is lost"
            assert not self.removed & names, "an acknowledged removal was undone"
            found = self._found(gallery, [*names, *self.removed])
            assert {number for number, name in found.items() if name == number} == names
        assert [finding for finding in check_gallery(gallery) if not finding.ok] == []
        self.removed |= self.unsure - names
        self.present, self.unsure = names, set()

    def _found(self, gallery: Gallery, numbers: list[int]) -> dict[int, int | None]:
        """Whom the vector of each number finds; None for nobody at a score of 1."""
        vectors = np.array([unit(number) for number in numbers], np.float32).reshape(-1, DIMENSION)
        best = [candidates[0] if candidates else None for candidates in gallery.search(vectors, 1)]
        return {
            number: int(each.subject) if each is not None and each.score > 0.9999 else None
            for number, each in zip(numbers, best, strict=True)
        }


@contextmanager
def enrolling(folder: Path, address: str, rng: random.Random, first: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.durability.engine_kills", os.fspath(folder), address]
    command += [str(rng.randrange(2**32)), str(first)]
    # Unbuffered: what one read takes ahead, another would miss.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0) as child:
        try:
            yield child
        finally:
            child.kill()


def read_lines(child: subprocess.Popen[bytes], *, until: float | None) -> list[tuple[str, int]]:
    """What the child said until that moment, or until its end; a line that the kill cut short is none."""
    assert child.stdout is not None
    data = b""
    while until is None or time.monotonic() < until:
        ready, _, _ = select.select([child.stdout], [], [], None if until is None else until - time.monotonic())
        if ready:
            piece = os.read(child.stdout.fileno(), 1 << 16)
            if not piece:
                break
            data += piece
    whole = data[: data.rfind(b"\n") + 1].decode().splitlines()
    return [(line[0], int(line[2:])) for line in whole]


def prepare(folder: Path, address: str) -> None:
    with make_gallery(folder) as gallery:
        enroll(gallery, "1", 1)
    with Gallery.open(folder, servers={VectorDatabaseKind.MILVUS: VectorServer(address)}) as gallery:
        gallery.move_index(VectorDatabaseKind.MILVUS)


def chance() -> random.Random:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201  # shown where the test fails
    return random.Random(seed)


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
def test_a_killed_process_leaves_nothing_out_that_milvus_has_to_be_told(scratch: Path, milvus: str, kills: int) -> None:
    rng, ledger, folder = chance(), Ledger(), scratch / "gallery"
    prepare(folder, milvus)
    ledger.present.add(1)
    for kill in range(kills):
        with enrolling(folder, milvus, rng, 10_000 * (kill + 1)) as child:
            assert child.stdout is not None
            ledger.hear([_parse(child.stdout.readline())])
            ledger.hear(read_lines(child, until=time.monotonic() + rng.uniform(0, 1.5)))
            child.kill()
            ledger.hear(read_lines(child, until=None))
        with Gallery.open(folder, servers={VectorDatabaseKind.MILVUS: VectorServer(milvus)}) as gallery:
            ledger.compare(gallery)
        print(kill + 1, "kills,", ledger.acknowledged, "lines")  # noqa: T201
    print(f"{kills} kills of the process, {ledger.acknowledged} lines, {len(ledger.removed)} removed")  # noqa: T201
    assert ledger.acknowledged > kills


def _parse(line: bytes) -> tuple[str, int]:
    return line[:1].decode(), int(line[2:])


@pytest.mark.parametrize("kills", [pytest.param(50, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])])
def test_a_killed_milvus_is_told_what_it_missed(scratch: Path, tmp_path: Path, kills: int) -> None:
    if not has_milvus_server():
        pytest.skip("There is no Milvus server that can run here.")
    rng, ledger, port = chance(), Ledger(), free_port()
    folder = scratch / "gallery"
    (tmp_path / "server").mkdir()
    address = f"http://127.0.0.1:{port}"
    server = start_milvus(tmp_path / "server", port)
    try:
        wait_until(lambda: require_milvus(port))
        prepare(folder, address)
        ledger.present.add(1)
        for kill in range(kills):
            with enrolling(folder, address, rng, 10_000 * (kill + 1)) as child:
                assert child.stdout is not None
                ledger.hear([_parse(child.stdout.readline())])
                ledger.hear(read_lines(child, until=time.monotonic() + rng.uniform(0, 2)))
                kill_group(server)
                ledger.hear(read_lines(child, until=time.monotonic() + rng.uniform(0, 2)))  # it goes on enrolling
                server = restart_milvus(tmp_path / "server", port)
                ledger.hear(read_lines(child, until=time.monotonic() + 0.5))
                child.kill()
                ledger.hear(read_lines(child, until=None))
            with Gallery.open(folder, servers={VectorDatabaseKind.MILVUS: VectorServer(address)}) as gallery:
                wait_until(lambda: ledger.compare(gallery))  # called at once; it is still loading
    finally:
        kill_group(server)
    print(f"{kills} kills of Milvus, {ledger.acknowledged} lines, {len(ledger.removed)} removed")  # noqa: T201
