"""Counts and times for Prometheus: of requests, of batches of photos, of the gallery and of the process."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as MEDIA_TYPE

from facesearch.types import Decision

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MEDIA_TYPE", "Metrics"]

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
PHOTOS: Final = (1.0, 2.0, 4.0, 8.0, 16.0)


class Metrics:
    """What one server process counts. It has a registry of its own: several servers may run in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Histogram(
            "facesearch_request_seconds",
            "Time to answer, by method, path of the endpoint and status.",
            ("method", "endpoint", "status"),
            buckets=SECONDS,
            registry=self._registry,
        )
        self.batches = Histogram(
            "facesearch_batch_photos",
            "Photos that shared one run of the recogniser.",
            buckets=PHOTOS,
            registry=self._registry,
        )

        self.waits = Histogram(
            "facesearch_queue_seconds",
            "Time that a photo waited for a thread that decodes it.",
            buckets=SECONDS,
            registry=self._registry,
        )
        self.decisions = Counter(
            "facesearch_decisions", "Faces searched, by decision.", ("decision",), registry=self._registry
        )
        for decision in Decision:
            self.decisions.labels(decision.value)
        Info("facesearch_build", "Version of the server.", registry=self._registry).info(
            {"version": version("facesearch"), "python": platform.python_version()}
        )

    def gauge(self, name: str, explanation: str, read: Callable[[], float]) -> None:
        """Add a value that is read when somebody asks."""
        Gauge(name, explanation, registry=self._registry).set_function(read)

    def render(self) -> bytes:
        """Return everything in the text format of `MEDIA_TYPE`."""
        return generate_latest(self._registry)
