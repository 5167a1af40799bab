"""Counts and times for Prometheus: of requests, of batches of photos, of the gallery and of the process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["MEDIA_TYPE", "Measured", "Metrics"]

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
PHOTOS: Final = (1.0, 2.0, 4.0, 8.0, 16.0)


class Metrics:
    """What one server process counts. It has a registry of its own: several servers may run in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Histogram(
            "facesearch_request_seconds",
            "Time to answer, by endpoint and status.",
            ("endpoint", "status"),
            buckets=SECONDS,
            registry=self._registry,
        )
        self.batches = Histogram(
            "facesearch_batch_photos",
            "Photos that shared one run of the recogniser.",
            buckets=PHOTOS,
            registry=self._registry,
        )

    def gauge(self, name: str, explanation: str, read: Callable[[], float]) -> None:
        """Add a value that is read when somebody asks."""
        Gauge(name, explanation, registry=self._registry).set_function(read)

    def render(self) -> bytes:
        """Return everything in the text format of `MEDIA_TYPE`."""
        return generate_latest(self._registry)


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
        except Exception:
            status = "500"
            raise
        finally:
            endpoint = getattr(scope.get("endpoint"), "__name__", "other")
            self._metrics.requests.labels(endpoint, status).observe(time.perf_counter() - started)
