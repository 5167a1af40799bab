"""The subject bootstrap of 1:1 and 1:N figures: people are drawn, because what shares a person is dependent.

A replicate draws as many people as there are, with replacement. For a person drawn w times, a mated comparison and a
search count w times, and a non-mated comparison of two people w_a * w_b times; two copies of one person are never
compared. Every replicate derives its own threshold. Only the tail of the scores that can reach it is weighed; the rest
enters by its total weight.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gammaincinv, ndtri

from facesearch.errors import EvaluationError
from facesearch.evaluation.pairwise import PairSummary
from facesearch.evaluation.rates import Counts, Floats, Interval, bootstrap_interval, surrounded
from facesearch.evaluation.trials.types import ScoredPairs
from facesearch.evaluation.verification import OperatingPoint

_QUANTILES = (np.arange(400) + 0.5) / 400
_CHUNK = 2_000_000
"""Weights held at a time: 16 MB of int64, the one type that NumPy gathers, multiplies and cumulates without casts."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Completed scores with the people behind them, coded 0 ... S-1, both classes from the highest score down."""

    mated_score: Floats
    mated_subject: Counts
    tail_score: Floats
    """Non-mated scores, from the highest down to where the tail ends."""
    tail_a: Counts
    tail_b: Counts | None
    """The other person; None for searches, which one person is behind."""
    complete: bool
    """The tail holds every completed non-mated score."""
    non_mated: int
    """Planned non-mated comparisons or searches."""
    planned_mated: Counts
    """(S,) mated comparisons or searches of each person, failed ones that count included."""
    non_mated_of: Callable[[Counts], Floats]
    """(r, S) weights -> (r,) weighted number of non-mated comparisons, exact."""
    mated_units: int
    """People with a mated comparison."""
    non_mated_units: int
    """Independent non-mated units: pairs of people that share nobody (found by a greedy walk), or people."""

    @property
    def subjects(self) -> int:
        """S."""
        return self.planned_mated.size

    def weights(self, drawn: Counts, keep: int) -> Counts:
        """(keep,) weights of the first `keep` tail entries for one replicate's (S,) draws."""
        weight = drawn.take(self.tail_a[:keep])
        return weight if self.tail_b is None else weight * drawn.take(self.tail_b[:keep])


def totals_of_pairs(code_a: Counts, code_b: Counts, subjects: int) -> Callable[[Counts], Floats]:
    """`Sample.non_mated_of` for a list of pairs."""
    keys, counts = np.unique(np.minimum(code_a, code_b) * subjects + np.maximum(code_a, code_b), return_counts=True)
    first, second, counts = keys // subjects, keys % subjects, counts.astype(np.float64)

    def totals(weights: Counts) -> Floats:
        rows = (row.take(first) * row.take(second) @ counts for row in weights.astype(np.float64))
        return np.fromiter(rows, np.float64, len(weights))

    return totals


def totals_of_all_pairs(templates: Counts) -> Callable[[Counts], Floats]:
    """`Sample.non_mated_of` where every template is compared with all others, given (S,) templates of each person."""

    def totals(weights: Counts) -> Floats:
        drawn = weights * templates.astype(np.float64)
        return np.asarray((drawn.sum(axis=1) ** 2 - (drawn**2).sum(axis=1)) / 2)

    return totals


def sample_of_pairs(pairs: ScoredPairs, people: Counts | None = None) -> Sample:
    """Prepare completed comparisons for the bootstrap.

    `people` are the sorted distinct ids to draw from; by default those of the completed comparisons. Raises
    EvaluationError: no identities, a mated pair of two people or a non-mated pair of one.
    """
    if pairs.id_a is None or pairs.id_b is None:
        raise EvaluationError(
            "The subject bootstrap needs to know who is in each pair.", hint="Add the columns id_a and id_b."
        )
    completed = ~pairs.failed
    score, mated = pairs.score[completed], pairs.mated[completed]
    id_a, id_b = pairs.id_a[completed], pairs.id_b[completed]
    contradictions = int(np.count_nonzero((id_a == id_b) != mated))
    if contradictions:
        raise EvaluationError(
            f"{contradictions} pairs contradict their identities.",
            hint="A mated pair has one identity on both sides, a non-mated pair two.",
        )
    if people is None:
        people = np.unique(np.concatenate([id_a, id_b]))
    code_a, code_b = np.searchsorted(people, id_a), np.searchsorted(people, id_b)
    order = np.argsort(-score, kind="stable")
    first, second = order[mated[order]], order[~mated[order]]
    a, b = code_a[second], code_b[second]
    planned = np.bincount(code_a[first], minlength=people.size)
    return Sample(
        mated_score=score[first],
        mated_subject=code_a[first],
        tail_score=score[second],
        tail_a=a,
        tail_b=b,
        complete=True,
        non_mated=second.size,
        planned_mated=planned,
        non_mated_of=totals_of_pairs(a, b, people.size),
        mated_units=int(np.count_nonzero(planned)),
        non_mated_units=disjoint_pairs(a, b),
    )


def sample_of_summary(summary: PairSummary) -> Sample:
    """Prepare a blocked product for the bootstrap."""
    templates = np.bincount(summary.subject)
    order = np.argsort(-summary.mated_score, kind="stable")
    planned = np.bincount(summary.mated_id, minlength=templates.size)
    return Sample(
        mated_score=summary.mated_score[order],
        mated_subject=summary.mated_id[order].astype(np.int64),
        tail_score=summary.tail_score.astype(np.float64),
        tail_a=summary.subject[summary.tail_a].astype(np.int64),
        tail_b=summary.subject[summary.tail_b].astype(np.int64),
        complete=summary.floor == -math.inf,
        non_mated=summary.non_mated,
        planned_mated=planned,
        non_mated_of=totals_of_all_pairs(templates),
        mated_units=int(np.count_nonzero(planned)),
        non_mated_units=templates.size // 2,
    )


def disjoint_pairs(pair_a: Counts, pair_b: Counts) -> int:
    """How many of the distinct pairs, in rising order, a greedy walk finds that share no person."""
    low, high = np.minimum(pair_a, pair_b), np.maximum(pair_a, pair_b)
    taken: set[int] = set()
    for key in np.unique(low << 32 | high).tolist():
        a, b = key >> 32, key & 0xFFFFFFFF
        if a not in taken and b not in taken:
            taken.update((a, b))
    return len(taken) // 2


def subject_weights(subjects: int, replicates: int, seed: int) -> Iterator[Counts]:
    """How often each person is drawn, in chunks of (r, subjects) int64 whose r sum to `replicates`.

    The draws depend on the three arguments alone: figures with one seed are paired replicate by replicate.
    """
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // subjects)
    for start in range(0, replicates, rows):
        count = min(rows, replicates - start)
        chunk = np.empty((count, subjects), dtype=np.int64)
        for row in range(count):
            chunk[row] = np.bincount(rng.integers(subjects, size=subjects), minlength=subjects)
        yield chunk


@dataclass(frozen=True, slots=True, eq=False)
class Replicates:
    """The figures of every replicate; NaN where one lacks a class, or the tail is too short for the EER.

    A pair of people drawn w_a * w_b times has the variance 3 where a pair by itself has 1, and the covariance 1, as it
    should, with a pair that shares one person. So the replicates' variance holds each pair's own twice too often: much
    in a list of pairs, nothing to speak of where all are compared with all. Source: A. Owen, The pigeonhole bootstrap,
    Annals of Applied Statistics 2007; the variance without it is that of Aronow, Samii and Assenova,
    Cluster-robust variance estimation for dyadic data, Political Analysis 2015.
    """

    targets: Floats
    tar: Floats
    """(r, targets) float64: TAR at FAR <= target, the threshold derived again."""
    far: Floats
    """(r, targets): FMR at the thresholds of the sample itself."""
    eer: Floats
    """(r,) midpoints, by the rule of `verification.equal_error_rate`."""
    tar_excess: Floats
    """(targets,) twice the variance that the non-mated pairs alone give the TAR."""
    far_excess: Floats
    eer_excess: float


def replicate(sample: Sample, targets: Sequence[float], eer: float | None, *, replicates: int, seed: int) -> Replicates:
    """Run the subject bootstrap. With one seed and one set of people, figures are paired replicate by replicate.

    `eer`, the sample's own, says how much of the tail it takes; None: no EER is wanted. Raises EvaluationError: the
    tail ends above the threshold of a replicate.
    """
    if eer is not None and not sample.complete and 2 * eer * sample.non_mated > sample.tail_score.size:
        eer = None
    run = _Run(sample, targets, eer)
    tar, far = np.full((2, replicates, len(targets)), math.nan)
    rates = np.full(replicates, math.nan)
    row = 0
    for weights in subject_weights(sample.subjects, replicates, seed):
        totals, mated = sample.non_mated_of(weights), (weights @ sample.planned_mated).astype(np.float64)
        for drawn, total, mated_total in zip(weights, totals.tolist(), mated.tolist(), strict=True):
            if total and mated_total:
                tar[row], far[row], rates[row] = run.figures(drawn, total, mated_total)
            row += 1
    return Replicates(np.asarray(targets), tar, far, rates, *run.excess(eer))


def surround(
    points: Iterable[OperatingPoint], sample: Sample | None, drawn: Replicates | None
) -> tuple[OperatingPoint, ...]:
    """The points with their intervals: from the replicates where these hold the target, and Wilson's."""
    return tuple(_surrounded(point, sample, drawn) for point in points)


def _surrounded(point: OperatingPoint, sample: Sample | None, drawn: Replicates | None) -> OperatingPoint:
    if point.tar is None or point.far is None:
        return point
    column = [] if drawn is None else np.flatnonzero(drawn.targets == point.target_far).tolist()
    tars = fars = None
    excess = 0.0, 0.0
    if drawn is not None and column:
        tars, fars = drawn.tar[:, column[0]], drawn.far[:, column[0]]
        excess = float(drawn.tar_excess[column[0]]), float(drawn.far_excess[column[0]])
    mated, non_mated = (sample.mated_units, sample.non_mated_units) if sample else (point.tar.total, point.far.total)
    return replace(
        point,
        tar=surrounded(point.tar, mated, tars, flawless=point.tar.total, excess=excess[0]),
        far=surrounded(point.far, non_mated, fars, flawless=0, excess=excess[1]),
    )


class _Run:
    """What does not change from one replicate to the next, and how much of the tail they needed so far."""

    def __init__(self, sample: Sample, targets: Sequence[float], eer: float | None) -> None:
        size = sample.tail_score.size
        self._sample, self._targets, self._crosses = sample, np.asarray(targets), eer is not None
        # A threshold that rejects the (k+1)-th non-mated score accepts the mated scores above it.
        self._above = np.append(np.searchsorted(-sample.mated_score, -sample.tail_score), sample.mated_score.size)
        allowed = np.floor(self._targets * sample.non_mated + 1e-12).astype(np.int64)
        own = np.append(np.searchsorted(-sample.tail_score, -sample.tail_score), size)
        self._accepted = own[np.minimum(allowed, size)]
        self._keep = 2 * max(int(allowed.max(initial=0)), math.ceil((eer or 0) * sample.non_mated)) + 64
        # Thresholds at which FMR and FNMR may cross, rising, and how many scores of either class they accept.
        threshold = np.unique(np.concatenate([sample.tail_score, sample.mated_score]))
        if not sample.complete:
            threshold = threshold[threshold > sample.tail_score[-1]]
        self._false = np.append(np.searchsorted(-sample.tail_score, -threshold, side="right"), 0)
        self._true = np.append(np.searchsorted(-sample.mated_score, -threshold, side="right"), 0)

    def excess(self, eer: float | None) -> tuple[Floats, Floats, float]:
        """`tar_excess`, `far_excess` and `eer_excess` of the replicates; 0 for searches, which one person is behind."""
        sample = self._sample
        size, mated, non_mated = sample.tail_score.size, int(sample.planned_mated.sum()), sample.non_mated
        if sample.tail_b is None or not mated or not size:
            return np.zeros(self._targets.size), np.zeros(self._targets.size), 0.0
        # Where pairs alone are drawn, a Poisson process counts them: the (k+1)-th stands at a Gamma(k+1) position.
        allowed = np.floor(self._targets * non_mated + 1e-12)
        position = np.ceil(gammaincinv(allowed[:, None] + 1, _QUANTILES)).astype(np.int64) - 1
        accepted = self._above[np.minimum(position, size)]
        fars = self._accepted / non_mated
        crossing = 0.0
        if eer:
            heavy, caught = np.arange(min(self._keep, size) + 1), np.arange(sample.mated_score.size + 1)
            spread = ndtri(_QUANTILES[::10]) / math.sqrt(max(1.0, eer * non_mated))
            ends = [self._eer(heavy, caught, non_mated / max(0.1, 1 + each), mated) for each in spread.tolist()]
            crossing = 2 * float(np.var([end for end in ends if end is not None] or [0.0]))
        return 2 * np.var(accepted / mated, axis=1), 2 * fars * (1 - fars) / non_mated, crossing

    def figures(self, drawn: Counts, total: float, mated_total: float) -> tuple[Floats, Floats, float]:
        """TAR and FAR by target, and the EER, of one replicate."""
        sample, size = self._sample, self._sample.tail_score.size
        allowed = np.floor(self._targets * total + 1e-12)
        limit = allowed.max(initial=-1.0)
        caught = np.append(0, np.cumsum(drawn.take(sample.mated_subject)))
        while True:
            heavy = np.append(0, np.cumsum(sample.weights(drawn, self._keep)))
            eer = self._eer(heavy, caught, total, mated_total) if self._crosses else math.nan
            if self._keep >= size or (eer is not None and heavy[-1] > limit):
                break
            self._keep *= 2
        if not sample.complete and heavy[-1] <= limit:
            raise EvaluationError(
                "The kept tail of non-mated scores is too short for this FAR.",
                hint="Ask for a smaller largest FAR, or keep a longer tail.",
            )
        position = np.searchsorted(heavy, allowed, side="right") - 1
        accepted = caught[self._above[np.where(allowed < total, position, size)]]
        return accepted / mated_total, heavy[self._accepted] / total, math.nan if eer is None else eer

    def _eer(self, heavy: Counts, caught: Counts, total: float, mated_total: float) -> float | None:
        """None where the crossing lies below the scores that were weighed."""

        # Times both totals the rates are whole numbers, and comparing them is exact.
        def rates(row: int) -> tuple[float, float]:
            return heavy[self._false[row]] * mated_total, (mated_total - caught[self._true[row]]) * total

        def crossed(row: int) -> bool:
            fmr, fnmr = rates(row)
            return bool(fmr <= fnmr)

        lowest = int(np.searchsorted(-self._false, 1 - heavy.size))
        after = bisect_left(range(self._false.size), True, lo=lowest, key=crossed)
        if after == lowest and (lowest or not self._sample.complete):
            return None
        fmr, fnmr = rates(after)
        before = after if fmr == fnmr or not after else after - 1
        return float(min(sum(rates(before)), fmr + fnmr)) / (2 * total * mated_total)


def eer_interval(eer: float, sample: Sample, drawn: Replicates) -> Interval | None:
    """The interval of the midpoint.

    Either class moves the crossing about half as far as its own rate, which is worth up to four times its comparisons.
    Three times the smaller class was chosen by simulation; near an EER of 0 the interval still covers too little.
    """
    trials = 3 * min(sample.mated_score.size, sample.non_mated)
    return bootstrap_interval(eer, drawn.eer, trials=trials, units=sample.mated_units, excess=drawn.eer_excess)
