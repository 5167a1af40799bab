"""1:N searches: scores in, curve and operating points out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facesearch.errors import EvaluationError
from facesearch.evaluation.bootstrap import Sample
from facesearch.evaluation.rates import Counts, Flag, Flags, Floats, Rate, clustered_rate
from facesearch.evaluation.verification import ErrorCurve, OperatingPoint, error_curve

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
    rivals: Floats | None = None
    """(p, 2) the two best scores of other subjects, falling, -inf where there are fewer; NaN for a failed probe."""
    mate_id: Counts | None = None
    """(p,) int64 subject codes of mated probes, for the subject bootstrap."""
    non_mate_id: Counts | None = None
    """(q,) int64 subject codes of non-mated probes; codes differ from mated ones unless it is the same person."""
    partner: Counts | None = None
    """(q,) code of the person with the best score, where the people searched for are also searched in: look-alikes
    then raise alarms in twos."""
    failed_enrolments: int = 0
    attempted_enrolments: int = 0
    """0: not known."""

    def units(self, threshold: float) -> Counts:
        """(q,) which non-mated searches belong together: those of one person, and of people who alarm for each other.

        Without identities every search stands alone.
        """
        people = np.arange(len(self.top)) if self.non_mate_id is None else self.non_mate_id
        if self.partner is None:
            return people
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        alarm = self.top[:, 0] >= threshold
        ends = people[alarm], self.partner[alarm]
        size = 1 + max(int(people.max()), int(self.partner.max()))
        _, units = connected_components(coo_array((np.ones(ends[0].size), ends), (size, size)))
        return np.asarray(units[people], np.int64)

    def select(self, rows: Flags) -> SearchScores:
        """Some of the non-mated searches."""
        pick = (None if each is None else each[rows] for each in (self.non_mate_id, self.partner))
        people, partner = pick
        return replace(self, top=self.top[rows], non_mate_id=people, partner=partner)

    def found(self, rank: int) -> Flags:
        """(p,) whether the mate is among the first `rank`, whatever its score."""
        return ~np.isnan(self.mate_score) & (self.mate_rank <= rank)


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
    rivals = scores.copy()
    rivals[np.arange(columns.size)[columns >= 0], columns[columns >= 0]] = -math.inf
    rivals = -np.sort(-np.pad(rivals, ((0, 0), (0, 1)), constant_values=-math.inf), axis=1)[:, :2]
    rivals[missing[mated].any(axis=1)] = math.nan
    others = block[~mated]
    top = -np.sort(-others, axis=1)[:, :keep]
    return SearchScores(
        subjects=block.shape[1],
        mate_score=own.astype(np.float64),
        mate_rank=np.maximum(rank, 1),
        top=top.astype(np.float64),
        rivals=rivals.astype(np.float64),
        mate_id=None if identity is None else identity[mated],
        non_mate_id=None if identity is None else identity[~mated],
    )


def join(blocks: Sequence[SearchScores]) -> SearchScores:
    """Searches of several blocks against one gallery as one; enrolment counts are those of the first."""
    first = blocks[0]
    if any(block.subjects != first.subjects for block in blocks):
        raise EvaluationError("The searches were made against galleries of different sizes.")

    def gather(name: str) -> NDArray[Any] | None:
        parts = [getattr(block, name) for block in blocks]
        return None if any(part is None for part in parts) else np.concatenate(parts)

    return replace(
        first,
        mate_score=np.concatenate([block.mate_score for block in blocks]),
        mate_rank=np.concatenate([block.mate_rank for block in blocks]),
        top=np.concatenate([block.top for block in blocks]),
        rivals=gather("rivals"),
        mate_id=gather("mate_id"),
        non_mate_id=gather("non_mate_id"),
        partner=gather("partner"),
    )


@dataclass(frozen=True, slots=True)
class SearchPoint:
    """FNIR(N, R, T) at the smallest observed T that keeps FPIR(N, T) <= target."""

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

    @classmethod
    def of(cls, point: OperatingPoint, rank: int, subjects: int) -> SearchPoint:
        """The words of 1:N for a point of a `search_curve`."""
        missed = point.tar and point.tar.complement
        return cls(point.target_far, rank, subjects, point.threshold, point.far, missed, point.flag)


FPIR_TARGETS = (1e-1, 1e-2, 1e-3)
"""FPIRs that are reported unless others are asked for."""


def search_curve(scores: SearchScores, rank: int) -> ErrorCurve:
    """The error curve of searches: FMR is FPIR(N, T), and FNMR is FNIR(N, R, T) for R = `rank`.

    Raises EvaluationError: a kind of search is missing, or all of them failed.
    """
    if not scores.mate_score.size or not len(scores.top):
        kind = "non-mated" if scores.mate_score.size else "mated"
        raise EvaluationError(
            f"There is no {kind} search.",
            hint="FNIR at FPIR needs probes of enrolled people and probes of people who are not enrolled.",
        )
    best = scores.top[:, 0]
    best, hits = best[~np.isnan(best)], scores.mate_score[scores.found(rank)]
    if not best.size and not hits.size:
        raise EvaluationError("Every search failed, so there is no error rate.", hint="Find out why the photos failed.")
    return error_curve(hits, best, (scores.mate_score.size, len(scores.top)))


def sample_of_searches(scores: SearchScores, rank: int) -> Sample | None:
    """Prepare searches for the bootstrap, which draws the people on the probes and keeps the gallery as it is.

    None for probes without identities.
    """
    if scores.mate_id is None or scores.non_mate_id is None:
        return None
    people, codes = np.unique(np.concatenate([scores.mate_id, scores.non_mate_id]), return_inverse=True)
    mate, non_mate = codes[: scores.mate_id.size], codes[scores.mate_id.size :]
    planned, strangers = (np.bincount(each, minlength=people.size) for each in (mate, non_mate))
    hits, best = scores.found(rank), scores.top[:, 0]
    order = np.flatnonzero(hits)[np.argsort(-scores.mate_score[hits], kind="stable")]
    alarms = np.flatnonzero(~np.isnan(best))
    alarms = alarms[np.argsort(-best[alarms], kind="stable")]
    return Sample(
        mated_score=scores.mate_score[order],
        mated_subject=mate[order],
        tail_score=best[alarms],
        tail_a=non_mate[alarms],
        tail_b=None,
        complete=True,
        non_mated=best.size,
        planned_mated=planned,
        non_mated_of=lambda weights: (weights @ strangers).astype(np.float64),
        mated_units=int(np.count_nonzero(planned)),
        non_mated_units=int(np.count_nonzero(strangers)),
    )


def cumulative_match(scores: SearchScores, ranks: int) -> tuple[Rate, ...]:
    """CMC: mated searches with the mate at rank <= r over all planned mated searches, r = 1 ... ranks."""
    total = scores.mate_score.size
    if not total:
        raise EvaluationError("There is no mated search.", hint="CMC needs probes of people who are enrolled.")
    people = np.arange(total) if scores.mate_id is None else scores.mate_id
    known = scores.mate_id is not None
    rates = (clustered_rate(scores.found(rank), people) for rank in range(1, ranks + 1))
    return tuple(rate if known else replace(rate, interval=None) for rate in rates)
