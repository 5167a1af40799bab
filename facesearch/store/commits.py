"""Noticing that somebody committed something, without reading anything."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


class CommitWatch:
    """A connection of its own that never writes: SQLite tells it of every commit, its own process's too. Thread-safe.

    It holds no lock and no snapshot between two looks.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: Any = None

    def look(self, engine: Engine) -> int:
        """A number that equals an earlier one only if nothing was committed in between. Raises the driver's errors."""
        with self._lock:
            if self._connection is None:
                pooled = engine.raw_connection()
                self._connection = pooled.driver_connection
                pooled.detach()
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            return int(version)

    def close(self) -> None:
        """Until the next look. Numbers of before and after are not to be compared."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
