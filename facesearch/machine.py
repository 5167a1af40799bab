"""What this process may use of the machine: processor cores and memory.

It imports the standard library alone: the processes that decode photos import it, too.
"""

from __future__ import annotations

import os
from typing import Final

_STATM: Final = "/proc/self/statm"


def usable_cores() -> int:
    """Cores that this process may run on, at least one."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def address_space() -> int | None:
    """Bytes of address space that this process has mapped; None where the system has no /proc (proc(5))."""
    try:
        with open(_STATM, encoding="ascii") as file:  # noqa: PTH123  # the decoding processes do not import pathlib
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
