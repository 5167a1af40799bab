"""Plots and page of a 1:N evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from facesearch.evaluation.charts import (
    BLUE,
    DRAWN,
    MUTED,
    SERIES,
    VERMILION,
    annotate,
    decades_down,
    kept_rows,
    least_rate,
    log_rate_axis,
    new_axes,
    nice_floor,
    styled,
)
from facesearch.evaluation.identification import FpirBySize, IdentificationResult, SizeBasis
from facesearch.evaluation.markup import (
    RULE_OF_30,
    TOO_FEW,
    Html,
    answer_box,
    badged,
    counts_table,
    element,
    facts,
    flat,
    heading,
    page,
    paragraph,
    plot,
    section,
    table,
)
from facesearch.evaluation.rates import (
    DECISION_RULE,
    Rate,
    counted,
    flag_text,
    format_rate,
    interval_text,
    rate_text,
    threshold_text,
)
from facesearch.evaluation.report import IdentificationReport
from facesearch.evaluation.searches import SearchPoint
from facesearch.evaluation.verification import ErrorCurve
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
    annotate(axes, f"rank 1: {format_rate(float(value[0]))}", (1, value[0]), (8, -12), 8)
    return figure


@styled
def fnir_against_fpir(curves: Mapping[int, ErrorCurve], subjects: int, points: Sequence[SearchPoint] = ()) -> Figure:
    """FNIR(N, R, T) against FPIR(N, T), log-log from one error up, one line per R."""
    figure, axes = new_axes(
        f"Identification errors, N = {subjects:,}",
        x="false positive identification rate (FPIR)",
        y="false negative identification rate (FNIR)",
    )
    first = next(iter(curves.values()))
    low = least_rate(first.non_mated)
    log_rate_axis(axes, "x", low)
    log_rate_axis(axes, "y", decades_down(least_rate(first.mated)))
    for (rank, curve), (colour, dash, marker) in zip(sorted(curves.items()), SERIES, strict=False):
        misses = curve.mated - curve.true_matches
        rows = kept_rows(curve.false_matches, misses, steps=DRAWN)
        rows = rows[(curve.false_matches[rows] >= 1) & (misses[rows] >= 1)][::-1]
        axes.step(
            curve.fmr[rows], curve.fnmr[rows], where="post", color=colour, linestyle=dash,
            label=f"mate within rank {rank}",
        )  # fmt: skip
        for point in points:
            if point.rank == rank and point.fpir and point.fnir and point.fnir.count:
                axes.plot([point.fpir.value], [point.fnir.value], marker, color=colour)
    shade_low_support(axes, first.non_mated, low)
    axes.legend(loc="upper right")
    return figure


@styled
def fpir_against_size(by_size: FpirBySize) -> Figure:
    """FPIR against the number of enrolled people at one threshold: exact within the data, a bound beyond, a model."""
    figure, axes = new_axes(
        f"False positives as the gallery grows, threshold {threshold_text(by_size.threshold)}",
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
    said, at = f"measured: N = {by_size.subjects:,}", (by_size.subjects, 0)
    annotate(axes, said, at, (-4, 5), 7.5, xycoords=axes.get_xaxis_transform(), ha="right", color=MUTED)
    return figure


def _label(axes: Axes, x: float, y: float, text: str, colour: str, *, above: bool) -> None:
    """Name a rising line: to the left above it, or to the right below."""
    if y > 0:
        offset, side = ((-6, 6), "right") if above else ((6, -12), "left")
        annotate(axes, text, (x, y), offset, 8, ha=side, color=colour, fontweight="bold")


CAPTIONS = {
    "fnir_fpir": "Lower left is better. FNIR counts a search whose mate is below the threshold or outside the first R.",
    "cmc": "How often the right person is among the first r, whatever the score. Other people with the same "
    "score rank before the right person.",
    "fpir_vs_n": "How often the search of a stranger raises an alarm, by gallery size. The dotted line is a model that "
    "assumes independent comparisons; no decision rests on it.",
}
POINT_COLUMNS = ("FPIR up to", "R", "FNIR", "95 % interval", "FPIR achieved", "threshold", "")
SIZE_COLUMNS = ("people", "basis", "FPIR", "95 % limit", "independence model")
DECISION_COLUMNS = (
    "FPIR up to", "margin", "right", "right, ambiguous", "wrong", "wrong, ambiguous", "unknown", "stranger: match",
    "stranger: ambiguous",
)  # fmt: skip
UNSUPPORTED = "These searches support none of the requested operating points."


def identification_figures(report: IdentificationReport) -> dict[str, Figure]:
    """The plots by file name, in the order of the page."""
    result = report.result
    figures: dict[str, Figure] = {}
    if result.curves:
        figures["fnir_fpir"] = fnir_against_fpir(result.curves, result.subjects, result.points)
    if result.cmc:
        figures["cmc"] = cmc(result.cmc, result.subjects)
    if result.by_size is not None and result.by_size.rows:
        figures["fpir_vs_n"] = fpir_against_size(result.by_size)
    return figures


def identification_page(report: IdentificationReport, figures: Mapping[str, Figure]) -> str:
    """The HTML."""
    result = report.result
    drawn = [plot(figure, CAPTIONS[name]) for name, figure in figures.items()]
    return page(
        report.about.title,
        heading(report.about),
        answer_box(answer(result)),
        *([table(POINT_COLUMNS, badged(point_rows(result.points)))] if result.points else []),
        *([section("As a query decides", *_decisions(result))] if result.decisions else []),
        section("Curves", element("div", *drawn, css="plots")),
        *([section("As the gallery grows", *_sizes(result.by_size))] if result.by_size else []),
        section("What stands behind these figures", *_basis(result)),
        *([section("Model and settings", facts(flat(report.about.model)))] if report.about.model else []),
    )


def point_rows(points: Sequence[SearchPoint]) -> list[tuple[str, ...]]:
    """The rows under `POINT_COLUMNS`."""
    return [
        (
            f"{point.target_fpir:g}",
            f"{point.rank}",
            rate_text(point.fnir),
            interval_text(point.fnir),
            counted(point.fpir),
            threshold_text(point.threshold),
            flag_text(point.flag),
        )
        for point in points
    ]


def decision_rows(result: IdentificationResult) -> list[tuple[str, ...]]:
    """The rows under `DECISION_COLUMNS`."""
    targets = {point.threshold: point.target_fpir for point in result.points if point.rank == 1}
    return [
        (
            f"{targets[each.threshold]:g}",
            f"{each.margin:g}",
            *map(
                rate_text,
                (
                    each.right, each.right_ambiguous, each.wrong, each.wrong_ambiguous, each.unknown,
                    each.false_match, each.false_ambiguous,
                ),
            ),
        )
        for each in result.decisions
    ]  # fmt: skip


def size_rows(by_size: FpirBySize) -> list[tuple[str, ...]]:
    """The rows under `SIZE_COLUMNS`."""
    return [
        (f"{row.size:,}", row.basis.value, format_rate(row.value), format_rate(row.upper), format_rate(row.model))
        for row in by_size.rows
    ]


def answer(result: IdentificationResult) -> list[str]:
    """What to quote: FNIR at the strictest FPIR that enough errors stand behind, and how often the mate is first."""
    lines = []
    if best := headline(result.points):
        if best.flag is not None:
            lines.append(TOO_FEW)
        lines.append(
            f"Among {result.subjects:,} people, at FPIR up to {best.target_fpir:g}: FNIR {rate_text(best.fnir)} "
            f"(95 % interval {interval_text(best.fnir)}; R = {best.rank}), threshold {threshold_text(best.threshold)}."
        )
    elif result.non_mated:
        lines.append(UNSUPPORTED)
    return [*lines, f"Rank 1: {counted(result.cmc[0])}, 95 % interval {interval_text(result.cmc[0])}."]


def headline(points: Sequence[SearchPoint]) -> SearchPoint | None:
    """The strictest point at the smallest R that 30 errors stand behind, else the one with the most."""
    supported = [point for point in points if point.fpir is not None]
    firm = [point for point in supported if point.flag is None]
    if firm:
        return min(firm, key=lambda point: (point.target_fpir, point.rank))
    return max(supported, key=lambda point: (point.target_fpir, -point.rank), default=None)


def _decisions(result: IdentificationResult) -> Iterator[Html]:
    yield paragraph(
        "A match is ambiguous where the runner-up is less than the margin behind. Shares of all mated searches, then "
        "of all searches for strangers. FPIR counts both, match and ambiguous."
    )
    yield table(DECISION_COLUMNS, decision_rows(result))


def _sizes(by_size: FpirBySize) -> Iterator[Html]:
    yield paragraph(
        f"At threshold {threshold_text(by_size.threshold)}. Up to {by_size.subjects:,} people the figure is the exact "
        "mean over all galleries of that size. Beyond that, the data give an upper bound only."
    )
    yield table(SIZE_COLUMNS, size_rows(by_size), words=2)


def _basis(result: IdentificationResult) -> Iterator[Html]:
    yield paragraph(
        f"Decision rule: {DECISION_RULE}. The settings name the score of a person with several templates. N = "
        f"{result.subjects:,}. Every planned search counts. A failed probe is a miss when its person is enrolled, and "
        "raises no alarm otherwise. When an enrolment fails, all searches for that person are misses."
    )
    rows = (
        ("mated (person enrolled)", result.mated, result.mated - result.failed_mated),
        ("non-mated (stranger)", result.non_mated, result.non_mated - result.failed_non_mated),
    )
    yield counts_table("Searches", rows)
    if result.fte:
        yield facts({"Failure to enroll (FTE)": counted(result.fte)})
    yield paragraph(
        f"Intervals are 95 %, from a bootstrap over the people searched for ({result.replicates:,} replicates, seed "
        f"{result.seed}). The enrolled people are taken as given."
        if result.replicates
        else "Intervals are 95 %, Wilson's, and assume independent searches."
    )
    yield paragraph(RULE_OF_30)
