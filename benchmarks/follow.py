"""What a process pays for the commits of another: its next search of a gallery in SQLite, by what changed and compared.

Two galleries are open on one folder, as in two processes: the one commits, the other searches. What was touched is
noted in the database, so the index of the other reads only that. A renewed token makes it compare itself with the whole
database, as it does where it cannot know what was touched. Both hold the search itself, which is shown alone too.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.scale_gallery import MODEL, photos
from benchmarks.scale_indexes import BLOCK, random_vectors
from facesearch.search.gallery import Gallery
from facesearch.store.models import renew_token
from tests.store.makers import commit

if TYPE_CHECKING:
    import argparse

    from benchmarks.reporting import Report

SIZES: Final = (3_000, 30_000, 100_000)
CHANGED: Final = (1, 100)
ROUNDS: Final = 7


def add_options(parser: argparse.ArgumentParser) -> None:
    """Its own options."""
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N", help="templates, growing")


def run(asked: argparse.Namespace, report: Report) -> None:
    """Processor time of the process that searches, with all that it calls."""
    report.facts["templates"] = "random directions, 512 dimensions, one a photo"
    present = 0
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "gallery"
        Gallery.open(folder, create=True).close()
        for size in (300, 600) if asked.quick else asked.sizes:
            with Gallery.open(folder) as writer:
                writer.adopt(MODEL)
                for start in range(present, size, BLOCK):
                    commit(writer, photos(start, min(BLOCK, size - start)))
            with Gallery.open(folder) as writer, Gallery.open(folder) as reader:
                present = _measure(writer, reader, size, 1 if asked.quick else ROUNDS, report)


def _measure(writer: Gallery, reader: Gallery, size: int, rounds: int, report: Report) -> int:
    """Returns how many templates there are afterwards."""
    present = size
    query = random_vectors(1, 1)

    def search() -> float:
        began = time.process_time()
        reader.search(query, 1)
        return 1000 * (time.process_time() - began)

    search()
    report.add_median(f"{size:,}: nothing changed", [search() for _ in range(rounds)], "ms")
    for count in CHANGED:
        noted: list[float] = []
        compared: list[float] = []
        for _ in range(rounds):
            for runs, known in ((noted, True), (compared, False)):
                commit(writer, photos(present, count))
                present += count
                if not known:
                    writer.change(renew_token)
                runs.append(search())
        report.add_median(f"{size:,}: {count} changed, noted", noted, "ms")
        report.add_median(f"{size:,}: {count} changed, all compared", compared, "ms")
        report.add_ratio(f"{size:,}: {count} changed, compared / noted", compared, noted)
    return present
