"""Error rates by their definitions, one comparison after the other."""

from __future__ import annotations

import math
from fractions import Fraction


def false_matches(non_mated: list[float], threshold: float) -> int:
    return sum(score >= threshold for score in non_mated)


def point(mated: list[float], non_mated: list[float], target: float) -> tuple[float, int, int] | None:
    """(threshold, false matches, true matches) of TAR at FAR <= target; None where unsupported."""
    allowed = math.floor(target * len(non_mated) + 1e-12)
    if allowed < 1:
        return None
    if allowed >= len(non_mated):
        return -math.inf, len(non_mated), len(mated)
    bar = sorted(non_mated, reverse=True)[allowed]
    if bar == math.inf:
        return None
    threshold = min((score for score in mated + non_mated if score > bar), default=math.inf)
    return threshold, false_matches(non_mated, threshold), false_matches(mated, threshold)


def eer(mated: list[float], non_mated: list[float]) -> tuple[float, float]:
    """FVC2000, over all scores and "reject everything"."""
    rates = [
        (
            Fraction(false_matches(non_mated, t), len(non_mated)),
            Fraction(len(mated) - false_matches(mated, t), len(mated)),
        )
        for t in sorted(set(mated + non_mated))
    ] + [(Fraction(0), Fraction(1))]
    first = max((i for i, (fmr, fnmr) in enumerate(rates) if fnmr <= fmr))
    second = min((i for i, (fmr, fnmr) in enumerate(rates) if fmr <= fnmr))
    best = min(rates[first], rates[second], key=sum)
    return float(min(best)), float(max(best))


def auc(mated: list[float], non_mated: list[float]) -> float:
    wins = sum((g > n) + (g == n) / 2 for g in mated for n in non_mated)
    return wins / len(mated) / len(non_mated)
