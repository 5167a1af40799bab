"""What the routes of one server share."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Final, cast

from fastapi import Depends, Request

from facesearch.server.fairness import Room
from facesearch.server.problems import busy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from facesearch.api import FaceSearch
    from facesearch.search.gallery import Gallery
    from facesearch.server.batching import Batcher
    from facesearch.server.following import ModelInForce
    from facesearch.server.metrics import Metrics
    from facesearch.server.options import ServerOptions
    from facesearch.server.trail import Trail


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
    trail: Trail
    checking: Lock = field(default_factory=Lock)
    enrolling: Lock = field(default_factory=Lock)
    """One enrolment at a time: each uses all threads, and conflicts are looked for among what is committed."""
    enrolments: Room = field(default_factory=lambda: Room(ENROLMENTS, ENROLMENTS // 2, "Too many enrolments wait."))
    """Enrolments that run or wait: each holds a thread, and others need some too."""

    @property
    def gallery(self) -> Gallery:
        """The gallery."""
        return self.engine.gallery

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
