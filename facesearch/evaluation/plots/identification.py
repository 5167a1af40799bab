"""Plots of 1:N results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from facesearch.evaluation.plots.style import (
    BLUE,
    MUTED,
    SERIES,
    VERMILION,
    decades_down,
    format_rate,
    format_threshold,
    halo,
    least_rate,
    log_rate_axis,
    new_axes,
    nice_floor,
    styled,
)
from facesearch.evaluation.plots.verification import shade_low_support
from facesearch.evaluation.results.identification import SizeBasis
from facesearch.evaluation.thinning import DRAWN, kept_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from facesearch.evaluation.results.identification import FpirBySize, SearchCurve, SearchPoint
    from facesearch.evaluation.results.rates import Rate


@styled
def cmc(rates: Sequence[Rate], subjects: int) -> Figure:
    """The share of mated searches whose mate is at rank <= r, with intervals; ties count against the mate."""
    figure, axes = new_axes(f"Cumulative match characteristic, N = {subjects:,}", x="rank", y="mate found within rank")
    rank = np.arange(1, len(rates) + 1)
    value = np.array([rate.value for rate in rates])
    intervals = [rate.best_interval for rate in rates]
    low = np.array([value[i] if one is None else one.low for i, one in enumerate(intervals)])
    high = np.array([value[i] if one is None else one.high for i, one in enumerate(intervals)])
    axes.fill_between(rank, low, high, color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(rank, value, color=BLUE, marker="o" if len(rates) <= 30 else None, markersize=3.5)
    floor = nice_floor(float(low.min()))
    axes.set_ylim(floor, 1 + 0.02 * (1 - floor))
    step = max(1, 5 * round(len(rates) / 25))
    axes.set_xlim(0.8, len(rates) + 0.2)
    axes.set_xticks(sorted({1, *range(step, len(rates) + 1, step)}))
    axes.annotate(
        f"rank 1: {format_rate(float(value[0]))}",
        (1, value[0]),
        xytext=(8, -12),
        textcoords="offset points",
        fontsize=8,
        path_effects=halo(),
    )
    return figure


@styled
def fnir_against_fpir(curve: SearchCurve, points: Sequence[SearchPoint] = ()) -> Figure:
    """FNIR(N, R, T) against FPIR(N, T), log-log from one error up, one line per R."""
    figure, axes = new_axes(
        f"Identification errors, N = {curve.subjects:,}",
        x="false positive identification rate (FPIR)",
        y="false negative identification rate (FNIR)",
    )
    low = least_rate(curve.non_mated)
    log_rate_axis(axes, "x", low)
    log_rate_axis(axes, "y", decades_down(least_rate(curve.mated)))
    for (rank, misses), (colour, dash, marker) in zip(sorted(curve.misses.items()), SERIES, strict=False):
        rows = kept_rows(curve.false_positives, misses, steps=DRAWN)
        rows = rows[(curve.false_positives[rows] >= 1) & (misses[rows] >= 1)]
        x, y = curve.fpir[rows], misses[rows] / curve.mated
        axes.step(x[::-1], y[::-1], where="post", color=colour, linestyle=dash, label=f"mate within rank {rank}")
        marked = [point for point in points if point.rank == rank and point.fpir and point.fnir and point.fnir.count]
        axes.plot(
            [point.fpir.value for point in marked if point.fpir],
            [point.fnir.value for point in marked if point.fnir],
            marker,
            color=colour,
        )
    shade_low_support(axes, curve.non_mated, low)
    axes.legend(loc="upper right")
    return figure


@styled
def fpir_against_size(by_size: FpirBySize) -> Figure:
    """FPIR against the number of enrolled people at one threshold: exact within the data, a bound beyond, a model."""
    figure, axes = new_axes(
        f"False positives as the gallery grows, threshold {format_threshold(by_size.threshold)}",
        x="enrolled subjects (N)",
        y="FPIR",
    )
    rows = sorted(by_size.rows, key=lambda row: row.size)
    exact = [row for row in rows if row.basis is SizeBasis.EXACT]
    bound = [row for row in rows if row.basis is SizeBasis.BOUND]
    values = [row.upper for row in rows] + [row.value for row in rows if row.value > 0]
    lowest = min((value for value in [*values, *(row.model for row in rows)] if value > 0), default=1e-6)
    axes.set_xscale("log")
    log_rate_axis(axes, "y", decades_down(lowest), 1.2)
    size = [row.size for row in exact]
    axes.fill_between(
        size,
        [max(row.value, 1e-12) for row in exact],
        [row.upper for row in exact],
        color=BLUE,
        alpha=0.18,
        linewidth=0,
    )
    axes.plot(size, [row.value or np.nan for row in exact], color=BLUE, marker="o", markersize=3.5)
    axes.plot([row.size for row in rows], [row.model or np.nan for row in rows], color=MUTED, linestyle=":")
    middle = rows[len(rows) // 2]
    _label(axes, middle.size, middle.model, "model (independence)", MUTED, above=True)
    if exact:
        centre = exact[len(exact) // 2]
        _label(axes, centre.size, centre.value, "exact, with 95 % limit", BLUE, above=False)
    if exact and bound:
        joined = [exact[-1], *bound]
        axes.plot([row.size for row in joined], [row.upper for row in joined], color=VERMILION, linestyle="--")
        _label(axes, bound[0].size, bound[0].upper, "upper bound", VERMILION, above=False)
    axes.axvline(by_size.subjects, color=MUTED, linewidth=0.8)
    axes.annotate(
        f"measured: N = {by_size.subjects:,}",
        (by_size.subjects, 0),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-4, 5),
        textcoords="offset points",
        ha="right",
        fontsize=7.5,
        color=MUTED,
        path_effects=halo(),
    )
    return figure


def _label(axes: Axes, x: float, y: float, text: str, colour: str, *, above: bool) -> None:
    """Name a rising line: to the left above it, or to the right below."""
    if y > 0:
        axes.annotate(
            text,
            (x, y),
            xytext=(-6, 6) if above else (6, -12),
            textcoords="offset points",
            ha="right" if above else "left",
            color=colour,
            fontweight="bold",
            fontsize=8,
            path_effects=halo(),
        )
