"""What the audit log hears of queries: counts of decisions, one event for all queries of an engine."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING

from facesearch.errors import GalleryError
from facesearch.store import audit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from facesearch.search.gallery import Gallery
    from facesearch.types import SearchResult

log = logging.getLogger("facesearch")


class QueryLog:
    """Counts queries until they are written. Safe to use from several threads."""

    def __init__(self, notice: Callable[[str], None] | None) -> None:
        """`notice` gets what people should read."""
        self._say = notice or log.warning
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        """What the audit log has not been told yet."""

    def count(self, results: Sequence[SearchResult]) -> None:
        """Count what was decided on one photo."""
        with self._lock:
            self._counts.update(each.decision.value for each in results)
            self._counts["photos"] += 1

    def write(self, gallery: Gallery) -> None:
        """Write one event of what was counted since the last."""
        with self._lock:
            counts, self._counts = dict(self._counts), Counter()
        if counts:
            self.record(gallery, "query", counts)

    def record(self, gallery: Gallery, action: str, counts: Mapping[str, int]) -> None:
        """Write an event; a log that cannot be written to goes without, and says so."""
        try:
            gallery.write(audit.record, action, counts)
        except GalleryError as error:
            self._say(f"This {action} is not in the audit log: {error.message}")
