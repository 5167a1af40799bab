"""Search in two stages against faiss Flat and HNSW, hnswlib, usearch and a bare read of the memory; mated loss; files.

Two sets. `isotropic`: directions at random, probes at a score of 0.6 +- 0.12 to their mate. `faces`: real templates of
`--gallery` (or of photos) and made-up people mixed of two of them (`benchmarks.crowd`), probes at 0.35 to 0.8.
Mated found is the share of the probes whose mate an exact search returns among its ten best at the threshold or above,
for which the index returns it too. Run it with OMP_NUM_THREADS=1; milliseconds are processor time, medians of single
queries that the contenders take in turn. Graphs are built up to `--graphs` vectors: a million takes HNSW 13 minutes.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import faiss
import numpy as np

from benchmarks.crowd import crowd, probes
from benchmarks.engines import real_templates
from benchmarks.inputs import add_input_options
from benchmarks.timing import alternate
from facesearch.index.cache_file import CacheFile, Stamp
from facesearch.index.flat import FlatIndex
from facesearch.index.two_stage import TwoStageIndex

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from benchmarks.reporting import Report
    from facesearch.types import Ids, Vectors

    Search = Callable[[Vectors], Ids]

K: Final = 10
DIMENSION: Final = 512
THRESHOLDS: Final = (0.30, 0.35, 0.45)
ASKED: Final = 0.40
"""Floor of a search that decides by a threshold of 0.45 and a margin of 0.05."""
BATCH: Final = 512


def add_options(parser: argparse.ArgumentParser) -> None:
    """How much, and of what."""
    add_input_options(parser)
    parser.add_argument("--gallery", type=Path, metavar="DIR", help="real templates, instead of photos")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000], metavar="N")
    parser.add_argument("--graphs", type=int, default=100_000, metavar="N", help="largest size with graphs")
    parser.add_argument("--crowd", type=int, default=500_000, metavar="N", help="templates of the set `faces`")
    parser.add_argument("--probes", type=int, default=3000, metavar="N", help="of which mates are counted")


def run(asked: argparse.Namespace, report: Report) -> None:
    """Both sets, and the files at the largest size."""
    report.facts["threads"] = str(faiss.omp_get_max_threads())
    rounds = 5 if asked.quick else 51
    real, people, _ = real_templates(asked)  # what cannot be opened shows now
    for count in [3000] if asked.quick else asked.sizes:
        vectors = isotropic(count, 1)
        queries, mates = isotropic_probes(vectors, 60 if asked.quick else asked.probes, 2)
        measure(report, f"isotropic {count:,}", vectors, queries, mates, rounds, graphs=count <= asked.graphs)
    if asked.quick or asked.sizes:
        measure_files(report, vectors)
    del vectors
    vectors, _ = crowd(real, people, 3000 if asked.quick else asked.crowd, seed=1)
    queries, mates = probes(vectors, real, 60 if asked.quick else asked.probes, seed=2)
    vectors = np.ascontiguousarray(vectors)
    measure(report, f"faces {len(vectors):,}", vectors, queries, mates, rounds, graphs=len(vectors) <= asked.graphs)


def isotropic(count: int, seed: int) -> Vectors:
    """Random directions (count, 512)."""
    chance = np.random.default_rng(seed)
    vectors = np.empty((count, DIMENSION), np.float32)
    for block in np.array_split(vectors, -(-count // 50_000)):
        block[:] = chance.standard_normal(block.shape, dtype=np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def isotropic_probes(vectors: Vectors, count: int, seed: int) -> tuple[Vectors, Ids]:
    """Probes (count, 512) and the rows of their mates."""
    chance = np.random.default_rng(seed)
    mates = chance.integers(0, len(vectors), count)
    scores = np.clip(chance.normal(0.6, 0.12, (count, 1)), 0.25, 0.95).astype(np.float32)
    noise = isotropic(count, seed + 1)
    noise -= np.einsum("nd,nd->n", noise, vectors[mates])[:, None] * vectors[mates]
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return np.asarray(scores * vectors[mates] + np.sqrt(1 - scores**2) * noise, np.float32), mates


def measure(
    report: Report, name: str, vectors: Vectors, queries: Vectors, mates: Ids, rounds: int, *, graphs: bool
) -> None:
    """Time a query of every contender in turn, then count what each loses."""
    ids = np.arange(len(vectors), dtype=np.int64)
    flat, two_stage = FlatIndex(vectors.shape[1]), TwoStageIndex(vectors.shape[1])
    flat.add(ids, vectors)
    started = time.process_time()
    two_stage.add(ids, vectors)
    report.add(f"{name}: two-stage build", time.process_time() - started, "s")
    contenders: dict[str, Search] = {
        "flat": lambda query: flat.search(query, K)[1],
        "two-stage": lambda query: two_stage.search(query, K)[1],
        f"two-stage from {ASKED}": lambda query: two_stage.search(query, K, floor=ASKED)[1],
    }
    if graphs:
        contenders |= build_graphs(report, name, vectors)
    else:
        report.skipped[f"{name}: graphs"] = f"Give --graphs {len(vectors)}."
    words = vectors.reshape(-1).view(np.uint64)
    reads: dict[str, Callable[[Vectors], object]] = {"bare read": lambda _: np.bitwise_or.reduce(words)}
    timed: dict[str, Callable[[], float]] = {
        each: timer(search, queries) for each, search in (reads | dict(contenders)).items()
    }
    slow = alternate({each: timed[each] for each in ("bare read", "flat", "two-stage")}, max(3, rounds // 7))
    runs = {each: values for each, values in slow.items() if each != "two-stage"}
    runs |= alternate({each: timed[each] for each in timed if each not in runs}, rounds)
    for each, values in runs.items():
        report.add_median(f"{name}: {each}", values, "ms")
    for floor in (-1, ASKED):
        started = time.process_time()
        two_stage.search(queries[:BATCH], K, floor=floor)
        spent = 1000 * (time.process_time() - started) / len(queries[:BATCH])
        report.add(f"{name}: two-stage{'' if floor < 0 else f' from {floor}'}, each of a batch of {BATCH}", spent, "ms")
    report.add_ratio(f"{name}: flat / two-stage", slow["flat"], slow["two-stage"])
    report.add_ratio(f"{name}: bare read / flat", slow["bare read"], slow["flat"])
    count_mates(report, name, contenders, vectors, queries, mates)


def timer(search: Callable[[Vectors], object], queries: Vectors) -> Callable[[], float]:
    """Searches for the next query each time it is called, and returns the milliseconds of processor time."""
    upcoming = iter(range(10**9))
    search(queries[-1:])  # warm

    def once() -> float:
        query = queries[next(upcoming) % len(queries)][None]
        started = time.process_time()
        search(query)
        return 1000 * (time.process_time() - started)

    return once


def build_graphs(report: Report, name: str, vectors: Vectors) -> dict[str, Search]:
    """HNSW of three libraries, 32 links a vector."""
    import hnswlib  # type: ignore[import-untyped]  # there are stubs, for one benchmark too many
    from usearch.index import Index

    count, dimension = vectors.shape
    started = time.process_time()
    graph = faiss.IndexHNSWFlat(dimension, 32, faiss.METRIC_INNER_PRODUCT)
    graph.add(vectors)
    report.add(f"{name}: HNSW build", time.process_time() - started, "s")
    other: Any = hnswlib.Index("ip", dimension)
    other.init_index(count, ef_construction=200, M=16)
    other.add_items(vectors, num_threads=1)
    third: Any = Index(ndim=dimension, metric="ip", dtype="f32", connectivity=32)
    third.add(np.arange(count), vectors, threads=1)

    def faiss_search(ef: int) -> Search:
        wanted = faiss.SearchParametersHNSW(efSearch=ef)
        return lambda query: np.asarray(graph.search(query, K, params=wanted)[1])

    def hnswlib_search(query: Vectors) -> Ids:
        other.set_ef(256)
        return np.asarray(other.knn_query(query, K, num_threads=1)[0], np.int64)

    def usearch_search(query: Vectors) -> Ids:
        return np.asarray(third.search(query, K, threads=1).keys, np.int64).reshape(len(query), -1)

    found: dict[str, Search] = {f"HNSW ef {ef}": faiss_search(ef) for ef in (64, 256, 1024)}
    return found | {"hnswlib ef 256": hnswlib_search, "usearch": usearch_search}


def count_mates(
    report: Report, name: str, contenders: dict[str, Search], vectors: Vectors, queries: Vectors, mates: Ids
) -> None:
    """What each finds of the mates that an exact search finds."""
    scores = np.einsum("nd,nd->n", queries, vectors[mates])
    truth = faiss.knn(queries, vectors, K, metric=faiss.METRIC_INNER_PRODUCT)[1]
    wanted = (truth == mates[:, None]).any(axis=1)
    for each, search in contenders.items():
        if each == "flat":
            continue
        found = np.concatenate([search(query[None]) for query in queries])
        hit = (found == mates[:, None]).any(axis=1)
        for threshold in THRESHOLDS:
            among = wanted & (scores >= threshold)
            report.add(f"{name}: {each}, mated found at {threshold}", float(hit[among].mean()), f"of {among.sum()}")


def measure_files(report: Report, vectors: Vectors) -> None:
    """What saving, opening and changing an index of this many vectors takes by the clock."""
    index = TwoStageIndex(vectors.shape[1])
    count = len(vectors) - 1000
    index.add(np.arange(count), vectors[:count])
    name = f"files {len(vectors):,}"

    def save() -> None:
        stamp = Stamp(np.random.default_rng().bytes(16), "model", np.zeros(len(index), np.uint32))
        assert index.save(CacheFile(folder), stamp, nullcontext(enter_result=True))

    def clocked(what: str, action: Callable[[], object]) -> None:
        started = time.perf_counter()
        action()
        report.add(f"{name}: {what}", 1000 * (time.perf_counter() - started), "ms")

    with TemporaryDirectory() as place:
        folder = Path(place)
        clocked("first save", save)
        opened = [open_anew(folder, vectors.shape[1]) for _ in range(3)]
        report.add(f"{name}: open in a new process", statistics.median(each["open"] for each in opened), "ms")
        for what, when in (("peak", "at the most while opening"), ("searching", "after searches")):
            most = max(each[what] for each in opened)
            report.add(f"{name}: resident beyond the mapped vectors, {when}", most, "MiB")
        files = CacheFile(folder).open()
        assert files is not None
        index = TwoStageIndex(vectors.shape[1])
        index.load(*files)
        clocked("add 1,000", lambda: index.add(np.arange(count, count + 1000), vectors[count:]))
        clocked("save after that", save)
        clocked("remove 1,000", lambda: index.remove(np.arange(0, count, count // 1000)[:1000]))
        clocked("save after that too", save)
        tokens = b"a" * 16, b"b" * 16
        clocked("remove 1 from the files for good", lambda: CacheFile(folder).erase(np.array([1]), *tokens))


def open_anew(folder: Path, dimension: int) -> dict[str, float]:
    """What `benchmarks.opened` says."""
    command = [sys.executable, "-m", "benchmarks.opened", str(folder), str(dimension)]
    said: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return said
