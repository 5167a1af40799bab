"""The two networks in each precision on each runtime, against fp32 on onnxruntime, which is what InsightFace runs.

A round is one photo with one face: the detector once at `--size`, the recogniser once. What InsightFace does around
its networks is left out, which favours it; `python -m benchmarks embed` runs whole photos.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.inputs import add_input_options, find_inputs
from benchmarks.precisions import measure_networks, open_precisions
from facesearch.machine import usable_cores

if TYPE_CHECKING:
    import argparse

    from benchmarks.reporting import Report


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to run, and how often."""
    add_input_options(parser)
    parser.add_argument("--size", type=int, default=640, help="of detection, default 640")
    parser.add_argument("--count", type=int, help="photos to calibrate on and to run, default 16; quick 2")
    parser.add_argument("--rounds", type=int, help="default 15; quick 1")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of one run, default all cores")


def run(asked: argparse.Namespace, report: Report) -> None:
    """Every precision of every provider here, in turn."""
    count, rounds = asked.count or (2 if asked.quick else 16), asked.rounds or (1 if asked.quick else 15)
    with tempfile.TemporaryDirectory() as folder:
        inputs = find_inputs(asked, Path(folder))
        paths = inputs.paths(count)
        report.facts["inputs"] = f"{inputs.pack.name}, {count} photos at {asked.size}, {asked.threads} threads"
        copy = Path(folder) / "copy"
        measure_networks(open_precisions(inputs.pack, copy, paths, asked.size, asked.threads, report), rounds, report)
