"""Huge pages for memory that searches read from one end to the other.

With pages of 4 KB a scan waits for their addresses again and again: with pages of 2 MB one of a million codes, and an
exact one of a million vectors, take a fifth less time. Linux gives them where it is asked to
(`transparent_hugepage/enabled` is `madvise` as a rule); elsewhere nothing is done.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from functools import cache
from typing import Any, Final

PAGE: Final = 1 << 21
"""Bytes of a huge page of x86-64, and of ARM with pages of 4 KB."""
WORTH: Final = 1 << 25
"""Bytes from which on they are asked for. The C library maps what is larger by itself (M_MMAP_THRESHOLD of mallopt(3));
what is smaller may lie between other things, and its huge pages would stay after it."""
COLLAPSE: Final = 25
"""MADV_COLLAPSE of linux/mman.h (6.1): what is in memory already moves to huge pages at once."""


class HugePages:
    """Of an array that grows, and moves when it does."""

    def __init__(self) -> None:
        self._address = 0
        self._size = 0

    def follow(self, address: int, size: int) -> None:
        """Have these bytes of this process's own memory in huge pages, as far as the system likes.

        Asks only where the array has moved, or grown by a quarter since.
        """
        if address != self._address or size > 1.25 * self._size:
            self._address, self._size = address, size
            _ask(address, size)


def _ask(address: int, size: int) -> None:
    madvise = _madvise()
    start, end = -(-address // PAGE) * PAGE, (address + size) // PAGE * PAGE
    if madvise is not None and end - start >= WORTH:
        for advice in (mmap.MADV_HUGEPAGE, COLLAPSE):
            madvise(start, end - start, advice)  # an older system refuses one or both, and nothing is lost


@cache
def _madvise() -> Any:
    if sys.platform != "linux":
        return None
    found = ctypes.CDLL(None).madvise
    found.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return found
