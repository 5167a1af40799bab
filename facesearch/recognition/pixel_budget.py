"""How many bytes of decoded photos may be in memory at once."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

ORDINARY: Final = 12_000_000 * 3
"""Bytes: 12 megapixels of RGB, what phones take by default."""
IN_FLIGHT: Final = 220 * 2**20
"""Bytes: a photo of 50 Mpx (143 MiB, the largest that is decoded) beside two ordinary ones. Enrolling takes less than
300 MB with that."""


def budget_for(at_once: int) -> PixelBudget:
    """The budget of a pipeline that holds `at_once` decoded photos: ordinary ones never wait for each other."""
    return PixelBudget(IN_FLIGHT, small=ORDINARY, for_small=at_once * ORDINARY)


class PixelBudget:
    """Bytes that are handed out in the order in which they are asked for. Safe to use from several threads.

    In this order a large photo is not passed by small ones for ever: it waits until what is in use has been given back.
    """

    def __init__(self, most: int, *, small: int = 0, for_small: int = 0) -> None:
        """`most` bytes are in use at a time; what is larger is let in alone.

        What is of `small` bytes or fewer is let in up to `for_small` as well, where that is more.
        """
        self._most = most
        self._small = small
        self._for_small = max(most, for_small)
        self._in_use = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @property
    def in_use(self) -> int:
        """Bytes taken and not yet given back."""
        return self._in_use

    def take(self, size: int) -> None:
        """Wait until `size` bytes are left, and for whoever asked before. Give back what was taken."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is ticket and self._fits(size))
                self._in_use += size
            finally:  # an interrupt may end the wait: the next must not wait for a ticket that nobody holds
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def give_back(self, size: int) -> None:
        """What `take` was asked for."""
        with self._changed:
            self._in_use -= size
            self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        most = self._for_small if size <= self._small else self._most
        return not self._in_use or self._in_use + size <= most
