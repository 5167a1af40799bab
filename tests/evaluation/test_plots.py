"""Plots: what may be drawn, and that drawing leaves no trace and gives the same bytes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from facesearch.evaluation.assessment import RocBand
from facesearch.evaluation.charts import inline_svg, nice_floor, save
from facesearch.evaluation.groups import GroupRates
from facesearch.evaluation.rates import Rate, format_rate, threshold_text
from facesearch.evaluation.verification import error_curve, tar_at_far
from facesearch.evaluation.verification_plots import (
    det,
    drawn_roc,
    error_rates_against_threshold,
    roc,
    score_histograms,
    tar_by_group,
)

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from facesearch.evaluation.verification import ErrorCurve


def _curve(n: int = 400) -> ErrorCurve:
    rng = np.random.default_rng(0)
    return error_curve(rng.normal(0.6, 0.15, n), rng.normal(0.0, 0.1, n))


def _band(curve: ErrorCurve) -> RocBand:
    far = np.geomspace(1 / curve.non_mated, 1, 20)
    tar = np.linspace(0.9, 1, 20)
    return RocBand(far, tar, tar - 0.02, np.minimum(tar + 0.01, 1), "subject bootstrap", assumes_independence=False)


def _all(curve: ErrorCurve) -> list[Figure]:
    points = [tar_at_far(curve, target) for target in (0.1, 0.01, 1e-6)]
    return [
        roc([("", curve, _band(curve))], points),
        roc([("", curve, None)], points),
        det(curve),
        score_histograms(curve, 0.3, "for FAR 0.01"),
        error_rates_against_threshold(curve, 0.3),
        roc([("a", curve, _band(curve)), ("b", curve, None)]),
        tar_by_group([GroupRates("a", Rate(9, 10), None), GroupRates("b", None, None)], 0.3),
    ]


def test_every_plot_renders_as_svg_and_png_without_pyplot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Other tests of the same process may have imported it: from here on, an import fails.
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.delattr("matplotlib.pyplot", raising=False)
    for number, figure in enumerate(_all(_curve())):
        save(figure, tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")
        svg = inline_svg(figure, 'a <label> & "quotes"')
        assert svg.startswith("<svg")
        assert "<label>" not in svg
        assert "#0072b2" not in svg


def test_the_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        save(roc([("", _curve(), None)]), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_nothing_is_drawn_below_one_false_match() -> None:
    curve = _curve()
    far, tar = drawn_roc(curve)
    assert far[0] == 1 / curve.non_mated
    assert np.all(np.diff(far) > 0)
    assert np.all(np.diff(tar) >= 0)
    for axes in roc([("", curve, None)]).axes:
        assert axes.get_xlim()[0] == pytest.approx(1 / curve.non_mated)


def test_the_drawn_curve_is_the_best_tar_that_keeps_each_far() -> None:
    curve = _curve()
    far, tar = drawn_roc(curve)
    for x, y in zip(far, tar, strict=True):
        point = tar_at_far(curve, float(x))
        assert point.tar is not None
        assert point.tar.value == y


@pytest.mark.parametrize(
    ("mated", "non_mated"),
    [
        ([0.9], [0.1]),
        ([0.5], [0.5]),
        ([0.9, 0.8], [0.1, 0.2]),
        ([0.5, 0.5, 0.5], [0.5, 0.5]),
        ([np.inf, np.inf], [-np.inf, np.inf]),
        ([0.1] * 3, [0.9] * 3),
    ],
)
def test_degenerate_scores_still_draw(tmp_path: Path, mated: list[float], non_mated: list[float]) -> None:
    for number, figure in enumerate(_all(error_curve(np.array(mated), np.array(non_mated)))):
        save(figure, tmp_path / f"{number}.png")


def test_labels_round_no_rate_to_certainty_and_no_threshold_down() -> None:
    assert [format_rate(x) for x in (0.0, 1.0, 0.99999, 0.98169, 0.5, 3.2e-5, 1e-6)] == [
        "0", "1", "0.99999", "0.9817", "0.5", "3.2e-5", "1e-6",
    ]  # fmt: skip
    assert threshold_text(0.30001) == "0.3001"
    assert threshold_text(0.3) == "0.3000"
    assert threshold_text(-0.00001) in {"0.0000", "-0.0000"}


@pytest.mark.parametrize("lowest", [0.0, 0.3, 0.87, 0.95, 0.999, 1.0])
def test_the_rate_axis_holds_the_lowest_value(lowest: float) -> None:
    assert 0 <= nice_floor(lowest) <= lowest
    assert nice_floor(lowest) < 1
