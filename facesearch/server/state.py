"""What the routes of one server share, and the bounds that keep it standing."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Annotated, Final, cast

from fastapi import Depends, Request

from facesearch.recognition.photo import MAX_BYTES
from facesearch.server.problems import busy
from facesearch.store.directory import CropStore, Directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from facesearch.api import FaceSearch
    from facesearch.search.gallery import Gallery
    from facesearch.server.batching import Batcher
    from facesearch.server.following import ModelInForce
    from facesearch.server.metrics import Metrics


MAX_PHOTOS: Final = 64
"""Photos in one request."""

ENROLMENTS: Final = 16
"""Requests that enroll, at a time: one works and the others wait."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Bounds and switches of one server process."""

    host: str = "127.0.0.1"
    port: int = 8000
    require_key: bool = False
    """Ask for a key although the address is a loopback one and the gallery has no key."""
    thumbnails: bool = False
    """Whether faces of enrolled photos are shown, and crops of uploaded ones kept for it."""
    capacity: int = 64
    """Photos that may wait for the models; beyond it a request is answered 429."""
    workers: int | None = None
    """Threads that decode and detect; None takes up to four."""
    max_photo: int = MAX_BYTES
    """Bytes of one photo."""
    max_body: int = MAX_BYTES + 2**20
    """Bytes of one request."""
    body_memory: int = 256 * 2**20
    """Bytes of all requests that are being received or answered; beyond it a request is answered 429."""
    body_seconds: float = 30.0
    """Until a request's body is here; after that 408."""
    idle_seconds: float = 10.0
    """Between two pieces of a body; after that 408."""


@dataclass(slots=True, eq=False)
class State:
    """One server process."""

    engine: FaceSearch
    """For all that needs no model."""
    models: ModelInForce
    options: ServerOptions
    batcher: Batcher
    metrics: Metrics
    directory: Directory
    crops: CropStore
    checking: Lock
    enrolling: Lock
    """One enrolment at a time: each uses all threads, and conflicts are looked for among what is committed."""
    enrolments: BoundedSemaphore
    """Enrolments that run or wait: each holds a thread, and others need some too."""

    @property
    def gallery(self) -> Gallery:
        """The gallery."""
        return self.engine.gallery

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Wait for the enrolments before this one, or answer 429 where too many wait."""
        if not self.enrolments.acquire(blocking=False):
            raise busy("Too many enrolments wait.")
        try:
            with self.enrolling:
                yield
        finally:
            self.enrolments.release()

    @contextmanager
    def alone(self, lock: Lock, what: str) -> Iterator[None]:
        """Hold a lock, or answer 429 where another request does."""
        if not lock.acquire(blocking=False):
            raise busy(f"{what} is running already.", 5)
        try:
            yield
        finally:
            lock.release()


async def _state(request: Request) -> State:
    return cast(State, request.app.state.facesearch)


StateOf = Annotated[State, Depends(_state)]
