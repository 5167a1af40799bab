"""How a cost grows with the number of templates: fitted to what was measured, and carried on beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Law:
    """A cost of `fixed + each * N`, both at least 0."""

    fixed: float
    each: float
    residual: float
    """The largest part of a measured cost by which the law misses it; 0 for fewer than three sizes proves nothing."""

    def at(self, count: float) -> float:
        """The cost at that many templates."""
        return self.fixed + self.each * count

    def words(self, unit: str) -> str:
        """For a report: `0.41 + 0.0032 N/1000 ms, off by up to 4 %`."""
        return f"{self.fixed:.3g} + {1000 * self.each:.3g} N/1000 {unit}, off by up to {100 * self.residual:.0f} %"


def fit(counts: Sequence[int], costs: Sequence[float]) -> Law:
    """The law of least relative squares: sizes a thousand times apart count the same."""
    sizes, measured = np.asarray(counts, np.float64), np.asarray(costs, np.float64)
    scale = sizes.max()
    weights = 1 / np.maximum(measured, 1e-9)
    candidates = [
        np.linalg.lstsq(np.stack([weights, weights * sizes / scale], 1), np.ones(len(sizes)))[0],
        np.array([weights.sum() / (weights**2).sum(), 0.0]),
        np.array([0.0, (weights * sizes).sum() / ((weights * sizes) ** 2).sum() * scale]),
    ]
    fixed, each = min(
        (found for found in candidates if (found >= 0).all()),
        key=lambda found: float((((found[0] + found[1] * sizes / scale) * weights - 1) ** 2).sum()),
    )
    law = Law(float(fixed), float(each / scale), 0.0)
    missed = max(abs(law.at(count) - cost) / max(cost, 1e-9) for count, cost in zip(counts, costs, strict=True))
    return Law(law.fixed, law.each, float(missed))
