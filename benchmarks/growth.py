"""How each operation grows with the gallery: its exponent, which must not be above the one that the docs state.

A gallery grows from size to size. The processor time of each operation, t, is fitted to t = c * N ** exponent. What
takes less than a millisecond at the largest size is not fitted: noise would be. A higher exponent than `LAWS` allows,
by more than `SLACK`, ends the run with an error.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facesearch.jobs.erasure import forget_people
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import people, subjects, templates
from facesearch.store import photos as stored_photos
from facesearch.store.changes import NewPhoto
from facesearch.store.photos import PhotoFile
from facesearch.types import Face, IndexKind, ModelInfo, Quality, Template
from tests.store.makers import commit

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.reporting import Report

SIZES: Final = (10_000, 30_000, 100_000)
DIMENSION: Final = 512
OF_A_PERSON: Final = 4
"""Photos."""
BLOCK: Final = 10_000
ROUNDS: Final = 5
SLACK: Final = 0.25
LEAST: Final = 1.0
"""Milliseconds at the largest size."""
CONSTANT: Final = 0.0
LINEAR: Final = 1.0
LAWS: Final = {
    "enroll 16 photos": CONSTANT,
    "look up 500 known photos": CONSTANT,
    "photos below a folder": CONSTANT,
    "show a person": CONSTANT,
    "rename a person": CONSTANT,
    "move a photo": LINEAR,
    "page of 50 people": LINEAR,
    "count everything": LINEAR,
    "who is due": LINEAR,
    "search": LINEAR,
    "open and search": LINEAR,
    "remove a person": LINEAR,
    "forget a person": LINEAR,
    "build the index": LINEAR,
    "check": LINEAR,
}
"""The highest exponent by operation; what grows with the logarithm of N counts as constant."""
MODEL: Final = ModelInfo("growth", "growth", DIMENSION, "d" * 64, "e" * 64)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Its own options."""
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N", help="templates, growing")


def run(asked: argparse.Namespace, report: Report) -> None:
    """Raise `SystemExit` where an operation grows faster than `LAWS` allows."""
    sizes = (300, 600) if asked.quick else asked.sizes
    report.facts["templates"] = f"random directions, {DIMENSION} dimensions, one a photo, {OF_A_PERSON} a person"
    costs = measure(sizes, 1 if asked.quick else ROUNDS)
    broken = []
    for name, law in LAWS.items():
        for size, cost in zip(sizes, costs[name], strict=True):
            report.add(f"{name}, {size:,}", cost, "ms")
        exponent = fitted(sizes, costs[name])
        report.add(f"{name}: exponent, at most {law:g}", exponent, "")
        if exponent > law + SLACK:
            broken.append(f"{name} grows with N ** {exponent:.2f}, and N ** {law:g} is allowed")
    if broken and not asked.quick:
        report.print()
        raise SystemExit("\n".join(broken))


def fitted(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """The exponent by least squares over logarithms; 0 for what takes less than `LEAST` at the largest size."""
    if costs[-1] < LEAST or len(sizes) < 2:
        return 0.0
    slope, _ = np.polyfit(np.log(sizes), np.log(np.maximum(costs, LEAST / 10)), 1)
    return float(slope)


def measure(sizes: Sequence[int], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of processor time by operation, one a size."""
    found: dict[str, list[float]] = {name: [] for name in LAWS}
    present = 0
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "gallery"
        for size in sizes:
            with _opened(folder, create=not present) as gallery:
                gallery.adopt(MODEL)
                for start in range(present, size, BLOCK):
                    commit(gallery, _photos(start, min(BLOCK, size - start)))
                found["build the index"].append(_cost(gallery.mirror.rebuild))
            present = size
            found["open and search"].append(_cost(lambda: _open_and_search(folder), rounds))
            with _opened(folder) as gallery:
                for name, action in _operations(gallery, Path(work), size):
                    found[name].append(_cost(action, 1 if name == "check" else rounds))
    return found


def _operations(gallery: Gallery, work: Path, size: int) -> Iterator[tuple[str, Callable[[], object]]]:
    fresh = iter(range(size * 1000, 1 << 62, 16))
    known = [Path(f"/photos/{number // OF_A_PERSON}/{number}.jpg") for number in range(500)]
    middle = size // OF_A_PERSON // 2
    persons = iter(f"person {number:09}" for number in range(middle, 1 << 62))
    read, write = gallery.read, gallery.write
    gallery.search(_directions(1, 1), 1)
    commit(gallery, _photos(next(fresh), 16))  # the first after opening makes room
    yield "enroll 16 photos", lambda: commit(gallery, _photos(next(fresh), 16))
    yield "look up 500 known photos", lambda: read(stored_photos.find_photos, known)
    yield "photos below a folder", lambda: read(stored_photos.photos_below, Path("/photos/7"))
    yield "show a person", lambda: read(stored_photos.details_of_subject, "person 000000009")
    yield "rename a person", lambda: write(people.rename, next(persons), f"renamed {next(fresh)}")
    yield "page of 50 people", lambda: read(subjects.page_of_subjects, limit=50, after="person 000000020")
    yield "count everything", lambda: read(templates.counts)
    yield "who is due", lambda: read(people.overdue)
    yield "search", lambda: gallery.search(_directions(1, next(fresh)), 1)
    moved = iter(range(100, size))
    yield (
        "move a photo",
        lambda: gallery.change(people.move_photos, [known[next(moved)]], f"person {next(moved) % 20:09}"),
    )
    yield "remove a person", lambda: gallery.remove(people.remove, next(persons))
    yield "forget a person", lambda: forget_people(gallery, work / "cache", [next(persons)])
    yield "check", lambda: list(check_gallery(gallery))


def _photos(first: int, count: int) -> list[NewPhoto]:
    face = Face(np.array([10, 20, 60, 80], np.float32), np.zeros((5, 2), np.float32), detection_score=0.9)
    quality = Quality(size=50, sharpness=100, yaw=0.1, roll=-2)
    return [
        NewPhoto(
            PhotoFile(Path(f"/photos/{number // OF_A_PERSON}/{number}.jpg"), f"{number:064x}", 100_000, 1),
            f"person {number // OF_A_PERSON:09}",
            {},
            640,
            480,
            (Template(vector, MODEL.model_id, face, quality),),
        )
        for number, vector in enumerate(_directions(count, first + 2), first)
    ]


def _directions(count: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION), dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _opened(folder: Path, *, create: bool = False) -> Gallery:
    return Gallery.open(folder, create=create, index=IndexKind.TWO_STAGE)


def _open_and_search(folder: Path) -> None:
    with _opened(folder) as gallery:
        gallery.search(_directions(1, 1), 1)


def _cost(action: Callable[[], object], rounds: int = 1) -> float:
    found = []
    for _ in range(rounds):
        before = time.process_time()
        action()
        found.append(1000 * (time.process_time() - before))
    return statistics.median(found)


def growth_table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """What was measured at the smallest and the largest size, as Markdown."""
    sizes = [name.rpartition(", ")[2] for name in figures if name.startswith("check, ")]
    lines = [f"| operation | {sizes[0]} templates | {sizes[-1]} | exponent | at most |", "|---|---|---|---|---|"]
    for name, law in LAWS.items():
        costs = [figures[f"{name}, {size}"]["value"] for size in (sizes[0], sizes[-1])]
        exponent = figures[f"{name}: exponent, at most {law:g}"]["value"]
        least, most = (f"{cost:,.0f} ms" if cost >= 100 else f"{cost:.3g} ms" for cost in costs)
        lines.append(f"| {name} | {least} | {most} | {max(exponent, 0):.2f} | {law:g} |")
    return "\n".join(lines)
