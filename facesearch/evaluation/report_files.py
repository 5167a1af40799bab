"""The files of a report: `report.json`, `report.html`, CSV tables, plots and the scores themselves.

The same result gives the same bytes: floats stand in their shortest exact form.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from facesearch.errors import ConfigError
from facesearch.evaluation.assessment import VerificationResult
from facesearch.evaluation.charts import DRAWN, kept_rows, save
from facesearch.evaluation.decisions import Decisions
from facesearch.evaluation.documents import to_json
from facesearch.evaluation.identification import FpirBySize
from facesearch.evaluation.identification_page import identification_figures, identification_page
from facesearch.evaluation.rates import DECISION_RULE, LOW_SUPPORT, Flag, Rate
from facesearch.evaluation.report import (
    PAGE,
    REPORT,
    SCORES,
    VERSION,
    IdentificationReport,
    ScoreFile,
    VerificationReport,
    WorstPair,
)
from facesearch.evaluation.trials.pairs import write_scores_csv
from facesearch.evaluation.trials.types import ScoredPairs
from facesearch.evaluation.verification import ErrorCurve, OperatingPoint
from facesearch.evaluation.verification_page import verification_figures, verification_page
from facesearch.files import write_new

WHOLE = 10_000
"""A curve of up to so many rows is written whole: 6,000 pairs are less than a megabyte."""
FINE = 1_000
"""Steps per e-fold of a count that a table keeps: what it leaves out lies within 0.1 % of a row it keeps."""

Cell: TypeAlias = str | int | float | None


def write_verification_report(
    out: Path,
    report: VerificationReport,
    *,
    scores: ScoredPairs | None = None,
    worst: Sequence[WorstPair] = (),
    thumbnails: Mapping[str, bytes] | None = None,
    plots: str = "svg",
) -> VerificationReport:
    """Write all files of a 1:1 evaluation into the folder `out`; return the report with its score file named.

    Args:
        out: new or empty, else `ConfigError`; made for its owner alone, because it shows faces and names.
        scores: the trials; without them the report cannot be compared later.
        worst: from `report.worst_pairs`. thumbnails: JPEG bytes by the names in `worst`.
        plots: "svg" or "png", the kind of the plot files. The page carries its own plots.
    """
    _make_empty(out)
    if scores is not None:
        write_scores_csv(out / SCORES, scores)
        sha256 = hashlib.sha256((out / SCORES).read_bytes()).hexdigest()
        report = replace(report, scores=ScoreFile(SCORES, sha256, len(scores)))
    write_roc(out / "roc.csv", report.result)
    write_tar_at_far(out / "tar_at_far.csv", report.result)
    write_worst(out / "worst.csv", worst)
    figures = verification_figures(report)
    _write_plots(out, figures, plots)
    page = verification_page(report, figures, worst, thumbnails or {})
    write_new(out / PAGE, page.encode())
    slim = replace(report, result=replace(report.result, curve=_drawn(report.result.curve)))
    _write_json(out / REPORT, "verification", slim)
    return report


def write_identification_report(out: Path, report: IdentificationReport, *, plots: str = "svg") -> None:
    """Write everything a 1:N evaluation leaves into the folder `out`; arguments as for 1:1."""
    _make_empty(out)
    result = report.result
    write_cmc(out / "cmc.csv", result.cmc)
    if result.curves:
        write_fnir_fpir(out / "fnir_fpir.csv", result.curves)
    if result.decisions:
        write_decisions(out / "decisions.csv", result.decisions)
    if result.by_size is not None:
        write_fpir_vs_n(out / "fpir_vs_n.csv", result.by_size)
    figures = identification_figures(report)
    _write_plots(out, figures, plots)
    write_new(out / PAGE, identification_page(report, figures).encode())
    curves = {rank: _drawn(curve) for rank, curve in result.curves.items()}
    _write_json(out / REPORT, "identification", replace(report, result=replace(result, curves=curves)))


def _make_empty(out: Path) -> None:
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ConfigError(f"{out} is not a folder.", "Name a new folder.") from error
    if any(out.iterdir()):
        raise ConfigError(f"{out} is not empty.", "Name a new folder.")


def _write_plots(out: Path, figures: Mapping[str, Any], kind: str) -> None:
    for name, figure in figures.items():
        save(figure, out / f"{name}.{kind}")


def _drawn(curve: ErrorCurve) -> ErrorCurve:
    return curve.at(kept_rows(curve.false_matches, curve.mated - curve.true_matches, steps=DRAWN))


def _write_json(path: Path, kind: str, report: VerificationReport | IdentificationReport) -> None:
    document = {
        "schema": f"facesearch.{kind}",
        "version": VERSION,
        "decision_rule": DECISION_RULE,
        "report": to_json(report),
    }
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    write_new(path, f"{text}\n".encode())


def _text(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    return repr(float(cell)) if isinstance(cell, float) else str(cell)


def _write(path: Path, header: str, rows: Iterable[Sequence[Cell]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header.split(","))
    writer.writerows([_text(cell) for cell in row] for row in rows)
    write_new(path, text.getvalue().encode())


def _bounds(rate: Rate | None) -> tuple[Cell, Cell]:
    interval = rate.best_interval if rate else None
    return (interval.low, interval.high) if interval else (None, None)


def _flag(errors: int) -> str:
    if errors < 1:
        return Flag.UNSUPPORTED
    return Flag.LOW_SUPPORT if errors < LOW_SUPPORT else ""


def write_roc(path: Path, result: VerificationResult) -> None:
    """`threshold,false_matches,non_mated,true_matches,mated,fmr,fnmr,lo,hi,flag`, thresholds rising.

    `lo` and `hi` bound `fnmr` at that FMR, at 95 %; they are empty below 1/M. The flag counts the false matches behind
    the row. Up to 10,000 rows the curve is whole. A longer curve keeps the rows of operating points, all rows with
    fewer than 1,000 errors of either kind, and one in 0.1 % of either rate; each row kept is exact.
    """
    curve = _kept(result.curve, [point.threshold for point in result.points if point.threshold is not None])
    low, high = result.band.at(curve.fmr) if result.band else (np.full(curve.fmr.size, math.nan),) * 2
    columns = (curve.threshold, curve.false_matches, curve.true_matches, curve.fmr, curve.fnmr, 1 - high, 1 - low)
    _write(
        path,
        "threshold,false_matches,non_mated,true_matches,mated,fmr,fnmr,lo,hi,flag",
        (
            (threshold, false, curve.non_mated, true, curve.mated, *rest, _flag(false))
            for threshold, false, true, *rest in zip(*(column.tolist() for column in columns), strict=True)
        ),
    )


def _kept(curve: ErrorCurve, thresholds: Sequence[float] = ()) -> ErrorCurve:
    """The rows a table shows, those at `thresholds` included."""
    rows = kept_rows(curve.false_matches, curve.mated - curve.true_matches, steps=FINE, whole=WHOLE)
    at = np.searchsorted(curve.threshold, np.array(thresholds, dtype=np.float64))
    return curve.at(np.union1d(rows, at[at < curve.threshold.size]))


def write_tar_at_far(path: Path, result: VerificationResult) -> None:
    """One row per operating point. `lo` and `hi` bound `tar`; `naive_lo` and `naive_hi` assume independent pairs."""
    flips: Sequence[int | None] = result.flips or (None,) * len(result.points)
    _write(
        path,
        "target_far,far,false_matches,non_mated,threshold,tar,true_matches,mated,lo,hi,method,naive_lo,naive_hi,"
        "gfar,gfrr,decisions_within_1e-6,flag",
        (_point_row(point, flipped) for point, flipped in zip(result.points, flips, strict=True)),
    )


def _point_row(point: OperatingPoint, flipped: int | None) -> Sequence[Cell]:
    if point.tar is None or point.far is None:
        return (point.target_far, *(None,) * 14, flipped, point.flag)
    far, tar = ((rate.value, rate.count, rate.total) for rate in (point.far, point.tar))
    method = point.tar.best_interval.method if point.tar.best_interval else None
    naive = (point.tar.naive.low, point.tar.naive.high) if point.tar.naive else (None, None)
    generalised = (rate.value if rate else None for rate in (point.gfar, point.gfrr))
    bounds = _bounds(point.tar)
    return (
        point.target_far, *far, point.threshold, *tar, *bounds, method, *naive, *generalised, flipped, point.flag
    )  # fmt: skip


def write_worst(path: Path, worst: Sequence[WorstPair]) -> None:
    """`kind,rank,score,trial,a,b,id_a,id_b`; `trial` counts the planned trials from 1."""
    rows = (("mated" if mated else "non_mated", *rest) for mated, *rest in map(astuple, worst))
    _write(path, "kind,rank,score,trial,a,b,id_a,id_b", rows)


def write_cmc(path: Path, rates: Sequence[Rate]) -> None:
    """`rank,found,mated,rate,lo,hi`."""
    _write(
        path,
        "rank,found,mated,rate,lo,hi",
        ((rank, rate.count, rate.total, rate.value, *_bounds(rate)) for rank, rate in enumerate(rates, 1)),
    )


def write_fnir_fpir(path: Path, curves: Mapping[int, ErrorCurve]) -> None:
    """`rank,threshold,false_positives,non_mated,misses,mated,fpir,fnir,flag`, for every R; thinned as roc.csv is."""
    kept = {rank: _kept(curve) for rank, curve in sorted(curves.items())}
    _write(
        path,
        "rank,threshold,false_positives,non_mated,misses,mated,fpir,fnir,flag",
        (
            (rank, threshold, false, curve.non_mated, curve.mated - true, curve.mated, fpir, fnir, _flag(false))
            for rank, curve in kept.items()
            for threshold, false, true, fpir, fnir in zip(
                curve.threshold.tolist(), curve.false_matches.tolist(), curve.true_matches.tolist(),
                curve.fmr.tolist(), curve.fnmr.tolist(), strict=True,
            )
        ),
    )  # fmt: skip


def write_decisions(path: Path, decisions: Sequence[Decisions]) -> None:
    """`threshold,margin` and the counts of `Decisions`, of `mated` and `non_mated` searches."""
    kinds = [field.name for field in fields(Decisions)[2:]]
    rows = []
    for each in decisions:
        rates: list[Rate | None] = [getattr(each, kind) for kind in kinds]
        strangers = each.false_match.total if each.false_match else 0
        counts = (rate.count if rate else None for rate in rates)
        rows.append((each.threshold, each.margin, each.right.total, strangers, *counts))
    _write(path, ",".join(("threshold", "margin", "mated", "non_mated", *kinds)), rows)


def write_fpir_vs_n(path: Path, by_size: FpirBySize) -> None:
    """`subjects,threshold,fpir,upper,basis,model`; `upper` is the 95 % limit, `model` assumes independence."""
    _write(
        path,
        "subjects,threshold,fpir,upper,basis,model",
        ((row.size, by_size.threshold, row.value, row.upper, row.basis, row.model) for row in by_size.rows),
    )
