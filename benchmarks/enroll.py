"""Photos into a gallery, beside InsightFace's loop that keeps nothing; and the memory of a long run.

Both take the same photos with the same models, size and cores, in turn; models are open before. `--memory N` enrolls N
made-up photos with the stand-in models instead, of 12 kB each, and tells the memory after 1,000 and at the
end. `--one-face` is for models of random weights, as in `embed`.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import made_up, networks
from benchmarks.inputs import add_input_options, find_inputs
from benchmarks.peer import HOW, InsightFace, is_here
from benchmarks.timing import Taken, alternate, resident_mebibytes, taken
from facesearch import FaceSearch
from facesearch.machine import usable_cores
from facesearch.recognition.extractor import workers_for_many
from facesearch.store import templates

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from benchmarks.inputs import Inputs
    from benchmarks.reporting import Report

WARM_UP = 8
SETTLED = 1000
"""Photos after which the memory should not grow any more."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to enroll, with what, and how often."""
    add_input_options(parser)
    parser.add_argument("--one-face", action="store_true", help="replace the detector's outputs")
    parser.add_argument("--size", type=int, default=640, help="of detection, default 640")
    parser.add_argument("--count", type=int, help="photos a round, default 400; quick 16")
    parser.add_argument("--rounds", type=int, help="default 5; quick 1")
    parser.add_argument("--workers", type=int, default=workers_for_many(), help="photos at once; default one a core")
    parser.add_argument("--batch", type=int, help="faces per run of the recogniser")
    parser.add_argument("--memory", type=int, metavar="N", help="enroll N made-up photos and watch the memory")


def run(asked: argparse.Namespace, report: Report) -> None:
    """The contenders in turn, or one long run."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if asked.memory:
            watch_memory(asked.memory, work, report)
        else:
            compare(asked, find_inputs(asked, work), work, report)


def compare(asked: argparse.Namespace, inputs: Inputs, work: Path, report: Report) -> None:
    """Photos a second, and how much of the time the two networks run."""
    count, rounds = asked.count or (16 if asked.quick else 400), asked.rounds or (1 if asked.quick else 5)
    paths = inputs.paths(count + WARM_UP)
    warm, paths = paths[:WARM_UP], paths[WARM_UP:]
    report.facts["inputs"] = f"{inputs.pack.name}, {len(paths)} photos of {inputs.photos.name}, at {asked.size}"
    report.facts["cores"] = f"{usable_cores()}, {asked.workers} photos at once"
    shares: list[Taken] = []
    with networks.watched(one_face=asked.one_face) as watch, ExitStack() as galleries:

        def enroll() -> Taken:
            options = {"det_size": asked.size, "workers": asked.workers, "batch": asked.batch}
            gallery = tempfile.mkdtemp(dir=work)
            engine = galleries.enter_context(FaceSearch.open(gallery, pack=inputs.pack, provider="cpu", **options))
            _enroll(engine, warm)
            watch.reset()
            result = taken(lambda: _enroll(engine, paths))
            shares.append(Taken(watch.wall / (result.wall * asked.workers), watch.processor / result.processor))
            galleries.pop_all().close()
            return result

        contenders: dict[str, Callable[[], Taken]] = {"facesearch": enroll}
        if is_here():
            peer = InsightFace(inputs.pack, asked.size)
            if asked.one_face:
                peer.replace_outputs(networks.one_face)
            _loop(peer, warm)
            contenders["insightface"] = lambda: taken(lambda: _loop(peer, paths))
        else:
            report.skipped["insightface"] = HOW
        runs = alternate(contenders, rounds)
    for name, results in runs.items():
        report.add_median(f"{name}: photos a second", [len(paths) / each.wall for each in results], "photos/s")
        report.add_median(
            f"{name}: processor time a photo", [1e3 * each.processor / len(paths) for each in results], "ms"
        )
    if "insightface" in runs:
        ours, theirs = runs["facesearch"], runs["insightface"]
        report.add_ratio("times as fast as insightface", [each.wall for each in theirs], [each.wall for each in ours])
        report.add_ratio("by processor time", [each.processor for each in theirs], [each.processor for each in ours])
    report.add_median("share of the time inside the two networks", [100 * each.wall for each in shares], "%")
    if asked.workers >= usable_cores():  # a run has one thread then, whose processor time is known
        report.add_median("the same of processor time", [100 * each.processor for each in shares], "%")


def _enroll(engine: FaceSearch, paths: Sequence[Path]) -> None:
    for _ in engine.enroll(paths, faces="largest"):
        pass


def _loop(peer: InsightFace, paths: Sequence[Path]) -> None:
    for path in paths:
        peer.faces(path)


def watch_memory(count: int, work: Path, report: Report) -> None:
    """Resident memory of this process and of those that decode for it, while `count` photos are enrolled."""
    from facesearch.demo.standin import build_standin_pack

    people = made_up.write_many(work / "people", count)
    pack = build_standin_pack(work / "standin")
    report.facts["inputs"] = f"stand-in models at 128, {count:,} made-up photos"
    memory: list[tuple[float, float]] = []
    process = os.getpid()
    with FaceSearch.open(
        work / "gallery", pack=pack, provider="cpu", det_size=128, workers=workers_for_many()
    ) as engine:
        used = [0]

        def enroll() -> None:
            for used[0], _ in enumerate(engine.enroll(people), 1):
                if used[0] % SETTLED == 0:
                    memory.append((resident_mebibytes(process), resident_mebibytes(process, mapped=False)))

        result = taken(enroll)
        counts = engine.gallery.read(templates.counts)
    report.facts["enrolled"] = f"{counts['templates']:,} templates of {counts['subjects']:,} people"
    report.add("photos a second", used[0] / result.wall, "photos/s")
    report.add("processor time a photo", 1e3 * result.processor / used[0], "ms")
    for what, values in zip(("memory", "memory without mapped files"), zip(*memory, strict=True), strict=True):
        report.add(f"{what} after {SETTLED:,} photos", values[0], "MB")
        report.add(f"{what} after {len(values) * SETTLED:,}", values[-1], "MB")
        report.add(f"{what}, the most", max(values), "MB")
        report.add(f"{what}: grown to", values[-1] / values[0], "x")
