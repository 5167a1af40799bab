"""Repeat the project's measurements: `python -m benchmarks NAME [--quick] [--json FILE]`.

`python -m benchmarks` lists them, `python -m benchmarks all` runs one after the other, each in a process of its own, so
that none finds what another has warmed up; with `--json` it takes a folder. `--quick` measures so little that the
figures mean nothing: it shows that everything still runs.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, cast

from benchmarks.reporting import Report

if TYPE_CHECKING:
    from collections.abc import Sequence

BENCHMARKS: Final = (
    "commit",
    "coverage",
    "embed",
    "engines",
    "enroll",
    "evaluate",
    "follow",
    "growth",
    "precision",
    "search",
    "scale",
    "serve",
    "startup",
    "writers",
)
"""Modules of this package, each a `Benchmark`; a new one is added here and nowhere else."""


class Benchmark(Protocol):
    """A module; the first line of its docstring says what it measures."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Its own options; `--quick` and `--json` are there already."""

    def run(self, asked: argparse.Namespace, report: Report) -> None:
        """Measure, and put the figures into the report."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["all"]:
        return _run_all(given[1:])
    if not given or given[0] not in BENCHMARKS:
        print(__doc__)
        for name in BENCHMARKS:
            print(f"    {name:10} {(importlib.import_module(f'benchmarks.{name}').__doc__ or '').splitlines()[0]}")
        return 0 if not given or given[0] in ("-h", "--help") else 2
    return _run(given[0], given[1:])


def _run(name: str, arguments: Sequence[str]) -> int:
    module = importlib.import_module(f"benchmarks.{name}")
    benchmark = cast("Benchmark", module)
    parser = argparse.ArgumentParser(
        f"python -m benchmarks {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="as little as possible, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    benchmark.add_options(parser)
    asked = parser.parse_args(arguments)
    report = Report(name, _command(name, arguments), quick=asked.quick)
    benchmark.run(asked, report)
    report.print()
    if asked.json:
        report.write(asked.json)
    return 0


def _command(name: str, arguments: Sequence[str]) -> str:
    """What repeats the run; folders by their last name, as others lie elsewhere."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in arguments]
    if "--json" in words:
        at = words.index("--json")
        del words[at : at + 2]
    return shlex.join(["python", "-m", "benchmarks", name, *words])


def _run_all(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks all", description="Run every benchmark.")
    parser.add_argument("--quick", action="store_true", help="as little as possible, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="write NAME.json for each into it")
    asked = parser.parse_args(arguments)
    failed = 0
    for name in BENCHMARKS:
        command = [sys.executable, "-m", "benchmarks", name, *(["--quick"] if asked.quick else [])]
        if asked.json:
            asked.json.mkdir(parents=True, exist_ok=True)
            command += ["--json", str(asked.json / f"{name}.json")]
        failed += subprocess.run(command).returncode != 0
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
