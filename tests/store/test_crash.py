from __future__ import annotations

import os
import random
import select
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import subjects
from tests.store.makers import found_subject

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL.")
def test_a_killed_process_loses_nothing_acknowledged_and_revives_nobody(folder: Path, kills: int) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201  # shown where the test fails
    rng = random.Random(seed)
    present: set[int] = set()
    removed: set[int] = set()
    acknowledged = 0
    for kill in range(kills):
        lines = run_and_kill(folder, rng, 1000 * kill)  # nobody's number is used again
        acknowledged += len(lines)
        unsure: set[int] = set()
        for sign, number in lines:
            unsure.discard(number)
            if sign == "+":
                present.add(number)
            elif sign == "-":
                present.discard(number)
                removed.add(number)
            else:
                unsure.add(number)
        with Gallery.open(folder) as gallery:
            assert not list(folder.glob("*.tmp")), "no temporary files after reopening"
            names = {int(subject.name) for subject in gallery.read(subjects.list_subjects)}
            assert present - unsure <= names, "an acknowledged enrolment is lost"
            assert not removed & names, "an acknowledged removal was undone"
            assert len(names - present) <= 1, "at most the one that was under way"
            assert [finding for finding in check_gallery(gallery) if not finding.ok] == []
            assert {found_subject(gallery, number) for number in names} <= {str(number) for number in names}
            assert all(found_subject(gallery, number) == str(number) for number in names)
            assert all(found_subject(gallery, number) is None for number in removed)
            removed |= unsure - names
            present = names
    print(f"{kills} kills, {acknowledged} acknowledged, {len(removed)} removed")  # noqa: T201
    assert acknowledged > kills


def run_and_kill(folder: Path, rng: random.Random, number: int) -> list[tuple[str, int]]:
    """Let a child work, kill it at a random moment, and return what it had acknowledged."""
    command = [
        sys.executable,
        "-m",
        "tests.store.crashing",
        os.fspath(folder),
        str(rng.randrange(2**32)),
        str(number),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        first = child.stdout.readline()  # it has started to work
        select.select([], [], [], rng.random() * 0.25)
        child.kill()
        lines = [first, *child.stdout.read().splitlines(keepends=True)]
    # A line that the kill cut short acknowledged nothing.
    return [(line[0], int(line[1:])) for line in lines if line.endswith("\n")]
