"""Counters in Prometheus' text format (version 0.0.4): few enough that a library for them would be the larger part."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
PHOTOS: Final = (1.0, 2.0, 4.0, 8.0, 16.0)

Labels = tuple[tuple[str, str], ...]


class Histogram:
    """Observations in buckets, by labels."""

    def __init__(self, name: str, explanation: str, bounds: Sequence[float]) -> None:
        self.name = name
        self.explanation = explanation
        self._bounds = tuple(bounds)
        self._lock = threading.Lock()
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, value: float, labels: Labels = ()) -> None:
        """Count one."""
        with self._lock:
            counts = self._counts.setdefault(labels, [0] * (len(self._bounds) + 1))
            counts[bisect_left(self._bounds, value)] += 1
            self._sums[labels] = self._sums.get(labels, 0.0) + value

    def lines(self) -> Iterator[str]:
        """In the text format."""
        yield from _head(self.name, self.explanation, "histogram")
        with self._lock:
            series = [(labels, list(counts), self._sums[labels]) for labels, counts in self._counts.items()]
        for labels, counts, total in series:
            running = 0
            for bound, count in zip((*map(str, self._bounds), "+Inf"), counts, strict=True):
                running += count
                yield f"{self.name}_bucket{_text((*labels, ('le', bound)))} {running}"
            yield f"{self.name}_sum{_text(labels)} {total}"
            yield f"{self.name}_count{_text(labels)} {running}"


class Metrics:
    """What one server process counts."""

    def __init__(self) -> None:
        self.requests = Histogram("facesearch_request_seconds", "Time to answer, by endpoint and status.", SECONDS)
        self.batches = Histogram("facesearch_batch_photos", "Photos that shared one run of the recogniser.", PHOTOS)
        self._gauges: list[tuple[str, str, Callable[[], float]]] = []

    def gauge(self, name: str, explanation: str, read: Callable[[], float]) -> None:
        """Add a value that is read when somebody asks."""
        self._gauges.append((name, explanation, read))

    def render(self) -> str:
        """Everything, in the text format."""
        lines = [*self.requests.lines(), *self.batches.lines()]
        for name, explanation, read in self._gauges:
            lines += [*_head(name, explanation, "gauge"), f"{name} {read():g}"]
        return "\n".join(lines) + "\n"


class Measured:
    """ASGI layer that times requests by endpoint, so that ids and names never become labels."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = "none", time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            endpoint = getattr(scope.get("endpoint"), "__name__", "other")
            labels = (("endpoint", endpoint), ("status", status))
            self._metrics.requests.observe(time.perf_counter() - started, labels)


def _head(name: str, explanation: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {explanation}"
    yield f"# TYPE {name} {kind}"


def _text(labels: Labels) -> str:
    if not labels:
        return ""
    escaped = ((name, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for name, value in labels)
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"
