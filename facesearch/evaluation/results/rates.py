"""What every figure is made of: a count over a total, with intervals where they can be had."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

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
    level: float = LEVEL


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
