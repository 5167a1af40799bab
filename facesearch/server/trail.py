"""Uses of the gallery in its audit log, under the key that made them and before they are answered."""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING

from facesearch.errors import GalleryError
from facesearch.store import audit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from facesearch.store.database import Database

log = logging.getLogger("facesearch.server")

Use = tuple[tuple[str, str], "Mapping[str, int]", "Future[None]"]
"""Actor and action, counts, and who waits until they are written."""


class Trail:
    """Writes uses in a thread of its own: those that come while it writes share the next transaction.

    Uses of one actor and action in one transaction are one event. A gallery that cannot be written to goes without.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._uses: queue.SimpleQueue[Use | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._run, name="facesearch-audit", daemon=True)
        self._writer.start()

    def put(self, action: str, counts: Mapping[str, int]) -> Future[None]:
        """Write that the caller of this request used the gallery; done when it is on disk. `counts` holds no names."""
        written: Future[None] = Future()
        self._uses.put(((audit.actor(), action), counts, written))
        return written

    def close(self) -> None:
        """Write what was put."""
        self._uses.put(None)
        self._writer.join()

    def _run(self) -> None:
        while (use := self._uses.get()) is not None:
            together = [use]
            while not self._uses.empty() and (more := self._uses.get()) is not None:
                together.append(more)
            self._write(together)

    def _write(self, uses: Sequence[Use]) -> None:
        events: dict[tuple[str, str], Counter[str]] = {}
        for key, counts, _ in uses:
            events.setdefault(key, Counter()).update(counts)

        try:
            self._database.transact(partial(audit.record_uses, events=events))
        except GalleryError as error:
            log.warning("A use of the gallery is not in its audit log: %s", error.message)
        finally:
            for *_, written in uses:
                written.set_result(None)
