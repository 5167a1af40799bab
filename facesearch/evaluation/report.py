"""Reports of evaluations, read back, and the figures of them that a gallery keeps.

`report.json`, version 1, is one object: `schema` ("facesearch.verification" or "facesearch.identification"), `version`,
`decision_rule`, and `report`, the dataclass below field by field. Arrays are lists, infinities the strings "inf" and
"-inf", unknown values null. The error curve is thinned to what a plot shows; its rows stay exact, and `roc.csv` has all
of them. `report.scores` names the score file beside it with its SHA-256: a comparison draws its bootstrap from there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.assessment import VerificationResult
from facesearch.evaluation.documents import from_json, to_json
from facesearch.evaluation.groups import GroupRates
from facesearch.evaluation.identification import IdentificationResult
from facesearch.evaluation.rates import Flag, Interval, Rate
from facesearch.evaluation.trials.pairs import read_scores_csv
from facesearch.evaluation.trials.types import PairTrials, ScoredPairs
from facesearch.evaluation.verification import ErrorCurve

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


def describe(source: str, model: Mapping[str, Any], protocol: str = "", title: str = "") -> About:
    """The provenance of a report made now."""
    from importlib.metadata import version

    return About(
        title=title or f"Verification: {source.rsplit('/', 1)[-1]}",
        source=source,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        facesearch=version("facesearch"),
        model=model,
        protocol=protocol,
    )


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


WORST = 24
"""Pairs of each kind that are listed: as many as a person will look at."""


@dataclass(frozen=True, slots=True)
class WorstPair:
    """A mated pair that scores low or a non-mated pair that scores high: a hard case, or a wrong label."""

    mated: bool
    rank: int
    """1 is the worst of its kind."""
    score: float
    trial: int
    """Position among the planned trials, from 1."""
    a: str
    """Name of the photo, or of the person where photos are not known."""
    b: str
    id_a: str = ""
    id_b: str = ""


def worst_pairs(trials: ScoredPairs, photos: PairTrials | None = None, count: int = WORST) -> tuple[WorstPair, ...]:
    """Return the `count` lowest mated and highest non-mated pairs, worst first, equals in the order of the trials.

    `photos` are the pairs the scores belong to; without them people's ids stand for the photos.
    """
    rows = np.flatnonzero(~trials.failed)
    mated = trials.mated[rows]
    low, high = rows[mated], rows[~mated]
    low = low[np.argsort(trials.score[low], kind="stable")][:count]
    high = high[np.argsort(-trials.score[high], kind="stable")][:count]
    ranked = [*enumerate(low.tolist(), 1), *enumerate(high.tolist(), 1)]
    return tuple(_worst_pair(trials, photos, row, rank) for rank, row in ranked)


def _worst_pair(trials: ScoredPairs, photos: PairTrials | None, row: int, rank: int) -> WorstPair:
    id_a = "" if trials.id_a is None else trials.subjects[trials.id_a[row]]
    id_b = "" if trials.id_b is None else trials.subjects[trials.id_b[row]]
    return WorstPair(
        mated=bool(trials.mated[row]),
        rank=rank,
        score=float(trials.score[row]),
        trial=row + 1,
        a=id_a if photos is None else photos.names[photos.a[row]],
        b=id_b if photos is None else photos.names[photos.b[row]],
        id_a=id_a,
        id_b=id_b,
    )


def read_verification_report(path: Path) -> VerificationReport:
    """A 1:1 `report.json`, its curve thinned; EvaluationError for another schema or version."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise EvaluationError(f"{path}: is not JSON: {error}") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != "facesearch.verification":
        raise EvaluationError(
            f"{path}: is not a report of a 1:1 evaluation; its schema is {schema or 'missing'}",
            "Give the report.json that `facesearch eval PATH --out DIR` wrote.",
        )
    if document.get("version") != VERSION:
        raise EvaluationError(
            f"{path}: has version {document.get('version')}, this facesearch reads {VERSION}",
            "Make the report again with this version: facesearch eval PATH --out DIR",
        )
    try:
        return from_json(VerificationReport, document.get("report"))
    except ValueError as error:
        raise EvaluationError(f"{path}: is damaged: {error}", "Make the report again.") from error


def read_report_scores(path: Path, report: VerificationReport) -> ScoredPairs:
    """The trials of the report at `path`, from the score file beside it; EvaluationError where it is not the same."""
    if report.scores is None:
        raise EvaluationError(
            f"{path}: was made without a score file, so it cannot be compared",
            "Evaluate labelled pairs or a score file: all pairs of a large folder are not kept.",
        )
    # A bare name: a report must not make us read elsewhere.
    file = path.parent / report.scores.file.replace("\\", "/").rsplit("/", 1)[-1]
    if not file.is_file():
        raise EvaluationError(f"{file}: is not there", f"{path.name} needs the scores beside it.")
    if hashlib.sha256(file.read_bytes()).hexdigest() != report.scores.sha256:
        raise EvaluationError(f"{file}: is not the file {path.name} was made from", "Make the report again.")
    return read_scores_csv(file)


VERIFICATION: Final = "verification"
IDENTIFICATION: Final = "identification"
PER_DECADE: Final = 40
"""Points of the curve in each factor of ten of the error rate: two pixels apart where a decade takes 80."""


def digest(report: VerificationReport | IdentificationReport, page: str | None = None) -> dict[str, Any]:
    """Return the figures of a report as JSON values; `page` is where the report is.

    `kind` is "verification" (error FAR, rate TAR) or "identification" (error FPIR, rate TPIR = 1 - FNIR at rank 1).
    `points` give threshold, errors, trials and rate with its 95 % interval for each target; null where the data cannot
    say. `curve` holds exact [error, rate] points of the ROC, errors falling. The name of the input is kept, not its
    path.
    """
    about, result = report.about, report.result
    document = {
        "evaluated": PurePath(about.source).name or about.source,
        "protocol": about.protocol,
        "created_at": about.created_at,
        "facesearch": about.facesearch,
        "model_id": about.model.get("model_id"),
        "faces": about.model.get("faces"),
        "report": page,
        **(_verification(result) if isinstance(result, VerificationResult) else _identification(result)),
    }
    plain: dict[str, Any] = to_json(document)
    return plain


def _verification(result: VerificationResult) -> dict[str, Any]:
    counts = result.counts
    return {
        "kind": VERIFICATION,
        "counts": {name: getattr(counts, name) for name in ("mated", "non_mated", "failed", "subjects")},
        "points": [_point(each.target_far, each.threshold, each.far, each.tar, each.flag) for each in result.points],
        "eer": {"value": result.eer.midpoint, "threshold": result.eer.threshold, **_ends(result.eer.interval)},
        "auc": result.auc,
        "curve": _thinned(result.curve),
    }


def _identification(result: IdentificationResult) -> dict[str, Any]:
    found = [(each, each.fnir and each.fnir.complement) for each in result.points if each.rank == 1]
    return {
        "kind": IDENTIFICATION,
        "counts": {
            "mated": result.mated,
            "non_mated": result.non_mated,
            "failed": result.failed_mated + result.failed_non_mated,
            "subjects": result.subjects,
        },
        "points": [_point(each.target_fpir, each.threshold, each.fpir, tpir, each.flag) for each, tpir in found],
        "eer": None,
        "auc": None,
        "curve": _thinned(result.curves[1]) if result.curves else [],
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


def _thinned(curve: ErrorCurve) -> list[list[float]]:
    """The rows with an error that a drawing over log error needs: one in each part of a decade, and both ends."""
    (seen,) = np.nonzero(curve.false_matches)
    if not seen.size:
        return []
    error, rate = curve.fmr[seen], curve.tar[seen]
    part = np.floor(np.log10(error) * PER_DECADE)
    first = np.flatnonzero(np.append(True, part[1:] != part[:-1]))
    kept = np.unique(np.append(first, seen.size - 1)).tolist()
    return [[float(f"{error[row]:.6g}"), float(f"{rate[row]:.6g}")] for row in kept]
