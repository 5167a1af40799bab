"""What queries would say of these searches: match, ambiguous or unknown, by threshold and margin.

The rule is that of a query: the best person's score has to reach the threshold; a match is ambiguous where the
runner-up is less than the margin behind. Whoever shares the best score with the right person comes before them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facesearch.evaluation.rates import Counts, Flags, Floats, Rate, clustered_rate, counted_rate
from facesearch.evaluation.searches import SearchScores

MARGINS = (0.0, 0.02, 0.05, 0.1)
"""Cosines that are looked at unless others are asked for; 0.05 is what a query takes."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """The decisions at one threshold and one margin, as shares of all planned searches of a kind."""

    threshold: float
    margin: float
    right: Rate
    """Mated searches: a match, and the right person."""
    right_ambiguous: Rate
    """Ambiguous, and the right person comes first."""
    wrong: Rate
    """A match, and another person."""
    wrong_ambiguous: Rate
    unknown: Rate
    """Nobody reaches the threshold."""
    unusable: Rate
    """No template of the probe."""
    false_match: Rate | None
    """Non-mated searches: a match. The FPIR of those who act on matches alone; None without such searches."""
    false_ambiguous: Rate | None
    """Ambiguous; with `false_match` this is the FPIR."""


def decide_searches(scores: SearchScores, threshold: float, margins: Sequence[float]) -> tuple[Decisions, ...]:
    """The decisions at one threshold, by margin; empty where the searches do not tell the runners-up."""
    return tuple(_decide(scores, threshold, margin) for margin in margins if scores.rivals is not None)


def _decide(scores: SearchScores, threshold: float, margin: float) -> Decisions:
    assert scores.rivals is not None
    rival, third = scores.rivals.T
    mate = np.nan_to_num(scores.mate_score, nan=-np.inf)
    failed, own = np.isnan(rival), mate > rival
    match, ambiguous = _answers(
        np.maximum(mate, rival), np.where(own, rival, np.maximum(mate, third)), threshold, margin
    )
    strangers: tuple[Rate, Rate] | None = None
    if len(scores.top):
        second = scores.top[:, 1] if scores.top.shape[1] > 1 else np.full(len(scores.top), -np.inf)
        false = _answers(scores.top[:, 0], second, threshold, margin)
        strangers = _rate(false[0], scores.non_mate_id), _rate(false[1], scores.non_mate_id)
    return Decisions(
        threshold=threshold,
        margin=margin,
        right=_rate(match & own, scores.mate_id),
        right_ambiguous=_rate(ambiguous & own, scores.mate_id),
        wrong=_rate(match & ~own, scores.mate_id),
        wrong_ambiguous=_rate(ambiguous & ~own, scores.mate_id),
        unknown=_rate(~match & ~ambiguous & ~failed, scores.mate_id),
        unusable=_rate(failed, scores.mate_id),
        false_match=strangers and strangers[0],
        false_ambiguous=strangers and strangers[1],
    )


def _answers(best: Floats, second: Floats, threshold: float, margin: float) -> tuple[Flags, Flags]:
    """Which searches give a match, and which an ambiguous one; NaN gives neither."""
    reached = best >= threshold
    # A gallery of one person has no runner-up: minus infinity.
    close = np.isfinite(second) & (best - np.where(np.isfinite(second), second, 0.0) < margin)
    return reached & ~close, reached & close


def _rate(hits: Flags, people: Counts | None) -> Rate:
    return counted_rate(int(hits.sum()), hits.size) if people is None else clustered_rate(hits, people)
