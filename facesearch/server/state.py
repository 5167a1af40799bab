"""What the routes of one server share."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request

from facesearch.server.problems import busy
from facesearch.store.directory import Directory
from facesearch.store.photos import CropStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from facesearch.api import FaceSearch
    from facesearch.search.gallery import Gallery
    from facesearch.server.batching import Pipeline
    from facesearch.server.following import ModelInForce
    from facesearch.server.metrics import Metrics
    from facesearch.server.options import ServerOptions


@dataclass(slots=True, eq=False)
class State:
    """One server process."""

    engine: FaceSearch
    """For all that needs no model."""
    models: ModelInForce
    options: ServerOptions
    pipeline: Pipeline
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
