"""Exponents fitted to what was measured, and the error where one is above its law."""

from __future__ import annotations

import argparse
import io
from contextlib import redirect_stdout

import pytest

from benchmarks import growth
from benchmarks.reporting import Report

SIZES = (10_000, 30_000, 100_000)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_an_exponent_is_found(exponent: float) -> None:
    costs = [50 * (size / SIZES[-1]) ** exponent for size in SIZES]
    assert growth.fitted(SIZES, costs) == pytest.approx(exponent, abs=0.01)


def test_what_takes_no_time_has_no_exponent() -> None:
    assert growth.fitted(SIZES, [0.01, 0.1, 0.9]) == 0


@pytest.mark.parametrize(("name", "costs"), [("enroll 16 photos", [10, 30, 100]), ("search", [1, 9, 100])])
def test_a_run_fails_where_an_operation_grows_faster_than_its_law(
    monkeypatch: pytest.MonkeyPatch, name: str, costs: list[float]
) -> None:
    steady = {each: [5.0, 5.1, 5.0] for each in growth.LAWS}
    asked = argparse.Namespace(sizes=SIZES, quick=False)
    monkeypatch.setattr(growth, "measure", lambda *_: steady)
    growth.run(asked, Report("growth", "growth", quick=False))
    monkeypatch.setattr(growth, "measure", lambda *_: {**steady, name: costs})
    with redirect_stdout(io.StringIO()), pytest.raises(SystemExit, match=f"{name} grows"):
        growth.run(asked, Report("growth", "growth", quick=False))
