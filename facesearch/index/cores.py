"""The cores of this process, shared by its searches: idle ones help a search, and no search waits for another."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

import faiss

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


class Cores:
    """Threads that help searches, as many as leave no core with two."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._busy = 0
        """Threads that search or help."""
        self._lock = threading.Lock()
        self._helpers = ThreadPoolExecutor(max(1, count - 1), thread_name_prefix="search")

    def share(self, work: Callable[[int], Result], tasks: int) -> list[Result]:
        """Return what `work` gives for each number below `tasks`, done in this thread and on idle cores.

        A helper leaves after its task where another search has come meanwhile that needs the core.
        """
        numbers = itertools.count()
        done: dict[int, Result] = {}

        def help_out() -> None:
            try:
                for number in itertools.takewhile(lambda number: number < tasks, numbers):
                    done[number] = work(number)
                    if self._busy > self._count:
                        break
            finally:
                self._change(-1)

        helpers = self._enter(tasks - 1)
        helping = [self._helpers.submit(help_out) for _ in range(helpers)]
        try:
            for number in itertools.takewhile(lambda number: number < tasks, numbers):
                done[number] = work(number)
        finally:
            self._change(-1 - sum(each.cancel() for each in helping))
        for each in helping:
            if not each.cancelled():
                each.result()
        return [done[number] for number in range(tasks)]

    def _enter(self, most: int) -> int:
        """Count this search in; return how many may help it, which are counted in, too."""
        with self._lock:
            helpers = max(0, min(self._count - self._busy - 1, most))
            self._busy += 1 + helpers
            return helpers

    def _change(self, by: int) -> None:
        with self._lock:
            self._busy += by


CORES: Final = Cores(faiss.omp_get_max_threads())
"""By the machine or OMP_NUM_THREADS."""
