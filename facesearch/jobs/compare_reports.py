"""`facesearch eval compare`: reports of the same people, paired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from facesearch.errors import EvaluationError
from facesearch.evaluation.report import read_report_scores, read_verification_report
from facesearch.evaluation.trials import scored_pairs
from facesearch.evaluation.uncertainty import compare
from facesearch.names import path_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from facesearch.evaluation.report import VerificationReport
    from facesearch.evaluation.results.comparisons import PairedDifference


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Reports with their names, and the paired difference of each to the first."""

    reports: tuple[tuple[str, VerificationReport], ...]
    differences: tuple[tuple[str, str, tuple[PairedDifference, ...]], ...]
    """(name of the first, name of the other, other minus first in every figure)."""


def compare_reports(paths: Sequence[Path], targets: Sequence[float] | None = None, seed: int = 0) -> Comparison:
    """Read `report.json` files and set each against the first, on the same people.

    Args:
        paths: at least two.
        targets: FARs to compare TAR at; by default those that every report supports.
        seed: of the bootstrap.

    Raises:
        EvaluationError: fewer than two reports, one that cannot be read or is not about the same people, scores that
            are not beside it, a FAR that one does not support.
    """
    if len(paths) < 2:
        raise EvaluationError("A comparison takes two reports at least.", "facesearch eval compare A.json B.json")
    reports = [read_verification_report(path) for path in paths]
    scores = [read_report_scores(path, report) for path, report in zip(paths, reports, strict=True)]
    names = _names(paths)
    chosen = list(targets) if targets else _supported(reports)
    if not chosen:
        raise EvaluationError("No FAR is supported by all of the reports.", "Name one to see why: --far 1e-2")
    differences = []
    for name, other in zip(names[1:], scores[1:], strict=True):
        a, b = scored_pairs(scores[0], other)
        differences.append((names[0], name, compare(a, b, chosen, seed=seed)))
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
