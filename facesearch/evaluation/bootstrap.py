"""The subject bootstrap of 1:1 figures: people are drawn, not pairs, since pairs that share a person are dependent.

A replicate draws as many people as there are, with replacement. A person drawn w times weighs w: a mated comparison
counts w_a times, a non-mated one w_a * w_b times (two copies of one person are never compared). The threshold is
derived again in every replicate. Only the tail of the scores that can reach it is weighed, which changes nothing:
the rest enters by its total weight alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from facesearch.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from facesearch.evaluation.results import Counts, Floats, PairSummary, ScoredPairs

    Weights = NDArray[np.int32]

_CHUNK = 4_000_000
"""Weights held at a time: 16 MB of int32."""


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """Which people were compared how often, non-mated: subject pairs with counts, or all templates with all."""

    subjects: int
    pair_a: Counts | None = None
    pair_b: Counts | None = None
    pair_count: Counts | None = None
    templates: Counts | None = None
    """(subjects,): of the complete design, which needs no list of pairs."""

    def totals(self, weights: Weights) -> Floats:
        """(r,) weighted number of non-mated comparisons for (r, subjects) weights; exact."""
        if self.templates is not None:
            drawn = weights * self.templates.astype(np.float64)
            return np.asarray((drawn.sum(axis=1) ** 2 - (drawn**2).sum(axis=1)) / 2)
        assert self.pair_a is not None and self.pair_b is not None and self.pair_count is not None  # noqa: PT018
        totals = np.empty(len(weights))
        for row, weight in enumerate(weights):
            totals[row] = np.dot(weight[self.pair_a] * weight[self.pair_b], self.pair_count)
        return totals


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Scores with the people behind them, both classes sorted from the highest score down."""

    mated_score: Floats
    mated_subject: Counts
    tail_score: Floats
    tail_a: Counts
    tail_b: Counts
    complete: bool
    """The tail holds every non-mated score."""
    non_mated: int
    design: Design


def sample_of_pairs(pairs: ScoredPairs, people: Counts | None = None) -> Sample:
    """Prepare completed comparisons for the bootstrap.

    Args:
        pairs: with identities.
        people: sorted distinct ids of everyone to draw from; by default those of the completed comparisons.

    Raises:
        EvaluationError: no identities, a mated pair of two people or a non-mated pair of one.
    """
    if pairs.id_a is None or pairs.id_b is None:
        raise EvaluationError(
            "The subject bootstrap needs to know who is in each pair.", hint="Add the columns id_a and id_b."
        )
    completed = ~np.isnan(pairs.score)
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
    return Sample(
        mated_score=score[first],
        mated_subject=code_a[first],
        tail_score=score[second],
        tail_a=code_a[second],
        tail_b=code_b[second],
        complete=True,
        non_mated=second.size,
        design=_design_of_pairs(code_a[second], code_b[second], people.size),
    )


def _design_of_pairs(code_a: Counts, code_b: Counts, subjects: int) -> Design:
    low, high = np.minimum(code_a, code_b), np.maximum(code_a, code_b)
    keys, counts = np.unique(low * subjects + high, return_counts=True)
    return Design(subjects, pair_a=keys // subjects, pair_b=keys % subjects, pair_count=counts)


def sample_of_summary(summary: PairSummary) -> Sample:
    """Prepare a blocked product for the bootstrap."""
    templates = np.bincount(summary.subject)
    order = np.argsort(-summary.mated_score, kind="stable")
    return Sample(
        mated_score=summary.mated_score[order],
        mated_subject=summary.mated_id[order].astype(np.int64),
        tail_score=summary.tail_score.astype(np.float64),
        tail_a=summary.subject[summary.tail_a].astype(np.int64),
        tail_b=summary.subject[summary.tail_b].astype(np.int64),
        complete=summary.floor == -math.inf,
        non_mated=summary.non_mated,
        design=Design(templates.size, templates=templates),
    )


def subject_weights(subjects: int, replicates: int, seed: int) -> Iterator[Weights]:
    """How often each person is drawn, in chunks of (r, subjects) int32 whose r sum to `replicates`.

    The draws depend on the three arguments alone: figures with one seed are paired replicate by replicate.

    >>> [chunk.sum(axis=1).tolist() for chunk in subject_weights(5, 3, seed=0)]
    [[5, 5, 5]]
    """
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // subjects)
    for start in range(0, replicates, rows):
        count = min(rows, replicates - start)
        chunk = np.empty((count, subjects), dtype=np.int32)
        for row in range(count):
            chunk[row] = np.bincount(rng.integers(subjects, size=subjects), minlength=subjects)
        yield chunk


def tar_replicates(sample: Sample, targets: Sequence[float], weights: Weights) -> Floats:
    """TAR at FAR <= target in every replicate, (r, targets) float64; NaN where a class was not drawn.

    Raises:
        EvaluationError: the tail ends above the threshold of a replicate.
    """
    totals = sample.design.totals(weights)
    rates = np.full((len(weights), len(targets)), math.nan)
    above = np.append(
        np.searchsorted(-sample.mated_score, -sample.tail_score),
        sample.mated_score.size,
    )
    mated_total = weights @ np.bincount(sample.mated_subject, minlength=weights.shape[1])
    keep = 2 * math.floor(max(targets) * sample.non_mated) + 64
    for row, weight in enumerate(weights):
        if not totals[row] or not mated_total[row]:
            continue
        allowed = np.floor(np.asarray(targets) * totals[row] + 1e-12)
        position = _first_beyond(sample, weight, allowed, totals[row], keep)
        accepted = above[position]
        counts = np.zeros(int(accepted.max()) + 1, dtype=np.int64)
        np.cumsum(weight[sample.mated_subject[: counts.size - 1]], out=counts[1:])
        rates[row] = counts[accepted] / mated_total[row]
    return rates


def _first_beyond(sample: Sample, weight: NDArray[np.int32], allowed: Floats, total: float, keep: int) -> Counts:
    """Positions in the tail of the first non-mated score that exceeds the allowed weight; k: all are allowed."""
    while True:
        heavy = np.cumsum(weight[sample.tail_a[:keep]] * weight[sample.tail_b[:keep]], dtype=np.int64)
        position = np.searchsorted(heavy, allowed, side="right")
        if position.max(initial=0) < heavy.size:
            return position
        if keep >= sample.tail_score.size:
            if not sample.complete and allowed.max() < total:
                raise EvaluationError(
                    "The kept tail of non-mated scores is too short for this FAR.",
                    hint="Ask for a smaller largest FAR, or keep a longer tail.",
                )
            return np.where(allowed < total, position, sample.tail_score.size)
        keep *= 2


def eer_replicates(sample: Sample, weights: Weights, expected: float) -> Floats:
    """EER (midpoint) in every replicate, (r,) float64; NaN where a class was not drawn or the tail is too short.

    Args:
        sample: scores; the rule is that of `verification.equal_error_rate`.
        weights: (r, subjects).
        expected: the EER of the sample; says how much of the tails to weigh at first.
    """
    totals = sample.design.totals(weights)
    mated_total = weights @ np.bincount(sample.mated_subject, minlength=weights.shape[1])
    rates = np.full(len(weights), math.nan)
    share = min(1.0, 2 * expected + 64 / min(sample.non_mated, sample.mated_score.size))
    window = _window(sample, share)
    for row, weight in enumerate(weights):
        if not totals[row] or not mated_total[row]:
            continue
        rate = _eer_in_window(window, weight, totals[row], mated_total[row])
        while rate is None and window.share < 1:
            window = _window(sample, min(1.0, 2 * window.share))
            rate = _eer_in_window(window, weight, totals[row], mated_total[row])
        if rate is not None:
            rates[row] = rate
    return rates


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """The scores where FMR and FNMR may cross, rising: the top of the non-mated and the bottom of the mated."""

    share: float
    side_a: Counts
    side_b: Counts
    """Equal to `side_a` for mated entries."""
    mated: NDArray[np.bool_]
    starts: Counts
    """First entry of every distinct score within the window."""
    closed_below: bool
    closed_above: bool


def _window(sample: Sample, share: float) -> _Window:
    keep = min(math.ceil(share * sample.non_mated), sample.tail_score.size)
    lose = math.ceil(share * sample.mated_score.size)
    score = np.concatenate([sample.tail_score[:keep], sample.mated_score[sample.mated_score.size - lose :]])
    mated = np.arange(score.size) >= keep
    order = np.argsort(score, kind="stable")
    side_a = np.concatenate([sample.tail_a[:keep], sample.mated_subject[sample.mated_score.size - lose :]])[order]
    side_b = np.concatenate([sample.tail_b[:keep], sample.mated_subject[sample.mated_score.size - lose :]])[order]
    score, mated = score[order], mated[order]
    starts = np.flatnonzero(np.append(True, score[1:] != score[:-1]))
    closed_below = sample.complete and keep == sample.tail_score.size
    closed_above = lose == sample.mated_score.size
    # A row is usable where both counts are complete: above the lowest kept non-mated, up to the highest kept mated.
    usable = np.ones(starts.size, dtype=np.bool_)
    if not closed_below:
        usable &= score[starts] > sample.tail_score[keep - 1]
    if not closed_above:
        usable &= score[starts] <= sample.mated_score[sample.mated_score.size - lose]
    return _Window(share, side_a, side_b, mated, starts[usable], closed_below, closed_above)


def _eer_in_window(window: _Window, weight: NDArray[np.int32], total: float, mated_total: float) -> float | None:
    weight_a = weight[window.side_a].astype(np.int64)
    heavy = np.where(window.mated, weight_a, weight_a * weight[window.side_b])
    non_mated = np.cumsum(np.where(window.mated, 0, heavy))
    mated = np.cumsum(heavy) - non_mated
    before = window.starts - 1
    fmr = (non_mated[-1] - np.where(before >= 0, non_mated[before], 0)) / total
    fnmr = np.where(before >= 0, mated[before], 0) / mated_total
    if window.closed_above:
        fmr, fnmr = np.append(fmr, 0.0), np.append(fnmr, 1.0)
    crossed = fmr <= fnmr
    if not crossed.any() or (crossed[0] and not (window.closed_below and window.closed_above)):
        return None
    after = int(np.argmax(crossed))
    sums = (fmr + fnmr)[[max(after - 1, 0), after]]
    if fmr[after] == fnmr[after]:
        return float(fmr[after])
    return float(sums.min() / 2)
