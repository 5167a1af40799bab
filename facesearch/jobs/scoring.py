"""Embeddings -> scores of planned pairs, as `verify` makes them."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from facesearch.evaluation.results.scores import Attempts
from facesearch.evaluation.trials.refusal import refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facesearch.evaluation.trials import PairTrials, ScoreTrials
    from facesearch.types import Vector


def score_pairs(trials: PairTrials, vectors: Sequence[Vector | None], reasons: Sequence[str]) -> ScoreTrials:
    """The cosine of each pair, NaN where a side has no vector; `reasons` says why, by photo.

    The product is the one `verify` computes, so that a decision here is the decision there.
    """
    scores = np.full(len(trials), math.nan)
    failed: dict[int, str] = {}
    for row, (a, b) in enumerate(zip(trials.a.tolist(), trials.b.tolist(), strict=True)):
        left, right = vectors[a], vectors[b]
        if left is None or right is None:
            failed[row] = reasons[a if left is None else b]
        else:
            scores[row] = float(np.dot(left, right))
    return trials.scored(scores, failed)


def count_attempts(trials: PairTrials, vectors: Sequence[Vector | None]) -> Attempts:
    """Distinct photos on either side, and how many of them gave no vector: the first is enrolled, the second probes."""
    sides = [np.unique(side).tolist() for side in (trials.a, trials.b)]
    failed = [sum(vectors[photo] is None for photo in side) for side in sides]
    return Attempts(len(sides[0]), failed[0], len(sides[1]), failed[1])


def require_distinct_photos(trials: PairTrials, hashes: Sequence[str]) -> None:
    """Raise EvaluationError, by row, where the two sides of a pair are the same file under two names."""
    code: dict[str, int] = defaultdict(lambda: len(code) + 1)
    codes = np.array([code[sha256] if sha256 else -i for i, sha256 in enumerate(hashes)], np.int64)
    copies = np.flatnonzero(codes[trials.a] == codes[trials.b]).tolist()
    if copies:
        offenders = (f"{trials.names[trials.a[row]]} and {trials.names[trials.b[row]]}" for row in copies)
        raise refusal(
            trials.source,
            "a photo is compared with a copy of itself",
            offenders,
            len(copies),
            "The bytes are the same: remove one of each.",
        )
