"""Running contenders in turn, and what a run took by the clock, in processor time and in memory."""

from __future__ import annotations

import os
import time
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
    """What a process and its living children have used so far; NaN where the system does not tell (not Linux)."""
    try:
        ticks = sum(_ticks(each) for each in (process, *_children(process)))
    except OSError:
        return float("nan")
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_mebibytes(process: int) -> float:
    """Memory of a process and its living children that is in RAM, shared pages counted in each; NaN as above."""
    try:
        pages = sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in (process, *_children(process)))
    except OSError:
        return float("nan")
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _children(process: int) -> set[int]:
    tasks = Path(f"/proc/{process}/task").iterdir()
    return {int(child) for task in tasks for child in (task / "children").read_text().split()}


def _ticks(process: int) -> int:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
