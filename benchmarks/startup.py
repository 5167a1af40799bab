"""How long commands take from nothing: help, import, a first query; InsightFace's first photo beside them.

Each starts a Python of its own, in turn; `python -c pass` is what none of them can be faster than. Bytecode is kept as
an installation keeps it, whatever PYTHONDONTWRITEBYTECODE says here: a first run of each, not counted, writes it.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.inputs import add_input_options, find_inputs
from benchmarks.peer import HOW, is_here
from benchmarks.timing import Taken, alternate
from facesearch import FaceSearch

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from benchmarks.reporting import Report

_FIRST_PHOTO: Final = (
    "import sys; from pathlib import Path; from benchmarks.peer import InsightFace; "
    "InsightFace(Path(sys.argv[1]), 640).faces(Path(sys.argv[2]))"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Models, a photo, and how often."""
    add_input_options(parser)
    parser.add_argument("--rounds", type=int, help="default 7; quick 1")


def run(asked: argparse.Namespace, report: Report) -> None:
    """All commands in turn."""
    with tempfile.TemporaryDirectory() as folder:
        inputs = find_inputs(asked, Path(folder))
        photo, gallery = inputs.paths(1)[0], Path(folder) / "gallery"
        report.facts["inputs"] = f"{inputs.pack.name}, a gallery of one photo"
        with FaceSearch.open(gallery, pack=inputs.pack, provider="cpu", det_size=640) as engine:
            for _ in engine.enroll([photo], faces="largest"):
                pass
        facesearch = [sys.executable, "-m", "facesearch"]
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "facesearch --help": [*facesearch, "--help"],
            "import facesearch": [sys.executable, "-c", "import facesearch"],
            "facesearch query": [*facesearch, "query", str(photo), "--gallery", str(gallery)],
        }
        if is_here():
            commands["insightface's first photo"] = [sys.executable, "-c", _FIRST_PHOTO, str(inputs.pack), str(photo)]
        else:
            report.skipped["insightface's first photo"] = HOW
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(Path(folder) / "bytecode")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        contenders: dict[str, Callable[[], Taken]] = {
            name: partial(_start, command, environment) for name, command in commands.items()
        }
        for once in contenders.values():
            once()
        runs = alternate(contenders, asked.rounds or (1 if asked.quick else 7))
    for name, results in runs.items():
        report.add_median(f"{name}", [1e3 * each.wall for each in results], "ms")
        report.add_median(f"{name}: processor time", [1e3 * each.processor for each in results], "ms")
    if "insightface's first photo" in runs:
        ours, theirs = runs["facesearch query"], runs["insightface's first photo"]
        report.add_ratio("query: times as fast", [each.wall for each in theirs], [each.wall for each in ours])
        report.add_ratio("by processor time", [each.processor for each in theirs], [each.processor for each in ours])


def _start(command: list[str], environment: dict[str, str]) -> Taken:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Taken(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
