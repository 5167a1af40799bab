"""What the routes of one server share."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Annotated, Final, cast

from fastapi import Depends, Request

from facesearch.server.problems import busy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from facesearch.api import FaceSearch
    from facesearch.search.gallery import Gallery
    from facesearch.server.batching import Batcher
    from facesearch.server.following import ModelInForce
    from facesearch.server.metrics import Metrics
    from facesearch.server.options import ServerOptions


ENROLMENTS: Final = 16
"""Requests that enroll, at a time: one works and the others wait."""


@dataclass(slots=True, eq=False)
class State:
    """One server process."""

    engine: FaceSearch
    """For all that needs no model."""
    models: ModelInForce
    options: ServerOptions
    batcher: Batcher
    metrics: Metrics
    checking: Lock = field(default_factory=Lock)
    enrolling: Lock = field(default_factory=Lock)
    """One enrolment at a time: each uses all threads, and conflicts are looked for among what is committed."""
    enrolments: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(ENROLMENTS))
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
