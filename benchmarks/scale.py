"""Cost of enrolling, searching and erasing against the number of templates, with laws, and hardware for 1e8 and 1e9.

Every index that is here is grown from size to size: the local ones in this process, pgvector and Milvus on servers that
are started for it. A whole gallery in SQLite is grown too, and a scan of codes alone goes up to 1e7. Vectors are random
directions of 512 dimensions. Everything is processor time, of servers too, which a busy machine stretches little; run
it with OMP_NUM_THREADS=1. A law `a + b N` is fitted to each, and what it says beyond the sizes measured is named
`extrapolated`. `--pack` is what a re-embedding is reckoned with.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import scale_gallery, scale_indexes, sizing
from benchmarks.inputs import add_input_options, find_inputs
from benchmarks.laws import fit
from benchmarks.networks import watched
from benchmarks.scale_contenders import CONTENDERS, DIMENSION, SERVERS, is_here
from benchmarks.timing import taken
from facesearch.jobs.sources import read_photo_bytes
from facesearch.recognition.extractor import Extractor
from facesearch.recognition.packs.folder import read_pack_folder
from facesearch.recognition.quality import NO_LIMITS, FacePolicy

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from benchmarks.laws import Law
    from benchmarks.reporting import Report

FAR: Final = (10**7, 10**8, 10**9)
QUICK: Final = [1000, 2000]
SIZES: Final = {
    "sizes": [10_000, 100_000, 300_000, 1_000_000],
    "server-sizes": [10_000, 100_000, 300_000],
    "code-sizes": [100_000, 1_000_000, 10_000_000],
    "gallery-sizes": [10_000, 30_000, 100_000, 200_000],
}
"""Options and their defaults: of the local indexes, pgvector and Milvus, codes alone, and a gallery in SQLite."""
PARTS: Final = (*CONTENDERS, "codes", "gallery", "photos")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to measure, and up to where."""
    add_input_options(parser)
    for option, sizes in SIZES.items():
        parser.add_argument(f"--{option}", type=int, nargs="+", default=sizes, metavar="N")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seconds", type=float, default=0.5, help="that each is repeated for, five times")
    parser.add_argument("--one-face", action="store_true", help="as in `embed`: for models of random weights")


def run(asked: argparse.Namespace, report: Report) -> None:
    """Part by part: whatever one has built is gone before the next begins."""
    report.facts["vectors"] = f"random directions, {DIMENSION} dimensions"
    report.facts["a node"] = (
        f"{sizing.CORES} cores, {sizing.MEMORY / 1e3:.0f} GB for the index, a search within {sizing.LATENCY:g} s on an "
        f"idle one, {100 * sizing.LOAD:.0f} % of its processor time for searches"
    )
    for name in CONTENDERS:
        if name in asked.only:
            measure_index(name, asked, report)
    if "codes" in asked.only:
        sizes = [count * 50 for count in QUICK] if asked.quick else asked.code_sizes
        found = scale_indexes.measure_codes(sizes, seconds(asked))
        project(report, "codes alone", max(sizes), describe(report, "codes alone", sizes, found))
    if "gallery" in asked.only:
        sizes = QUICK if asked.quick else asked.gallery_sizes
        project(report, "gallery", max(sizes), describe(report, "gallery", sizes, scale_gallery.measure(sizes)))
    if "photos" in asked.only:
        measure_photos(asked, report)


def seconds(asked: argparse.Namespace) -> float:
    """That each action is repeated for."""
    return 0.01 if asked.quick else float(asked.seconds)


def measure_index(name: str, asked: argparse.Namespace, report: Report) -> None:
    """One of them, where it is here, and the hardware that many more templates take."""
    server = SERVERS.get(name)
    if server is not None and (asked.quick or not is_here(name)):
        report.skipped[name] = "Not in a quick run." if is_here(name) else server
        return
    sizes = QUICK if asked.quick else asked.sizes if server is None else asked.server_sizes
    with CONTENDERS[name]() as contender:
        found = scale_indexes.measure(contender, sizes, seconds(asked))
    report_index(report, name, sizes, found)


def report_index(report: Report, name: str, sizes: Sequence[int], found: Mapping[str, Sequence[float]]) -> None:
    """What was measured of an index, what follows from it, and the hardware that takes."""
    laws = describe(report, name, sizes, found)
    project(report, name, max(sizes), laws)
    for count in FAR:
        sized = sizing.size(name, laws["search"].at(count), laws["memory"].at(count))
        start = f"{name}, {count:.0e}"
        report.add(f"{start}: nodes", sized.nodes, "extrapolated" if sized.possible else "which it cannot use")
        report.add(f"{start}: searches a node", sized.queries, "1/s, extrapolated")


def unit(what: str) -> str:
    """Of what was measured under this name."""
    if what == "vectors left":
        return "vectors"
    return "MB" if what in {"memory", "disk", "database", "index files"} else "ms"


def describe(report: Report, name: str, sizes: Sequence[int], found: Mapping[str, Sequence[float]]) -> dict[str, Law]:
    """Report what was measured, and its laws."""
    laws = {}
    for what, values in found.items():
        for count, value in zip(sizes, values, strict=True):
            report.add(f"{name}, {count:,}: {what}", value, f"{unit(what)}, measured")
        laws[what] = fit(sizes, values)
        report.facts[f"{name}: {what}"] = laws[what].words(unit(what))
    return laws


def project(report: Report, name: str, measured: int, laws: Mapping[str, Law]) -> None:
    """What the laws say of more templates than were measured."""
    for count in (each for each in FAR if each > measured):
        for what, law in laws.items():
            report.add(f"{name}, {count:.0e}: {what}", law.at(count), f"{unit(what)}, extrapolated")


def measure_photos(asked: argparse.Namespace, report: Report) -> None:
    """What a photo takes in the models, and a re-embedding of everybody."""
    with tempfile.TemporaryDirectory() as folder, watched(one_face=asked.one_face):
        inputs = find_inputs(asked, Path(folder))
        paths = inputs.paths(2 if asked.quick else 20)
        extractor = Extractor(read_pack_folder(inputs.pack), provider="cpu", workers=1)

        def encode() -> None:
            for _ in extractor.extract_many(paths, read_photo_bytes, policy=FacePolicy.ALL, limits=NO_LIMITS):
                pass

        encode()  # warm
        each = 1000 * taken(encode).processor / len(paths)
    report.facts["photos"] = f"{inputs.pack.name}, {len(paths)} photos of {inputs.photos.name}"
    report.add("a photo in the models", each, "ms, measured")
    for count in FAR:
        report.add(f"re-embedding of {count:.0e} photos", sizing.core_hours(count, each), "core-hours, extrapolated")
