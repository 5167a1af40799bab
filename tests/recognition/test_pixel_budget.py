"""The budget of pixels on its own: what is handed out, to whom, in which order."""

from __future__ import annotations

import threading
import time
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facesearch.recognition.photo import MAX_PIXELS
from facesearch.recognition.pipeline import IN_FLIGHT, ORDINARY, PixelBudget, budget_for


class Users:
    """Threads that ask for bytes, and what an oracle without threads says of who has them."""

    def __init__(self, most: int, small: int, for_small: int) -> None:
        self._budget = PixelBudget(most, small=small, for_small=for_small)
        self._most, self._small, self._for_small = most, small, max(most, for_small)
        self._lock = threading.Lock()
        self._let_in: list[int] = []
        self._threads: list[threading.Thread] = []
        self.waiting: deque[tuple[int, int]] = deque()
        self.inside: list[tuple[int, int]] = []
        self._expected: list[int] = []

    def ask(self, size: int) -> None:
        number = len(self._threads)
        thread = threading.Thread(target=self._take, args=(number, size))
        self._threads.append(thread)
        self.waiting.append((number, size))
        thread.start()
        self._settle()

    def leave(self, at: int) -> None:
        _, size = self.inside.pop(at)
        self._budget.give_back(size)
        self._settle()

    def end(self) -> None:
        while self.inside:
            self.leave(0)
        for thread in self._threads:
            thread.join(10)
        assert not self.waiting
        assert self._budget.in_use == 0

    def _take(self, number: int, size: int) -> None:
        self._budget.take(size)
        with self._lock:
            self._let_in.append(number)

    def _settle(self) -> None:
        """First come, first served; alone where it is larger than everything."""
        in_use = sum(size for _, size in self.inside)
        while self.waiting and (not in_use or in_use + self.waiting[0][1] <= self._most_for(self.waiting[0][1])):
            self.inside.append(self.waiting.popleft())
            self._expected.append(self.inside[-1][0])
            in_use += self.inside[-1][1]
        deadline = time.monotonic() + 10
        while not (self._at_rest(in_use) or time.monotonic() > deadline):
            time.sleep(0.0001)
        assert self._budget.in_use == in_use
        assert sorted(self._let_in) == sorted(self._expected)

    def _most_for(self, size: int) -> int:
        return self._for_small if size <= self._small else self._most

    def _at_rest(self, in_use: int) -> bool:
        asked = len(self.waiting) == len(self._budget._waiting)
        return asked and self._budget.in_use == in_use and len(self._let_in) == len(self._expected)


@settings(max_examples=60)
@given(
    most=st.integers(1, 20),
    small=st.integers(0, 5),
    for_small=st.integers(0, 30),
    steps=st.lists(st.tuples(st.booleans(), st.integers(1, 30)), max_size=25),
)
def test_bytes_are_handed_out_in_order_and_never_more_than_there_are(
    most: int, small: int, for_small: int, steps: list[tuple[bool, int]]
) -> None:
    users = Users(most, small, for_small)
    for asks, number in steps:
        if asks or not users.inside:
            users.ask(number)
        else:
            users.leave(number % len(users.inside))
        assert len(users.inside) == 1 or sum(size for _, size in users.inside) <= max(most, for_small)
    users.end()


def test_ordinary_photos_never_wait_however_many_cores_there_are() -> None:
    for cores in range(1, 65):
        budget = budget_for(cores + 1)
        for _ in range(cores + 1):
            budget.take(ORDINARY)  # would wait for ever
        assert budget.in_use == (cores + 1) * ORDINARY


@pytest.mark.parametrize("cores", [1, 2, 64])
def test_one_photo_of_the_largest_size_is_let_in_beside_ordinary_ones(cores: int) -> None:
    budget = budget_for(cores + 1)
    for size in (MAX_PIXELS * 3, ORDINARY, ORDINARY):
        budget.take(size)
    other = threading.Thread(target=budget.take, args=(MAX_PIXELS * 3,))
    other.start()
    budget.give_back(ORDINARY)
    budget.give_back(ORDINARY)
    assert budget.in_use == MAX_PIXELS * 3 <= IN_FLIGHT
    budget.give_back(MAX_PIXELS * 3)
    other.join(10)
    assert budget.in_use == MAX_PIXELS * 3
