"""Photos are decoded in processes of their own, so that a hostile or damaged one costs itself and nothing else.

A few long-lived workers (`decode_worker`) are started when they are first needed and end with this process, however it
ends. A worker that dies, hangs or takes too much is replaced; its photo gets a `PhotoError`. Pixels come back through a
pipe: that was measured to cost half a millisecond for a small photo (1 to 4 % of enrolling it) and to be lost in the
noise for one of 12 megapixels, and no memory is shared with a process that hostile bytes may have taken over.

What bounds a photo: `MAX_PIXELS` by its header and the wall clock everywhere; processor time on Linux and macOS; memory
on Linux alone, as the other systems do not keep to such limits.
"""

from __future__ import annotations

import atexit
import functools
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

from facesearch.errors import PhotoError
from facesearch.machine import usable_cores
from facesearch.recognition.decode_process import DecodeLimits, DecodeProcess, DiedError, nothing_to_take
from facesearch.types import Pixels, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOKS: Final = 20
"""Times that the clock is looked at before a photo's time is over."""


class PhotoDecoder:
    """A few worker processes that decode photos. Safe to use from several threads."""

    def __init__(self, limits: DecodeLimits | None = None, processes: int | None = None) -> None:
        """At most `processes` workers live at a time; None takes up to four. None is started yet."""
        self._limits = limits or DecodeLimits()
        self._processes = processes or min(4, usable_cores())
        self._reset()
        _decoders.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(self._processes)
        self._idle: list[DecodeProcess] = []
        self._busy: set[DecodeProcess] = set()
        self._watched = False

    def start(self) -> None:
        """Let a first worker start in the background, if there is none, while the caller has other things to do."""
        with self._lock:
            if not self._idle and not self._busy:
                self._idle.append(DecodeProcess(self._limits))

    def decode(self, data: bytes, take: Callable[[int], None] = nothing_to_take) -> Pixels:
        """As `photo.decode_photo`; what a decoder does in its despair is a `PhotoError` as well.

        `take` is told how many bytes of pixels there will be before this process has any of them, and may wait; it is
        told again where a second worker is tried.

        Raises:
            PhotoError: `unsupported_format`, `too_large` (pixels, memory, time) or `unreadable` (damaged, or it crashes
                the decoder).
            InstallationError: workers do not start on this machine.
        """
        with self._slots:
            try:
                return self._ask(self._take(), data, take)
            except DiedError:  # perhaps of an earlier photo, or somebody ended it: this one gets a worker of its own
                worker = self._take(fresh=True)
            try:
                return self._ask(worker, data, take)
            except DiedError as death:
                raise PhotoError(
                    f"The photo ends the process that decodes it ({death}).",
                    reason=Reason.UNREADABLE,
                    hint="It is damaged or made to do harm. Do not open it with other programs.",
                ) from None

    def close(self) -> None:
        """End the workers. The next photo starts new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.end()

    def _take(self, *, fresh: bool = False) -> DecodeProcess:
        with self._lock:
            while self._idle and not fresh:
                worker = self._idle.pop()
                if worker.is_alive:
                    break
                worker.end()
            else:
                worker = DecodeProcess(self._limits)
            worker.deadline = time.monotonic() + self._limits.seconds
            self._busy.add(worker)
            if not self._watched:
                self._watched = True
                threading.Thread(target=self._watch, name="facesearch-decode-watch", daemon=True).start()
            return worker

    def _watch(self) -> None:
        """Ends workers that are late; ends itself once it finds none at work. One thread costs less than timers."""
        while True:
            time.sleep(self._limits.seconds / _LOOKS)
            with self._lock:
                if not self._busy:
                    self._watched = False
                    return
                for worker in self._busy:
                    if worker.deadline < time.monotonic():
                        worker.expire()

    def _ask(self, worker: DecodeProcess, data: bytes, take: Callable[[int], None]) -> Pixels:
        """Keeps the worker only after a whole answer: after anything else the pipe holds the rest of one."""
        keep = False
        try:
            answer = worker.ask(data, take)
            keep = worker.is_alive
        finally:
            with self._lock:
                self._busy.discard(worker)
                keep = keep and len(self._idle) + len(self._busy) < self._processes
                if keep:
                    self._idle.append(worker)
            if not keep:
                worker.kill()
        if isinstance(answer, PhotoError):
            raise answer
        return answer

    def _forget_in_child(self) -> None:
        """After a fork: the pipes are the parent's; held open here, they would keep its workers alive after it."""
        for worker in (*self._idle, *self._busy):
            worker.disown()
        self._reset()


_decoders: weakref.WeakSet[PhotoDecoder] = weakref.WeakSet()


def _forget_all() -> None:
    for decoder in _decoders:
        decoder._forget_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


@functools.cache
def _shared() -> PhotoDecoder:
    decoder = PhotoDecoder()
    atexit.register(decoder.close)
    return decoder


def start_decoding() -> None:
    """Let the first worker start while something else is being opened. Raises `InstallationError`."""
    _shared().start()


def decode_guarded(data: bytes, take: Callable[[int], None] = nothing_to_take) -> Pixels:
    """Upright RGB pixels (height, width, 3) uint8, read-only, decoded in a worker that this process shares.

    `take` and errors are those of `PhotoDecoder.decode`. This is how every photo that someone hands in is decoded.
    """
    return _shared().decode(data, take)
