"""Two processes that enroll and remove, and eight that search, all at once, on one gallery.

    python -m tests.durability.crowd GALLERY SECONDS

Each is a process of its own. Prints one JSON line per process: its kind, how often it acted, what went wrong, and how
long its commits took, in seconds.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import faiss

from facesearch.search.gallery import Gallery
from facesearch.store import people
from tests.store.makers import enroll, found_subject

WRITERS, SEARCHERS = 2, 8
PEOPLE = 200
"""Seeds 0..199 are enrolled before and never touched; writers use their own."""

Acts = Callable[[Gallery, random.Random, int, list[float]], str | None]


def write(gallery: Gallery, rng: random.Random, seed: int, commits: list[float]) -> str | None:
    """Enroll somebody, see them, and remove them again now and then; gives what went wrong."""
    name = str(seed)
    began = time.perf_counter()
    enroll(gallery, name, seed)
    commits.append(time.perf_counter() - began)
    if found_subject(gallery, seed) != name:
        return "its own write is not visible"
    if rng.random() < 0.3:
        gallery.remove(people.remove, name)
        if found_subject(gallery, seed) is not None:
            return "somebody it removed is found"
    return None


def search(gallery: Gallery, rng: random.Random, _: int, __: list[float]) -> str | None:
    """Look for somebody who is there, and for somebody who never was."""
    seed = rng.randrange(PEOPLE)
    if found_subject(gallery, seed) != str(seed):
        return "somebody is not found"
    return "a stranger is found" if found_subject(gallery, 10**9 + seed) else None


def work(folder: Path, number: int, seconds: float, act: Acts) -> dict[str, object]:
    rng, commits, wrong, acted = random.Random(number), list[float](), list[str](), 0
    faiss.omp_set_num_threads(1)
    until = time.monotonic() + seconds
    with Gallery.open(folder) as gallery:
        while acted < 2 or time.monotonic() < until:  # on a busy machine, too
            try:
                problem = act(gallery, rng, (number + 1) * 100_000 + acted, commits)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is to be reported
                problem = repr(error)
            acted += 1
            if problem:
                wrong.append(problem)
    return {"kind": act.__name__, "acted": acted, "wrong": wrong, "commits": commits}


def main(folder: Path, seconds: float) -> None:
    children = []
    for number in range(WRITERS + SEARCHERS):
        child = os.fork()  # nothing was opened here, and no thread runs
        if child == 0:
            done = work(folder, number, seconds, write if number < WRITERS else search)
            os.write(1, json.dumps(done).encode() + b"\n")  # in one piece
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
