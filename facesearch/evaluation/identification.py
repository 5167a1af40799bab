"""1:N error rates: a search alarms iff its best candidate's `score >= threshold`; higher scores are more alike.

A probe is *mated* if its person is meant to be in the gallery. Failures never leave the denominators: a failed mated
search is a miss, a failed non-mated one raises no alarm, and whoever could not be enrolled is missed by every search.
FPIR and FNIR are the terms of ISO/IEC 19795-1 and NIST FRTE; TPIR = 1 - FNIR.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.bootstrap import subject_weights
from facesearch.evaluation.results.identification import IdentificationResult, SearchCurve, SearchPoint
from facesearch.evaluation.results.rates import LOW_SUPPORT, Flag, Rate
from facesearch.evaluation.scaling import fpir_by_size
from facesearch.evaluation.uncertainty import (
    REPLICATES,
    bootstrap_interval,
    clustered_interval,
    wilson,
    zero_error_bound,
)
from facesearch.evaluation.verification import allowed_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facesearch.evaluation.results.arrays import Counts, Floats
    from facesearch.evaluation.results.scores import SearchScores

TARGETS = (1e-1, 1e-2, 1e-3)
"""FPIRs that are reported unless others are asked for."""


def search_curve(scores: SearchScores, ranks: Sequence[int]) -> SearchCurve:
    """FPIR(N, T) and FNIR(N, R, T) at every distinct best non-mated and mate score.

    Args:
        scores: with at least one planned search of each kind.
        ranks: values of R >= 1.

    Raises:
        EvaluationError: a kind of search is missing, or all of them failed.

    >>> from facesearch.evaluation.summaries import NON_MATED, summarise
    >>> scores = summarise(np.array([[0.9, 0.2], [0.4, 0.4], [0.3, 0.1]]), np.array([0, 1, NON_MATED]))
    >>> curve = search_curve(scores, [1])
    >>> curve.threshold.tolist(), curve.fpir.tolist(), curve.fnir(1).tolist()
    ([0.3, 0.4, 0.9], [1.0, 0.0, 0.0], [0.5, 0.5, 0.5])
    """
    if not scores.mate_score.size or not len(scores.top):
        kind = "non-mated" if scores.mate_score.size else "mated"
        raise EvaluationError(
            f"There is no {kind} search.",
            hint="FNIR at FPIR needs probes of enrolled people and probes of people who are not enrolled.",
        )
    best = scores.top[:, 0]
    alarms = np.sort(best[~np.isnan(best)])
    threshold = np.unique(np.concatenate([alarms, scores.mate_score[~np.isnan(scores.mate_score)]]))
    if not threshold.size:
        raise EvaluationError("Every search failed.", hint="Look at the reasons: no error rate can be computed.")
    misses = {}
    for rank in ranks:
        hits = np.sort(scores.mate_score[~np.isnan(scores.mate_score) & (scores.mate_rank <= rank)])
        misses[rank] = scores.mate_score.size - (hits.size - np.searchsorted(hits, threshold))
    return SearchCurve(
        threshold=threshold,
        false_positives=alarms.size - np.searchsorted(alarms, threshold),
        misses=misses,
        non_mated=len(scores.top),
        mated=scores.mate_score.size,
        subjects=scores.subjects,
    )


def cumulative_match(scores: SearchScores, ranks: int) -> tuple[Rate, ...]:
    """CMC: mated searches with the mate at rank <= r over all planned mated searches, r = 1 ... ranks.

    >>> from facesearch.evaluation.summaries import summarise
    >>> scores = summarise(np.array([[0.9, 0.2], [0.4, 0.4]]), np.array([0, 1]))
    >>> [rate.value for rate in cumulative_match(scores, 2)]
    [0.5, 1.0]
    """
    total = scores.mate_score.size
    if not total:
        raise EvaluationError("There is no mated search.", hint="CMC needs probes of people who are enrolled.")
    rates = []
    for rank in range(1, ranks + 1):
        hit = ~np.isnan(scores.mate_score) & (scores.mate_rank <= rank)
        rate = Rate(int(hit.sum()), total, naive=wilson(int(hit.sum()), total))
        if scores.mate_id is not None:
            rate = replace(rate, interval=clustered_interval(hit.astype(np.float64), scores.mate_id))
        rates.append(rate)
    return tuple(rates)


def fnir_at_fpir(curve: SearchCurve, target: float, rank: int) -> SearchPoint:
    """FNIR(N, R, T) at the smallest observed T that keeps FPIR <= target; the rule of `verification.tar_at_far`.

    >>> from facesearch.evaluation.summaries import NON_MATED, summarise
    >>> scores = summarise(np.array([[0.9, 0.2], [0.4, 0.4], [0.3, 0.1]]), np.array([0, 1, NON_MATED]))
    >>> point = fnir_at_fpir(search_curve(scores, [2]), 1.0, rank=2)
    >>> point.threshold, point.fpir.value, point.fnir.value
    (-inf, 1.0, 0.0)
    """
    point = SearchPoint(target, rank, curve.subjects, None, None, None, Flag.UNSUPPORTED)
    allowed = allowed_errors(target, curve.non_mated)
    if allowed < 1 or curve.false_positives[curve.threshold == math.inf].sum() > allowed:
        return point
    if allowed >= curve.non_mated:
        # The lowest threshold: whoever has a score at all is accepted.
        threshold, alarms, misses = -math.inf, int(curve.false_positives[0]), int(curve.misses[rank][0])
    else:
        row = int(np.searchsorted(-curve.false_positives, -allowed))
        found = row < curve.threshold.size
        threshold = float(curve.threshold[row]) if found else math.inf
        alarms = int(curve.false_positives[row]) if found else 0
        misses = int(curve.misses[rank][row]) if found else curve.mated
    return replace(
        point,
        threshold=threshold,
        fpir=Rate(alarms, curve.non_mated),
        fnir=Rate(misses, curve.mated),
        flag=Flag.LOW_SUPPORT if alarms < LOW_SUPPORT else None,
    )


def search_replicates(
    scores: SearchScores, targets: Sequence[float], rank: int, *, replicates: int, seed: int
) -> tuple[Floats, Floats]:
    """FNIR at FPIR <= target with each replicate's own threshold, and FPIR at the sample's; both (r, targets).

    People on the probes are drawn, the gallery stays as it is. NaN where a kind of search was not drawn.

    Raises:
        EvaluationError: probes without identities.
    """
    if scores.mate_id is None or scores.non_mate_id is None:
        raise EvaluationError("The subject bootstrap needs to know who is on each probe.")
    people, codes = np.unique(np.concatenate([scores.mate_id, scores.non_mate_id]), return_inverse=True)
    mate, non_mate = codes[: scores.mate_id.size], codes[scores.mate_id.size :]
    best = np.nan_to_num(scores.top[:, 0], nan=-math.inf, posinf=math.inf, neginf=-math.inf)
    failed = np.isnan(scores.top[:, 0])
    order = np.lexsort((failed, -best))
    alarms = best[order][: np.count_nonzero(~failed)]
    hit = ~np.isnan(scores.mate_score) & (scores.mate_rank <= rank)
    hits = np.flatnonzero(hit)[np.argsort(-scores.mate_score[hit], kind="stable")]
    above = np.append(np.searchsorted(-scores.mate_score[hits], -alarms), hits.size)
    allowed = np.array([allowed_errors(target, best.size) for target in targets])
    fixed = np.append(np.searchsorted(-alarms, -alarms), alarms.size)[np.minimum(allowed, alarms.size)]
    fnir, fpir = np.full((2, replicates, len(targets)), math.nan)
    row = 0
    for weights in subject_weights(people.size, replicates, seed):
        for weight in weights:
            heavy = np.append(0, np.cumsum(weight[non_mate[order]]))
            caught = np.append(0, np.cumsum(weight[mate[hits]]))
            total, mated = heavy[-1], weight[mate].sum()
            if total and mated:
                limit = np.floor(np.asarray(targets) * total + 1e-12)
                position = np.searchsorted(heavy[1 : alarms.size + 1], limit, side="right")
                fnir[row] = 1 - caught[above[position]] / mated
                fpir[row] = heavy[fixed] / total
            row += 1
    return fnir, fpir


def evaluate_searches(
    scores: SearchScores,
    *,
    targets: Sequence[float] = TARGETS,
    ranks: Sequence[int] = (1, 20),
    cmc_ranks: int = 20,
    sizes: Sequence[int] | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> IdentificationResult:
    """All 1:N figures of a set of planned searches.

    Args:
        scores: summaries of all planned searches, failed ones included.
        targets: FPIRs in (0, 1]; every one is combined with every R. The last supported gives FPIR by size.
        ranks: values of R; capped at N.
        cmc_ranks: length of the CMC; capped at N.
        sizes: gallery sizes for FPIR by size; by default up to ten times N.
        replicates: of the subject bootstrap, for probes with identities; 0 turns it off.
        seed: of the bootstrap.

    Raises:
        EvaluationError: no mated search.

    >>> from facesearch.evaluation.summaries import NON_MATED, summarise
    >>> rng = np.random.default_rng(0)
    >>> block = rng.normal(0.1, 0.1, (100, 50))
    >>> block[np.arange(50), np.arange(50)] += 0.6
    >>> result = evaluate_searches(summarise(block, np.append(np.arange(50), [NON_MATED] * 50)), targets=[0.1])
    >>> result.cmc[0].value, result.points[0].fpir.value <= 0.1
    (1.0, True)
    """
    ranks = sorted({min(rank, scores.subjects) for rank in ranks})
    closed = not len(scores.top)
    curve = None if closed else search_curve(scores, ranks)
    points: list[SearchPoint] = []
    for rank in ranks if curve is not None else []:
        assert curve is not None
        row = [fnir_at_fpir(curve, target, rank) for target in targets]
        points.extend(_surround(row, scores, replicates, seed))
    thresholds = [point.threshold for point in points if point.threshold is not None]
    countable = thresholds and _countable(scores, thresholds[-1])
    best = scores.top[:, 0] if not closed else np.array([])
    return IdentificationResult(
        subjects=scores.subjects,
        mated=scores.mate_score.size,
        non_mated=best.size,
        failed_mated=int(np.isnan(scores.mate_score).sum()),
        failed_non_mated=int(np.isnan(best).sum()),
        cmc=cumulative_match(scores, min(cmc_ranks, scores.subjects)),
        curve=curve,
        points=tuple(points),
        by_size=fpir_by_size(scores, thresholds[-1], sizes) if countable else None,
        fte=_fte(scores),
        replicates=0 if scores.mate_id is None else replicates,
        seed=seed,
    )


def _countable(scores: SearchScores, threshold: float) -> bool:
    """Whether `top` is long enough to count the subjects that alarm."""
    return scores.top.shape[1] >= scores.subjects or not np.any(scores.top[:, -1] >= threshold)


def _fte(scores: SearchScores) -> Rate | None:
    failed, attempted = scores.failed_enrolments, scores.attempted_enrolments
    return Rate(failed, attempted, naive=wilson(failed, attempted)) if attempted else None


def _surround(row: Sequence[SearchPoint], scores: SearchScores, replicates: int, seed: int) -> list[SearchPoint]:
    supported = [point for point in row if point.fnir is not None]
    drawn = None
    if supported and replicates and scores.mate_id is not None and scores.non_mate_id is not None:
        fars = [point.target_fpir for point in supported]
        drawn = search_replicates(scores, fars, supported[0].rank, replicates=replicates, seed=seed)
    surrounded = []
    for point in row:
        if point not in supported:
            surrounded.append(point)
            continue
        assert point.fnir is not None
        assert point.fpir is not None
        column = supported.index(point)
        fnir = _interval(point.fnir, drawn[0][:, column] if drawn else None, scores.mate_id)
        fpir = _interval(point.fpir, drawn[1][:, column] if drawn else None, scores.non_mate_id)
        surrounded.append(replace(point, fnir=fnir, fpir=fpir))
    return surrounded


def _interval(rate: Rate, replicates: Floats | None, identity: Counts | None) -> Rate:
    units = rate.total if identity is None else int(np.unique(identity).size)
    rate = replace(rate, naive=wilson(rate.count, rate.total))
    if rate.count == 0:
        rate = replace(rate, zero_errors=zero_error_bound(units, rate.total))
    if replicates is None:
        return rate
    return replace(rate, interval=bootstrap_interval(rate.value, replicates, trials=rate.total, units=units))
