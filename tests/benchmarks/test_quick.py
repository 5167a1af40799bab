"""Every benchmark runs to its end and reports; nothing is asserted about time."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest

from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.reporting import Report

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name != "embed"])  # `test_embed` runs it, smaller
def test_a_quick_run_reports_figures(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures.json"
    assert main([name, "--quick", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["command"] == f"python -m benchmarks {name} --quick"
    assert found["figures"] or found["skipped"]  # those of servers, where none is named
    for figure in found["figures"].values():
        assert math.isfinite(figure["value"])
    printed = capsys.readouterr().out
    assert all(figure in printed for figure in found["figures"])


def test_an_unknown_name_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nosuch"]) == 2
    listed = capsys.readouterr().out
    assert all(f"    {name}" in listed for name in BENCHMARKS)


def test_a_ratio_is_taken_run_by_run() -> None:
    report = Report("x", "x", quick=False)
    # The machine was three times slower in the second round: the ratios agree, the medians of the runs would not.
    assert report.add_ratio("ratio", [2.0, 6.0, 2.0], [1.0, 3.0, 1.0]) == 2.0
    assert report.add_ratio("ratio", [2.0, 6.0, 9.0], [1.0, 3.0, 1.0]) == 2.0
    assert report.figures["ratio"].runs == (2.0, 2.0, 9.0)
