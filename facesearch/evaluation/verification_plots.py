"""Plots of 1:1 results. Everything is read off the exact error curve, thinned to what can be seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from facesearch.evaluation.assessment import RocBand
from facesearch.evaluation.charts import (
    BLUE,
    DRAWN,
    INK,
    MUTED,
    SERIES,
    VERMILION,
    annotate,
    kept_rows,
    least_rate,
    log_rate_axis,
    new_axes,
    nice_floor,
    note,
    styled,
)
from facesearch.evaluation.groups import GroupRates
from facesearch.evaluation.rates import LOW_SUPPORT, Floats, format_rate, threshold_text
from facesearch.evaluation.verification import ErrorCurve, OperatingPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_TICKS = 6
_PROBIT_TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.4)


def drawn_roc(curve: ErrorCurve) -> tuple[Floats, Floats]:
    """(far, tar), far rising from 1/M: for each far that was observed the TAR at the best threshold that keeps it."""
    rows = kept_rows(curve.false_matches, curve.mated - curve.true_matches, steps=DRAWN)
    rows = rows[curve.false_matches[rows] >= 1]
    far, tar = curve.fmr[rows][::-1], curve.tar[rows][::-1]
    last = np.append(np.diff(far) > 0, True)
    return far[last], tar[last]


def shade_low_support(axes: Axes, trials: int, low: float) -> None:
    """Grey what rests on fewer than 30 errors out of `trials`, from `low` up, and say so in the plot."""
    edge = min(LOW_SUPPORT / trials, 1.0)
    if edge <= low:
        return
    axes.axvspan(low, edge, color=MUTED, alpha=0.10, linewidth=0)
    axes.text(
        low, 0.012, f" fewer than {LOW_SUPPORT} errors", transform=axes.get_xaxis_transform(), color=MUTED, fontsize=7.5
    )


LEGEND = 32
"""Characters of a name in the legend: longer ones leave no room for the curves."""


@styled
def roc(curves: Sequence[tuple[str, ErrorCurve, RocBand | None]], points: Sequence[OperatingPoint] = ()) -> Figure:
    """TAR against FAR on a logarithmic axis from 1/M up, with 95 % ribbons: one curve with its points, or up to five.

    `curves` are (name, curve, ribbon) each. Colour and dash tell several apart.
    """
    figure, axes = new_axes(
        "Receiver operating characteristic", x="false accept rate (FAR = FMR)", y="true accept rate (TAR = 1 - FNMR)"
    )
    low, lowest = min(least_rate(curve.non_mated) for _, curve, _ in curves), 1.0
    log_rate_axis(axes, "x", low)
    for (name, curve, band), (colour, dash, _) in zip(curves, SERIES, strict=False):
        far, tar = drawn_roc(curve)
        lowest = min(lowest, float(tar.min()) if tar.size else 0.0)
        # The pale part of several curves ends where 30 errors begin; one curve has a grey ground instead.
        split = 0 if len(curves) == 1 else int(np.searchsorted(far, min(LOW_SUPPORT / curve.non_mated, 1.0)))
        axes.step(far[: split + 1], tar[: split + 1], where="post", color=colour, linestyle=dash, alpha=0.4)
        label = name if len(name) <= LEGEND else f"...{name[3 - LEGEND :]}"
        axes.step(far[split:], tar[split:], where="post", color=colour, linestyle=dash, label=label)
        if band is not None:
            bounds = band.at(far)
            known = np.isfinite(bounds[0])
            alpha = 0.18 if len(curves) == 1 else 0.12
            axes.fill_between(far, *bounds, where=known.tolist(), step="post", color=colour, alpha=alpha, linewidth=0)
            lowest = min(lowest, float(bounds[0][known].min(initial=1.0)))
    floor = nice_floor(lowest)
    axes.set_ylim(floor, 1 + 0.02 * (1 - floor))
    for point in points:
        if point.far is not None and point.tar is not None and point.far.count > 0:
            at = point.far.value, point.tar.value
            axes.plot(*at, "o", color=BLUE, markeredgecolor="white", markeredgewidth=0.8, markersize=6, zorder=5)
            annotate(axes, format_rate(at[1]), at, (5, -11), 8, zorder=6)
    if len(curves) > 1:
        note(axes, f"pale: fewer than {LOW_SUPPORT} errors")
        axes.legend(loc="lower right")
    else:
        shade_low_support(axes, curves[0][1].non_mated, low)
        if band := curves[0][2]:
            assumed = ", assumes independence" if band.assumes_independence else ""
            note(axes, f"ribbon: {band.level:.0%} {band.method}{assumed}")
    return figure


@styled
def det(curve: ErrorCurve) -> Figure:
    """FNMR against FMR on normal-deviate axes (Martin et al. 1997): normal scores give a straight line."""
    from scipy.special import ndtri

    figure, axes = new_axes(
        "Detection error trade-off", x="false match rate (FMR)", y="false non-match rate (FNMR)", height=4.4
    )
    misses = curve.mated - curve.true_matches
    rows = kept_rows(curve.false_matches, misses, steps=DRAWN)
    inside = (curve.false_matches[rows] >= 1) & (misses[rows] >= 1)
    inside &= (curve.false_matches[rows] < curve.non_mated) & (misses[rows] < curve.mated)
    rows = rows[inside]
    axes.plot(ndtri(curve.fmr[rows]), ndtri(curve.fnmr[rows]), color=BLUE, drawstyle="steps-pre")
    lowest = (least_rate(curve.non_mated) * 0.9, least_rate(curve.mated) * 0.9)
    for axis, low in zip((axes.xaxis, axes.yaxis), lowest, strict=True):
        ticks = [tick for tick in _PROBIT_TICKS if tick >= low]
        # Of many, every other one, counted from the large rates.
        ticks = ticks if len(ticks) <= _MOST_TICKS else ticks[::-1][::2][::-1]
        axis.set_ticks(ndtri(np.array(ticks)).tolist(), [f"{100 * tick:.4g} %" for tick in ticks])
    axes.set_xlim(float(ndtri(lowest[0])), float(ndtri(0.5)))
    axes.set_ylim(float(ndtri(lowest[1])), float(ndtri(0.5)))
    diagonal = ndtri(np.array([max(lowest), 0.5]))
    axes.plot(diagonal, diagonal, color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))
    end = float(diagonal[-1])
    annotate(axes, "equal error", (end, end), (-6, -4), 7.5, ha="right", va="top", color=MUTED)
    return figure


@styled
def score_histograms(curve: ErrorCurve, threshold: float | None, basis: str = "") -> Figure:
    """The share of each class per score bin, and where the threshold cuts; `basis` says what it was chosen for."""
    figure, axes = new_axes("Scores", x="similarity score (cosine)", y="share of the class per bin")
    finite = np.isfinite(curve.threshold)
    scores = curve.threshold[finite]
    if not scores.size:
        return figure
    # More bins for more scores, as their cube root (Freedman, Diaconis 1981), within what can be told apart.
    bins = int(np.clip(4 * min(curve.mated, curve.non_mated) ** (1 / 3), 16, 80))
    edges = np.linspace(scores[0], max(scores[-1], scores[0] + 1e-6), bins + 1)
    top = 0.0
    for name, accepted, colour, dash in (
        ("non-mated (impostor)", curve.false_matches, VERMILION, "--"),
        ("mated (genuine)", curve.true_matches, BLUE, "-"),
    ):
        counts, _ = np.histogram(scores, bins=edges, weights=-np.diff(accepted, append=0)[finite])
        used = np.flatnonzero(counts)
        if not used.size:
            continue
        share = counts[used[0] : used[-1] + 1] / counts.sum()
        steps = edges[used[0] : used[-1] + 2]
        axes.stairs(share, steps, fill=True, color=colour, alpha=0.18, linewidth=0)
        axes.stairs(share, steps, color=colour, linestyle=dash, linewidth=1.5)
        peak = int(np.argmax(share))
        top = max(top, float(share[peak]))
        top_of_peak = (steps[peak] + steps[peak + 1]) / 2, share[peak]
        annotate(axes, name, top_of_peak, (0, 5), 8.5, ha="center", color=colour, fontweight="bold")
    axes.set_ylim(0, 1.2 * top)
    if threshold is not None and math.isfinite(threshold):
        axes.axvline(threshold, color=INK, linewidth=1.2)
        left, right = axes.get_xlim()
        turned = threshold > left + 0.65 * (right - left)
        said = f"threshold {threshold_text(threshold)}" + (f"\n{basis}" if basis else "")
        side = {"ha": "right" if turned else "left", "va": "top", "xycoords": axes.get_xaxis_transform()}
        annotate(axes, said, (threshold, 1), (-5 if turned else 5, -2), 8, **side)
    return figure


@styled
def error_rates_against_threshold(curve: ErrorCurve, threshold: float | None) -> Figure:
    """FMR(t) and FNMR(t), logarithmic from one error up."""
    figure, axes = new_axes("Error rates at each threshold", x="threshold (cosine)", y="error rate")
    misses = curve.mated - curve.true_matches
    low = least_rate(max(curve.non_mated, curve.mated))
    log_rate_axis(axes, "y", low)
    for errors, total, name, colour, dash, side in (
        (curve.false_matches, curve.non_mated, "FMR (FAR)", VERMILION, "--", "right"),
        (misses, curve.mated, "FNMR (1 - TAR)", BLUE, "-", "left"),
    ):
        rows = kept_rows(errors, steps=DRAWN)
        rows = rows[(errors[rows] >= 1) & np.isfinite(curve.threshold[rows])]
        if not rows.size:
            continue
        x, y = curve.threshold[rows], errors[rows] / total
        axes.step(x, y, where="pre", color=colour, linestyle=dash)
        at = int(np.argmin(np.abs(np.log(y) - np.log(0.25))))
        offset = (7 if side == "left" else -7, 0)
        annotate(axes, name, (x[at], y[at]), offset, 8.5, ha=side, va="top", color=colour, fontweight="bold")
    if threshold is not None and math.isfinite(threshold):
        axes.axvline(threshold, color=INK, linewidth=1.2)
        note(axes, f"line: threshold {threshold_text(threshold)}")
    return figure


@styled
def tar_by_group(groups: Sequence[GroupRates], threshold: float) -> Figure:
    """TAR of each group's mated comparisons at one threshold for all, with 95 % intervals."""
    shown = [(group.group, group.tar) for group in groups if group.tar is not None]
    figure, axes = new_axes(
        f"TAR by group at the one threshold {threshold_text(threshold)}",
        x="true accept rate (TAR)",
        y="",
        height=1.3 + 0.34 * max(len(shown), 2),
    )
    lowest = 1.0
    for row, (_, rate) in enumerate(shown):
        interval = rate.best_interval
        low, high = (interval.low, interval.high) if interval else (rate.value, rate.value)
        lowest = min(lowest, low)
        axes.plot([low, high], [row, row], color=BLUE, linewidth=2.2, solid_capstyle="butt")
        axes.plot([rate.value], [row], "o", color=BLUE)
        said = f"{format_rate(rate.value)}  ({rate.count:,} of {rate.total:,})"
        annotate(axes, said, (rate.value, row), (0, 6), 7.5, ha="right" if rate.value > 0.5 else "left")
    floor = nice_floor(lowest)
    axes.set_xlim(floor, 1 + 0.02 * (1 - floor))
    axes.set_yticks(range(len(shown)), [name for name, _ in shown])
    axes.set_ylim(len(shown) - 0.5, -0.7)
    axes.grid(visible=False, axis="y")
    return figure
