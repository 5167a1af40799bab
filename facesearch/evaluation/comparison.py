"""Two evaluations of the same people: paired differences, their plot and page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.bootstrap import eer_interval, replicate, sample_of_pairs, surround
from facesearch.evaluation.markup import badged, element, page, paragraph, plot, section, table, text
from facesearch.evaluation.rates import (
    BOOTSTRAP,
    REPLICATES,
    Counts,
    Floats,
    Interval,
    format_rate,
    signed,
)
from facesearch.evaluation.report import VerificationReport, read_report_scores, read_verification_report
from facesearch.evaluation.trials.types import ScoredPairs
from facesearch.evaluation.verification import equal_error_rate, error_curve, tar_at_far
from facesearch.evaluation.verification_page import POINT_COLUMNS, point_rows
from facesearch.evaluation.verification_plots import roc
from facesearch.names import path_text


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """B minus A in one figure on the same people, by subject bootstrap with common weights."""

    metric: str
    """As "TAR at FAR 0.001", "1 - GFRR at FAR 0.001" where a comparison failed; for the EER lower is better."""
    a: float
    b: float
    difference: float
    interval: Interval

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out 0: only then may a report name a winner."""
        return not self.interval.covers(0.0)


def compare(
    a: ScoredPairs,
    b: ScoredPairs,
    targets: Sequence[float] = (1e-2, 1e-3),
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> tuple[PairedDifference, ...]:
    """B minus A in TAR (with failures: 1 - GFRR) at each FAR target, and in EER last, from common replicates.

    Every replicate draws the same people for both and derives each one's own threshold. A failed mated comparison
    counts as rejected, so refusing the hard photos wins nothing. Failed non-mated ones are left out. A person has the
    same code in both. Raises EvaluationError: other people in A than in B, a FAR without support, no identities.
    """
    people = [_people(pairs) for pairs in (a, b)]
    if a.subjects != b.subjects or not np.array_equal(people[0], people[1]):
        raise EvaluationError(
            "The two evaluations are not about the same people, so they cannot be paired.",
            hint="Evaluate both on the same photos.",
        )
    tars: list[list[_Side]] = []
    eers: list[_Side] = []
    for pairs in (a, b):
        sample = sample_of_pairs(_failures_rejected(pairs), people[0])
        curve = error_curve(sample.mated_score, sample.tail_score)
        eer = equal_error_rate(curve).midpoint
        points = [tar_at_far(curve, target) for target in targets]
        drawn = replicate(sample, targets, eer, replicates=replicates, seed=seed)
        found = [point.tar for point in surround(points, sample, drawn)]
        tars.append(
            [
                (rate.value, rate.interval, drawn.tar[:, i]) if rate else (None, None, drawn.tar[:, i])
                for i, rate in enumerate(found)
            ]
        )
        eers.append((eer, eer_interval(eer, sample, drawn), drawn.eer))
    # With failures the figures are the generalised ones, and are called so.
    failed = any(np.any(pairs.failed & pairs.mated) for pairs in (a, b))
    names = [f"{'1 - GFRR' if failed else 'TAR'} at FAR {target:g}" for target in targets]
    return tuple(
        _difference(*each)
        for each in zip(
            [*names, "EER, failures rejected" if failed else "EER"],
            [*tars[0], eers[0]],
            [*tars[1], eers[1]],
            strict=True,
        )
    )


_Side: TypeAlias = tuple[float | None, Interval | None, Floats]
"""A figure, its interval and its replicates."""


def _people(pairs: ScoredPairs) -> Counts:
    if pairs.id_a is None or pairs.id_b is None:
        raise EvaluationError(
            f"{pairs.source}: names no people, so its comparisons cannot be paired", "Add the columns id_a and id_b."
        )
    return np.unique(np.concatenate([pairs.id_a, pairs.id_b]))


def _failures_rejected(pairs: ScoredPairs) -> ScoredPairs:
    score = np.where(np.isnan(pairs.score) & pairs.mated, -math.inf, pairs.score)
    return ScoredPairs(score, pairs.mated, pairs.id_a, pairs.id_b, pairs.fold)


def _difference(metric: str, a: _Side, b: _Side) -> PairedDifference:
    """B minus A, with the interval that the intervals of both and the correlation of their replicates give.

    Source: R. Newcombe, Improved confidence intervals for the difference between binomial proportions based on paired
    data, Statistics in Medicine 1998, method 10. Percentiles of the differences cover too little near a TAR of 1.
    """
    if a[0] is None or b[0] is None:
        raise EvaluationError(f"{metric} is not supported by both.", hint="Compare at a larger FAR.")
    if a[1] is None or b[1] is None:
        raise EvaluationError(
            f"There are too few people for an interval of the difference in {metric}.", "Evaluate more people."
        )
    both = ~np.isnan(a[2]) & ~np.isnan(b[2])
    varied = np.ptp(a[2][both]) > 0 and np.ptp(b[2][both]) > 0
    correlation = float(np.corrcoef(a[2][both], b[2][both])[0, 1]) if varied else 0.0
    difference = b[0] - a[0]

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one**2 + other**2 - 2 * correlation * one * other))

    low = difference - reach(b[0] - b[1].low, a[1].high - a[0])
    high = difference + reach(b[1].high - b[0], a[0] - a[1].low)
    interval = Interval(max(-1.0, low), min(1.0, high), f"{BOOTSTRAP}, paired", assumes_independence=False)
    return PairedDifference(metric, a[0], b[0], difference, interval)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Reports with their names, and the paired difference of each to the first."""

    reports: tuple[tuple[str, VerificationReport], ...]
    differences: tuple[tuple[str, str, tuple[PairedDifference, ...]], ...]
    """(name of the first, name of the other, other minus first in every figure)."""


def compare_reports(paths: Sequence[Path], targets: Sequence[float] | None = None, seed: int = 0) -> Comparison:
    """Read at least two `report.json` files and set each against the first, on the same people.

    `targets` are FARs; by default those that every report supports. Raises EvaluationError: a report that cannot be
    read, is not about the same people or has no scores beside it; a FAR that one does not support.
    """
    if len(paths) < 2:
        raise EvaluationError(
            "A comparison needs at least two reports.", "For example: facesearch eval compare A.json B.json"
        )
    reports = [read_verification_report(path) for path in paths]
    scores = [read_report_scores(path, report) for path, report in zip(paths, reports, strict=True)]
    names = _names(paths)
    chosen = list(targets) if targets else _supported(reports)
    if not chosen:
        raise EvaluationError("No FAR is supported by all of the reports.", "Name one to see why: --far 1e-2")
    differences = []
    for name, other in zip(names[1:], scores[1:], strict=True):
        differences.append((names[0], name, compare(scores[0], other, chosen, seed=seed)))
    return Comparison(tuple(zip(names, reports, strict=True)), tuple(differences))


def _names(paths: Sequence[Path]) -> list[str]:
    """What tells the reports apart: the file's name, or its folder's where all are called report.json."""
    stems = [path_text(path.stem) for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    folders = [path_text(path.resolve().parent.name) for path in paths]
    return folders if len(set(folders)) == len(folders) else [path_text(path) for path in paths]


def _supported(reports: Sequence[VerificationReport]) -> list[float]:
    by_report = [{point.target_far for point in report.result.points if point.tar is not None} for report in reports]
    return sorted(set.intersection(*by_report), reverse=True)


LOWER_IS_BETTER = ("EER", "FNMR", "FNIR", "FPIR", "minDCF")


def winner(a: str, b: str, difference: PairedDifference) -> str | None:
    """The name of the better one, or None where the interval covers 0."""
    if not difference.decided:
        return None
    lower = difference.metric.startswith(LOWER_IS_BETTER)
    return b if (difference.difference > 0) is not lower else a


def verdict(a: str, b: str, rows: Sequence[PairedDifference]) -> str:
    """Who is better in which figure, in one sentence."""
    better = [(winner(a, b, row), row.metric) for row in rows]
    won = [f"{name} in {metric}" for name, metric in better if name is not None]
    return f"{b} against {a}: {'better: ' + '; '.join(won) if won else 'no winner: every interval covers 0'}."


def difference_table(a: str, b: str, rows: Sequence[PairedDifference]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: both figures, their difference with its interval, and the better one."""
    cells = [
        [
            row.metric,
            format_rate(row.a),
            format_rate(row.b),
            signed(row.difference),
            f"{signed(row.interval.low)} to {signed(row.interval.high)}",
            winner(a, b, row) or "no winner",
        ]
        for row in rows
    ]
    return ["figure", a, b, "difference", "95 % interval", "better"], cells


def comparison_page(
    reports: Sequence[tuple[str, VerificationReport]],
    differences: Sequence[tuple[str, str, Sequence[PairedDifference]]],
) -> str:
    """Return the HTML: overlaid curves, operating points and paired differences.

    `reports` are (name, report) each, of which five are drawn; `differences` (A, B, B minus A in every figure).
    """
    overlay = roc([(name, report.result.curve, report.result.band) for name, report in reports])
    names = " and ".join(name for name, _ in reports) if len(reports) == 2 else f"{len(reports)} reports"
    title = f"Comparison of {names}"
    points = [(name, *row) for name, report in reports for row in point_rows(report.result.points)]
    curves = plot(overlay, "TAR against FAR, each curve from one false match up. Ribbons are 95 % intervals.")
    return page(
        title,
        element("header", element("h1", text(title))),
        element("div", *(paragraph(verdict(*each), css="big") for each in differences), css="answer"),
        *(section(f"{b} against {a}", table(*difference_table(a, b, rows))) for a, b, rows in differences),
        section("Curves", element("div", curves, css="plots")),
        section("Operating points", table(("report", *POINT_COLUMNS), badged(points))),
        section(
            "What stands behind these figures",
            paragraph(
                "Both sides are judged on the same comparisons. Each bootstrap replicate draws the same people for "
                "both sides and derives both thresholds again, so what makes a person hard cancels out of the "
                "difference. Read the interval of the difference: whether the ribbons overlap says nothing about it. "
                "No winner is named where that interval covers 0. Each interval is 95 % by itself, so several figures "
                "together decide with less confidence."
            ),
        ),
    )
