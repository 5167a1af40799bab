"""How the scores of a person's templates make one score: the only place with the rule.

A person's score is half the score of the best template, and half the score of the mean of the person's templates
(`Fusion.MEAN`). With one template both are the same. On LFW this misses fewer people than the best template alone does
(docs/evaluation.md has the figures).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from facesearch.types import Fusion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facesearch.types import Vector, Vectors

SHORTEST: Final = 0.5
"""Length of a mean of unit vectors below which it is not scaled to unit length. The mean of two photos of a person has
a length of about 0.9; four photos that have nothing in common have 0.5. It bounds what a mean can add to a score."""
ROUNDING: Final = 1e-5
"""How far a score of a mean may be from the exact one: more than sums of float32 differ by."""

Scores = TypeVar("Scores", float, "NDArray[np.float64]")


def fuse(best: Scores, mean: Scores, fusion: Fusion) -> Scores:
    """Return a person's score from the scores of the best template and of the mean; arrays give arrays."""
    return best if fusion is Fusion.MAX else (best + mean) / 2


def mean_vector(vectors: Vectors) -> Vector:
    """Return the mean (d,) of a person's templates (m, d) in unit length, or shorter where they hardly agree."""
    return _scaled(vectors.mean(axis=0, dtype=np.float32))


def mean_vectors(vectors: Vectors, starts: NDArray[np.int64]) -> Vectors:
    """Return `mean_vector` (N, d) of every person; each has the rows of `vectors` from its start (N,) to the next."""
    counts = np.diff(np.append(starts, len(vectors)))
    return _scaled(np.add.reduceat(vectors, starts, axis=0) / counts[:, None])


def _scaled(means: NDArray[np.floating]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(means, axis=-1, keepdims=True)
    return np.asarray(means / np.maximum(lengths, SHORTEST), np.float32)


def most(unseen: float, fusion: Fusion) -> float:
    """Return the most that a person scores whose templates score at most `unseen`.

    The mean's score is the mean of the templates' scores, divided by its length or by `SHORTEST`.
    """
    return fuse(unseen, max(unseen, unseen / SHORTEST) + ROUNDING, fusion)


def least(score: float, fusion: Fusion) -> float:
    """Return the least that the best template of a person scores who scores at least `score`: `most` the other way."""
    if fusion is Fusion.MAX:
        return score
    without = score - ROUNDING / 2
    return without if without < 0 else 2 * without / (1 + 1 / SHORTEST)
