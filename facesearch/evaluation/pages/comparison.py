"""The page that sets reports of the same trials side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facesearch.evaluation import plots
from facesearch.evaluation.pages import words
from facesearch.evaluation.pages.shell import Html, element, join, page, paragraph, plot, section, table, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facesearch.evaluation.report import VerificationReport
    from facesearch.evaluation.results.comparisons import PairedDifference

LOWER_IS_BETTER = ("EER", "FNMR", "FNIR", "FPIR", "minDCF")


def winner(a: str, b: str, difference: PairedDifference) -> str | None:
    """The name of the better one, or None where the interval covers 0."""
    if not difference.decided:
        return None
    lower = difference.metric.startswith(LOWER_IS_BETTER)
    return b if (difference.difference > 0) is not lower else a


def comparison_page(
    reports: Sequence[tuple[str, VerificationReport]],
    differences: Sequence[tuple[str, str, Sequence[PairedDifference]]],
) -> str:
    """Overlaid curves, the operating points of each, and paired differences.

    Args:
        reports: (name, report) each; at most five are drawn.
        differences: (name of A, name of B, B minus A in every figure) for each pair that was compared.
    """
    overlay = plots.roc_overlay([(name, report.result.curve, report.result.band) for name, report in reports])
    names = " and ".join(name for name, _ in reports) if len(reports) == 2 else f"{len(reports)} reports"
    return page(
        f"Comparison of {names}",
        element("header", element("h1", text(f"Comparison of {names}"))),
        _answer(differences),
        *(section(f"{b} against {a}", _differences(a, b, rows)) for a, b, rows in differences),
        section(
            "Curves",
            element(
                "div",
                plot(overlay, "TAR against FAR, each curve from one false match up; ribbons are 95 % intervals."),
                css="plots",
            ),
        ),
        section("Operating points", _points(reports)),
        section(
            "What stands behind these figures",
            paragraph(
                "Both sides are judged on the same comparisons, and each replicate of the bootstrap draws the "
                "same people "
                "for both and derives both thresholds again: what makes a person hard cancels out of the difference. "
                "Overlapping ribbons say nothing about the difference; its own interval does. No winner is named where "
                "that interval covers 0, and none over all where several figures are looked at: each interval is 95 % "
                "by itself."
            ),
        ),
    )


def _answer(differences: Sequence[tuple[str, str, Sequence[PairedDifference]]]) -> Html:
    lines = []
    for a, b, rows in differences:
        decided = [(row, winner(a, b, row)) for row in rows]
        won = [f"{name} in {row.metric}" for row, name in decided if name is not None]
        verdict = f"better: {'; '.join(won)}" if won else "no winner: every interval of the difference covers 0"
        lines.append(paragraph(f"{b} against {a}: {verdict}.", css="big"))
    return element("div", *lines, css="answer")


def _differences(a: str, b: str, rows: Sequence[PairedDifference]) -> Html:
    return table(
        ("Figure", a, b, "difference", "95 % interval", "better"),
        (
            (
                row.metric,
                words.format_rate(row.a),
                words.format_rate(row.b),
                words.signed(row.difference),
                f"{words.signed(row.interval.low)} to {words.signed(row.interval.high)}",
                winner(a, b, row) or "no winner",
            )
            for row in rows
        ),
    )


def _points(reports: Sequence[tuple[str, VerificationReport]]) -> Html:
    rows = [
        (
            name,
            f"{point.target_far:g}",
            words.rate(point.tar),
            words.interval(point.tar.best_interval if point.tar else None),
            words.counted(point.far),
            words.threshold(point.threshold),
            words.flag(point.flag),
        )
        for name, report in reports
        for point in report.result.points
    ]
    return join([table(("Report", "FAR up to", "TAR", "95 % interval", "FAR achieved", "threshold", ""), rows)])
