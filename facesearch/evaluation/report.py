"""What an evaluation leaves behind: `report.json`, `report.html`, CSV tables, plots and the scores themselves.

`report.json`, version 1, is one object: `schema` ("facesearch.verification" or "facesearch.identification"), `version`,
`decision_rule`, and `report`, the dataclass below field by field. Arrays are lists, infinities the strings "inf" and
"-inf", "cannot be said" is null. The error curve in it is thinned to what a plot shows (its rows stay exact); `roc.csv`
has it in full. `report.scores` names the score file that lies beside it, with its SHA-256: a comparison draws its
paired bootstrap from there.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.codec import from_json, to_json
from facesearch.evaluation.results.comparisons import GroupRates
from facesearch.evaluation.results.identification import IdentificationResult
from facesearch.evaluation.results.rates import DECISION_RULE
from facesearch.evaluation.results.verification import OperatingPoint, VerificationResult
from facesearch.evaluation.tables import (
    WorstPair,
    write_cmc,
    write_fnir_fpir,
    write_fpir_vs_n,
    write_roc,
    write_tar_at_far,
    write_worst,
)
from facesearch.evaluation.thinning import DRAWN, kept_rows
from facesearch.evaluation.trials import ScoreTrials, read_scores_csv, write_scores_csv

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from facesearch.evaluation.results.identification import SearchCurve
    from facesearch.evaluation.results.verification import ErrorCurve

_R = TypeVar("_R", "VerificationReport", "IdentificationReport")

VERSION = 1
"""Raised whenever a reader of older reports could misread a newer one."""
REPORT, PAGE, SCORES = "report.json", "report.html", "scores.csv"


@dataclass(frozen=True, slots=True)
class About:
    """Where a report comes from."""

    title: str
    source: str
    """The trials, as the user named them."""
    created_at: str
    """UTC, ISO 8601."""
    facesearch: str
    """Version of this package."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Model id, hashes, preprocessing and detector settings as plain JSON values; empty for a score file."""
    protocol: str = ""
    """"lfw" for LFW's pairs.txt: the report then states what is particular to it."""


@dataclass(frozen=True, slots=True)
class ScoreFile:
    """The scores a report was made from, beside it."""

    file: str
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True, eq=False)
class VerificationReport:
    """A 1:1 evaluation with its provenance."""

    about: About
    result: VerificationResult
    groups: tuple[GroupRates, ...] = ()
    group_threshold: float | None = None
    """The one threshold all groups are judged at."""
    scores: ScoreFile | None = None
    """None where the comparisons were too many to keep."""


@dataclass(frozen=True, slots=True, eq=False)
class IdentificationReport:
    """A 1:N evaluation with its provenance."""

    about: About
    result: IdentificationResult


STRICT = 1e-3
"""A FAR that is worth recommending: at a larger one a gallery of 1,000 people is wrong about every stranger."""


def recommended_point(result: VerificationResult) -> OperatingPoint | None:
    """The strictest point with 30 errors behind it, if that is at FAR 1e-3 or below; else the strictest supported.

    A laxer point has more errors behind it, but a stricter threshold is the safer one: its flag says how sure it is.
    None where no point is supported.
    """
    supported = [point for point in result.points if point.threshold is not None]
    firm = [point for point in supported if point.flag is None and point.target_far <= STRICT]
    return min(firm or supported, key=lambda point: point.target_far, default=None)


def write_verification_report(
    out: Path,
    report: VerificationReport,
    *,
    scores: ScoreTrials | None = None,
    worst: Sequence[WorstPair] = (),
    thumbnails: Mapping[str, bytes] | None = None,
    plots: str = "svg",
) -> VerificationReport:
    """Write everything a 1:1 evaluation leaves into the folder `out`; returns the report with its score file named.

    Args:
        out: made, for its owner alone, where it does not exist: it shows faces and names.
        scores: the trials; without them a later comparison has nothing to pair.
        worst: from `tables.worst_pairs`. thumbnails: JPEG bytes by the names in `worst`.
        plots: "svg" or "png", the kind of the plot files (the page always carries its own).
    """
    from facesearch.evaluation.pages.verification import verification_figures, verification_page

    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    if scores is not None:
        report = replace(report, scores=_write_score_file(out / SCORES, scores))
    write_roc(out / "roc.csv", report.result)
    write_tar_at_far(out / "tar_at_far.csv", report.result)
    write_worst(out / "worst.csv", worst)
    figures = verification_figures(report)
    _write_plots(out, figures, plots)
    page = verification_page(report, figures, worst, thumbnails or {})
    (out / PAGE).write_text(page, encoding="utf-8", newline="\n")
    slim = replace(report, result=replace(report.result, curve=_drawn(report.result.curve)))
    _write_json(out / REPORT, "verification", slim)
    return report


def write_identification_report(out: Path, report: IdentificationReport, *, plots: str = "svg") -> None:
    """Write everything a 1:N evaluation leaves into the folder `out`; arguments as for 1:1."""
    from facesearch.evaluation.pages.identification import identification_figures, identification_page

    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    result = report.result
    write_cmc(out / "cmc.csv", result.cmc)
    if result.curve is not None:
        write_fnir_fpir(out / "fnir_fpir.csv", result.curve)
    if result.by_size is not None:
        write_fpir_vs_n(out / "fpir_vs_n.csv", result.by_size)
    figures = identification_figures(report)
    _write_plots(out, figures, plots)
    (out / PAGE).write_text(identification_page(report, figures), encoding="utf-8", newline="\n")
    curve = None if result.curve is None else _drawn_search(result.curve)
    _write_json(out / REPORT, "identification", replace(report, result=replace(result, curve=curve)))


def _write_plots(out: Path, figures: Mapping[str, Any], kind: str) -> None:
    from facesearch.evaluation.plots import save

    for name, figure in figures.items():
        save(figure, out / f"{name}.{kind}")


def _write_score_file(path: Path, scores: ScoreTrials) -> ScoreFile:
    write_scores_csv(path, scores)
    return ScoreFile(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), len(scores))


def _drawn(curve: ErrorCurve) -> ErrorCurve:
    rows = kept_rows(curve.false_matches, curve.mated - curve.true_matches, steps=DRAWN)
    return replace(
        curve,
        threshold=curve.threshold[rows],
        false_matches=curve.false_matches[rows],
        true_matches=curve.true_matches[rows],
    )


def _drawn_search(curve: SearchCurve) -> SearchCurve:
    rows = np.array(kept_rows(curve.false_positives, *curve.misses.values(), steps=DRAWN))
    return replace(
        curve,
        threshold=curve.threshold[rows],
        false_positives=curve.false_positives[rows],
        misses={rank: misses[rows] for rank, misses in curve.misses.items()},
    )


def _write_json(path: Path, kind: str, report: VerificationReport | IdentificationReport) -> None:
    document = {
        "schema": f"facesearch.{kind}",
        "version": VERSION,
        "decision_rule": DECISION_RULE,
        "report": to_json(report),
    }
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def read_verification_report(path: Path) -> VerificationReport:
    """A 1:1 `report.json`, its curve thinned; EvaluationError for another schema or version."""
    return _read(path, "verification", VerificationReport)


def read_identification_report(path: Path) -> IdentificationReport:
    """A 1:N `report.json`, likewise."""
    return _read(path, "identification", IdentificationReport)


def _read(path: Path, kind: str, report: type[_R]) -> _R:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise EvaluationError(f"{path}: is not JSON: {error}") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != f"facesearch.{kind}":
        raise EvaluationError(
            f"{path}: is no report of a {kind} evaluation but {schema or 'something else'}",
            "Give the report.json that `facesearch eval PATH --out DIR` wrote.",
        )
    if document.get("version") != VERSION:
        raise EvaluationError(
            f"{path}: has version {document.get('version')}, this facesearch reads {VERSION}",
            "Make the report again with this version: facesearch eval PATH --out DIR",
        )
    try:
        return from_json(report, document["report"])
    except (KeyError, TypeError, ValueError) as error:
        raise EvaluationError(f"{path}: is damaged: {error!r}", "Make the report again.") from error


def read_report_scores(path: Path, report: VerificationReport) -> ScoreTrials:
    """The trials of the report at `path`, from the score file beside it; EvaluationError where it is not the same."""
    if report.scores is None:
        raise EvaluationError(
            f"{path}: was made without a score file, so that its trials cannot be paired with another's",
            "Evaluate labelled pairs or a score file; all pairs of a large folder are not kept.",
        )
    # A bare name: a report must not make us read elsewhere.
    file = path.parent / report.scores.file.replace("\\", "/").rsplit("/", 1)[-1]
    if not file.is_file():
        raise EvaluationError(f"{file}: is not there", f"{path.name} needs the scores beside it.")
    if hashlib.sha256(file.read_bytes()).hexdigest() != report.scores.sha256:
        raise EvaluationError(f"{file}: is not the file {path.name} was made from", "Make the report again.")
    return read_scores_csv(file)
