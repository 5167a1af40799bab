"""The subject bootstrap of 1:1 figures: people are drawn, not pairs, because pairs that share a person are dependent.

A replicate draws as many people as there are, with replacement. For a person drawn w times, a mated comparison counts
w_a times and a non-mated one w_a * w_b times; two copies of one person are never compared. Every replicate derives its
own threshold. Only the tail of the scores that can reach it is weighed; the rest enters by its total weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facesearch.errors import EvaluationError
from facesearch.evaluation.pairwise import PairSummary
from facesearch.evaluation.rates import Counts, Floats
from facesearch.evaluation.trials.types import ScoredPairs

_CHUNK = 2_000_000
"""Weights held at a time: 16 MB of int64, the one type that NumPy gathers, multiplies and cumulates without casts."""


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """Which people were compared how often, non-mated: subject pairs with counts, or all templates with all."""

    subjects: int
    pair_a: Counts | None = None
    pair_b: Counts | None = None
    pair_count: Floats | None = None
    """Whole numbers; None: every pair once."""
    templates: Counts | None = None
    """(subjects,): of the complete design, which needs no list of pairs."""

    def totals(self, weights: Counts) -> Floats:
        """(r,) weighted number of non-mated comparisons for (r, subjects) weights; exact."""
        if self.templates is not None:
            drawn = weights * self.templates.astype(np.float64)
            return np.asarray((drawn.sum(axis=1) ** 2 - (drawn**2).sum(axis=1)) / 2)
        assert self.pair_a is not None
        assert self.pair_b is not None
        totals = np.empty(len(weights))
        for row, weight in enumerate(weights.astype(np.float64)):
            both = weight.take(self.pair_a) * weight.take(self.pair_b)
            totals[row] = both.sum() if self.pair_count is None else np.dot(both, self.pair_count)
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

    `people` are the sorted distinct ids to draw from; by default those of the completed comparisons. Raises
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
    once = counts.max(initial=1) == 1
    return Design(
        subjects,
        pair_a=keys // subjects,
        pair_b=keys % subjects,
        pair_count=None if once else counts.astype(np.float64),
    )


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
class Draw:
    """r replicates of who was drawn, with the weighted number of comparisons each holds."""

    weights: Counts
    """(r, subjects) int64."""
    non_mated: Floats
    """(r,)."""
    mated: Floats
    """(r,)."""

    @property
    def usable(self) -> NDArray[np.intp]:
        """Replicates in which both classes were drawn."""
        return np.flatnonzero((self.non_mated > 0) & (self.mated > 0))


def draws(sample: Sample, replicates: int, seed: int) -> Iterator[Draw]:
    """Draw the sample's people `replicates` times, in chunks."""
    comparisons = np.bincount(sample.mated_subject, minlength=sample.design.subjects)
    for weights in subject_weights(sample.design.subjects, replicates, seed):
        yield Draw(weights, non_mated=sample.design.totals(weights), mated=(weights @ comparisons).astype(np.float64))


def tar_replicates(sample: Sample, targets: Sequence[float], draw: Draw) -> tuple[Floats, Floats]:
    """TAR at FAR <= target with each replicate's own threshold, and FMR at the sample's own thresholds.

    Both (r, targets) float64; NaN where a class was not drawn. Raises EvaluationError: the tail ends above the
    threshold of a replicate.
    """
    tar, far = np.full((2, len(draw.weights), len(targets)), math.nan)
    above = np.append(np.searchsorted(-sample.mated_score, -sample.tail_score), sample.mated_score.size)
    accepted_non_mated = np.array([_false_matches(sample, target) for target in targets])
    keep = 2 * math.floor(max(targets) * sample.non_mated) + 64
    for row in draw.usable:
        weight, total = draw.weights[row], draw.non_mated[row]
        allowed = np.floor(np.asarray(targets) * total + 1e-12)
        heavy, keep = _weighed_tail(sample, weight, float(allowed.max()), keep)
        position = np.searchsorted(heavy, allowed, side="right") - 1
        accepted = above[np.where(allowed < total, position, sample.tail_score.size)]
        counts = np.zeros(int(accepted.max()) + 1, dtype=np.int64)
        np.cumsum(weight.take(sample.mated_subject[: counts.size - 1]), out=counts[1:])
        tar[row] = counts[accepted] / draw.mated[row]
        far[row] = heavy[accepted_non_mated] / total
    return tar, far


def _false_matches(sample: Sample, target: float) -> int:
    """How many tail entries the sample's own threshold accepts: those strictly above the (k+1)-th."""
    allowed = math.floor(target * sample.non_mated + 1e-12)
    if allowed >= sample.tail_score.size:
        return sample.tail_score.size
    return int(np.searchsorted(-sample.tail_score, -sample.tail_score[allowed]))


def _weighed_tail(sample: Sample, weight: Counts, allowed: float, keep: int) -> tuple[Counts, int]:
    """Cumulated weights of the tail, 0 first, far enough to exceed what is allowed; and how far that was."""
    while True:
        heavy = np.zeros(min(keep, sample.tail_score.size) + 1, dtype=np.int64)
        np.cumsum(weight.take(sample.tail_a[:keep]) * weight.take(sample.tail_b[:keep]), out=heavy[1:])
        if heavy[-1] > allowed or (sample.complete and keep >= sample.tail_score.size):
            return heavy, keep
        if keep >= sample.tail_score.size:
            raise EvaluationError(
                "The kept tail of non-mated scores is too short for this FAR.",
                hint="Ask for a smaller largest FAR, or keep a longer tail.",
            )
        keep *= 2


def eer_replicates(sample: Sample, draw: Draw, expected: float) -> Floats:
    """EER (midpoint) in every replicate, (r,) float64; NaN where a class was not drawn or the tail is too short.

    The rule is that of `verification.equal_error_rate`. `expected`, the EER of the sample, says how much of the tails
    to weigh at first.
    """
    rates = np.full(len(draw.weights), math.nan)
    if not sample.complete and 2 * expected * sample.non_mated > sample.tail_score.size:
        return rates
    share = min(1.0, 2 * expected + 64 / min(sample.non_mated, sample.mated_score.size))
    window = _window(sample, share)
    for row in draw.usable:
        weight, totals = draw.weights[row], (draw.non_mated[row], draw.mated[row])
        rate = _eer_in_window(window, weight, *totals)
        while rate is None and window.share < 1:
            window = _window(sample, min(1.0, 2 * window.share))
            rate = _eer_in_window(window, weight, *totals)
        if rate is not None:
            rates[row] = rate
    return rates


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """The scores where FMR and FNMR may cross: the top of the non-mated and the bottom of the mated."""

    share: float
    tail_a: Counts
    tail_b: Counts
    """Non-mated entries, falling."""
    lowest: Counts
    """Subjects of the mated entries, rising."""
    false_matches: Counts
    """Per threshold, rising: how many of the non-mated entries it accepts."""
    misses: Counts
    """How many of the mated entries it rejects."""


def _window(sample: Sample, share: float) -> _Window:
    keep = min(math.ceil(share * sample.non_mated), sample.tail_score.size)
    lose = math.ceil(share * sample.mated_score.size)
    top = sample.tail_score[:keep][::-1]
    bottom = sample.mated_score[::-1][:lose]
    threshold = np.unique(np.concatenate([top, bottom]))
    # A threshold can be judged where both counts are complete: above the lowest non-mated, up to the highest mated.
    if keep < sample.non_mated:
        threshold = threshold[threshold > top[0]]
    if lose < sample.mated_score.size:
        threshold = threshold[threshold <= bottom[-1]]
        beyond = np.array([], dtype=np.int64)
    else:
        beyond = np.array([lose])
    return _Window(
        share,
        tail_a=sample.tail_a[:keep],
        tail_b=sample.tail_b[:keep],
        lowest=sample.mated_subject[::-1][:lose],
        false_matches=np.append(keep - np.searchsorted(top, threshold), 0 * beyond),
        misses=np.append(np.searchsorted(bottom, threshold), beyond),
    )


def _eer_in_window(window: _Window, weight: Counts, total: float, mated_total: float) -> float | None:
    non_mated = np.cumsum(weight.take(window.tail_a) * weight.take(window.tail_b))
    mated = np.cumsum(weight.take(window.lowest))
    # Times both totals the rates are whole numbers, and comparing them is exact.
    fmr = np.append(0, non_mated)[window.false_matches] * mated_total
    fnmr = np.append(0, mated)[window.misses] * total
    after = int(np.argmax(fmr <= fnmr)) if fmr.size else 0
    if after == 0:
        # The crossing lies outside the window. (With all scores kept, the first row has FMR 1 and FNMR 0.)
        return None
    before = after if fmr[after] == fnmr[after] else after - 1
    return float(min(fmr[before] + fnmr[before], fmr[after] + fnmr[after])) / (2 * total * mated_total)


@dataclass(frozen=True, slots=True, eq=False)
class Replicates:
    """The figures of every replicate; NaN where one lacks a class."""

    tar: Floats
    """(r, targets) float64: TAR at FAR <= target, the threshold derived again."""
    far: Floats
    """(r, targets): FMR at the thresholds of the sample itself."""
    eer: Floats
    """(r,)."""


def replicate(sample: Sample, targets: Sequence[float], eer: float, *, replicates: int, seed: int) -> Replicates:
    """Run the subject bootstrap.

    A sample that keeps a tail only must reach well below the threshold of the largest target. `eer` is the sample's
    own. With one seed and one set of people, figures are paired replicate by replicate.
    """
    tar, far, rates = [], [], []
    for draw in draws(sample, replicates, seed):
        accepted = tar_replicates(sample, targets, draw)
        tar.append(accepted[0])
        far.append(accepted[1])
        rates.append(eer_replicates(sample, draw, eer))
    return Replicates(np.concatenate(tar), np.concatenate(far), np.concatenate(rates))


def mated_units(sample: Sample) -> int:
    """People with a mated comparison."""
    return int(np.unique(sample.mated_subject).size)


def disjoint_pairs(pair_a: Counts, pair_b: Counts) -> int:
    """How many pairs a greedy walk finds that share no person: independent non-mated units."""
    taken: set[int] = set()
    count = 0
    for a, b in zip(pair_a.tolist(), pair_b.tolist(), strict=True):
        if a not in taken and b not in taken:
            taken.update((a, b))
            count += 1
    return count
