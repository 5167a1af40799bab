"""Searches of several threads go on at the same time, each in one committed state of the gallery."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from facesearch.index.flat import FlatIndex
from facesearch.search.mirror import Readers
from facesearch.store import people, templates
from facesearch.types import IndexKind
from tests.store.makers import enroll, found_subject, unit

if TYPE_CHECKING:
    from typing import Any

    from facesearch.search.gallery import Gallery

SECONDS = 20.0


def test_two_searches_go_on_at_once_and_a_commit_waits_for_both(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        enroll(gallery, str(seed), seed)

    def commit() -> None:
        committing.submit(enroll, gallery, "new", 100)

    both = threading.Barrier(2, action=commit)
    search, add = FlatIndex.search, FlatIndex.add
    ended: list[int] = []
    ended_at_addition: list[int] = []

    def meet(self: FlatIndex, *args: Any) -> Any:
        both.wait(SECONDS)
        while gallery.read(templates.counts)["photos"] < 4:
            time.sleep(0.01)
        time.sleep(0.1)  # it is committed: the index would follow now
        result = search(self, *args)
        ended.append(1)
        return result

    def watch(self: FlatIndex, *args: Any) -> None:
        ended_at_addition.append(len(ended))
        add(self, *args)

    found_subject(gallery, 0)
    with ThreadPoolExecutor(1) as committing, ThreadPoolExecutor(2) as searching, monkeypatch.context() as patch:
        patch.setattr(FlatIndex, "search", meet)
        patch.setattr(FlatIndex, "add", watch)
        found = list(searching.map(lambda seed: found_subject(gallery, seed), (0, 1)))
        committing.shutdown()
    assert found == ["0", "1"]
    assert ended_at_addition == [2]
    assert found_subject(gallery, 100) == "new"


@pytest.mark.parametrize("kind", [IndexKind.FLAT, IndexKind.TWO_STAGE])
def test_whatever_is_committed_meanwhile_a_search_answers_of_one_committed_state(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, kind: IndexKind
) -> None:
    if kind == IndexKind.TWO_STAGE:
        monkeypatch.setattr("facesearch.search.mirror.TWO_STAGE_FROM", 0)
    enroll(gallery, "0", 0)
    enroll(gallery, "1", 1)
    states = [{0, 1}]
    for seed in range(2, 20):  # one comes, and every third time one goes
        states.append(states[-1] | {seed})
        if seed % 3 == 0:
            states.append(states[-1] - {seed - 2})
    over = threading.Event()

    def search(query: int) -> set[tuple[str, ...]]:
        found = set()
        while not over.is_set():
            (candidates,) = gallery.search(unit(query)[None], 3)
            found.add(tuple(candidate.subject for candidate in candidates))
        return found

    queries = [500, 501, 502]
    with ThreadPoolExecutor(4) as threads:
        committed = threads.submit(commit_all, gallery, states, over)
        answers = list(threads.map(search, queries))
        committed.result()
    for query, answered in zip(queries, answers, strict=True):
        assert answered
        assert answered <= {best_of(state, query) for state in states}


def commit_all(gallery: Gallery, states: list[set[int]], over: threading.Event) -> None:
    """From one state to the next, a commit each."""
    for before, after in pairwise(states):
        for seed in after - before:
            enroll(gallery, str(seed), seed)
        for seed in before - after:
            gallery.remove(people.remove, str(seed))
    over.set()


def best_of(state: set[int], query: int) -> tuple[str, ...]:
    """By brute force."""
    seeds = sorted(state)
    scores = np.stack([unit(seed) for seed in seeds]) @ unit(query)
    return tuple(str(seeds[place]) for place in np.argsort(-scores)[:3])


def test_a_change_waits_until_the_last_reader_has_left() -> None:
    readers = Readers()
    with ThreadPoolExecutor(1) as other:
        with readers.enter():
            with readers.enter():
                pass
            waiting = other.submit(readers.wait_for_none)
            assert wait([waiting], timeout=0.05).not_done
        waiting.result(SECONDS)
