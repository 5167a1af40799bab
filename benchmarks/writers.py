"""Several processes that enroll into one gallery on PostgreSQL, without any inference: 1, 2 and 4 of them.

    python -m benchmarks writers [--photos 1600]

What is left of an enrolment is what the gallery does: look the photos up, search every face, commit 16 photos at a
time. A server is started for it, which syncs as one for people does. Afterwards, every photo has to be there once, and
`check` has to find nothing. The processor time is that of all of them and of the server, their start included.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import photos as stored_photos
from facesearch.store import templates
from facesearch.store.changes import NewPhoto
from facesearch.store.location import parse_location
from tests.postgres_server import PostgresServer, find_binaries
from tests.store.makers import MODEL, commit, photo_file, template, units

if TYPE_CHECKING:
    import argparse

    import numpy as np

    from benchmarks.reporting import Report
    from facesearch.store.location import DatabaseUrl

DIMENSION: Final = 512
BATCH: Final = 16
PROCESSES: Final = (1, 2, 4)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Its own options."""
    parser.add_argument("--photos", type=int, default=1600, help="for each process")
    parser.add_argument("--rounds", type=int, default=5)


def run(asked: argparse.Namespace, report: Report) -> None:
    """Measure."""
    binaries = find_binaries()
    if binaries is None:
        report.skipped["writers"] = "no PostgreSQL server is installed"
        return
    photos, rounds = (BATCH, 1) if asked.quick else (asked.photos, asked.rounds)
    rates: dict[int, list[float]] = {count: [] for count in PROCESSES}
    costs: dict[int, list[float]] = {count: [] for count in PROCESSES}
    server = PostgresServer(binaries, durable=True)
    try:
        for _ in range(rounds):
            for count in PROCESSES:
                with tempfile.TemporaryDirectory() as folder:
                    place = server.location(server.new_database(), Path(folder))
                    before = os.times().children_user + os.times().children_system + server.processor_seconds()
                    rates[count].append(_enroll_side_by_side(place, count, photos))
                    after = os.times().children_user + os.times().children_system + server.processor_seconds()
                    costs[count].append((after - before) / (count * photos) * 1e3)
    finally:
        server.stop()
    report.facts["photos"] = f"{photos} for each process, one face of {DIMENSION} numbers each, {BATCH} at a time"
    report.facts["lost or doubled"] = "0"
    for count in PROCESSES:
        report.add_median(f"{count} processes", rates[count], "photos/s")
        report.add_median(f"{count} processes, processor", costs[count], "ms a photo")
    for count in PROCESSES[1:]:
        report.add_ratio(f"{count} : 1 processes", rates[count], rates[1])


def _enroll_side_by_side(place: DatabaseUrl, count: int, photos: int) -> float:
    """Photos a second of all together."""
    with Gallery.open(place, create=True) as gallery:
        gallery.adopt(replace(MODEL, dimension=DIMENSION))
    command = [sys.executable, "-m", "benchmarks.writers", place.url]
    folder = place.folder.parent
    children = [
        subprocess.Popen([*command, str(folder / str(number)), str(number), str(photos)], stdin=-1, stdout=-1)
        for number in range(count)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()  # it is ready
    began = time.perf_counter()
    for child in children:
        assert child.stdin is not None
        child.stdin.close()  # go
    for child in children:
        assert child.wait() == 0
        assert child.stdout is not None
        child.stdout.close()
    seconds = time.perf_counter() - began
    with Gallery.open(place) as gallery:
        counts = gallery.read(templates.counts)
        assert counts["photos"] == counts["templates"] == count * photos, "something is lost or doubled"
        assert [finding for finding in check_gallery(gallery) if not finding.ok] == []
    return count * photos / seconds


def _work(place: DatabaseUrl, number: int, photos: int) -> None:
    first = number * photos
    vectors = units(number, photos, DIMENSION)
    with Gallery.open(place) as gallery:
        gallery.adopt(replace(MODEL, dimension=DIMENSION))
        print("ready", flush=True)
        sys.stdin.read()
        for start in range(0, photos, BATCH):
            batch = range(start, min(start + BATCH, photos))
            new = [made_up_photo(first + each, vectors[each]) for each in batch]
            assert not gallery.read(stored_photos.find_photos, [each.file.path for each in new])
            gallery.search(vectors[batch.start : batch.stop], 1)
            commit(gallery, new)


def made_up_photo(number: int, vector: np.ndarray[tuple[int], np.dtype[np.float32]]) -> NewPhoto:
    """One face, four photos of a person."""
    person = f"person {number // 4}"
    return NewPhoto(photo_file(f"{person}/{number}.jpg", number), person, {}, 640, 480, (template(vector),))


if __name__ == "__main__":
    found = parse_location(sys.argv[1], Path(sys.argv[2]))
    assert not isinstance(found, Path)
    _work(found, int(sys.argv[3]), int(sys.argv[4]))
