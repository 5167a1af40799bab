"""What a benchmark found: figures with the runs they come from and the machine, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LIBRARIES: Final = ("numpy", "onnxruntime", "openvino", "opencv-python-headless", "pillow", "faiss-cpu", "sqlalchemy")
_CPU_FLAGS: Final = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd")
"""Those that the kernels of the libraries above are chosen by."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number."""

    value: float
    unit: str
    """As it is printed: `photos/s`, `ms`, `x` for a ratio, `MB`, `%`."""
    runs: tuple[float, ...] = ()
    """In order; `value` is their median."""


class Report:
    """The figures of one benchmark, in the order in which they were measured."""

    def __init__(self, name: str, command: str, *, quick: bool) -> None:
        """`command` repeats it."""
        self.name = name
        self.command = command
        self.quick = quick
        self.figures: dict[str, Figure] = {}
        self.facts: dict[str, str] = {}
        """What was measured: models, photos, settings."""
        self.skipped: dict[str, str] = {}
        """What was not, and what it would take."""

    def add(self, name: str, value: float, unit: str) -> None:
        """A number that was measured once."""
        self.figures[name] = Figure(float(value), unit)

    def add_median(self, name: str, runs: Sequence[float], unit: str) -> float:
        """The median of several runs; returns it."""
        value = statistics.median(runs)
        self.figures[name] = Figure(float(value), unit, tuple(float(run) for run in runs))
        return float(value)

    def add_ratio(self, name: str, numerator: Sequence[float], denominator: Sequence[float]) -> float:
        """The median of the ratios of runs that were taken side by side; returns it.

        Dividing run by run cancels what made the machine slow just then, which dividing medians does not.
        """
        ratios = [a / b for a, b in zip(numerator, denominator, strict=True)]
        return self.add_median(name, ratios, "x")

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "benchmark": self.name,
            "command": self.command,
            "quick": self.quick,
            "date": datetime.now(UTC).date().isoformat(),
            "machine": machine(),
            "facts": self.facts,
            "figures": {name: asdict(figure) for name, figure in self.figures.items()},
            "skipped": self.skipped,
        }

    def write(self, path: Path) -> None:
        """As JSON, for the documentation and for comparisons."""
        path.write_text(json.dumps(self.as_json(), indent=1) + "\n", encoding="utf-8")

    def print(self) -> None:
        """The table, and what was skipped."""
        print(f"\n{self.command}" + ("   (quick: the figures mean nothing)" if self.quick else ""))
        for name, fact in self.facts.items():
            print(f"  {name}: {fact}")
        width = max((len(name) for name in self.figures), default=0)
        for name, figure in self.figures.items():
            spread = f"   {_number(min(figure.runs))} to {_number(max(figure.runs))}" if figure.runs else ""
            print(f"  {name:{width}}  {_number(figure.value):>9} {figure.unit}{spread}")
        for name, how in self.skipped.items():
            print(f"  {name}: skipped. {how}")


def machine() -> Mapping[str, Any]:
    """What the figures depend on: processor, cores, instruction sets, versions."""
    return {
        "processor": _cpu_lines().get("model name", platform.processor() or platform.machine()),
        "cores": os.cpu_count(),
        "flags": [flag for flag in _CPU_FLAGS if flag in _cpu_lines().get("flags", "").split()],
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: found for name in _LIBRARIES if (found := _version(name)) is not None},
    }


def _cpu_lines() -> dict[str, str]:
    """Of the first processor, where the system lists them (Linux)."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _number(value: float) -> str:
    """Three significant digits, more for large numbers."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
