"""What comes out of comparing two systems on the same people, or groups of people at one threshold.

Made by `uncertainty.compare(ScoredPairs, ScoredPairs) -> tuple[PairedDifference, ...]` and `groups`.
"""

from __future__ import annotations

from dataclasses import dataclass

from facesearch.evaluation.results.rates import Interval, Rate


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """B minus A in one figure on the same people, by subject bootstrap with common weights."""

    metric: str
    """As "TAR at FAR 0.001"; for the EER lower is better."""
    a: float
    b: float
    difference: float
    interval: Interval

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out 0: only then may a report name a winner."""
        return not self.interval.covers(0.0)


@dataclass(frozen=True, slots=True)
class GroupRates:
    """One group's comparisons at the one threshold that holds for all groups."""

    group: str
    tar: Rate | None
    """Mated comparisons of the group's people; None without any."""
    far: Rate | None
    """Non-mated comparisons within the group; None without any."""
