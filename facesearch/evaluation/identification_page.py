"""Plots and page of a 1:N evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from facesearch.evaluation.charts import (
    BLUE,
    DRAWN,
    MUTED,
    SERIES,
    VERMILION,
    decades_down,
    halo,
    kept_rows,
    least_rate,
    log_rate_axis,
    new_axes,
    nice_floor,
    styled,
)
from facesearch.evaluation.identification import FpirBySize, IdentificationResult, SizeBasis
from facesearch.evaluation.markup import Html, badge, element, facts, join, page, paragraph, plot, section, table
from facesearch.evaluation.rates import (
    DECISION_RULE,
    Rate,
    counted,
    flag_text,
    format_rate,
    format_threshold,
    interval_text,
    rate_text,
    threshold_text,
)
from facesearch.evaluation.report import IdentificationReport
from facesearch.evaluation.searches import SearchCurve, SearchPoint
from facesearch.evaluation.verification_page import RULE_OF_30, flat, heading
from facesearch.evaluation.verification_plots import shade_low_support

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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


CAPTIONS = {
    "fnir_fpir": "Lower left is better. FNIR counts a search whose mate is below the threshold or outside the first R.",
    "cmc": "How often the right person is among the first r, whatever the score. Ties count against us.",
    "fpir_vs_n": "The chance that a stranger's search raises an alarm grows with the gallery. The dotted line assumes "
    "independent comparisons; it is a model and decides nothing.",
}


def identification_figures(report: IdentificationReport) -> dict[str, Figure]:
    """The plots by file name, in the order of the page."""
    result = report.result
    figures: dict[str, Figure] = {}
    if result.curve is not None:
        figures["fnir_fpir"] = fnir_against_fpir(result.curve, result.points)
    if result.cmc:
        figures["cmc"] = cmc(result.cmc, result.subjects)
    if result.by_size is not None and result.by_size.rows:
        figures["fpir_vs_n"] = fpir_against_size(result.by_size)
    return figures


def identification_page(report: IdentificationReport, figures: Mapping[str, Figure]) -> str:
    """The HTML."""
    drawn = [plot(figure, CAPTIONS[name]) for name, figure in figures.items()]
    return page(
        report.about.title,
        heading(report.about),
        _answer(report.result),
        _points(report.result),
        section("Curves", element("div", *drawn, css="plots")),
        *([section("As the gallery grows", _sizes(report.result))] if report.result.by_size else []),
        section("What stands behind these figures", _honesty(report.result)),
        *([section("Model and settings", facts(flat(report.about.model)))] if report.about.model else []),
    )


def _strictest(result: IdentificationResult) -> SearchPoint | None:
    supported = [point for point in result.points if point.threshold is not None]
    return min(supported, key=lambda point: (point.target_fpir, point.rank), default=None)


def _answer(result: IdentificationResult) -> Html:
    point = _strictest(result)
    lines = []
    if point is not None and point.fnir is not None:
        lines = [
            paragraph(
                f"Among {result.subjects:,} enrolled people, at FPIR up to {point.target_fpir:g}, "
                f"{rate_text(point.fnir)} of the searches for somebody enrolled miss them "
                f"(95 % interval {interval_text(point.fnir.best_interval)}; R = {point.rank}).",
                css="big",
            ),
            paragraph(
                f"Recommended threshold: {threshold_text(point.threshold)}; FPIR achieved there: {counted(point.fpir)}."
            ),
        ]
        if point.flag is not None:
            lines.append(paragraph("It rests on few false positives: see the rule of 30 below.", css="warn"))
    elif result.non_mated:
        lines = [paragraph("These searches support none of the operating points that were asked for.", css="big")]
    if result.cmc:
        first = result.cmc[0]
        known = interval_text(first.best_interval)
        lines.append(paragraph(f"Rank 1: {counted(first)}, 95 % interval {known}.", css="" if lines else "big"))
    return element("div", *lines, css="answer")


def _points(result: IdentificationResult) -> Html:
    if not result.points:
        return Html("")
    return table(
        ("FPIR up to", "R", "FNIR", "95 % interval", "FPIR achieved", "threshold", ""),
        (
            (
                f"{point.target_fpir:g}",
                f"{point.rank}",
                rate_text(point.fnir),
                interval_text(point.fnir.best_interval if point.fnir else None),
                counted(point.fpir),
                threshold_text(point.threshold),
                badge(flag_text(point.flag)),
            )
            for point in result.points
        ),
    )


def _sizes(result: IdentificationResult) -> Html:
    if result.by_size is None:
        return Html("")
    rows = (
        (
            f"{row.size:,}",
            row.basis,
            format_rate(row.value),
            format_rate(row.upper),
            format_rate(row.model),
        )
        for row in result.by_size.rows
    )
    return join(
        [
            paragraph(
                f"At threshold {threshold_text(result.by_size.threshold)}. Up to {result.by_size.subjects:,} "
                f"people the "
                "figure is the exact mean over all galleries of that size; beyond, the data give an upper bound only."
            ),
            table(("People", "basis", "FPIR", "95 % limit", "independence model"), rows, words=2),
        ]
    )


def _honesty(result: IdentificationResult) -> Html:
    rows = (
        ("mated (person enrolled)", result.mated, result.failed_mated),
        ("non-mated (stranger)", result.non_mated, result.failed_non_mated),
    )
    return join(
        [
            paragraph(
                f"Decision rule: {DECISION_RULE}; a person's score is the best over their templates, N = "
                f"{result.subjects:,}. Every planned search stays in its denominator: a failed probe is a miss "
                f"when its "
                "person is enrolled and raises no alarm when not; a failed enrolment makes its person's searches "
                "misses."
            ),
            table(
                ("Searches", "planned", "completed", "failed"),
                ((name, f"{planned:,}", f"{planned - failed:,}", f"{failed:,}") for name, planned, failed in rows),
            ),
            facts({"Failure to enroll (FTE)": counted(result.fte)}) if result.fte else Html(""),
            paragraph(_interval_words(result)),
            paragraph(RULE_OF_30),
        ]
    )


def _interval_words(result: IdentificationResult) -> str:
    if not result.replicates:
        return "Intervals are 95 %, Wilson's, and assume independent searches."
    return (
        f"Intervals are 95 %, from a bootstrap over the people searched for ({result.replicates:,} replicates, seed "
        f"{result.seed}); the people enrolled are taken as given."
    )
