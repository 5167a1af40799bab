"""Many templates from few real ones, as hard to tell apart as real ones are, and probes at every score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facesearch.types import Vectors

MIXED = (0.3, 0.7)
"""Share of the one real person in a made-up one; the other has the rest. They resemble both, as relatives do."""
SAME_PERSON = (0.5, 0.9)
"""Cosine between two templates of one made-up person."""
BLENDED = 8
"""Real templates, with random weights, that a difference is made of: fewer would make every probe look like one."""
PROBED = (0.35, 0.8)
"""Cosine between a probe and the template it was made from: thresholds lie in its lower half."""


def crowd(real: Vectors, subjects: NDArray[np.int64], count: int, seed: int) -> tuple[Vectors, NDArray[np.int64]]:
    """`count` templates (n, d) and whose they are: the real ones first, then made-up people with two templates each.

    A made-up person is a mixture of two real ones. What makes templates differ is taken from other real templates, so
    that everything stays in the directions in which faces differ.
    """
    chance = np.random.default_rng(seed)
    made = max(0, count - len(real))
    people = -(-made // 2)
    share = chance.uniform(*MIXED, (people, 1))
    firsts, seconds = chance.integers(0, len(real), (2, people))
    centres = _unit(share * real[firsts] + (1 - share) * real[seconds])
    centres = _turned(centres, _differences(real, people, chance), chance.uniform(0.7, 0.95, people))
    others = _turned(centres, _differences(real, people, chance), chance.uniform(*SAME_PERSON, people))
    vectors = np.stack([centres, others], axis=1).reshape(2 * people, -1)[:made]
    names = np.repeat(np.arange(people) + subjects.max() + 1, 2)[:made]
    return np.concatenate([real, vectors])[:count], np.concatenate([subjects, names])[:count]


def probes(templates: Vectors, real: Vectors, count: int, seed: int) -> tuple[Vectors, NDArray[np.int64]]:
    """`count` probes (n, d), and the positions of the templates that they were made from."""
    chance = np.random.default_rng(seed)
    sources = chance.integers(0, len(templates), count)
    return _turned(templates[sources], _differences(real, count, chance), chance.uniform(*PROBED, count)), sources


def _differences(real: Vectors, count: int, chance: np.random.Generator) -> Vectors:
    """Directions (count, d) in which faces differ."""
    weights = chance.standard_normal((count, BLENDED))
    return _unit(np.einsum("nb,nbd->nd", weights, real[chance.integers(0, len(real), (count, BLENDED))]))


def _turned(vectors: Vectors, towards: Vectors, cosines: NDArray[np.float64]) -> Vectors:
    """Each vector turned towards another until its cosine with itself is as given."""
    away = _unit(towards - np.einsum("nd,nd->n", vectors, towards)[:, None] * vectors)
    return _unit(cosines[:, None] * vectors + np.sqrt(1 - cosines**2)[:, None] * away)


def _unit(vectors: NDArray[np.floating]) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
