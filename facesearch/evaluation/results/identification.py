"""What comes out of 1:N searches, made by `identification.evaluate_searches(SearchScores) -> IdentificationResult`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from facesearch.evaluation.results.arrays import Counts, Floats
from facesearch.evaluation.results.rates import Flag, Rate

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, eq=False)
class SearchCurve:
    """FPIR and FNIR at every distinct relevant score; m rows, thresholds rising."""

    threshold: Floats
    false_positives: Counts
    """(m,) int64: non-mated searches with a candidate >= threshold."""
    misses: Mapping[int, Counts]
    """By R: (m,) int64 mated searches with the mate outside the top R or below threshold."""
    non_mated: int
    mated: int
    subjects: int

    @property
    def fpir(self) -> Floats:
        """(m,) float64, falling."""
        return self.false_positives / self.non_mated

    def fnir(self, rank: int) -> Floats:
        """(m,) float64 for that R, rising."""
        return self.misses[rank] / self.mated


@dataclass(frozen=True, slots=True)
class SearchPoint:
    """FNIR(N, R, T) at FPIR(N, T) <= target."""

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


class SizeBasis(StrEnum):
    """Where an FPIR for another gallery size comes from."""

    EXACT = "exact"
    """n <= N: the mean over all subsets of the gallery, no sampling."""
    BOUND = "bound"
    """n > N: an upper bound of the expectation, min(n/N FPIR(N), 1), which n FMR never undercuts."""


@dataclass(frozen=True, slots=True)
class FpirAtSize:
    """FPIR of a gallery of n subjects at one threshold."""

    size: int
    value: float
    basis: SizeBasis
    upper: float
    """Upper 95 % confidence limit of `value` (probe subjects as units); for a bound the limit that counts."""
    model: float
    """1 - (1 - FMR)^n. A model that assumes independent comparisons: for the dotted line, never for a decision."""


@dataclass(frozen=True, slots=True, eq=False)
class FpirBySize:
    """FPIR against gallery size at one threshold."""

    threshold: float
    subjects: int
    rows: tuple[FpirAtSize, ...]


@dataclass(frozen=True, slots=True, eq=False)
class IdentificationResult:
    """Everything `facesearch eval search` says about 1:N searches."""

    subjects: int
    """N."""
    mated: int
    """Planned mated searches, failed ones included."""
    non_mated: int
    failed_mated: int
    failed_non_mated: int
    cmc: tuple[Rate, ...]
    """Element r-1: mated searches with the mate at rank <= r, over all mated searches."""
    curve: SearchCurve | None
    """None without non-mated searches (closed set)."""
    points: tuple[SearchPoint, ...]
    by_size: FpirBySize | None
    """At the threshold of the last supported point; None without one, or where `SearchScores.top` is too short."""
    fte: Rate | None = None
    replicates: int = 0
    seed: int = 0
