"""The pipeline on its own: order, bounds, errors, and an end whatever happens."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facesearch.recognition.pipeline import Pipeline, PixelBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def size_of(number: int) -> int:
    """Bytes of a decoded number."""
    return 1 + number % 7


class Counting:
    """Steps over numbers: weight is the number modulo 3, the result its square. Keeps count of what is where.

    Those in `retried` are decoded at the second attempt.
    """

    def __init__(
        self,
        *,
        slow: frozenset[int] = frozenset(),
        broken: dict[int, str] | None = None,
        retried: frozenset[int] = frozenset(),
    ) -> None:
        self._slow = slow
        self._broken = broken or {}
        self._retried = retried
        self._lock = threading.Lock()
        self._sizes: list[int] = []
        self.most_bytes = 0
        """Of several things at once: one may be as large as it is."""
        self.decoded = self.most_decoded = self.loaded = 0
        self.groups: list[list[int]] = []

    @property
    def all(self) -> tuple[Any, ...]:
        return self.load, self.decode, self.look, self.weight, self.finish

    def _step(self, name: str, number: int) -> None:
        if self._broken.get(number) == name:
            raise ZeroDivisionError(number)
        if number in self._slow:
            time.sleep(0.002)

    def load(self, number: int) -> int:
        self._step("load", number)
        with self._lock:
            self.loaded += 1
        return number

    def decode(self, number: int, take: Callable[[int], None]) -> int:
        self._step("decode", number)
        for _ in range(2 if number in self._retried else 1):
            take(size_of(number))
        with self._lock:
            self._sizes.append(size_of(number))
            if len(self._sizes) > 1:
                self.most_bytes = max(self.most_bytes, sum(self._sizes))
            self.decoded += 1
            self.most_decoded = max(self.most_decoded, self.decoded)
        return number

    def look(self, number: int) -> int:
        try:
            self._step("look", number)
        finally:
            with self._lock:
                self._sizes.remove(size_of(number))
                self.decoded -= 1
        return number

    def weight(self, number: int) -> int:
        return number % 3

    def finish(self, numbers: Sequence[int]) -> list[int]:
        for number in numbers:
            self._step("finish", number)
        self.groups.append(list(numbers))
        return [number * number for number in numbers]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("facesearch-photo")]


def run(
    steps: Counting, count: int, *, workers: int, batch: int, ahead: int, budget: PixelBudget | None = None
) -> list[int]:
    results: list[int] = []
    with Pipeline(*steps.all, workers=workers, batch=batch, ahead=ahead, budget=budget) as pipeline:
        for number in range(count):
            pipeline.put(number)
            results += pipeline.ready()
            assert steps.loaded - len(results) <= max(ahead, batch)
        results += pipeline.rest()
    return results


@settings(max_examples=40)
@given(
    count=st.integers(0, 60),
    workers=st.integers(1, 4),
    batch=st.integers(1, 9),
    ahead=st.integers(1, 12),
    slow=st.frozensets(st.integers(0, 60), max_size=8),
    retried=st.frozensets(st.integers(0, 60), max_size=8),
    most=st.integers(1, 20),
)
def test_every_result_comes_once_in_order_and_little_is_held(
    count: int, workers: int, batch: int, ahead: int, slow: frozenset[int], retried: frozenset[int], most: int
) -> None:
    steps, budget = Counting(slow=slow, retried=retried), PixelBudget(most)
    results = run(steps, count, workers=workers, batch=batch, ahead=ahead, budget=budget)
    assert results == [number**2 for number in range(count)]
    assert steps.most_decoded <= workers + 1
    assert steps.most_bytes <= most
    assert budget.in_use == 0
    assert sorted(number for group in steps.groups for number in group) == list(range(count))
    assert all(sum(number % 3 for number in group[:-1]) < batch for group in steps.groups)
    assert threads() == []


@pytest.mark.parametrize("step", ["load", "decode", "look"])
def test_an_error_is_the_result_of_its_own_thing(step: str) -> None:
    with Pipeline(*Counting(broken={5: step}).all, workers=2, batch=2) as pipeline:
        for number in range(10):
            pipeline.put(number)
        rest = pipeline.rest()
        assert [next(rest) for _ in range(5)] == [0, 1, 4, 9, 16]
        with pytest.raises(ZeroDivisionError):
            next(rest)
        assert list(pipeline.rest()) == [36, 49, 64, 81]
    assert threads() == []


def test_an_error_in_finishing_reaches_whoever_takes_the_result() -> None:
    with Pipeline(*Counting(broken={4: "finish"}).all, workers=1, batch=1) as pipeline:
        for number in (1, 4, 2):
            pipeline.put(number)
        assert next(pipeline.rest()) == 1
        with pytest.raises(ZeroDivisionError):
            next(pipeline.rest())
        assert list(pipeline.rest()) == [4]
    assert threads() == []


@pytest.mark.parametrize("taken", [0, 1, 20])
def test_closing_early_ends_the_threads(taken: int) -> None:
    steps = Counting(slow=frozenset(range(100)))
    budget = PixelBudget(6)
    with Pipeline(*steps.all, workers=2, batch=4, ahead=8, budget=budget) as pipeline:
        for number in range(taken + 8):
            pipeline.put(number)
        results = pipeline.rest()
        assert [next(results) for _ in range(taken)] == [number**2 for number in range(taken)]
    assert threads() == []
    assert steps.decoded <= steps.most_decoded <= 3
    assert budget.in_use == 0  # another pipeline may share it


def test_several_pipelines_share_one_budget() -> None:
    steps, budget = Counting(slow=frozenset(range(20))), PixelBudget(8)
    with (
        Pipeline(*steps.all, workers=2, batch=4, budget=budget) as one,
        Pipeline(*steps.all, workers=2, batch=4, budget=budget) as other,
    ):
        for number in range(20):
            one.put(number)
            other.put(number)
        assert list(one.rest()) == list(other.rest()) == [number**2 for number in range(20)]
    assert steps.most_bytes <= 8
    assert budget.in_use == 0


def test_results_that_nobody_takes_hinder_nobody_within_the_bound() -> None:
    steps = Counting()
    with Pipeline(*steps.all, workers=2, batch=1, ahead=8) as pipeline:
        for number in range(8):
            pipeline.put(number)
        deadline = time.monotonic() + 30
        while sum(map(len, steps.groups)) < 8 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert sorted(number for group in steps.groups for number in group) == list(range(8))
