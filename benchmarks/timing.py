"""Running contenders in turn, and what a run took by the clock, in processor time and in memory."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Taken:
    """What something took."""

    wall: float
    """Seconds by the clock."""
    processor: float
    """Seconds of processor time, of this process and its children: what to compare on a busy machine."""


def alternate(contenders: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Run all of them `rounds` times, in turn (A B A B ...), so that a slow spell of the machine meets each.

    Whatever has to be warm has to be warmed before. Returns what each returned, in order.
    """
    results: dict[str, list[T]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            results[name].append(run())
    return results


def taken(action: Callable[[], object]) -> Taken:
    """Run it."""
    processor, wall = processor_seconds(os.getpid()), time.perf_counter()
    action()
    return Taken(time.perf_counter() - wall, processor_seconds(os.getpid()) - processor)


def processor_seconds(process: int) -> float:
    """What a process and its children, ended ones included, have used so far; NaN where the system does not tell."""
    try:
        ticks = sum(_ticks(each) for each in (process, *_children(process)))
    except OSError:
        return float("nan")
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_mebibytes(process: int, *, mapped: bool = True) -> float:
    """Memory of a process and its living children that is in RAM, shared pages counted in each; NaN as above.

    Without what is mapped of files, it is what the system cannot take back.
    """
    try:
        processes = (process, *_children(process))
        sizes = [Path(f"/proc/{each}/statm").read_text(encoding="utf-8").split() for each in processes]
    except OSError:
        return float("nan")
    pages = sum(int(resident) - (0 if mapped else int(of_files)) for _, resident, of_files, *_ in sizes)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _children(process: int) -> set[int]:
    """Threads may end while they are looked at."""
    found: set[int] = set()
    for task in Path(f"/proc/{process}/task").iterdir():
        with suppress(OSError):
            found |= {int(child) for child in (task / "children").read_text().split()}
    return found


def _pages(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1])


def _ticks(process: int) -> int:
    """User and system time of a process and of its children that were waited for (proc(5), fields 14 to 17)."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])
