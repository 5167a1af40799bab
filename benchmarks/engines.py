"""What each kind of index of pgvector and Milvus loses on faces, and what a query takes.

Mated found: the share of probes for which an exact search finds their own person first, at the threshold or above, that
this index finds as well. Needs servers: `--postgres URL` (any database of a server with pgvector; a schema is made and
dropped) and `--milvus URL`; what is not named is skipped. Real templates come from `--gallery`, or from the photos.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import sqlalchemy as sa

from benchmarks.crowd import crowd, probes
from benchmarks.inputs import add_input_options, find_inputs
from facesearch import FaceSearch
from facesearch.index.milvus import MilvusIndex, connect
from facesearch.index.pgvector import PgVectorIndex
from facesearch.store import templates

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from benchmarks.reporting import Report
    from facesearch.types import Ids, Vectors

K: Final = 10
SQL: Final = "SELECT id FROM {table} ORDER BY {column} {operator} %(query)s::{type} LIMIT %(k)s"
BINARY: Final = (
    "SELECT id FROM (SELECT id, v FROM exact ORDER BY binary_quantize(v)::bit({d}) <~> "
    "binary_quantize(%(query)s::vector)::bit({d}) LIMIT {fetch}) near ORDER BY v <#> %(query)s::vector LIMIT %(k)s"
)
PGVECTOR: Final = {
    "vector, scan": ((), (), SQL.format(table="exact", column="v", operator="<#>", type="vector")),
    "halfvec, scan (default)": ((), (), SQL.format(table="codes", column="code", operator="<#>", type="halfvec")),
    "binary, 100 re-ranked": ((), (), BINARY.replace("{fetch}", "100")),
    "binary, 1000 re-ranked": ((), (), BINARY.replace("{fetch}", "1000")),
    **{
        f"HNSW m=16, ef={ef}": (
            ("CREATE INDEX ON exact USING hnsw (v vector_ip_ops)",),
            (f"SET LOCAL hnsw.ef_search = {ef}", "SET LOCAL enable_seqscan = off"),
            SQL.format(table="exact", column="v", operator="<#>", type="vector"),
        )
        for ef in (40, 200)
    },
    **{
        f"IVF 140 lists, {lists} probed": (
            ("CREATE INDEX ON exact USING ivfflat (v vector_ip_ops) WITH (lists = 140)",),
            (f"SET LOCAL ivfflat.probes = {lists}", "SET LOCAL enable_seqscan = off"),
            SQL.format(table="exact", column="v", operator="<#>", type="vector"),
        )
        for lists in (1, 12)
    },
}
"""(made before, set for the search, statement) by kind."""
MILVUS: Final[dict[str, tuple[str, dict[str, Any], dict[str, Any]]]] = {
    "FLAT (default)": ("FLAT", {}, {}),
    "HNSW M=16, ef=64": ("HNSW", {"M": 16, "efConstruction": 200}, {"ef": 64}),
    "HNSW M=16, ef=512": ("HNSW", {"M": 16, "efConstruction": 200}, {"ef": 512}),
    "IVF_FLAT 140 lists, 12 probed": ("IVF_FLAT", {"nlist": 140}, {"nprobe": 12}),
    "IVF_SQ8 140 lists, 12 probed": ("IVF_SQ8", {"nlist": 140}, {"nprobe": 12}),
    "SCANN 140 lists, 12 probed": ("SCANN", {"nlist": 140}, {"nprobe": 12, "reorder_k": 200}),
}
"""(kind, how it is built, how it is searched) by name."""


class Trial:
    """Templates, probes, and what an exact search finds."""

    def __init__(self, real: Vectors, people: NDArray[np.int64], asked: argparse.Namespace, threshold: float) -> None:
        self.vectors, self.subjects = crowd(real, people, 2000 if asked.quick else asked.count, seed=1)
        self.ids: Ids = np.arange(1, len(self.vectors) + 1)
        self.queries, self.sources = probes(self.vectors, real, 50 if asked.quick else asked.probes, seed=2)
        self.threshold = threshold
        best = self.best_of([self.ids] * len(self.queries))
        self.mated = best == self.subjects[self.sources]

    def best_of(self, proposed: list[Ids]) -> NDArray[np.int64]:
        """The subject of the best template proposed for each probe; -1 where that is below the threshold."""
        found = []
        for query, ids in zip(self.queries, proposed, strict=True):
            scores = self.vectors[ids - 1] @ query
            best = int(np.argmax(scores)) if len(ids) else -1
            found.append(self.subjects[ids[best] - 1] if len(ids) and scores[best] >= self.threshold else -1)
        return np.array(found)

    def measure(self, name: str, search: Callable[[NDArray[np.float32]], Ids], report: Report) -> None:
        """Search every probe on its own and report what was found and the time a query took."""
        proposed, taken = [], []
        for query in self.queries:
            start = time.perf_counter()
            proposed.append(search(query))
            taken.append(1000 * (time.perf_counter() - start))
        found = (self.best_of(proposed) == self.subjects[self.sources]) & self.mated
        report.add(f"{name}: mated found", 100 * found.sum() / self.mated.sum(), "%")
        report.add_median(f"{name}: query", taken, "ms")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What this benchmark needs."""
    add_input_options(parser)
    parser.add_argument("--gallery", type=Path, metavar="DIR", help="take the real templates from this gallery")
    parser.add_argument("--postgres", metavar="URL", help="postgresql+psycopg://..., a server with pgvector")
    parser.add_argument("--milvus", metavar="URL", help="http://host:19530")
    parser.add_argument("--count", type=int, default=20_000, help="templates (default: 20000)")
    parser.add_argument("--probes", type=int, default=2_000, help="searches for each kind of index (default: 2000)")


def run(asked: argparse.Namespace, report: Report) -> None:
    """Measure what servers there are."""
    real, people, threshold = real_templates(asked)
    trial = Trial(real, people, asked, threshold)
    report.facts["templates"] = f"{len(real)} real, {len(trial.ids) - len(real)} perturbed, {real.shape[1]} dimensions"
    report.facts["probes"] = f"{len(trial.queries)}, of which an exact search finds {trial.mated.sum()} at {threshold}"
    for name, url, measure in (("pgvector", asked.postgres, _pgvector), ("Milvus", asked.milvus, _milvus)):
        if url:
            measure(url, trial, report)
        else:
            report.skipped[name] = f"Start a server and name it with --{'milvus' if name == 'Milvus' else 'postgres'}."


def real_templates(asked: argparse.Namespace) -> tuple[Vectors, NDArray[np.int64], float]:
    with TemporaryDirectory() as work:
        inputs = None if asked.gallery else find_inputs(asked, Path(work))
        folder = asked.gallery or Path(work) / "gallery"
        with FaceSearch.open(folder, pack=inputs.pack if inputs else None) as engine:
            if inputs:
                photos = inputs.paths(40 if asked.quick else None)
                for person in sorted({photo.parent for photo in photos}):
                    for _ in engine.enroll([photo for photo in photos if photo.parent == person], subject=person.name):
                        pass
            ids, vectors = engine.gallery.read(templates.all_templates)
            described = engine.gallery.read(templates.describe_templates, ids.tolist())
            names = [described[key][0] for key in ids.tolist()]
            return vectors, np.unique(names, return_inverse=True)[1], engine.threshold.value


def _pgvector(url: str, trial: Trial, report: Report) -> None:
    with _schema(url) as connection:
        dimension = trial.vectors.shape[1]
        run = connection.exec_driver_sql
        run("CREATE TABLE templates (id bigint PRIMARY KEY)")
        run("INSERT INTO templates SELECT generate_series(1, %(n)s::bigint)", {"n": len(trial.ids)})
        codes = PgVectorIndex(connection, "codes", dimension)
        codes.create()
        codes.add(trial.ids, trial.vectors)
        run(f"CREATE TABLE exact (id bigint PRIMARY KEY, v vector({dimension}))")
        run("ALTER TABLE exact ALTER COLUMN v SET STORAGE PLAIN")
        with connection.connection.cursor().copy("COPY exact FROM STDIN") as copy:
            for key, vector in zip(trial.ids.tolist(), trial.vectors, strict=True):
                copy.write_row((key, str(vector.tolist())))
        report.facts["pgvector"] = str(run("SELECT extversion FROM pg_extension WHERE extname = 'vector'").scalar())
        run("ANALYZE")
        for name, (made, settings, statement) in PGVECTOR.items():
            with connection.begin_nested() as undone:
                for each in (*made, *settings):
                    run(each)
                command = statement.replace("{d}", str(dimension))
                trial.measure(
                    f"pgvector {name}",
                    lambda query, command=command: np.array(  # type: ignore[misc]  # mypy infers no default in a lambda
                        run(command, {"query": str(query.tolist()), "k": K}).scalars().all(), np.int64
                    ),
                    report,
                )
                undone.rollback()


@contextmanager
def _schema(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS vector")
            connection.exec_driver_sql("CREATE SCHEMA facesearch_benchmark")
            connection.exec_driver_sql("SET search_path TO facesearch_benchmark, public")
            yield connection
            connection.rollback()
    finally:
        engine.dispose()


def _milvus(url: str, trial: Trial, report: Report) -> None:
    client = connect(url)
    report.facts["Milvus"] = client.get_server_version()
    index = MilvusIndex(client, "facesearch_benchmark", trial.vectors.shape[1])
    index.drop()
    index.create()
    try:
        index.add(trial.ids, trial.vectors)
        client.flush(index.collection)  # what is not flushed is compared one by one, whatever the index
        for name, (kind, built, searched) in MILVUS.items():
            client.release_collection(index.collection)
            client.drop_index(index.collection, "vector")
            parameters = client.prepare_index_params()
            parameters.add_index("vector", index_type=kind, metric_type="IP", params=built)
            client.create_index(index.collection, parameters, timeout=300)
            client.load_collection(index.collection, timeout=300)
            trial.measure(
                f"Milvus {name}",
                lambda query, searched=searched: np.array(  # type: ignore[misc]  # mypy infers no default in a lambda
                    [
                        hit["id"]
                        for hit in client.search(
                            index.collection, [query], limit=K, search_params={"params": searched}, anns_field="vector"
                        )[0]
                    ],
                    np.int64,
                ),
                report,
            )
    finally:
        index.drop()
