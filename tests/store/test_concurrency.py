from __future__ import annotations

import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from facesearch.errors import GalleryError
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import people, subjects, templates
from tests.store.makers import enroll, found_subject, make_gallery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facesearch.store.location import Location

pytestmark = pytest.mark.both_databases

SPAWN = multiprocessing.get_context("spawn")


def add_and_search(gallery: Gallery, worker: int, count: int) -> list[int]:
    """Enroll photos one by one and see each at once; every third one is removed again."""
    ids = []
    for number in range(count):
        seed = worker * 1000 + number
        (template_id,) = enroll(gallery, f"person {seed}", seed)
        assert found_subject(gallery, seed) == f"person {seed}", "own writes are visible"
        if number % 3 == 0:
            gallery.remove(people.remove, f"person {seed}")
            assert found_subject(gallery, seed) is None
        else:
            ids.append(template_id)
            gallery.write(people.set_attributes, f"person {seed}", {"worker": str(worker)})
    return ids


def in_a_process(place: Location, workers: Sequence[int], count: int) -> list[int]:
    with Gallery.open(place) as gallery, ThreadPoolExecutor(len(workers)) as threads:
        return collected([threads.submit(add_and_search, gallery, worker, count) for worker in workers])


def collected(futures: Sequence[Future[list[int]]]) -> list[int]:
    return [template_id for future in futures for template_id in future.result()]


def test_threads_and_processes_add_and_search_at_once(place: Location) -> None:
    count = 12
    with make_gallery(place) as gallery, ProcessPoolExecutor(2, SPAWN) as processes:
        others = [processes.submit(in_a_process, place, workers, count) for workers in ([1, 2], [3, 4])]
        with ThreadPoolExecutor(3) as threads:
            own = [threads.submit(add_and_search, gallery, worker, count) for worker in (5, 6, 7)]
            ids = collected(own) + collected(others)
        seeds = [worker * 1000 + number for worker in range(1, 8) for number in range(count) if number % 3]
        assert len(ids) == len(set(ids)) == len(seeds)
        assert {subject.name for subject in gallery.read(subjects.list_subjects)} == {
            f"person {seed}" for seed in seeds
        }
        assert [found_subject(gallery, seed) for seed in seeds] == [f"person {seed}" for seed in seeds]
        assert gallery.read(templates.counts)["templates"] == len(seeds)
        assert len(gallery.read(subjects.list_subjects, {"worker": "3"})) == count - count // 3
    with Gallery.open(place) as gallery:
        assert [finding for finding in check_gallery(gallery) if not finding.ok] == []


def create(folder: Path, seed: int) -> None:
    with make_gallery(folder) as gallery:
        enroll(gallery, f"person {seed}", seed)


def test_processes_that_make_the_same_gallery_at_once_share_it(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, SPAWN) as processes:
        for attempt in range(5):
            folder = tmp_path / str(attempt)
            list(processes.map(create, [folder] * 3, range(3)))
            with Gallery.open(folder) as gallery:
                assert len(gallery.read(subjects.list_subjects)) == 3


def test_threads_make_galleries_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(create, [tmp_path / str(number // 2) for number in range(6)], range(6)))
    for number in range(3):
        with Gallery.open(tmp_path / str(number)) as gallery:
            assert len(gallery.read(subjects.list_subjects)) == 2


def test_many_threads_read_at_once(gallery: Gallery) -> None:
    enroll(gallery, "anna", 1)

    def look(_: int) -> str | None:
        with gallery.database.read():  # each holds a transaction while it starts another
            return found_subject(gallery, 1)

    with ThreadPoolExecutor(40) as threads:
        assert set(threads.map(look, range(200))) == {"anna"}


def test_writers_within_a_process_queue_and_never_time_out(gallery: Gallery) -> None:
    """SQLite's own waiting is no queue: the unlucky one of many threads would give up."""
    enroll(gallery, "anna", 1)
    failures: list[GalleryError] = []

    def write(number: int) -> None:
        try:
            gallery.write(people.set_attributes, "anna", {f"key{number}": "x"})
        except GalleryError as error:
            failures.append(error)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(write, range(200)))
    assert not failures
    assert len(gallery.read(people.find, "anna").attributes) == 200
