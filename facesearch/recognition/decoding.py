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
import contextlib
import functools
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from facesearch.errors import InstallationError, PhotoError
from facesearch.machine import usable_cores
from facesearch.recognition.photo import ANSWER, LENGTH, MAX_PIXELS, READY, REFUSED, WITHOUT_END
from facesearch.types import Pixels, Reason
from facesearch.versions import require

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

LACKS_END: Final = "The photo lacks its end marker, and none of its pixels."

_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from facesearch.recognition.decode_worker import main; main(int(sys.argv[2]), float(sys.argv[3]))"
)
_PIPE_BYTES: Final = 2**20
"""Room in a pipe, where it can be set: fewer switches between the processes than with the usual 64 KiB."""
_SECONDS_TO_END: Final = 2.0
_ALLOCATION: Final = {
    "MALLOC_ARENA_MAX": "1",  # else every thread of a codec reserves 64 MB
    # Else glibc gives the memory of each small photo back and takes it anew, which was measured to be half of decoding.
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(16 * 2**20),
}
"""For the worker: how glibc allocates, where it is the C library."""
_LOOKS: Final = 20
"""Times that the clock is looked at before a photo's time is over."""


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What one photo may take."""

    memory: int = 1280 * 2**20
    """Bytes. A photo of 50 Mpx was measured to need 0.2 GB (JPEG) to 0.9 GB (WebP with alpha)."""
    cpu_seconds: float = 8.0
    """Of processor time, so that a busy machine refuses nothing that an idle one takes; 50 Mpx were measured to need
    0.6 (JPEG) to 2 (AVIF)."""
    seconds: float = 30.0
    """By the clock: for what hangs without computing, and where processor time cannot be limited."""


def nothing_to_take(size: int) -> None:
    """For whoever decodes one photo at a time: there is memory for that."""


Noted: TypeAlias = tuple[Pixels, str | None]
"""Upright RGB pixels (height, width, 3) uint8, read-only, and what somebody should know of the photo all the same."""


class DiedError(Exception):
    """The process ended before its answer was whole; the text says how."""


class DecodeProcess:
    """One process and the pipes to it. Used by one thread at a time."""

    def __init__(self, limits: DecodeLimits) -> None:
        """Start it; it gets ready while the caller does other things. Raises `InstallationError`."""
        require("PIL")
        self._limits = limits
        self._ready = False
        self._expired = False
        self.deadline = 0.0
        """When its photo should be done, on the monotonic clock; whoever hands out photos keeps watch."""
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM, *_arguments(limits)],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=os.environ | _ALLOCATION,
                process_group=None if sys.platform == "win32" else 0,  # Ctrl-C is for the process that the user sees
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise _does_not_start(error.strerror or str(error)) from error
        assert self._process.stdin
        assert self._process.stdout
        assert self._process.stderr
        self._requests: IO[bytes] = self._process.stdin
        self._answers: IO[bytes] = self._process.stdout
        self._complaints: IO[bytes] = self._process.stderr
        for pipe in (self._requests, self._answers):
            _widen(pipe)

    @property
    def is_alive(self) -> bool:
        """Whether it can be given a photo."""
        return self._process.poll() is None

    def ask(self, data: bytes, take: Callable[[int], None] = nothing_to_take) -> Noted | PhotoError:
        """The photo's pixels with a note, or why there are none; `DiedError` where the worker died of it.

        `take` is called with the number of bytes that the pixels need before they are read.
        """
        try:
            self._await_ready()
            return self._exchange(data, take)
        except (OSError, EOFError):  # OSError: it ended while the photo was being written
            return self._explain_end()

    def _await_ready(self) -> None:
        """Something that hinders every start ends the run; being killed is the fate of this process alone."""
        if self._ready:
            return
        try:
            self._ready = self._read(len(READY)) == READY
        except EOFError:
            lines = self._complaints.read().decode(errors="replace").splitlines()
            if self._expired or self._process.wait() < 0:
                raise
            raise _does_not_start(lines[-1] if lines else f"exit code {self._process.wait()}") from None
        self._complaints.close()

    def _exchange(self, data: bytes, take: Callable[[int], None]) -> Noted | PhotoError:
        self._write(LENGTH.pack(len(data)) + data[:_PIPE_BYTES])  # together: the worker wakes up once
        self._write(memoryview(data)[_PIPE_BYTES:])
        kind, first, second = ANSWER.unpack(self._read(ANSWER.size))
        if kind != REFUSED and 0 < first * second <= MAX_PIXELS:
            left, self.deadline = self.deadline - time.monotonic(), math.inf  # waiting for memory is not its fault
            take(first * second * 3)
            self.deadline = time.monotonic() + left
            pixels = np.empty((second, first, 3), np.uint8)
            self._read_into(pixels.data.cast("B"))
            pixels.flags.writeable = False
            return pixels, LACKS_END if kind == WITHOUT_END else None
        message, reason, hint = json.loads(self._read(min(first, 2**16)))
        return PhotoError(message, reason=reason, hint=hint)

    def _write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[self._requests.write(view) :]

    def _read(self, length: int) -> bytes:
        buffer = bytearray(length)
        self._read_into(memoryview(buffer))
        return bytes(buffer)

    def _read_into(self, view: memoryview) -> None:
        while view:
            count = self._answers.readinto(view)  # type: ignore[attr-defined]  # unbuffered pipes are FileIO
            if not count:
                raise EOFError
            view = view[count:]

    def _explain_end(self) -> PhotoError:
        code = self._process.wait()
        if self._expired or (sys.platform != "win32" and code == -signal.SIGPROF):
            limit = self._limits.seconds if self._expired else self._limits.cpu_seconds
            return PhotoError(
                f"The photo takes more than {limit:g} seconds to decode.",
                reason=Reason.TOO_LARGE,
                hint="Save a smaller copy as JPEG.",
            )
        raise DiedError(_describe_code(code))

    def expire(self) -> None:
        """Called by another thread than the one that waits for the answer, which then gets an end of file."""
        self._expired = True
        self._process.kill()

    def kill(self) -> None:
        """End it whatever it does."""
        self._process.kill()
        self.end()

    def end(self) -> None:
        """Close the pipes, upon which it ends; it has no choice."""
        self._close_pipes()
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def disown(self) -> None:
        """In a fork of the process that started it: leave it to that one."""
        self._close_pipes()
        self._process.returncode = 0  # it is no child of this process, and nothing to wait for or to warn of

    def _close_pipes(self) -> None:
        for pipe in (self._requests, self._answers, self._complaints):
            with contextlib.suppress(OSError):
                pipe.close()


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

    def decode(self, data: bytes, take: Callable[[int], None] = nothing_to_take) -> Noted:
        """The pixels that `formats.decode_image` makes; what a decoder does in its despair is a `PhotoError` as well.

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

    def _ask(self, worker: DecodeProcess, data: bytes, take: Callable[[int], None]) -> Noted:
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


def decode_noted(data: bytes, take: Callable[[int], None] = nothing_to_take) -> Noted:
    """`PhotoDecoder.decode` in workers that this process shares: how every photo that someone hands in is decoded."""
    return _shared().decode(data, take)


def decode_guarded(data: bytes) -> Pixels:
    """The pixels of `decode_noted`."""
    return decode_noted(data)[0]


def _arguments(limits: DecodeLimits) -> list[str]:
    """Where this process imports from, but never the current folder, which may be the one with the photos."""
    root = str(Path(__file__).parents[2])
    folders = [os.path.abspath(entry) for entry in sys.path if entry]  # noqa: PTH100  # links stay as they are
    return [json.dumps([*folders, *([] if root in folders else [root])]), str(limits.memory), str(limits.cpu_seconds)]


def _widen(pipe: IO[bytes]) -> None:
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # a user has a limit of pipe pages
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _describe_code(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"


def _does_not_start(why: str) -> InstallationError:
    return InstallationError(
        f"The process that decodes photos does not start: {why}.",
        f"Look whether this works: {sys.executable} -c 'import PIL.Image'",
    )
