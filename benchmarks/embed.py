"""Photos to vectors, beside InsightFace on the same files, models, size and cores; the outputs are compared.

Photos pass through `Extractor.extract_many` and through InsightFace's loop of imread and FaceAnalysis.get, in turn, and
one by one through `Extractor.encode` as well. Then in each precision of each runtime that is here, against fp32 on
onnxruntime: the networks alone and whole photos, their vectors compared. `--one-face` replaces the detector's outputs
after it ran by those for one face in the middle, everywhere: for models of random weights (shared with buffalo_l are
their layers and cost).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import networks
from benchmarks.inputs import add_input_options, find_inputs
from benchmarks.peer import HOW, InsightFace, is_here
from benchmarks.precisions import encode_photos, measure_networks, measure_photos, open_precisions
from benchmarks.timing import Taken, alternate, taken
from facesearch.jobs.sources import read_photo_bytes
from facesearch.machine import usable_cores
from facesearch.recognition.decoding import decode_guarded
from facesearch.recognition.extractor import Extractor, workers_for_many
from facesearch.recognition.packs.folder import read_pack_folder

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from benchmarks.reporting import Report

WARM_UP = 8
CALIBRATED_ON = 16
"""Photos for int8; the networks alone are run on the same."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to embed, with what, and how often."""
    add_input_options(parser)
    parser.add_argument("--one-face", action="store_true", help="replace the detector's outputs")
    parser.add_argument("--size", type=int, default=640, help="of detection, default 640")
    parser.add_argument("--count", type=int, help="photos a round, default 200; quick 8")
    parser.add_argument("--rounds", type=int, help="default 5; quick 1")
    parser.add_argument("--workers", type=int, default=workers_for_many(), help="photos at once; default one a core")


def run(asked: argparse.Namespace, report: Report) -> None:
    """The contenders in turn, then their outputs."""
    count, rounds = asked.count or (8 if asked.quick else 200), asked.rounds or (1 if asked.quick else 5)
    with tempfile.TemporaryDirectory() as folder, networks.watched(one_face=asked.one_face) as watch:
        inputs = find_inputs(asked, Path(folder))
        paths = inputs.paths(count)
        report.facts["inputs"] = f"{inputs.pack.name}, {len(paths)} photos of {inputs.photos.name}, at {asked.size}"
        report.facts["cores"] = f"{usable_cores()}, {asked.workers} photos at once"
        pack = read_pack_folder(inputs.pack)
        many = Extractor(pack, provider="cpu", det_size=str(asked.size), workers=asked.workers)
        single = Extractor(pack, provider="cpu", det_size=str(asked.size))

        shares: list[Taken] = []

        def extract_many() -> Taken:
            watch.reset()
            result = taken(lambda: encode_photos(many, paths))
            shares.append(Taken(watch.wall / (result.wall * asked.workers), watch.processor / result.processor))
            return result

        def encode_single() -> Taken:
            return taken(lambda: [single.encode(decode_guarded(read_photo_bytes(path))) for path in paths])

        contenders: dict[str, Callable[[], Taken]] = {"many": extract_many, "single": encode_single}
        if is_here():
            peer = InsightFace(inputs.pack, asked.size)
            if asked.one_face:
                peer.replace_outputs(networks.one_face)
            contenders["insightface"] = lambda: taken(lambda: [peer.faces(path) for path in paths])
            _compare(single, peer, paths, report)
        else:
            report.skipped["insightface"] = HOW
        encode_photos(many, paths[:WARM_UP])
        _tell(alternate(contenders, rounds), len(paths), report)
        report.add_median("many: share of the time inside the networks", [100 * each.wall for each in shares], "%")
        if asked.workers >= usable_cores():  # a run has one thread then, whose processor time is known
            report.add_median("many: the same of processor time", [100 * each.processor for each in shares], "%")
        _measure_precisions(inputs.pack, Path(folder) / "copy", paths, asked, rounds, report)


def _measure_precisions(
    pack: Path, copy: Path, paths: Sequence[Path], asked: argparse.Namespace, rounds: int, report: Report
) -> None:
    threads, calibrated_on = max(1, usable_cores() // asked.workers), 2 if asked.quick else CALIBRATED_ON
    precisions = open_precisions(pack, copy, paths[:calibrated_on], asked.size, threads, report)
    measure_networks(precisions, rounds, report, "networks alone, ")
    measure_photos(
        precisions,
        paths[:calibrated_on] if asked.quick else paths,
        asked.size,
        asked.workers,
        rounds,
        report,
        "whole photos, ",
    )


def _compare(extractor: Extractor, peer: InsightFace, paths: Sequence[Path], report: Report) -> None:
    differences = []
    for path in paths:
        ours = [(each.face, each.vector) for each in extractor.encode(decode_guarded(read_photo_bytes(path)))]
        differences.append(networks.difference(ours, peer.faces(path)))
    report.add("largest difference of a box from insightface's", max(box for box, _ in differences), "px")
    report.add("lowest cosine with its vector, less than 1 by", 1 - min(cosine for _, cosine in differences), "")


def _tell(runs: dict[str, list[Taken]], count: int, report: Report) -> None:
    for name, results in runs.items():
        report.add_median(f"{name}: photos a second", [count / each.wall for each in results], "photos/s")
        report.add_median(f"{name}: processor time a photo", [1e3 * each.processor / count for each in results], "ms")
    theirs = runs.pop("insightface", None)
    for name, ours in runs.items() if theirs else ():
        walls, processors = [each.wall for each in ours], [each.processor for each in ours]
        report.add_ratio(f"{name}: times as fast as insightface", [each.wall for each in theirs or ()], walls)
        report.add_ratio(f"{name}: by processor time", [each.processor for each in theirs or ()], processors)
