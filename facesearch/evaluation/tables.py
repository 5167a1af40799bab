"""The CSV files of a report. The same result gives the same bytes: floats stand in their shortest exact form."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from facesearch.evaluation.results.rates import LOW_SUPPORT, Flag
from facesearch.evaluation.thinning import FINE, WHOLE, kept_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from facesearch.evaluation.results.arrays import Counts
    from facesearch.evaluation.results.identification import FpirBySize, SearchCurve
    from facesearch.evaluation.results.rates import Rate
    from facesearch.evaluation.results.verification import VerificationResult
    from facesearch.evaluation.trials import PairTrials, ScoreTrials

Cell: TypeAlias = str | int | float | None

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


def worst_pairs(trials: ScoreTrials, photos: PairTrials | None = None, count: int = WORST) -> tuple[WorstPair, ...]:
    """The `count` lowest mated and highest non-mated pairs, worst first, equals in the order of the trials.

    `photos` are the pairs the scores belong to; without them the people's ids stand for the photos.
    """
    rows = np.flatnonzero(~trials.failed)
    mated = trials.mated[rows]
    low, high = rows[mated], rows[~mated]
    low = low[np.argsort(trials.scores[low], kind="stable")][:count]
    high = high[np.argsort(-trials.scores[high], kind="stable")][:count]
    ranked = [*enumerate(low.tolist(), 1), *enumerate(high.tolist(), 1)]
    return tuple(_worst_pair(trials, photos, row, rank) for rank, row in ranked)


def _worst_pair(trials: ScoreTrials, photos: PairTrials | None, row: int, rank: int) -> WorstPair:
    id_a = "" if trials.id_a is None else trials.subjects[trials.id_a[row]]
    id_b = "" if trials.id_b is None else trials.subjects[trials.id_b[row]]
    return WorstPair(
        mated=bool(trials.mated[row]),
        rank=rank,
        score=float(trials.scores[row]),
        trial=row + 1,
        a=id_a if photos is None else photos.names[photos.a[row]],
        b=id_b if photos is None else photos.names[photos.b[row]],
        id_a=id_a,
        id_b=id_b,
    )


def _text(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    return repr(float(cell)) if isinstance(cell, float) else str(cell)


def _write(path: Path, header: str, rows: Iterable[Sequence[Cell]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split(","))
        writer.writerows([_text(cell) for cell in row] for row in rows)


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
    the row. Up to 10,000 rows the curve is whole. Beyond that every row is still exact, those at operating points and
    those with fewer than 1,000 errors of either kind stay, and of the others one in 0.1 % of either rate: a million
    scores would make 100 MB otherwise, and the rows in between say nothing new.
    """
    curve = result.curve
    rows = kept_rows(curve.false_matches, curve.mated - curve.true_matches, steps=FINE, whole=WHOLE)
    wanted = [point.threshold for point in result.points if point.threshold is not None]
    at = np.searchsorted(curve.threshold, np.array(wanted, dtype=np.float64))
    rows = np.union1d(rows, at[at < curve.threshold.size])
    fmr, fnmr = curve.fmr[rows], curve.fnmr[rows]
    low, high = result.band.at(fmr) if result.band else (np.full(rows.size, math.nan),) * 2
    _write(
        path,
        "threshold,false_matches,non_mated,true_matches,mated,fmr,fnmr,lo,hi,flag",
        (
            (threshold, false, curve.non_mated, true, curve.mated, x, y, lo, hi, _flag(false))
            for threshold, false, true, x, y, lo, hi in zip(
                curve.threshold[rows].tolist(),
                curve.false_matches[rows].tolist(),
                curve.true_matches[rows].tolist(),
                fmr.tolist(),
                fnmr.tolist(),
                (1 - high).tolist(),
                (1 - low).tolist(),
                strict=True,
            )
        ),
    )


def write_tar_at_far(path: Path, result: VerificationResult) -> None:
    """One row per operating point. `lo` and `hi` bound `tar`; `naive_lo` and `naive_hi` assume independent pairs."""
    flips: Sequence[int | None] = result.flips or (None,) * len(result.points)
    _write(
        path,
        "target_far,far,false_matches,non_mated,threshold,tar,true_matches,mated,lo,hi,method,naive_lo,naive_hi,"
        "gfar,gfrr,decisions_within_1e-6,flag",
        (
            (
                point.target_far,
                *((point.far.value, point.far.count, point.far.total) if point.far else (None, None, None)),
                point.threshold,
                *((point.tar.value, point.tar.count, point.tar.total) if point.tar else (None, None, None)),
                *_bounds(point.tar),
                point.tar.best_interval.method if point.tar and point.tar.best_interval else None,
                *((point.tar.naive.low, point.tar.naive.high) if point.tar and point.tar.naive else (None, None)),
                point.gfar.value if point.gfar else None,
                point.gfrr.value if point.gfrr else None,
                flipped,
                point.flag,
            )
            for point, flipped in zip(result.points, flips, strict=True)
        ),
    )


def write_worst(path: Path, worst: Sequence[WorstPair]) -> None:
    """`kind,rank,score,trial,a,b,id_a,id_b`; `trial` counts the planned trials from 1."""
    _write(
        path,
        "kind,rank,score,trial,a,b,id_a,id_b",
        (
            (
                "mated" if pair.mated else "non_mated",
                pair.rank,
                pair.score,
                pair.trial,
                pair.a,
                pair.b,
                pair.id_a,
                pair.id_b,
            )
            for pair in worst
        ),
    )


def write_cmc(path: Path, rates: Sequence[Rate]) -> None:
    """`rank,found,mated,rate,lo,hi`."""
    _write(
        path,
        "rank,found,mated,rate,lo,hi",
        ((rank, rate.count, rate.total, rate.value, *_bounds(rate)) for rank, rate in enumerate(rates, 1)),
    )


def write_fnir_fpir(path: Path, curve: SearchCurve) -> None:
    """`rank,threshold,false_positives,non_mated,misses,mated,fpir,fnir,flag`, for every R; thinned as roc.csv is."""
    _write(
        path,
        "rank,threshold,false_positives,non_mated,misses,mated,fpir,fnir,flag",
        (row for rank, misses in sorted(curve.misses.items()) for row in _search_rows(curve, rank, misses)),
    )


def _search_rows(curve: SearchCurve, rank: int, misses: Counts) -> Iterable[Sequence[Cell]]:
    rows = kept_rows(curve.false_positives, misses, steps=FINE, whole=WHOLE)
    for threshold, false, missed in zip(
        curve.threshold[rows].tolist(), curve.false_positives[rows].tolist(), misses[rows].tolist(), strict=True
    ):
        fpir, fnir = false / curve.non_mated, missed / curve.mated
        yield rank, threshold, false, curve.non_mated, missed, curve.mated, fpir, fnir, _flag(false)


def write_fpir_vs_n(path: Path, by_size: FpirBySize) -> None:
    """`subjects,threshold,fpir,upper,basis,model`; `upper` is the 95 % limit, `model` assumes independence."""
    _write(
        path,
        "subjects,threshold,fpir,upper,basis,model",
        ((row.size, by_size.threshold, row.value, row.upper, row.basis, row.model) for row in by_size.rows),
    )
