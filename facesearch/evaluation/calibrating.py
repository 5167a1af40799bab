"""A threshold for an error target and a gallery size, with what it rests on; or a refusal that says why.

The decision rule is accept iff `score >= threshold`. Thresholds are rounded up, so a rounded one never errs more often.

    basis         holds for          rests on
    empirical     n <= N, or FAR     the errors counted at the threshold itself
    scaled        n > N              FPIR(n) <= n/N FPIR(N), or n FMR, at the upper 95 % confidence limit
    extrapolated  beyond the data    a generalised Pareto tail of the best score per probe, at its upper limit
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.assessment import VerificationResult
from facesearch.evaluation.bootstrap import subject_weights
from facesearch.evaluation.calibration import Basis, Calibration, Metric
from facesearch.evaluation.identification import ONE_SIDED, alarming_subjects, fpir_of_subsets
from facesearch.evaluation.rates import LOW_SUPPORT, Counts, Flag, Flags, Floats, Interval, clustered_interval
from facesearch.evaluation.searches import SearchScores

SHARE = 0.1
"""Of the probes whose best scores make the fitted tail."""
FEWEST = 50
"""Scores a fit needs."""
_FITS = 100
_LIMIT = 0.95


@dataclass(frozen=True, slots=True)
class TailThreshold:
    """A threshold beyond the data, and the rate the fitted tail gives there."""

    threshold: float
    """Upper one-sided 95 % limit of the threshold for the rate asked for."""
    rate: float
    """At the threshold, by the fit to all probes."""
    upper: float
    """At the threshold, one-sided 95 % limit. There is no lower one: the true tail may end before."""


def conservative_threshold(best: Floats, clusters: Counts, rate: float) -> TailThreshold:
    """Fit the tail of the best scores in replicates that draw people; return the 95 % limit of their thresholds.

    Args:
        best: (q,) best score per probe; NaN counts as below everything.
        clusters: (q,) who is on the probes.
        rate: share of probes that may reach the threshold, below `SHARE`.

    Raises EvaluationError: too few probes for a fit, or a rate that needs no extrapolation.
    """
    best = np.where(np.isnan(best), -math.inf, best)
    count = math.floor(SHARE * best.size)
    start = np.partition(best, best.size - count - 1)[best.size - count - 1] if 0 < count < best.size else math.nan
    exceeding = best > start
    if np.count_nonzero(exceeding) < FEWEST or not math.isfinite(start):
        raise EvaluationError(
            f"{best.size} searches are too few for a fitted tail.",
            hint=f"Search with {math.ceil(FEWEST / SHARE)} photos or more.",
        )
    if rate >= SHARE:
        raise EvaluationError(f"A rate of {rate:g} needs no extrapolation.")
    excess = (best[exceeding] - start).astype(np.float64)
    names, codes = np.unique(clusters, return_inverse=True)
    thresholds, parameters = [], []
    for weights in subject_weights(names.size, _FITS, seed=0):
        for weight in weights:
            drawn = weight[codes]
            reached = float(drawn[exceeding].sum() / drawn.sum())
            if reached <= rate:
                continue
            shape, scale = _fit(np.repeat(excess, drawn[exceeding]))
            thresholds.append(start + _quantile(rate / reached, shape, scale))
            parameters.append((reached, shape, scale))
    threshold = float(np.quantile(thresholds, _LIMIT))
    reached, (shape, scale) = excess.size / best.size, _fit(excess)
    rates = [part * _survival(threshold - start, *rest) for part, *rest in parameters]
    rate = reached * _survival(threshold - start, shape, scale)
    return TailThreshold(threshold, rate, upper=float(np.quantile(rates, _LIMIT)))


def _fit(excess: Floats) -> tuple[float, float]:
    from scipy.stats import genpareto

    shape, _, scale = genpareto.fit(excess, floc=0)
    return (float(shape), float(scale)) if shape > 0 else (0.0, float(excess.mean()))


def _quantile(share: float, shape: float, scale: float) -> float:
    """The excess that a share of excesses reaches."""
    return -scale * math.log(share) if shape == 0 else scale / shape * (share**-shape - 1)


def _survival(excess: float, shape: float, scale: float) -> float:
    if shape == 0:
        return math.exp(-excess / scale)
    return float((1 + shape * excess / scale) ** (-1 / shape))


DECIMALS = 6
"""Thresholds are rounded up to so many decimals: as far as float32 cosines agree between machines."""
REACH = 10
"""Extrapolation is refused for rates below 1 / (REACH * probes)."""
EXTRAPOLATED = "EXTRAPOLATED: generalised Pareto tail, people drawn"
"""Names the interval of a fitted tail, whose upper end alone is informative."""


def calibrate_far(result: VerificationResult, target: float) -> Calibration:
    """Return the threshold for FAR <= target from an evaluation that holds that target.

    Raises EvaluationError: the target was not evaluated or is not supported; says how many comparisons are needed.
    """
    found = [point for point in result.points if point.target_far == target]
    if not found:
        raise EvaluationError(f"FAR {target:g} was not evaluated.", hint="Evaluate with this target first.")
    point, counts = found[0], result.counts
    if point.threshold is None or point.far is None or not math.isfinite(point.threshold):
        needed = math.ceil(1 / target)
        raise EvaluationError(
            f"FAR {target:g} cannot be calibrated on {counts.non_mated} non-mated comparisons.",
            hint=f"At least {needed} are needed, and {LOW_SUPPORT * needed} for {LOW_SUPPORT} errors. All pairs of "
            f"{math.ceil(math.sqrt(2 * needed)) + 1} people with one photo each give {needed}.",
        )
    interval = point.far.best_interval
    assert interval is not None
    return Calibration(
        threshold=round_up(point.threshold),
        metric=Metric.FAR,
        target=target,
        basis=Basis.EMPIRICAL,
        errors=point.far.count,
        trials=point.far.total,
        people=counts.subjects or 0,
        estimate=point.far.value,
        interval=interval,
        measured_subjects=0,
        subjects=0,
        valid_up_to=0,
        flag=point.flag,
    )


def round_up(threshold: float) -> float:
    """To `DECIMALS` decimals, never down."""
    nearest = round(threshold, DECIMALS)
    return nearest if nearest >= threshold else round(nearest + 10.0**-DECIMALS, DECIMALS)


def calibrate_fpir(
    scores: SearchScores, target: float, *, subjects: int | None = None, extrapolate: bool = False
) -> Calibration:
    """Return the lowest threshold for FPIR(n) <= target, from non-mated searches against N subjects.

    For n <= N, FPIR(n) is exact over all subsets of the gallery. For n > N, n/N times the upper confidence limit of
    FPIR(N) is kept below the target. Where the data cannot show that, it is refused, or extrapolated if asked for.

    Args:
        scores: searches against N subjects; failed ones count as searches without an alarm.
        target: in (0, 1).
        subjects: n; by default N.
        extrapolate: allow a fitted tail, down to rates of 1 / (10 * probes).

    Raises EvaluationError: the data do not support the target; says how many people on probes would.
    """
    size = scores.subjects if subjects is None else subjects
    if not 0 < target < 1 or size < 1:
        raise EvaluationError(
            f"FPIR {target:g} for {size} subjects is not a target.",
            hint="Give an FPIR between 0 and 1 and at least 1 subject.",
        )
    if not len(scores.top):
        raise EvaluationError("There is no non-mated search.", hint="Search for people who are not in the gallery.")
    clusters = scores.non_mate_id if scores.non_mate_id is not None else np.arange(len(scores.top))
    basis = Basis.EMPIRICAL if size <= scores.subjects else Basis.SCALED
    threshold = _lowest_threshold(scores, lambda candidate: _holds(scores, clusters, candidate, size, target))
    if threshold is None and extrapolate:
        return _extrapolated(scores, clusters, size, target)
    if threshold is None:
        raise _refusal(scores, clusters, size, target)
    chances = fpir_of_subsets(alarming_subjects(scores, threshold), scores.subjects, min(size, scores.subjects))
    return _describe(scores, clusters, threshold, target, size, basis, interval=clustered_interval(chances, clusters))


def _holds(scores: SearchScores, clusters: Counts, threshold: float, size: int, target: float) -> bool:
    chances = fpir_of_subsets(alarming_subjects(scores, threshold), scores.subjects, min(size, scores.subjects))
    if size <= scores.subjects:
        return float(chances.mean()) <= target
    limit = clustered_interval(chances, clusters, level=ONE_SIDED).high
    return size / scores.subjects * limit <= target


def _lowest_threshold(scores: SearchScores, holds: Callable[[float], bool]) -> float | None:
    """The lowest rounded observed score that holds and still raises an alarm; None where only silence holds.

    The alarm ties the threshold to the data: above the last score nothing says where to stop.
    """
    best = scores.top[:, 0]
    candidates = np.unique(best[np.isfinite(best)])
    low, high = 0, candidates.size
    while low < high:
        middle = (low + high) // 2
        if _truncated(scores, candidates[middle]) or not holds(round_up(float(candidates[middle]))):
            low = middle + 1
        else:
            high = middle
    if low == candidates.size:
        return None
    threshold = round_up(float(candidates[low]))
    return threshold if np.any(best >= threshold) else None


def _truncated(scores: SearchScores, threshold: float) -> bool:
    """Whether more subjects alarm than `top` shows: then far too many do."""
    return scores.top.shape[1] < scores.subjects and bool(np.any(scores.top[:, -1] >= round_up(threshold)))


def _describe(
    scores: SearchScores,
    clusters: Counts,
    threshold: float,
    target: float,
    size: int,
    basis: Basis,
    *,
    interval: Interval,
    estimate: float | None = None,
) -> Calibration:
    alarming = alarming_subjects(scores, threshold)
    factor = max(1.0, size / scores.subjects)
    if estimate is None:
        chances = fpir_of_subsets(alarming, scores.subjects, min(size, scores.subjects))
        estimate = min(1.0, factor * float(chances.mean()))
        interval = replace(interval, low=min(1.0, factor * interval.low), high=min(1.0, factor * interval.high))
    errors = int(np.count_nonzero(alarming))
    return Calibration(
        threshold=threshold,
        metric=Metric.FPIR,
        target=target,
        basis=basis,
        errors=errors,
        trials=alarming.size,
        people=int(np.unique(clusters).size),
        estimate=estimate,
        interval=interval,
        measured_subjects=scores.subjects,
        subjects=size,
        valid_up_to=size,
        flag=Flag.LOW_SUPPORT if errors < LOW_SUPPORT else None,
    )


def _refusal(scores: SearchScores, clusters: Counts, size: int, target: float) -> EvaluationError:
    rate = target * min(1.0, scores.subjects / size)
    # One alarm must be allowed. Its upper limit, scaled, is that of 4.75 expected alarms (Poisson, 95 %).
    needed = math.ceil(1 / target if size <= scores.subjects else 4.75 / rate)
    people = int(np.unique(clusters).size)
    return EvaluationError(
        f"FPIR {target:g} for {size} subjects cannot be calibrated on {len(scores.top)} searches for {people} people "
        f"against {scores.subjects} subjects.",
        hint=f"Search for about {needed} people who are not enrolled, or choose a larger target.",
    )


def _extrapolated(scores: SearchScores, clusters: Counts, size: int, target: float) -> Calibration:
    rate = target * min(1.0, scores.subjects / size)
    if rate * REACH * len(scores.top) < 1:
        raise EvaluationError(
            f"FPIR {target:g} for {size} subjects lies more than {REACH} times beyond {len(scores.top)} searches.",
            hint=f"Extrapolation needs at least {math.ceil(1 / (REACH * rate))} searches.",
        )
    tail = conservative_threshold(scores.top[:, 0], clusters, rate)
    factor = max(1.0, size / scores.subjects)
    threshold = round_up(tail.threshold)
    if threshold > 1:
        raise EvaluationError(
            f"The limit for FPIR {target:g} lies above 1: no face could ever match.", hint="Search for more people."
        )
    interval = Interval(0.0, min(1.0, factor * tail.upper), EXTRAPOLATED, assumes_independence=False, level=ONE_SIDED)
    return _describe(
        scores,
        clusters,
        threshold,
        target,
        size,
        Basis.EXTRAPOLATED,
        interval=interval,
        estimate=min(1.0, factor * tail.rate),
    )


def split_people(people: Counts, share: float = 0.5, seed: int = 0) -> Flags:
    """Return (n,) bool: rows of the people a threshold is fitted on. The other rows check it; nobody is in both.

    `people` are (n,) codes; `share` of them, in (0, 1), is fitted on. Raises EvaluationError: a side without anyone.
    """
    names = np.unique(people)
    count = round(share * names.size)
    if not 0 < count < names.size:
        raise EvaluationError(f"{names.size} people cannot be split.", hint="Give at least two people.")
    chosen = np.random.default_rng(seed).permutation(names)[:count]
    return np.isin(people, chosen)
