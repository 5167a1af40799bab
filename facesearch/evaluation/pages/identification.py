"""The page of a 1:N evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facesearch.evaluation import plots
from facesearch.evaluation.pages import words
from facesearch.evaluation.pages.honesty import RULE_OF_30, flat
from facesearch.evaluation.pages.shell import Html, element, facts, join, page, paragraph, plot, section, table
from facesearch.evaluation.pages.verification import heading
from facesearch.evaluation.results.rates import DECISION_RULE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from facesearch.evaluation.report import IdentificationReport
    from facesearch.evaluation.results.identification import IdentificationResult, SearchPoint

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
        figures["fnir_fpir"] = plots.fnir_against_fpir(result.curve, result.points)
    if result.cmc:
        figures["cmc"] = plots.cmc(result.cmc, result.subjects)
    if result.by_size is not None and result.by_size.rows:
        figures["fpir_vs_n"] = plots.fpir_against_size(result.by_size)
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
                f"{words.rate(point.fnir)} of the searches for somebody enrolled miss them "
                f"(95 % interval {words.interval(point.fnir.best_interval)}; R = {point.rank}).",
                css="big",
            ),
            paragraph(
                f"Recommended threshold: {words.threshold(point.threshold)}; FPIR achieved there: "
                f"{words.counted(point.fpir)}."
            ),
        ]
        if point.flag is not None:
            lines.append(paragraph("It rests on few false positives: see the rule of 30 below.", css="warn"))
    elif result.non_mated:
        lines = [paragraph("These searches support none of the operating points that were asked for.", css="big")]
    if result.cmc:
        first = result.cmc[0]
        known = words.interval(first.best_interval)
        lines.append(paragraph(f"Rank 1: {words.counted(first)}, 95 % interval {known}.", css="" if lines else "big"))
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
                words.rate(point.fnir),
                words.interval(point.fnir.best_interval if point.fnir else None),
                words.counted(point.fpir),
                words.threshold(point.threshold),
                words.flag(point.flag),
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
            words.format_rate(row.value),
            words.format_rate(row.upper),
            words.format_rate(row.model),
        )
        for row in result.by_size.rows
    )
    return join(
        [
            paragraph(
                f"At threshold {words.threshold(result.by_size.threshold)}. Up to {result.by_size.subjects:,} "
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
            facts({"Failure to enroll (FTE)": words.counted(result.fte)}) if result.fte else Html(""),
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
