"""What it costs to store a photo: commits of 16 photos into a folder and into PostgreSQL, in processor time."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.writers import BATCH, DIMENSION, made_up_photo
from facesearch.search.gallery import Gallery
from tests.postgres_server import PostgresServer, find_binaries
from tests.store.makers import MODEL, commit, units

if TYPE_CHECKING:
    import argparse

    from benchmarks.reporting import Report
    from facesearch.store.location import Location

ROUNDS: Final = 5


def add_options(parser: argparse.ArgumentParser) -> None:
    """Its own options."""
    parser.add_argument("--photos", type=int, default=1600)


def run(asked: argparse.Namespace, report: Report) -> None:
    """Measure. The server's own processor time is not in it."""
    photos, rounds = (BATCH, 1) if asked.quick else (asked.photos, ROUNDS)
    report.facts["photos"] = f"{photos}, one face of {DIMENSION} numbers each, {BATCH} a commit, 4 of a person"
    costs: dict[str, list[float]] = {"a folder": [], "PostgreSQL": []}
    binaries = find_binaries()
    server = PostgresServer(binaries, durable=True) if binaries else None
    try:
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                costs["a folder"].append(_cost(Path(folder) / "gallery", photos))
                if server is not None:
                    costs["PostgreSQL"].append(_cost(server.location(server.new_database(), Path(folder)), photos))
    finally:
        if server is not None:
            server.stop()
    for name, runs in costs.items():
        if runs:
            report.add_median(name, runs, "ms a photo")
        else:
            report.skipped[name] = "no PostgreSQL server is installed"


def _cost(place: Location, photos: int) -> float:
    """Milliseconds of this process a photo."""
    vectors = units(1, photos + BATCH, DIMENSION)
    new = [made_up_photo(number, vector) for number, vector in enumerate(vectors)]
    with Gallery.open(place, create=True) as gallery:
        gallery.adopt(replace(MODEL, dimension=DIMENSION))
        commit(gallery, new[:BATCH])  # statements are compiled now
        began = time.process_time()
        for start in range(BATCH, len(new), BATCH):
            commit(gallery, new[start : start + BATCH])
        return (time.process_time() - began) / photos * 1e3
