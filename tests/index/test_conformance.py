"""The promises of `VectorIndex`, held by every index: whatever is done in whatever order, it answers as a dict does."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from facesearch.index.base import ExternalIndex
from facesearch.search.exact import search_exactly
from facesearch.types import Ids, Vector, Vectors
from tests.index.backends import EXTERNAL, Backend, make_backend
from tests.store.makers import units

DIMENSION = 8
# Few directions, half of them exactly opposite or equal: ties are the hard part.
DIRECTIONS: Vectors = np.concatenate([np.eye(DIMENSION, dtype=np.float32)[:3], units(1, 5)])
EXAMPLES = {
    "flat": (15, 400),
    "two-stage": (15, 400),
    "pgvector": (6, 400),
    "milvus": (2, 25),
}
"""Runs of the state machine in the ordinary run and in the soak; Milvus takes 0.2 s to show a change."""
IDS = st.lists(st.integers(1, 30), min_size=1, max_size=8, unique=True)


@pytest.fixture(params=EXAMPLES)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """An empty index of every kind."""
    made = make_backend(request.param, request, DIMENSION)
    yield made
    made.close()


def exact_scores(stored: dict[int, Vector], query: Vector) -> dict[int, float]:
    return {key: float(np.einsum("d,d->", vector, query)) for key, vector in stored.items()}


def require_right(backend: Backend, stored: dict[int, Vector], queries: Vectors, k: int, allowed: Ids | None) -> None:
    """Compare a search with brute force: what comes back, in which order, and what was left out."""
    scores, ids = backend.index.search(queries, k, allowed)
    assert scores.shape == ids.shape
    assert len(scores) == len(queries)
    columns = scores.shape[1]
    assert columns <= k
    assert scores.dtype == np.float32
    assert ids.dtype == np.int64
    for query, row_scores, row_ids in zip(queries, scores, ids.tolist(), strict=True):
        among = exact_scores(stored, query)
        if allowed is not None:
            among = {key: score for key, score in among.items() if key in allowed}
        sure = sum(score >= backend.floor for score in among.values())
        count = row_ids.index(-1) if -1 in row_ids else columns
        assert min(k, sure) <= count <= min(k, len(among))
        found = row_ids[:count]
        assert row_ids[count:] == [-1] * (columns - count)
        assert np.all(row_scores[count:] == -np.inf)
        assert len(set(found)) == count
        assert set(found) <= among.keys()
        assert np.all(np.diff(row_scores[:count]) <= 0)
        assert row_scores[:count].tolist() == pytest.approx([among[key] for key in found], abs=backend.error)
        left_out = [score for key, score in among.items() if key not in found and score >= backend.floor]
        if count and left_out:
            assert max(left_out) <= row_scores[count - 1] + backend.error


class Stored:
    """What a database would have."""

    def __init__(self, stored: dict[int, Vector]) -> None:
        self.stored = stored

    def vectors(self, ids: Ids) -> tuple[Ids, Vectors]:
        keys = sorted(set(ids.tolist()) & self.stored.keys())
        return np.array(keys, np.int64), np.array([self.stored[key] for key in keys], np.float32).reshape(-1, DIMENSION)

    def blocks(self) -> Iterator[tuple[Ids, Vectors]]:
        yield self.vectors(np.array(list(self.stored), np.int64))


def require_exact(index: ExternalIndex, stored: dict[int, Vector], queries: Vectors, k: int, pending: Ids) -> None:
    """Compare the search through the database with brute force: scores, people and order to the last bit."""
    scores, ids = search_exactly(index, Stored(stored), queries, k, None, pending)
    for query, row_scores, row_ids in zip(queries, scores, ids, strict=True):
        best = sorted((-score, key) for key, score in exact_scores(stored, query).items())[:k]
        padding = k - len(best)
        assert row_ids.tolist() == [key for _, key in best] + [-1] * padding
        assert row_scores.tolist() == [-score for score, _ in best] + [-np.inf] * padding


class IndexMachine(RuleBasedStateMachine):
    make: Callable[[], Backend]

    @initialize()
    def start(self) -> None:
        self.backend = self.make()
        self.external = self.backend.external is not None
        self.stored: dict[int, Vector] = {}

    def teardown(self) -> None:
        ids, vectors = self.backend.contents()
        assert sorted(ids.tolist()) == sorted(self.stored)
        for key, vector in zip(ids.tolist(), vectors, strict=True):
            assert np.abs(vector - self.stored[key]).max() <= self.backend.error
        self.backend.close()

    @rule(ids=IDS, directions=st.lists(st.integers(0, len(DIRECTIONS) - 1), min_size=8, max_size=8))
    def add(self, ids: list[int], directions: list[int]) -> None:
        # A local index is only given new ids; a vector database takes the same again, after a crash.
        chosen = [
            (key, DIRECTIONS[each])
            for key, each in zip(ids, directions, strict=False)
            if self.external or key not in self.stored
        ]
        if chosen:
            vectors = np.array([vector for _, vector in chosen], np.float32)
            self.backend.add(np.array([key for key, _ in chosen], np.int64), vectors)
            self.stored.update(chosen)

    @rule(ids=IDS)
    def remove(self, ids: list[int]) -> None:
        present = self.stored.keys() & set(ids)
        assert self.backend.index.remove(np.array(ids, np.int64)) == len(present)
        for key in present:
            del self.stored[key]

    @rule(
        queries=st.lists(st.integers(0, len(DIRECTIONS) - 1), max_size=4),
        k=st.integers(1, 40),
        allowed=st.none() | st.lists(st.integers(1, 40), max_size=12, unique=True),
    )
    def search(self, queries: list[int], k: int, allowed: list[int] | None) -> None:
        among = None if allowed is None else np.array(sorted(allowed), np.int64)
        require_right(self.backend, self.stored, DIRECTIONS[queries], k, among)

    @precondition(lambda self: self.external and self.stored)
    @rule(query=st.integers(0, len(DIRECTIONS) - 1), k=st.integers(1, 40), lag=st.integers(1, 30))
    def search_while_it_lags(self, query: int, k: int, lag: int) -> None:
        """The database is ahead: one template was removed there, another added, a third replaced."""
        assert self.backend.external is not None
        ahead = dict(self.stored)
        ahead.pop(lag, None)
        ahead[1000] = DIRECTIONS[query]
        require_exact(self.backend.external, ahead, DIRECTIONS[[query, 0]], k, np.array([1000]))

    @rule(ids=IDS)
    def erase(self, ids: list[int]) -> None:
        self.backend.erase(np.array(ids, np.int64))
        for key in self.stored.keys() & set(ids):
            del self.stored[key]

    @rule()
    def count(self) -> None:
        assert len(self.backend.index) == len(self.stored)

    @rule()
    def reopen(self) -> None:
        self.backend.reopen()


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_answers_as_a_dict_does(name: str, request: pytest.FixtureRequest) -> None:
    run_machine(name, request, EXAMPLES[name][0])


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", EXAMPLES)
def test_it_answers_as_a_dict_does_at_length(name: str, request: pytest.FixtureRequest) -> None:
    run_machine(name, request, EXAMPLES[name][1])


def run_machine(name: str, request: pytest.FixtureRequest, examples: int) -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    if name in EXTERNAL:
        request.getfixturevalue(name)  # which skips the test where there is none; an example could not
    machine = type("Machine", (IndexMachine,), {"make": staticmethod(lambda: make_backend(name, request, DIMENSION))})
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=examples, stateful_step_count=20, deadline=None, suppress_health_check=checks),
    )


def test_an_empty_index_finds_nobody(backend: Backend) -> None:
    require_right(backend, {}, DIRECTIONS[:2], 3, None)
    require_right(backend, {}, DIRECTIONS[:0], 3, None)
    assert len(backend.index) == 0
    assert backend.index.remove(np.array([5])) == 0


def test_batches_ties_and_more_than_there_are(backend: Backend) -> None:
    vectors = np.concatenate([np.repeat(DIRECTIONS, 40, axis=0), units(2, 2000)])  # more than one block
    ids = np.arange(1, len(vectors) + 1)
    backend.add(ids, vectors)
    stored = dict(zip(ids.tolist(), vectors, strict=True))
    require_right(backend, stored, np.concatenate([DIRECTIONS, units(3, 12)]), 50, None)
    require_right(backend, stored, DIRECTIONS[:1], 3000, None)
    require_right(backend, stored, DIRECTIONS[:2], 30, ids[::3])
    require_right(backend, stored, DIRECTIONS[:2], 30, ids[:0])
    assert backend.index.remove(ids[::2]) == len(ids[::2])
    kept = {key: stored[key] for key in ids[1::2].tolist()}
    require_right(backend, kept, DIRECTIONS, 50, None)
    assert np.array_equal(np.sort(backend.contents()[0]), ids[1::2])


@pytest.mark.parametrize("name", EXTERNAL)
def test_a_vector_database_lists_what_it_holds_and_can_be_dropped_twice(
    name: str, request: pytest.FixtureRequest
) -> None:
    backend = make_backend(name, request, DIMENSION)
    index = backend.external
    assert index is not None
    vectors = units(4, 2500)
    backend.add(np.arange(1, 2501), vectors)
    assert np.array_equal(np.sort(np.concatenate(list(index.ids()))), np.arange(1, 2501))
    found, held = index.vectors(np.array([2500, 7, 9999]))
    assert found.tolist() == [7, 2500]
    assert np.abs(held - vectors[[6, 2499]]).max() <= backend.error
    index.drop()
    backend.close()
