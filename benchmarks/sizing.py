"""What hardware a number of templates takes; what is assumed for that stands here and nowhere else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

CORES: Final = 16
MEMORY: Final = 96e3
"""MB of a node's 128 GB that are left for an index."""
LATENCY: Final = 1.0
"""Seconds within which a node that has nothing else to do answers a search."""
LOAD: Final = 0.5
"""Part of a node's processor time that searches take: more of it, and they wait for each other."""
THREADS: Final = {"flat": CORES, "two-stage": 1, "pgvector": CORES, "milvus": CORES}
"""That share a search, as is assumed of pgvector and Milvus without loss: one has a setting, the other segments."""
SHARDED: Final = frozenset({"milvus"})
"""Those that search one gallery on several nodes."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """For one number of templates."""

    nodes: int
    """That the templates have to be spread over, for memory and latency."""
    queries: float
    """A second, that each of them answers."""
    possible: bool
    """Whether this engine can do that: one node, or one that spreads its templates."""


def size(engine: str, search: float, memory: float) -> Sizing:
    """For a search of `search` ms of processor time over an index that needs `memory` MB."""
    nodes = max(math.ceil(memory / MEMORY), math.ceil(search / 1000 / THREADS[engine] / LATENCY), 1)
    return Sizing(nodes, LOAD * CORES * nodes / (search / 1000), nodes == 1 or engine in SHARDED)


def core_hours(count: float, milliseconds: float) -> float:
    """Of `count` photos at so many ms of processor time each."""
    return count * milliseconds / 3.6e6
