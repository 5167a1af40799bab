"""Counts over totals, their intervals, and how both are written.

The decision rule everywhere is *accept iff score >= threshold*. `None` means that the data cannot say.

The primary interval takes its variance from the subject bootstrap and its shape from Wilson: the effective number of
trials n* = p (1 - p) / var gives independent trials the same variance, and the interval is Wilson's for n* trials.
Percentiles of the same replicates cover as well for middling rates. Near 0 or 1 they fall short: 79 % for a TAR of
0.99 and 60 people (`python -m benchmarks coverage` measures both).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from facesearch.errors import EvaluationError

Floats: TypeAlias = NDArray[np.float64]
Counts: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]

DECISION_RULE = "accept iff score >= threshold"
"""Printed on every report."""
LOW_SUPPORT = 30
"""Doddington's rule of 30: below this many errors a rate is flagged; 30 errors give about +-30 % at 90 % confidence."""
LEVEL = 0.95
"""Confidence level of every interval unless it says otherwise."""


class Flag(StrEnum):
    """What a reader must know before quoting a point."""

    UNSUPPORTED = "unsupported"
    """The data hold less than one expected error at the target: the point has no value."""
    LOW_SUPPORT = "low_support"
    """Fewer than `LOW_SUPPORT` errors stand behind the threshold."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval of a rate, 0 <= low <= high <= 1 (differences: -1 to 1)."""

    low: float
    high: float
    method: str
    """In words for a report, as "subject bootstrap" or "Wilson"."""
    assumes_independence: bool
    """True where trials that share people are treated as if they did not."""
    level: float = LEVEL

    def covers(self, value: float) -> bool:
        """Whether `value` lies within, ends included."""
        return self.low <= value <= self.high

    @property
    def complement(self) -> Interval:
        """The interval of 1 - rate."""
        return replace(self, low=1 - self.high, high=1 - self.low)


@dataclass(frozen=True, slots=True)
class ZeroErrorBound:
    """No error was seen: the largest error rate that would still show none with probability 1 - level."""

    upper: float
    """1 - 0.05^(1/units)."""
    units: int
    """Independent units: probe subjects, or disjoint pairs of subjects."""
    naive_upper: float
    """The same with every trial counted as independent; too small wherever trials share people."""
    trials: int


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` out of `total`, total >= 1."""

    count: int
    total: int
    interval: Interval | None = None
    """The primary one: the subject bootstrap; without identities None."""
    naive: Interval | None = None
    """Wilson, which assumes independent trials."""
    zero_errors: ZeroErrorBound | None = None
    """Set where the rate counts errors and none was seen, or counts successes and all were."""

    @property
    def value(self) -> float:
        """count / total."""
        return self.count / self.total

    @property
    def best_interval(self) -> Interval | None:
        """The primary interval, else the naive one; its `assumes_independence` says which."""
        return self.interval or self.naive

    @property
    def complement(self) -> Rate:
        """The rate of the others, as of misses where this one counts hits."""
        interval, naive = (each and each.complement for each in (self.interval, self.naive))
        return Rate(self.total - self.count, self.total, interval, naive, self.zero_errors)


REPLICATES = 1000
"""Enough for a variance to 5 % and for 2.5 % percentiles."""
BOOTSTRAP = "subject bootstrap"
_MISSING = 0.1
"""Share of replicates that may lack a class before an interval is refused."""


def wilson(count: float, total: float, level: float = LEVEL) -> Interval:
    """Wilson's score interval for count successes in total >= 1 independent trials."""
    if not 0 <= count <= total or total <= 0:
        raise EvaluationError(
            f"{count:g} of {total:g} is not a rate.", hint="Give 0 <= count <= total, and a total above 0."
        )
    low, high = _wilson(count / total, total, level)
    return Interval(low, high, method="Wilson", assumes_independence=True, level=level)


def _wilson(rate: float, trials: float, level: float) -> tuple[float, float]:
    from statistics import NormalDist  # who reads a calibration needs no interval

    z = NormalDist().inv_cdf((1 + level) / 2)
    shrink = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / shrink
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / shrink
    low = 0.0 if rate == 0 else max(0.0, centre - half)
    high = 1.0 if rate == 1 else min(1.0, centre + half)
    return low, high


def zero_error_bound(units: int, trials: int) -> ZeroErrorBound:
    """What no error in `trials` trials of `units` independent units still allows at 95 %: 1 - 0.05^(1/units)."""
    if not 1 <= units <= trials:
        raise EvaluationError(f"{units} independent units in {trials} trials is impossible.")
    upper, naive = (-math.expm1(math.log1p(-LEVEL) / number) for number in (units, trials))
    return ZeroErrorBound(upper, units, naive, trials)


def bootstrap_interval(
    rate: float, replicates: Floats, *, trials: int, units: int, excess: float = 0.0, level: float = LEVEL
) -> Interval | None:
    """Wilson's interval of `rate` with the effective number of trials that the replicates' variance implies.

    Args:
        replicates: (r,) the same figure in every replicate; NaN where it could not be computed.
        trials: caps the effective number.
        units: independent units: the effective number where replicates or rate show no variance.
        excess: variance that the replicates have too much of; see `bootstrap.Replicates`.

    Returns None where a tenth of the replicates or more are NaN: too few people.
    """
    found = replicates[~np.isnan(replicates)]
    if found.size < 2 or found.size <= (1 - _MISSING) * replicates.size:
        return None
    variance, spread = float(np.var(found, ddof=1)), rate * (1 - rate)
    # What three times a pair's own variance contains of it twice too often is never more than two thirds.
    variance = max(variance - excess, variance / 3)
    effective = spread / variance if variance > 0 and spread > 0 else float(units)
    low, high = _wilson(rate, max(1.0, min(effective, trials)), level)
    return Interval(low, high, method=BOOTSTRAP, assumes_independence=False, level=level)


def counted_rate(count: int, total: int) -> Rate:
    """A rate with the interval that assumes independence."""
    return Rate(count, total, naive=wilson(count, total))


def surrounded(
    rate: Rate, units: int, replicates: Floats | None, *, flawless: int | None = None, excess: float = 0.0
) -> Rate:
    """Add the intervals of a rate with that many independent units; `flawless` is the count that shows no error."""
    found = counted_rate(rate.count, rate.total)
    if rate.count == flawless:
        found = replace(found, zero_errors=zero_error_bound(units, rate.total))
    if replicates is None:
        return found
    interval = bootstrap_interval(rate.value, replicates, trials=rate.total, units=units, excess=excess)
    return replace(found, interval=interval)


def clustered_rate(hits: Flags, clusters: Counts) -> Rate:
    """The share of hits that come in clusters, as several probes of one person, with both intervals."""
    interval = clustered_interval(hits.astype(np.float64), clusters)
    return replace(counted_rate(int(hits.sum()), hits.size), interval=interval)


def clustered_interval(values: Floats, clusters: Counts, level: float = LEVEL) -> Interval:
    """Interval of the mean of (n,) values in 0..1 that come in clusters, as several probes of one person.

    Wilson's, with the effective number of trials of `effective_trials`. The upper end at level=0.9 is a one-sided 95 %
    limit.
    """
    low, high = _wilson(float(values.mean()), effective_trials(values, clusters), level)
    return Interval(low, high, method="people as units", assumes_independence=False, level=level)


def effective_trials(values: Floats, clusters: Counts) -> float:
    """How many independent trials have the variance of the mean of (n,) values in 0..1 that come in clusters.

    The variance is that between clusters (Liang & Zeger's of a ratio). Where values do not vary, every cluster is one
    trial.
    """
    names, codes = np.unique(clusters, return_inverse=True)
    mean = float(values.mean())
    spread = mean * (1 - mean)
    sums = np.bincount(codes, weights=values - mean)
    variance = float((sums**2).sum()) / values.size**2 * names.size / max(1, names.size - 1)
    return max(1.0, spread / variance if variance > 0 and spread > 0 else float(names.size))


def upper_limit(rate: float, trials: float, confidence: float) -> float:
    """The one-sided limit above a rate of `trials` independent trials, Clopper and Pearson's; 0.5: the rate itself."""
    if confidence <= 0.5 or rate >= 1:
        return rate
    from scipy.special import betaincinv

    return float(betaincinv(rate * trials + 1, (1 - rate) * trials, confidence))


def format_rate(value: float) -> str:
    """A rate for a label, never rounded up to 1 or down to 0: 0.9817, 0.99998, 1, 3.2e-5."""
    if value in {0.0, 1.0}:
        return f"{value:.0f}"
    if value < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    digits = 4
    while digits < 9 and round(value, digits) >= 1:
        digits += 1
    # Beyond nine digits the last of them is cut off, not rounded up.
    return f"{min(value, 1 - 1e-9) if value < 1 else value:.{digits}f}".rstrip("0")


NOTHING = "n/a"
"""Where the data cannot say."""


def rate_text(value: Rate | None) -> str:
    """0.9817"""
    return NOTHING if value is None else format_rate(value.value)


def counted(value: Rate | None) -> str:
    """0.9817 (9,817 of 10,000)"""
    return NOTHING if value is None else f"{format_rate(value.value)} ({value.count:,} of {value.total:,})"


def interval_text(value: Rate | Interval | None) -> str:
    """0.961 to 0.973"""
    known = value.best_interval if isinstance(value, Rate) else value
    return NOTHING if known is None else f"{format_rate(known.low)} to {format_rate(known.high)}"


def file_name(name: str) -> str:
    """The last part of a path: what fits under a thumbnail."""
    return name.rsplit("/", 1)[-1]


def signed(value: float) -> str:
    """A difference of rates: +0.0123"""
    return f"{value:+.4f}"


def threshold_text(value: float | None) -> str:
    """Four decimals, rounded up: rounding down would let more through than was measured."""
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return "accept nothing" if value > 0 else "accept everything"
    return f"{math.ceil(value * 10_000 - 1e-9) / 10_000:.4f}"


def flag_text(value: Flag | None) -> str:
    """A flag as a cell of a table."""
    return "" if value is None else f"fewer than {LOW_SUPPORT} errors" if value is Flag.LOW_SUPPORT else value.value
