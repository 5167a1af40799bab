"""Many things through four steps at once: every step works while the others do, and nothing piles up between them.

    put -> readers: load, decode -> workers: look -> workers: finish, several together -> ready, in the order of put

Readers wait, for disks and for the processes that decode; workers compute. What is decoded is large, so that little of
it is kept: the next thing is decoded only when there is room, for one thing more and for its bytes. What was looked at
is small, and a good deal of it may wait for whoever takes the results: a slow moment of theirs leaves no worker idle.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence


ORDINARY: Final = 12_000_000 * 3
"""Bytes: 12 megapixels of RGB, what phones take by default."""
IN_FLIGHT: Final = 220 * 2**20
"""Bytes: a photo of 50 Mpx (143 MiB, the largest that is decoded) beside two ordinary ones. Enrolling takes less than
300 MB with that."""


def budget_for(at_once: int) -> PixelBudget:
    """The budget of a pipeline that holds `at_once` decoded photos: ordinary ones never wait for each other."""
    return PixelBudget(IN_FLIGHT, small=ORDINARY, for_small=at_once * ORDINARY)


class PixelBudget:
    """Bytes that are handed out in the order in which they are asked for. Safe to use from several threads.

    In this order a large photo is not passed by small ones for ever: it waits until what is in use has been given back.
    """

    def __init__(self, most: int, *, small: int = 0, for_small: int = 0) -> None:
        """`most` bytes are in use at a time; what is larger is let in alone.

        What is of `small` bytes or fewer is let in up to `for_small` as well, where that is more.
        """
        self._most = most
        self._small = small
        self._for_small = max(most, for_small)
        self.in_use = 0
        """Bytes taken and not yet given back."""
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        """Wait until `size` bytes are left, and for whoever asked before. Give back what was taken."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is ticket and self._fits(size))
                self.in_use += size
            finally:  # an interrupt may end the wait: the next must not wait for a ticket that nobody holds
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def give_back(self, size: int) -> None:
        """What `take` was asked for."""
        with self._changed:
            self.in_use -= size
            self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        most = self._for_small if size <= self._small else self._most
        return not self.in_use or self.in_use + size <= most


Source = TypeVar("Source")
Loaded = TypeVar("Loaded")
Decoded = TypeVar("Decoded")
Seen = TypeVar("Seen")
Result = TypeVar("Result")

AHEAD: Final = 32
"""Results that may be under way or waiting: what two workers make in the time of a slow commit, and small."""


class _Place(Generic[Decoded]):
    """Where one thing is from before it is decoded until it was looked at: nothing else refers to it."""

    def __init__(self, budget: PixelBudget) -> None:
        self._budget = budget
        self._taken = 0
        self._things: list[Decoded] = []

    def take(self, size: int) -> None:
        """Bytes for the thing, instead of those taken before: decoding may have failed and begin anew."""
        self.leave()
        self._budget.take(size)
        self._taken = size

    def put(self, thing: Decoded) -> None:
        self._things.append(thing)

    def thing(self) -> Decoded:
        return self._things[0]

    def leave(self) -> None:
        """The memory first, and only then what it counts for."""
        self._things.clear()
        taken, self._taken = self._taken, 0
        self._budget.give_back(taken)


class Pipeline(Generic[Source, Loaded, Decoded, Seen, Result]):
    """Fed and read by one thread, which is the only one to see `source`s wait: it decides when the next is put in."""

    def __init__(
        self,
        load: Callable[[Source], Loaded],
        decode: Callable[[Loaded, Callable[[int], None]], Decoded],
        look: Callable[[Decoded], Seen],
        weight: Callable[[Seen], int],
        finish: Callable[[Sequence[Seen]], Sequence[Result]],
        *,
        workers: int,
        batch: int,
        ahead: int = AHEAD,
        budget: PixelBudget | None = None,
    ) -> None:
        """The steps are called by several threads at once; what one raises becomes the thing's result.

        `load` fetches a thing and may wait. `decode` makes it large: it tells its second argument how many bytes it
        will be before it is, and waits for them. `look` computes what is small from what is large, and `weight` says
        how much of that there is to be finished, 0 for nothing. `finish` gives the results of several, in their order.

        `workers` threads compute; as soon as `batch` of weight is there it is finished together.

        At most `ahead` results and `workers` + 1 decoded things are held, and of those no more bytes than `budget` has,
        which several pipelines may share. None gives this one a budget of its own.
        """
        self._load, self._decode, self._look, self._weight, self._finish = load, decode, look, weight, finish
        self._batch = batch
        self._ahead = max(ahead, batch)
        self._in_order: deque[Future[Result]] = deque()
        self._lock = threading.Lock()
        self._to_be_looked_at = 0
        self._seen: list[tuple[Seen, Future[Result]]] = []
        self._closed = False
        self._budget = budget or budget_for(workers + 1)
        self._room = threading.Semaphore(workers + 1)
        self._readers = ThreadPoolExecutor(workers + 1, thread_name_prefix="facesearch-photo-read")
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="facesearch-photo")

    def run(self, sources: Iterable[Source]) -> Generator[Result, None, None]:
        """One result for every source, in their order; ends the threads when it is closed."""
        with self:
            for source in sources:
                self.put(source)
                yield from self.ready()
            yield from self.rest()

    def put(self, source: Source) -> None:
        """Send it on its way. Take what is `ready` after each: that is what bounds how much is held."""
        done: Future[Result] = Future()
        self._in_order.append(done)
        with self._lock:
            self._to_be_looked_at += 1
        self._readers.submit(self._fetch, source, done)

    def ready(self) -> Iterator[Result]:
        """Results that are there, in the order of `put`; waits only while more are under way than may be."""
        while self._in_order and (len(self._in_order) > self._ahead or self._in_order[0].done()):
            yield self._in_order.popleft().result()

    def rest(self) -> Iterator[Result]:
        """All other results."""
        while self._in_order:
            yield self._in_order.popleft().result()

    def close(self) -> None:
        """Drop what is under way and end the threads."""
        self._closed = True
        self._readers.shutdown(wait=True, cancel_futures=True)  # while workers still make room for those that wait
        self._workers.shutdown(wait=True)  # what waits for a worker ends at once, and gives back what it took

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fetch(self, source: Source, done: Future[Result]) -> None:
        try:
            self._go_on()
            loaded = self._load(source)
            self._room.acquire()
            place: _Place[Decoded] = _Place(self._budget)
            try:
                self._go_on()
                place.put(self._decode(loaded, place.take))
            except BaseException:
                self._make_room(place)
                raise
        except BaseException as error:  # noqa: BLE001  # whoever takes the results decides
            done.set_exception(error)
            self._looked_at(None)
        else:
            self._workers.submit(self._look_at, place, done)

    def _make_room(self, place: _Place[Decoded]) -> None:
        place.leave()
        self._room.release()

    def _look_at(self, place: _Place[Decoded], done: Future[Result]) -> None:
        try:
            self._go_on()
            seen = self._look(place.thing())
        except BaseException as error:  # noqa: BLE001  # as above
            done.set_exception(error)
            self._looked_at(None)
        else:
            self._looked_at((seen, done))
        finally:
            self._make_room(place)

    def _looked_at(self, one: tuple[Seen, Future[Result]] | None) -> None:
        """Finish what waits once it is enough, or once nothing is left that could come to it."""
        group: list[tuple[Seen, Future[Result]]] = []
        if one is not None and not self._weight(one[0]):
            self._finish_group([one])
            one = None
        with self._lock:
            self._to_be_looked_at -= 1
            if one is not None:
                self._seen.append(one)
            enough = sum(self._weight(seen) for seen, _ in self._seen) >= self._batch
            if self._seen and (enough or not self._to_be_looked_at):
                group, self._seen = self._seen, []
        if group and not self._closed:
            self._workers.submit(self._finish_group, group)

    def _finish_group(self, group: Sequence[tuple[Seen, Future[Result]]]) -> None:
        try:
            self._go_on()
            results = self._finish([seen for seen, _ in group])
        except BaseException as error:  # noqa: BLE001  # as above
            for _, done in group:
                done.set_exception(error)
        else:
            for (_, done), result in zip(group, results, strict=True):
                done.set_result(result)

    def _go_on(self) -> None:
        if self._closed:
            raise CancelledError
