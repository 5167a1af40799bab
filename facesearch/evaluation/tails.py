"""Beyond the data: a generalised Pareto distribution fitted to the highest of the best scores per probe."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.bootstrap import subject_weights
from facesearch.evaluation.rates import Counts, Floats

SHARE = 0.1
"""Of the probes whose best scores make the fitted tail."""
FEWEST = 50
"""Scores a fit needs."""
_FITS = 100


@dataclass(frozen=True, slots=True)
class TailThreshold:
    """A threshold beyond the data, and the rate the fitted tail gives there."""

    threshold: float
    """Upper one-sided limit of the threshold for the rate asked for."""
    rate: float
    """At the threshold, by the fit to all probes."""
    upper: float
    """At the threshold, one-sided limit. There is no lower one: the true tail may end before."""


def conservative_threshold(best: Floats, clusters: Counts, rate: float, confidence: float) -> TailThreshold:
    """Fit the tail of the best scores in replicates that draw people; return the limit of their thresholds.

    Args:
        best: (q,) best score per probe; NaN counts as below everything.
        clusters: (q,) who is on the probes.
        rate: share of probes that may reach the threshold, below `SHARE`.
        confidence: one-sided, of the limits.

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
    threshold = float(np.quantile(thresholds, confidence))
    reached, (shape, scale) = excess.size / best.size, _fit(excess)
    rates = [part * _survival(threshold - start, *rest) for part, *rest in parameters]
    rate = reached * _survival(threshold - start, shape, scale)
    return TailThreshold(threshold, rate, upper=float(np.quantile(rates, confidence)))


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
