"""A threshold for an error target and a gallery size, with what it rests on; or a refusal that says why.

The decision rule is accept iff `score >= threshold`. Thresholds are rounded up, so a rounded one never errs more often.
"At most" means it: the upper confidence limit of the rate is kept at the target, not the estimate.

    basis         holds for          rests on
    empirical     n <= N, or FAR     the errors counted at the threshold itself
    scaled        n > N              FPIR(n) <= n/N FPIR(N)
    extrapolated  beyond the data    a generalised Pareto tail of the best score per probe, at its upper limit
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.bootstrap import Sample, replicate
from facesearch.evaluation.calibration import Basis, Calibration, Metric
from facesearch.evaluation.identification import alarming_subjects, fpir_of_subsets
from facesearch.evaluation.rates import (
    LOW_SUPPORT,
    REPLICATES,
    Counts,
    Flag,
    Flags,
    Floats,
    Interval,
    clustered_interval,
    effective_trials,
    surrounded,
    upper_limit,
)
from facesearch.evaluation.searches import SearchScores
from facesearch.evaluation.tails import conservative_threshold
from facesearch.evaluation.verification import ErrorCurve, tar_at_far
from facesearch.types import Fusion


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be calibrated."""

    metric: Metric
    target: float
    """In (0, 1): at most this rate."""
    subjects: int
    """n, the gallery size the threshold is to hold for."""
    confidence: float = 0.9
    """One-sided, in [0.5, 1): of the limit that is kept at the target. 0.5 takes the estimate itself."""
    split: bool = True
    """Fit on half of the people and check on the others."""
    extrapolate: bool = False
    seed: int = 0
    fusion: Fusion = Fusion.MEAN

    def __post_init__(self) -> None:
        """Raise EvaluationError for numbers out of their range."""
        if not 0 < self.target < 1 or self.subjects < 1 or not 0.5 <= self.confidence < 1:
            raise EvaluationError(
                f"{self.metric.upper()} {self.target:g} for {self.subjects} subjects at confidence "
                f"{self.confidence:g} cannot be calibrated.",
                "Give a rate between 0 and 1, at least 1 subject, and a confidence from 0.5 up to below 1.",
            )


DECIMALS = 6
"""Thresholds are rounded up to so many decimals: as far as float32 cosines agree between machines."""
STEP = 10.0**-DECIMALS


def round_up(threshold: float) -> float:
    """To `DECIMALS` decimals, never down."""
    nearest = round(threshold, DECIMALS)
    return nearest if nearest >= threshold else round(nearest + STEP, DECIMALS)


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


@dataclass(frozen=True, slots=True)
class FpirEstimate:
    """FPIR of a gallery of n people at one threshold, from non-mated searches against N."""

    errors: int
    """Searches that alarm among all N."""
    trials: int
    people: int
    subjects: int
    """n."""
    value: float
    """Exact over all galleries of n <= N people; for more, the bound n/N FPIR(N)."""
    interval: Interval
    limit: float
    """One-sided upper limit at the confidence asked for."""


def estimate_fpir(scores: SearchScores, threshold: float, request: Request) -> FpirEstimate:
    """FPIR(n) at `threshold`. Raises EvaluationError: see `alarming_subjects`."""
    alarming = alarming_subjects(scores, threshold)
    chances = fpir_of_subsets(alarming, scores.subjects, min(request.subjects, scores.subjects))
    units = scores.units(threshold)
    factor = max(1.0, request.subjects / scores.subjects)
    value, interval = float(chances.mean()), clustered_interval(chances, units)
    # Few alarms show little of how they cluster: no limit lies below that of as many people without any alarm.
    silent = upper_limit(0.0, np.unique(units).size, request.confidence) * min(1.0, request.subjects / scores.subjects)
    # How alarms cluster is estimated from the k people who alarm: the effective number is taken k / (k + 1) as large.
    alarmed = np.unique(units[alarming > 0]).size
    trials = effective_trials(chances, units) * (alarmed / (alarmed + 1) if alarmed else 1.0)
    limit = max(silent, upper_limit(value, trials, request.confidence))
    low, high, value, limit = (min(1.0, factor * each) for each in (interval.low, interval.high, value, limit))
    people = scores.non_mate_id if scores.non_mate_id is not None else units
    return FpirEstimate(
        errors=int(np.count_nonzero(alarming)),
        trials=alarming.size,
        people=int(np.unique(people).size),
        subjects=request.subjects,
        value=value,
        interval=Interval(low, high, interval.method, assumes_independence=False),
        limit=limit,
    )


def calibrate_fpir(scores: SearchScores, request: Request) -> Calibration:
    """Return the lowest threshold whose upper limit of FPIR(n) is at most the target.

    `scores` are non-mated searches against N subjects; failed ones count as searches without an alarm. Where the data
    cannot show that, it is refused, or extrapolated if asked for, down to rates of 1 / (10 * probes).

    Raises EvaluationError: the data do not support the target; says how many people on probes would.
    """
    if not len(scores.top):
        raise EvaluationError("There is no non-mated search.", hint="Search for people who are not in the gallery.")
    threshold = _lowest_threshold(scores, request)
    if threshold is not None:
        # Searches for the gallery's own people are made in a gallery of one less.
        measured = scores.subjects + (scores.partner is not None)
        basis = Basis.EMPIRICAL if request.subjects <= measured else Basis.SCALED
        return _calibration(estimate_fpir(scores, threshold, request), threshold, basis, scores, request)
    if request.extrapolate:
        return _extrapolated(scores, request)
    raise _refusal(scores, request)


def _lowest_threshold(scores: SearchScores, request: Request) -> float | None:
    """The lowest rounded observed score that holds, or just above the highest; None where neither does.

    Above the last score only a limit says how many alarms may go unseen: the estimate, 0, says nothing.
    """
    best = scores.top[:, 0]
    candidates = [round_up(each) for each in np.unique(best[np.isfinite(best)]).tolist()]
    if candidates and request.confidence > 0.5:
        candidates.append(round(candidates[-1] + STEP, DECIMALS))
    low, high = 0, len(candidates)
    while low < high:
        middle = (low + high) // 2
        if _holds(scores, candidates[middle], request):
            high = middle
        else:
            low = middle + 1
    if low == len(candidates) or candidates[low] > 1:
        return None
    silent = request.confidence <= 0.5 and not np.any(best >= candidates[low])
    return None if silent else candidates[low]


def _holds(scores: SearchScores, threshold: float, request: Request) -> bool:
    if scores.top.shape[1] < scores.subjects and np.any(scores.top[:, -1] >= threshold):
        return False  # more subjects alarm than `top` shows: far too many
    return estimate_fpir(scores, threshold, request).limit <= request.target


def _calibration(
    found: FpirEstimate, threshold: float, basis: Basis, scores: SearchScores, request: Request
) -> Calibration:
    return Calibration(
        threshold=threshold,
        metric=Metric.FPIR,
        target=request.target,
        basis=basis,
        confidence=request.confidence,
        errors=found.errors,
        trials=found.trials,
        people=found.people,
        estimate=found.value,
        limit=found.limit,
        interval=found.interval,
        measured_subjects=scores.subjects,
        subjects=request.subjects,
        valid_up_to=request.subjects,
        flag=Flag.LOW_SUPPORT if found.errors < LOW_SUPPORT else None,
    )


def _refusal(scores: SearchScores, request: Request) -> EvaluationError:
    rate = request.target * min(1.0, scores.subjects / request.subjects)
    # Without a single alarm the limit is 1 - (1 - confidence)^(1/people); the estimate needs one alarm.
    allowed = 1 - request.confidence
    needed = math.ceil(1 / rate if request.confidence <= 0.5 else math.log(allowed) / math.log1p(-rate))
    people = int(np.unique(scores.units(math.inf)).size)
    halved = ": half of the people are kept for the check, --no-split uses all" if request.split else ""
    return EvaluationError(
        f"FPIR {request.target:g} for {request.subjects:,} people cannot be calibrated on {len(scores.top):,} searches "
        f"for {people:,} people{halved}.",
        hint=f"Search for about {needed:,} people who are not enrolled, or choose a larger target.",
    )


REACH = 10
"""Extrapolation is refused for rates below 1 / (REACH * probes)."""
EXTRAPOLATED = "EXTRAPOLATED: generalised Pareto tail, people drawn"
"""Names the interval of a fitted tail, whose upper end alone is informative."""


def _extrapolated(scores: SearchScores, request: Request) -> Calibration:
    factor = max(1.0, request.subjects / scores.subjects)
    rate = request.target / factor
    named = f"FPIR {request.target:g} for {request.subjects:,} people"
    if rate * REACH * len(scores.top) < 1:
        raise EvaluationError(
            f"{named} lies more than {REACH} times beyond {len(scores.top):,} searches.",
            hint=f"Extrapolation needs at least {math.ceil(1 / (REACH * rate)):,} searches.",
        )
    tail = conservative_threshold(scores.top[:, 0], scores.units(math.inf), rate, request.confidence)
    threshold = round_up(tail.threshold)
    if threshold > 1:
        raise EvaluationError(
            f"The limit for {named} lies above 1: no face could ever match.", hint="Search for more people."
        )
    upper = min(1.0, factor * tail.upper)
    level = 2 * request.confidence - 1
    interval = Interval(0.0, upper, EXTRAPOLATED, assumes_independence=False, level=level)
    counted = estimate_fpir(scores, threshold, request)
    fitted = replace(counted, value=min(1.0, factor * tail.rate), interval=interval, limit=upper)
    return _calibration(fitted, threshold, Basis.EXTRAPOLATED, scores, request)


def calibrate_far(curve: ErrorCurve, sample: Sample | None, request: Request) -> Calibration:
    """Return the lowest threshold whose upper limit of the FAR is at most the target.

    `sample` gives the limit of comparisons that share people; without it they count as independent. Raises
    EvaluationError: the comparisons do not support the target; says how many are needed.
    """
    shares = request.target * np.linspace(1, 0.02, 50)
    points = [each for each in (tar_at_far(curve, float(share)) for share in shares) if each.far is not None]
    points = [each for each in points if each.threshold is not None and math.isfinite(each.threshold)]
    drawn = None
    if sample is not None and points:
        fars = [each.target_far for each in points]
        drawn = replicate(sample, fars, None, replicates=REPLICATES, seed=request.seed).far
    for column, point in enumerate(points):
        assert point.far is not None
        assert point.threshold is not None
        units = curve.non_mated if sample is None else sample.non_mated_units
        far = surrounded(point.far, units, None if drawn is None else drawn[:, column])
        interval = far.best_interval
        assert interval is not None
        limit = upper_limit(far.value, _trials_of(far.value, drawn, column, curve.non_mated), request.confidence)
        if limit <= request.target:
            return Calibration(
                threshold=round_up(point.threshold),
                metric=Metric.FAR,
                target=request.target,
                basis=Basis.EMPIRICAL,
                confidence=request.confidence,
                errors=far.count,
                trials=far.total,
                people=0 if sample is None else sample.subjects,
                estimate=far.value,
                limit=limit,
                interval=interval,
                measured_subjects=0,
                subjects=0,
                valid_up_to=0,
                flag=point.flag,
            )
    # One false match must be allowed; its limit at 0.9 is that of 3.9 expected ones.
    needed = math.ceil((1.0 if request.confidence <= 0.5 else 3.9) / request.target)
    raise EvaluationError(
        f"FAR {request.target:g} cannot be calibrated on {curve.non_mated:,} non-mated comparisons.",
        hint=f"At least {needed:,} are needed. All pairs of {math.ceil(math.sqrt(2 * needed)) + 1:,} people with one "
        f"photo each give {needed:,}.",
    )


def _trials_of(rate: float, drawn: Floats | None, column: int, trials: int) -> float:
    """Independent comparisons with the variance of the replicates."""
    variance = 0.0 if drawn is None else float(np.nanvar(drawn[:, column], ddof=1))
    return min(trials, rate * (1 - rate) / variance) if variance > 0 else float(trials)
