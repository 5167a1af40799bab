"""One search uses every idle core; several share them, and none waits for another."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from facesearch.index.cores import Cores

SECONDS = 20


def test_a_search_alone_is_spread_over_all_cores() -> None:
    cores, all_at_work = Cores(3), threading.Barrier(3)

    def work(number: int) -> int:
        if number < 3:
            all_at_work.wait(SECONDS)
        return number * number

    assert cores.share(work, 20) == [number * number for number in range(20)]
    assert cores._busy == 0


def test_searches_at_once_have_no_more_threads_than_there_are_cores() -> None:
    cores, searching = Cores(3), threading.Barrier(3)
    lock, at_work, most = threading.Lock(), 0, 0

    def work(_: int) -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        threading.Event().wait(0.002)
        with lock:
            at_work -= 1

    def search(_: int) -> None:
        searching.wait(SECONDS)
        for _ in range(20):
            cores.share(work, 5)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(search, range(3)))
    assert most <= 3 + 2, "a helper finishes its task when another search comes"
    assert cores._busy == 0


def test_helpers_leave_a_search_when_another_one_comes() -> None:
    cores, helping, come = Cores(2), threading.Event(), threading.Event()
    by_helper: list[int] = []
    caller = threading.get_ident()

    def long(number: int) -> None:
        if threading.get_ident() == caller:
            helping.wait(SECONDS)
            come.wait(SECONDS)
            return
        by_helper.append(number)
        helping.set()
        come.wait(SECONDS)

    def short(_: int) -> None:
        come.set()
        threading.Event().wait(0.1)

    def second() -> None:
        helping.wait(SECONDS)
        cores.share(short, 1)

    with ThreadPoolExecutor(1) as other:
        done = other.submit(second)
        cores.share(long, 50)
        done.result(SECONDS)
    assert len(by_helper) == 1
    assert cores._busy == 0


def test_an_error_of_a_task_is_raised_and_leaves_no_core_taken() -> None:
    cores = Cores(2)

    def fail(number: int) -> None:
        if number == 3:
            raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        cores.share(fail, 10)
    cores._helpers.shutdown()
    assert cores._busy == 0
