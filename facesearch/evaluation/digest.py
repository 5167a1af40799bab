"""What is worth keeping of an evaluation when its report is elsewhere: figures, no scores, no names, no photos."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facesearch.evaluation.codec import to_json
from facesearch.evaluation.report import VerificationReport

if TYPE_CHECKING:
    from facesearch.evaluation.report import About, IdentificationReport
    from facesearch.evaluation.results.arrays import Counts, Floats
    from facesearch.evaluation.results.rates import Flag, Interval, Rate

VERIFICATION: Final = "verification"
IDENTIFICATION: Final = "identification"
PER_DECADE: Final = 40
"""Points of the curve in each factor of ten of the error rate: two pixels apart where a decade takes 80."""


def digest(report: VerificationReport | IdentificationReport, page: str | None = None) -> dict[str, Any]:
    """The figures of a report as JSON values; `page` is where the whole of it is.

    `kind` is "verification" (error FAR, rate TAR) or "identification" (error FPIR, rate TPIR = 1 - FNIR at rank 1).
    `points` give for each target the threshold, how many errors of how many trials stand behind it, and the rate with
    its 95 % interval; null where the data cannot say. `curve` are exact [error, rate] points of the ROC, errors
    falling; thresholds may be "inf" or "-inf". Of what was evaluated the last part of its name is kept, no path.
    """
    found = _verification(report) if isinstance(report, VerificationReport) else _identification(report)
    document: dict[str, Any] = to_json({**_provenance(report.about, page), **found})
    return document


def _provenance(about: About, page: str | None) -> dict[str, Any]:
    return {
        "evaluated": PurePath(about.source).name or about.source,
        "protocol": about.protocol,
        "created_at": about.created_at,
        "facesearch": about.facesearch,
        "model_id": about.model.get("model_id"),
        "faces": about.model.get("faces"),
        "report": page,
    }


def _verification(report: VerificationReport) -> dict[str, Any]:
    result = report.result
    points = [_point(each.target_far, each.threshold, each.far, each.tar, each.flag) for each in result.points]
    curve = result.curve
    return {
        "kind": VERIFICATION,
        "counts": {
            "mated": result.counts.mated,
            "non_mated": result.counts.non_mated,
            "failed": result.counts.failed,
            "subjects": result.counts.subjects,
        },
        "points": points,
        "eer": {"value": result.eer.midpoint, "threshold": result.eer.threshold, **_ends(result.eer.interval)},
        "auc": result.auc,
        "curve": _thinned(curve.false_matches, curve.fmr, curve.tar),
    }


def _identification(report: IdentificationReport) -> dict[str, Any]:
    result, curve = report.result, report.result.curve
    points = []
    for each in result.points:
        if each.rank == 1:
            point = _point(each.target_fpir, each.threshold, each.fpir, each.fnir, each.flag)
            points.append({**point, **_complement(point)})
    return {
        "kind": IDENTIFICATION,
        "counts": {
            "mated": result.mated,
            "non_mated": result.non_mated,
            "failed": result.failed_mated + result.failed_non_mated,
            "subjects": result.subjects,
        },
        "points": points,
        "eer": None,
        "auc": None,
        "curve": [] if curve is None else _thinned(curve.false_positives, curve.fpir, 1 - curve.fnir(1)),
    }


def _point(
    target: float, threshold: float | None, error: Rate | None, rate: Rate | None, flag: Flag | None
) -> dict[str, Any]:
    return {
        "target": target,
        "threshold": threshold,
        "errors": error.count if error else None,
        "trials": error.total if error else None,
        "rate": rate.value if rate else None,
        **_ends(rate.best_interval if rate else None),
        "flag": flag,
    }


def _ends(interval: Interval | None) -> dict[str, float | None]:
    return {"low": interval.low if interval else None, "high": interval.high if interval else None}


def _complement(point: dict[str, Any]) -> dict[str, float | None]:
    """Found instead of missed."""
    rate, low, high = (None if point[name] is None else 1 - point[name] for name in ("rate", "low", "high"))
    return {"rate": rate, "low": high, "high": low}


def _thinned(errors: Counts, error: Floats, rate: Floats) -> list[list[float]]:
    """The rows with an error that a drawing over log error needs: one in each part of a decade, and both ends."""
    (seen,) = np.nonzero(errors)
    if not seen.size:
        return []
    part = np.floor(np.log10(error[seen]) * PER_DECADE)
    kept = seen[np.concatenate([[True], part[1:] != part[:-1]])]
    rows = np.unique([*kept.tolist(), int(seen[-1])])
    return [[float(f"{error[row]:.6g}"), float(f"{rate[row]:.6g}")] for row in rows]
