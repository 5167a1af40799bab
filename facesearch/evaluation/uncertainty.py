"""How sure a rate is: intervals that treat people, not pairs, as the independent units, and naive ones beside them.

The primary interval takes the variance from the subject bootstrap and the shape from Wilson: the effective number
of trials n* = p (1 - p) / var is what independent trials would have given the same variance, and Wilson's interval
is that of p with n* trials. Plain percentiles of the same replicates cover as well for middling rates, but near 0
or 1 they fall short, as low as 79 % for a TAR of 0.99 and 60 people (`python -m benchmarks coverage` measures both).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.bootstrap import draws, eer_replicates, sample_of_pairs, tar_replicates
from facesearch.evaluation.results.comparisons import PairedDifference
from facesearch.evaluation.results.rates import LEVEL, Interval, ZeroErrorBound
from facesearch.evaluation.results.scores import ScoredPairs
from facesearch.evaluation.results.verification import RocBand
from facesearch.evaluation.verification import equal_error_rate, error_curve, tar_at_far

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facesearch.evaluation.bootstrap import Sample
    from facesearch.evaluation.results.arrays import Counts, Floats

REPLICATES = 1000
"""Enough for a variance to 5 % and for 2.5 % percentiles."""
BOOTSTRAP = "subject bootstrap"
_MISSING = 0.1
"""Share of replicates that may lack a class before an interval is refused."""


def wilson(count: float, total: float, level: float = LEVEL) -> Interval:
    """Wilson's score interval for count successes in total >= 1 independent trials.

    >>> interval = wilson(0, 10)
    >>> interval.low, round(interval.high, 4)
    (0.0, 0.2775)
    """
    low, high = _wilson(_share(count, total), total, level)
    return Interval(low, high, method="Wilson", assumes_independence=True, level=level)


def _share(count: float, total: float) -> float:
    if not 0 <= count <= total or total <= 0:
        raise EvaluationError(f"{count:g} of {total:g} is no rate.", hint="0 <= count <= total, and total above 0.")
    return count / total


def _wilson(rate: float, trials: float, level: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + level) / 2)
    shrink = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / shrink
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / shrink
    low = 0.0 if rate == 0 else max(0.0, centre - half)
    high = 1.0 if rate == 1 else min(1.0, centre + half)
    return low, high


def clopper_pearson(count: int, total: int, level: float = LEVEL) -> Interval:
    """The exact binomial interval: covers at least `level`, usually more.

    >>> round(clopper_pearson(0, 10).high, 4)
    0.3085
    """
    from scipy.special import betaincinv

    _share(count, total)
    tail = (1 - level) / 2
    low = float(betaincinv(count, total - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, total - count, 1 - tail)) if count < total else 1.0
    return Interval(low, high, method="Clopper-Pearson", assumes_independence=True, level=level)


def upper_limit(count: int, total: int, level: float = LEVEL) -> float:
    """One-sided Clopper-Pearson limit: the largest rate that shows <= count errors with probability 1 - level.

    >>> round(upper_limit(0, 100), 4)
    0.0295
    """
    from scipy.special import betaincinv

    _share(count, total)
    return float(betaincinv(count + 1, total - count, level)) if count < total else 1.0


def zero_error_bound(units: int, trials: int, level: float = LEVEL) -> ZeroErrorBound:
    """What no error in `trials` trials of `units` independent units still allows: 1 - (1 - level)^(1/units).

    >>> round(zero_error_bound(units=30, trials=3000).upper, 3)
    0.095
    """
    if not 1 <= units <= trials:
        raise EvaluationError(f"{units} independent units in {trials} trials is impossible.")
    return ZeroErrorBound(
        upper=-math.expm1(math.log1p(-level) / units),
        units=units,
        naive_upper=-math.expm1(math.log1p(-level) / trials),
        trials=trials,
        level=level,
    )


def bootstrap_interval(
    rate: float, replicates: Floats, *, trials: int, units: int, level: float = LEVEL
) -> Interval | None:
    """Wilson's interval of `rate` with the effective number of trials that the replicates' variance implies.

    Args:
        rate: the estimate, 0..1.
        replicates: (r,) the same figure in every replicate; NaN where it could not be computed.
        trials: caps the effective number.
        units: independent units: the effective number where replicates or rate show no variance.
        level: confidence.

    Returns:
        None where a tenth of the replicates or more are NaN: too few people.

    >>> replicates = np.random.default_rng(0).normal(0.9, 0.02, 1000)
    >>> interval = bootstrap_interval(0.9, replicates, trials=1000, units=300)
    >>> round(interval.low, 2), round(interval.high, 2)
    (0.86, 0.93)
    """
    found = replicates[~np.isnan(replicates)]
    if found.size < 2 or found.size <= (1 - _MISSING) * replicates.size:
        return None
    variance, spread = float(np.var(found, ddof=1)), rate * (1 - rate)
    effective = spread / variance if variance > 0 and spread > 0 else float(units)
    low, high = _wilson(rate, max(1.0, min(effective, trials)), level)
    return Interval(low, high, method=BOOTSTRAP, assumes_independence=False, level=level)


def clustered_interval(values: Floats, clusters: Counts, level: float = LEVEL) -> Interval:
    """Interval of the mean of values in 0..1 that come in clusters, as several probes of one person.

    Wilson's, with the effective number of trials that the variance between clusters implies (Liang & Zeger's
    variance of a ratio); where values do not vary, every cluster is one trial. For one-sided limits take
    `clustered_interval(..., level=0.9).high`, a 95 % limit.

    Args:
        values: (n,) 0..1, n >= 1. clusters: (n,) codes of the people. level: two-sided confidence.

    >>> interval = clustered_interval(np.zeros(300), np.arange(300) // 10, level=0.9)
    >>> interval.low, round(interval.high, 3)
    (0.0, 0.083)
    """
    names, codes = np.unique(clusters, return_inverse=True)
    mean = float(values.mean())
    spread = mean * (1 - mean)
    sums = np.bincount(codes, weights=values - mean)
    variance = float((sums**2).sum()) / values.size**2 * names.size / max(1, names.size - 1)
    effective = spread / variance if variance > 0 and spread > 0 else float(names.size)
    low, high = _wilson(mean, max(1.0, effective), level)
    return Interval(low, high, method="people as units", assumes_independence=False, level=level)


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

    Args:
        sample: see `bootstrap.sample_of_pairs`.
        targets: FARs; a sample that keeps a tail only must reach well below the threshold of the largest.
        eer: the sample's own, which says where to look.
        replicates: how many.
        seed: of the draws; with one seed and one set of people figures are paired replicate by replicate.
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


def roc_band(far: Floats, tar: Floats, replicates: Floats | None, *, trials: int, units: int) -> RocBand:
    """Pointwise intervals of TAR on a FAR grid (k,), from replicates (r, k), or Wilson's without."""
    intervals = []
    for column, rate in enumerate(tar):
        interval = None
        if replicates is not None:
            interval = bootstrap_interval(float(rate), replicates[:, column], trials=trials, units=units)
        intervals.append(interval or wilson(float(rate) * trials, trials))
    return RocBand(
        far=far,
        tar=tar,
        low=np.array([interval.low for interval in intervals]),
        high=np.array([interval.high for interval in intervals]),
        method=intervals[0].method,
        assumes_independence=any(interval.assumes_independence for interval in intervals),
    )


def disjoint_pairs(pair_a: Counts, pair_b: Counts) -> int:
    """How many pairs a greedy walk finds that share no person: independent non-mated units.

    >>> disjoint_pairs(np.array([0, 0, 2]), np.array([1, 2, 3]))
    2
    """
    taken: set[int] = set()
    count = 0
    for a, b in zip(pair_a.tolist(), pair_b.tolist(), strict=True):
        if a not in taken and b not in taken:
            taken.update((a, b))
            count += 1
    return count


def compare(
    a: ScoredPairs,
    b: ScoredPairs,
    targets: Sequence[float] = (1e-2, 1e-3),
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    level: float = LEVEL,
) -> tuple[PairedDifference, ...]:
    """B minus A in TAR at each FAR target, and in EER last, with percentile intervals from common replicates.

    Every replicate draws the same people for both and derives each one's own threshold. A failed mated comparison
    counts as rejected, so that refusing the hard photos wins nothing; failed non-mated ones are left out.

    Args:
        a, b: comparisons with identities of the same people, the same person under the same code.
        targets: FARs that both support.

    Raises:
        EvaluationError: other people in A than in B, a FAR that one of them does not support, no identities.

    >>> rng = np.random.default_rng(0)
    >>> one, two = np.triu_indices(40, 1)
    >>> id_a, id_b = np.append(np.arange(40), one), np.append(np.arange(40), two)
    >>> a = ScoredPairs(rng.normal(2.0 * (id_a == id_b), 1.0), id_a == id_b, id_a, id_b)
    >>> b = ScoredPairs(rng.normal(5.0 * (id_a == id_b), 1.0), id_a == id_b, id_a, id_b)
    >>> [difference.decided for difference in compare(a, b, [0.05], replicates=200)]
    [True, True]
    """
    people = [_people(pairs) for pairs in (a, b)]
    if not np.array_equal(people[0], people[1]):
        raise EvaluationError(
            "The two evaluations are not about the same people: no paired difference.",
            hint="Evaluate both on the same photos.",
        )
    samples = [sample_of_pairs(_failures_rejected(pairs), people[0]) for pairs in (a, b)]
    curves = [error_curve(sample.mated_score, sample.tail_score) for sample in samples]
    rates = [equal_error_rate(curve).midpoint for curve in curves]
    drawn = [
        replicate(sample, targets, rate, replicates=replicates, seed=seed)
        for sample, rate in zip(samples, rates, strict=True)
    ]
    differences = []
    for column, target in enumerate(targets):
        points = [tar_at_far(curve, target).tar for curve in curves]
        if points[0] is None or points[1] is None:
            raise EvaluationError(f"FAR {target:g} is not supported by both.", hint="Compare at a larger FAR.")
        estimates = points[0].value, points[1].value
        gaps = drawn[1].tar[:, column] - drawn[0].tar[:, column]
        differences.append(_difference(f"TAR at FAR {target:g}", estimates, gaps, level))
    differences.append(_difference("EER", (rates[0], rates[1]), drawn[1].eer - drawn[0].eer, level))
    return tuple(differences)


def _people(pairs: ScoredPairs) -> Counts:
    if pairs.id_a is None or pairs.id_b is None:
        raise EvaluationError("A paired comparison needs identities.", hint="Add the columns id_a and id_b.")
    return np.unique(np.concatenate([pairs.id_a, pairs.id_b]))


def _failures_rejected(pairs: ScoredPairs) -> ScoredPairs:
    score = np.where(np.isnan(pairs.score) & pairs.mated, -math.inf, pairs.score)
    return ScoredPairs(score, pairs.mated, pairs.id_a, pairs.id_b, pairs.fold)


def _difference(metric: str, estimates: tuple[float, float], gaps: Floats, level: float) -> PairedDifference:
    if np.isnan(gaps).mean() >= _MISSING:
        raise EvaluationError(f"Too few people to say how sure a difference in {metric} is.")
    low, high = np.nanquantile(gaps, [(1 - level) / 2, (1 + level) / 2])
    return PairedDifference(
        metric=metric,
        a=estimates[0],
        b=estimates[1],
        difference=estimates[1] - estimates[0],
        interval=Interval(float(low), float(high), f"{BOOTSTRAP}, percentile", assumes_independence=False, level=level),
    )
