"""Searches that go on side by side, and a change that waits until there are none."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Readers:
    """Who is reading what a lock guards, after having let go of the lock.

    `enter` and `wait_for_none` are called with the lock held: while a change waits, nobody comes in. A reader must not
    take the lock before it has left.
    """

    def __init__(self) -> None:
        self._inside = 0
        self._left = threading.Condition()

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Keep changes out until the end, which may come without the lock."""
        with self._left:
            self._inside += 1
        try:
            yield
        finally:
            with self._left:
                self._inside -= 1
                self._left.notify_all()

    def wait_for_none(self) -> None:
        """Return when nobody is inside."""
        with self._left:
            self._left.wait_for(lambda: not self._inside)
