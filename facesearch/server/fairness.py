"""Clients share a server: each has a part of the room, gets its turn, and is noticed when it leaves."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from facesearch.server.problems import Problem, busy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from fastapi import Request

REMEMBERED: Final = 256
"""Clients whose past work is known."""


class Room:
    """An amount of something that all clients share, of which one client gets a part."""

    def __init__(self, size: int, share: int, full: str) -> None:
        """`full` says what is too much where it is."""
        self._size = size
        self._share = share
        self._full = full
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """By all clients."""
        return self._held.total()

    def require(self, client: str, amount: int = 1) -> None:
        """429 where so much is not free for this client."""
        if self.held + amount > self._size or self._held[client] + amount > self._share:
            raise busy(self._full)

    def take(self, client: str, amount: int, *, need: int | None = None) -> None:
        """Take an amount; 429 where it, or `need` of it, is not free."""
        with self._lock:
            self.require(client, amount if need is None else need)
            self._held[client] += amount

    def give_back(self, client: str, amount: int = 1) -> None:
        """Free what was taken."""
        with self._lock:
            self._held[client] -= amount
            if not self._held[client]:
                del self._held[client]

    @contextmanager
    def place(self, client: str) -> Iterator[None]:
        """One place until the block ends."""
        self.take(client, 1)
        try:
            yield
        finally:
            self.give_back(client)


class FairPool:
    """Threads that work for the client that had the least of their time.

    The time grows with the pixels of a photo, so that a client with few small photos does not wait for one with many
    large ones; a client that comes anew starts with what the one served last had.
    """

    def __init__(self, threads: int) -> None:
        self._waiting: dict[str, deque[Callable[[], None]]] = {}
        self._spent: dict[str, float] = {}
        self._level = 0.0
        """Seconds that the client served last had before it was."""
        self._closing = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, name=f"facesearch-request-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, client: str, work: Callable[[], None]) -> None:
        """Do `work`, which must not raise, when it is the client's turn."""
        with self._changed:
            if client not in self._waiting:
                self._waiting[client] = deque()
                self._spent[client] = max(self._spent.get(client, 0.0), self._level)
            self._waiting[client].append(work)
            self._changed.notify()

    def close(self) -> None:
        """Finish what was submitted."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (turn := self._next()) is not None:
            client, work = turn
            started = time.perf_counter()
            work()
            with self._changed:
                self._spent[client] = self._spent.get(client, self._level) + time.perf_counter() - started

    def _next(self) -> tuple[str, Callable[[], None]] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            client = min(self._waiting, key=lambda each: self._spent[each])
            self._level = max(self._level, self._spent[client])
            work = self._waiting[client].popleft()
            if not self._waiting[client]:
                del self._waiting[client]
                self._forget()
            return client, work

    def _forget(self) -> None:
        if len(self._spent) > REMEMBERED:
            ahead = {name: spent for name, spent in self._spent.items() if spent > self._level or name in self._waiting}
            self._spent = ahead


@asynccontextmanager
async def noticing_departure(request: Request, left: Callable[[], object]) -> AsyncIterator[None]:
    """Call `left` when the client goes away before the block ends. The body is to be read before."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        left()

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()


def departed() -> Problem:
    """For the log: the client does not hear it."""
    return Problem(HTTPStatus.BAD_REQUEST, "incomplete", "The client left before it was answered.")
