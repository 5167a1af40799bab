"""An index grown from size to size: what a search, an addition and a removal cost; and codes alone."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.scale_contenders import DIMENSION, Contender, Local
from facesearch.index.flat import FlatIndex
from facesearch.index.quantizer import FINE, Codes, CodeScan
from facesearch.index.two_stage import CERTAINTY, FLOOR, MOST_AT_FIRST
from facesearch.search.exact import SLACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from facesearch.types import Ids, Vectors

K: Final = 8
"""Results of a search: what `identify` asks an index for at first."""
BATCH: Final = 16
"""Vectors of an addition: an enrolment commits as many at a time."""
GONE: Final = 4
"""Vectors of a removal: a person's."""
BLOCK: Final = 10_000
MATES: Final = 500
GROUPS: Final = 5


def random_vectors(count: int, seed: int) -> Vectors:
    """Random directions (count, 512)."""
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION), dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def measure(contender: Contender, sizes: Sequence[int], seconds: float) -> dict[str, list[float]]:
    """Grow to each size; by what was measured, one value a size: milliseconds of processor time, MB."""
    found: dict[str, list[float]] = {}
    mates = random_vectors(MATES, 0)
    queries = 0.6 * mates + 0.8 * random_vectors(MATES, 1)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    present = 0
    for size in sizes:
        for start in range(present, size, BLOCK):
            ids = np.arange(start, min(start + BLOCK, size)) + 1
            vectors = random_vectors(len(ids), start + 2)
            if not start:
                vectors[:MATES] = mates[: len(ids)]
            contender.before_adding(ids)
            contender.index.add(ids, vectors)
        present = size
        contender.settle()
        for name, value in [*contender.held().items(), *_costs(contender, size, queries, seconds)]:
            found.setdefault(name, []).append(value)
    return found


def _costs(contender: Contender, size: int, queries: Vectors, seconds: float) -> Iterator[tuple[str, float]]:
    """Leaves as many as there were, but for ids of its own."""
    index, chance = contender.index, np.random.default_rng(size)
    upcoming = iter(range(size << 32, 1 << 62, BATCH))  # beyond every size to come
    added: list[Ids] = []

    def add() -> None:
        ids = next(upcoming) + np.arange(BATCH)
        contender.before_adding(ids)
        index.add(ids, random_vectors(BATCH, int(ids[0])))
        added.append(ids)

    def remove() -> None:  # the oldest of some, the newest of others
        index.remove(chance.choice(np.arange(MATES, size) + 1, GONE, replace=False))

    fetched = K + (0 if isinstance(contender, Local) else SLACK)

    def search() -> None:
        index.search(queries[chance.integers(len(queries))][None], fetched)

    part = max(size // 10 // GROUPS, 1)  # that may come or go in a group: the size stays about what it is said to be
    yield "search", cost(contender, search, seconds)
    yield f"add {BATCH}", cost(contender, add, seconds, most=part // BATCH)
    yield f"remove {GONE}", cost(contender, remove, seconds, most=part // GONE)
    if not isinstance(contender, Local):  # a server may wait more than it computes
        yield "search, quickest by the clock", quickest(search)
        yield f"remove {GONE}, quickest by the clock", quickest(remove)
    index.remove(np.concatenate(added))


def cost(contender: Contender, action: Callable[[], object], seconds: float, *, most: int = 1 << 30) -> float:
    """Milliseconds of processor time: the median of groups, each as long as `seconds` or `most` times."""
    action()
    groups = []
    for _ in range(GROUPS):
        began, before, times = time.perf_counter(), contender.processor(), 0
        while times == 0 or (times < most and time.perf_counter() - began < seconds):
            action()
            times += 1
        groups.append(1000 * (contender.processor() - before) / times)
    return statistics.median(groups)


def quickest(action: Callable[[], object], times: int = 20) -> float:
    """Milliseconds by the clock, the quickest of several: on a busy machine the others tell of the machine."""

    def once() -> float:
        began = time.perf_counter()
        action()
        return 1000 * (time.perf_counter() - began)

    return min(once() for _ in range(times))


def measure_codes(sizes: Sequence[int], seconds: float) -> dict[str, list[float]]:
    """Codes alone: what a scan of so many takes, and how many vectors it leaves a chance to reach `FLOOR`.

    Random codes are as quick as others, and there is no need to make the vectors that they would stand for.
    """
    found: dict[str, list[float]] = {"scan": [], "vectors left": []}
    clock = Local(FlatIndex(DIMENSION))
    for size in sizes:
        scan = CodeScan(DIMENSION, FINE)
        scan.unpack(np.random.default_rng(0).integers(0, 256, scan.size(size), np.uint8), size)
        turned = Codes(DIMENSION).turned(random_vectors(8, 1))
        found["scan"].append(cost(clock, partial(scan.best, turned[:1], min(1024, size // 2)), seconds))
        estimates, _, _ = scan.best(turned, min(size // 2, MOST_AT_FIRST))
        bound = scan.slope * FLOOR - CERTAINTY * scan.deviation
        found["vectors left"].append(float((estimates >= bound).sum(axis=1).mean()))
    return found
