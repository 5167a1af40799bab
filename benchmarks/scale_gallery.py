"""A whole gallery in SQLite, grown from size to size: what it costs beyond its index, and what it keeps on disk."""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.scale_contenders import DIMENSION
from benchmarks.scale_indexes import BATCH, BLOCK, GONE, random_vectors
from facesearch.search.gallery import Gallery
from facesearch.store import erasure
from facesearch.store import photos as stored_photos
from facesearch.store.changes import NewPhoto
from facesearch.store.photos import PhotoFile
from facesearch.types import Face, IndexKind, ModelInfo, Quality, Template
from tests.store.makers import commit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from facesearch.types import Vectors

MODEL: Final = ModelInfo("scale", "scale", DIMENSION, "d" * 64, "e" * 64)
ROUNDS: Final = 3


def measure(sizes: Sequence[int]) -> dict[str, list[float]]:
    """By what was measured, one value a size: milliseconds of processor time, MB of files."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "gallery"
        present = 0
        for size in sizes:
            with _opened(folder, create=not present) as gallery:
                gallery.adopt(MODEL)
                for start in range(present, size, BLOCK):
                    commit(gallery, photos(start, min(BLOCK, size - start)))
                rebuilt = _milliseconds(gallery.mirror.rebuild)
            present = size
            for name, value in [("build the index anew", rebuilt), *_costs(folder, size), *_files(folder)]:
                found.setdefault(name, []).append(value)
    return found


def photos(first: int, count: int) -> list[NewPhoto]:
    """Photos with one face each, `GONE` of a person."""
    face = Face(np.array([10, 20, 60, 80], np.float32), np.zeros((5, 2), np.float32), detection_score=0.9)
    quality = Quality(size=50, sharpness=100, yaw=0.1, roll=-2)
    return [
        NewPhoto(
            PhotoFile(Path(f"/photos/{number // GONE}/{number}.jpg"), f"{number:064x}", 100_000, 1),
            f"person {number // GONE:09}",
            {},
            640,
            480,
            (Template(vector, MODEL.model_id, face, quality),),
        )
        for number, vector in enumerate(random_vectors(count, first + 2), first)
    ]


def _costs(folder: Path, size: int) -> Iterator[tuple[str, float]]:
    queries = random_vectors(64, 1)
    fresh = iter(range(size * 1000, 1 << 62, BATCH * GONE))

    def enroll(gallery: Gallery) -> None:
        new = photos(next(fresh), BATCH)
        gallery.read(stored_photos.find_photos, [each.file.path for each in new])
        commit(gallery, new)

    def search(gallery: Gallery, query: Vectors = queries[:1]) -> None:
        gallery.search(query, 1)

    def open_and_search() -> None:
        with _opened(folder) as gallery:
            search(gallery)

    yield "open, first search", _median(open_and_search)
    with _opened(folder) as gallery, _opened(folder) as other:
        search(gallery)
        search(other)
        yield f"commit {BATCH} photos", _median(lambda: enroll(gallery), 9)

        def follow() -> float:
            enroll(gallery)
            return _milliseconds(lambda: search(other))

        yield "first search after another's commit", statistics.median(follow() for _ in range(ROUNDS))
        following = iter(queries[:, None])
        yield "search", _median(lambda: search(other, next(following)), len(queries))
        yield "save the cache after a commit", _milliseconds(gallery.mirror.save)
        other.mirror.save()
    with _opened(folder) as gallery:
        search(gallery)
        people = iter([f"person {number:09}" for number in range(size // 16, size // 16 + ROUNDS)])
        yield (
            "erase a person",
            _median(lambda: gallery.remove(erasure.erase_subjects, gallery.erasure_list, [next(people)])),
        )


def _files(folder: Path) -> Iterator[tuple[str, float]]:
    sizes = {path.name: path.stat().st_size / 1e6 for path in folder.iterdir() if path.is_file()}
    yield "database", sizes["gallery.db"]
    yield "index files", sum(size for name, size in sizes.items() if name.startswith("index"))


@contextmanager
def _opened(folder: Path, *, create: bool = False) -> Iterator[Gallery]:
    with Gallery.open(folder, create=create, index=IndexKind.TWO_STAGE) as gallery:
        yield gallery


def _milliseconds(action: Callable[[], object]) -> float:
    before = time.process_time()
    action()
    return 1000 * (time.process_time() - before)


def _median(action: Callable[[], object], rounds: int = ROUNDS) -> float:
    return statistics.median(_milliseconds(action) for _ in range(rounds))
