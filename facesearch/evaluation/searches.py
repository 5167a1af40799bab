"""1:N searches: scores in, curve and operating points out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facesearch.errors import EvaluationError
from facesearch.evaluation.bootstrap import subject_weights
from facesearch.evaluation.rates import LOW_SUPPORT, Counts, Flag, Floats, Rate, clustered_rate, counted_rate
from facesearch.evaluation.verification import allowed_errors

NON_MATED = -1
"""In `summarise`: the probe's person is not meant to be in the gallery."""
NOT_ENROLLED = -2
"""In `summarise`: the probe's person should be in the gallery, but the enrolment failed."""
TOP = 256
"""Subject scores kept per non-mated search: FPIR by gallery size is exact while fewer of them alarm."""


@dataclass(frozen=True, slots=True, eq=False)
class SearchScores:
    """1:N searches against `subjects` enrolled people, summarised per probe; p mated and q non-mated searches.

    A subject's score is the best over its templates. NaN marks a failed probe, or a mate whose enrolment failed.
    """

    subjects: int
    """N, enrolled (failed enrolments are not in the gallery)."""
    mate_score: Floats
    """(p,) float64: the mate's score; NaN = miss at every threshold and rank."""
    mate_rank: Counts
    """(p,) int64: 1 + other subjects with score >= the mate's; any value >= 1 where the search failed."""
    top: Floats
    """(q, k) float64: the k best subject scores of each non-mated search, falling, k <= N; a row of NaN = failed."""
    mate_id: Counts | None = None
    """(p,) int64 subject codes of mated probes, for the subject bootstrap."""
    non_mate_id: Counts | None = None
    """(q,) int64 subject codes of non-mated probes; codes differ from mated ones unless it is the same person."""
    failed_enrolments: int = 0
    attempted_enrolments: int = 0
    """0: not known."""


def summarise(block: Floats, mate: Counts, identity: Counts | None = None, *, keep: int = TOP) -> SearchScores:
    """Reduce searches against all subjects to what the rates need; see `join` for many blocks.

    Args:
        block: (b, N) each probe's best score per enrolled subject; a row of NaN is a failed probe.
        mate: (b,) column of the probe's own subject, `NON_MATED` or `NOT_ENROLLED`.
        identity: (b,) codes of the people on the probes.
        keep: subject scores kept of each non-mated search.

    Raises EvaluationError: no subjects, a row that is NaN in part, a mate outside the gallery.
    """
    missing = np.isnan(block)
    if block.ndim != 2 or block.shape[1] == 0:
        raise EvaluationError("The gallery is empty: nothing can be searched.", hint="Enroll at least one subject.")
    if np.any(missing.any(axis=1) & ~missing.all(axis=1)):
        raise EvaluationError("A search has scores for some subjects only.", hint="A failed probe is NaN throughout.")
    if mate.min(initial=0) < NOT_ENROLLED or mate.max(initial=-1) >= block.shape[1]:
        raise EvaluationError("A probe's mate is outside the gallery.", hint="Mark it NON_MATED or NOT_ENROLLED.")
    mated = mate != NON_MATED
    scores, columns = block[mated], mate[mated]
    own = np.where(columns >= 0, scores[np.arange(columns.size), np.maximum(columns, 0)], math.nan)
    rank = np.count_nonzero(scores >= own[:, None], axis=1)
    others = block[~mated]
    top = -np.sort(-others, axis=1)[:, :keep]
    return SearchScores(
        subjects=block.shape[1],
        mate_score=own.astype(np.float64),
        mate_rank=np.maximum(rank, 1),
        top=top.astype(np.float64),
        mate_id=None if identity is None else identity[mated],
        non_mate_id=None if identity is None else identity[~mated],
    )


def join(blocks: Sequence[SearchScores]) -> SearchScores:
    """Searches of several blocks against one gallery as one; enrolment counts are those of the first."""
    first = blocks[0]
    if any(block.subjects != first.subjects for block in blocks):
        raise EvaluationError("The searches were made against galleries of different sizes.")

    def gather(name: str) -> NDArray[np.int64] | None:
        parts = [getattr(block, name) for block in blocks]
        return None if any(part is None for part in parts) else np.concatenate(parts)

    return replace(
        first,
        mate_score=np.concatenate([block.mate_score for block in blocks]),
        mate_rank=np.concatenate([block.mate_rank for block in blocks]),
        top=np.concatenate([block.top for block in blocks]),
        mate_id=gather("mate_id"),
        non_mate_id=gather("non_mate_id"),
    )


@dataclass(frozen=True, slots=True, eq=False)
class SearchCurve:
    """FPIR and FNIR at every distinct relevant score; m rows, thresholds rising."""

    threshold: Floats
    false_positives: Counts
    """(m,) int64: non-mated searches with a candidate >= threshold."""
    misses: Mapping[int, Counts]
    """By R: (m,) int64 mated searches with the mate outside the top R or below threshold."""
    non_mated: int
    mated: int
    subjects: int

    @property
    def fpir(self) -> Floats:
        """(m,) float64, falling."""
        return self.false_positives / self.non_mated

    def fnir(self, rank: int) -> Floats:
        """(m,) float64 for that R, rising."""
        return self.misses[rank] / self.mated


@dataclass(frozen=True, slots=True)
class SearchPoint:
    """FNIR(N, R, T) at FPIR(N, T) <= target."""

    target_fpir: float
    rank: int
    """R."""
    subjects: int
    """N."""
    threshold: float | None
    fpir: Rate | None
    """Achieved: <= target."""
    fnir: Rate | None
    flag: Flag | None = None


FPIR_TARGETS = (1e-1, 1e-2, 1e-3)
"""FPIRs that are reported unless others are asked for."""


def search_curve(scores: SearchScores, ranks: Sequence[int]) -> SearchCurve:
    """FPIR(N, T) and FNIR(N, R, T) at every distinct best non-mated and mate score, for each R of `ranks`.

    Raises EvaluationError: a kind of search is missing, or all of them failed.
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
        raise EvaluationError("Every search failed, so there is no error rate.", hint="Find out why the photos failed.")
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
    """CMC: mated searches with the mate at rank <= r over all planned mated searches, r = 1 ... ranks."""
    total = scores.mate_score.size
    if not total:
        raise EvaluationError("There is no mated search.", hint="CMC needs probes of people who are enrolled.")
    people = scores.mate_id
    hits = [~np.isnan(scores.mate_score) & (scores.mate_rank <= rank) for rank in range(1, ranks + 1)]
    if people is None:
        return tuple(counted_rate(int(hit.sum()), total) for hit in hits)
    return tuple(clustered_rate(hit, people) for hit in hits)


def fnir_at_fpir(curve: SearchCurve, target: float, rank: int) -> SearchPoint:
    """FNIR(N, R, T) at the smallest observed T that keeps FPIR <= target; the rule of `verification.tar_at_far`."""
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

    People on the probes are drawn; the gallery stays. NaN where a kind of search was not drawn. Raises EvaluationError:
    probes without identities.
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
