"""Vectors searched among vectors: what a gallery would find, kept as far as the 1:N rates need it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facesearch.errors import EvaluationError
from facesearch.evaluation.rates import Counts, Floats
from facesearch.evaluation.searches import NON_MATED, SearchScores, join, summarise
from facesearch.fusion import fuse, mean_vector, mean_vectors
from facesearch.types import Fusion, Vectors

_CELLS = 4_000_000
"""Scores looked at together: 16 MB."""


class Enrolled:
    """Templates of N people, arranged by person."""

    def __init__(self, vectors: Vectors, subject: NDArray[np.int64], fusion: Fusion) -> None:
        """`vectors` (t, d), `subject` (t,) codes 0 ... N-1. Raises EvaluationError: nobody is enrolled."""
        if not len(vectors):
            raise EvaluationError(
                "Nobody could be enrolled, so nothing can be searched.", "Give photos with a usable face."
            )
        self.order = np.argsort(subject, kind="stable")
        self.owner = subject[self.order]
        self._vectors = vectors[self.order]
        self._starts = np.flatnonzero(np.append(True, np.diff(self.owner) > 0))
        self._several = np.bincount(subject) > 1
        self._means = mean_vectors(self._vectors, self._starts)
        self._fusion = fusion

    def scores(self, probes: Vectors) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Rows of (q, d) probes and their scores with all templates, as arranged; NaN for a probe of NaN."""
        step = max(1, _CELLS // len(self.owner))
        for start in range(0, max(len(probes), 1), step):
            rows = slice(start, start + step)
            yield rows, probes[rows] @ self._vectors.T

    def by_subject(self, scores: NDArray[np.float32], probes: Vectors) -> Floats:
        """(q, N) the score of each subject, from those of its templates."""
        best = np.maximum.reduceat(scores, self._starts, axis=1).astype(np.float64)
        means = (probes @ self._means.T).astype(np.float64)
        return np.where(self._several, fuse(best, means, self._fusion), best)

    def nearest(self, scores: NDArray[np.float32], by_subject: Floats) -> Counts:
        """(q,) row of the best template of the best subject of each search; any row for a failed one."""
        of_best = self.owner == by_subject.argmax(axis=1)[:, None]
        return np.asarray(self.order[np.where(of_best, scores, -np.inf).argmax(axis=1)])


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """Searches, and who they resemble most."""

    scores: SearchScores
    nearest: Counts
    """(q,) row of the best template of the best subject in each non-mated search; any row for a failed one."""


def search_everybody(
    gallery: Vectors,
    subject: NDArray[np.int64],
    probes: Vectors,
    mate: NDArray[np.int64],
    identity: NDArray[np.int64] | None,
    fusion: Fusion = Fusion.MEAN,
) -> Searched:
    """Search probes among enrolled templates.

    Args:
        gallery: (t, d) templates. subject: (t,) codes 0 ... N-1 of who they show.
        probes: (q, d); a row of NaN is a failed probe.
        mate: (q,) the probe's own subject, or `NON_MATED` or `NOT_ENROLLED`.
        identity: (q,) codes of the people on the probes.

    Raises EvaluationError: nobody is enrolled.
    """
    enrolled = Enrolled(gallery, subject, fusion)
    parts, nearest = [], []
    for rows, scores in enrolled.scores(probes):
        own = mate[rows]
        found = enrolled.by_subject(scores, probes[rows])
        parts.append(summarise(found, own, None if identity is None else identity[rows]))
        nearest.append(enrolled.nearest(scores[own == NON_MATED], found[own == NON_MATED]))
    return Searched(join(parts), np.concatenate(nearest))


def search_others(
    vectors: Vectors, subject: NDArray[np.int64], rows: NDArray[np.int64], fusion: Fusion = Fusion.MEAN
) -> Searched:
    """Search enrolled templates among everybody else's, which a stranger's search is like.

    Args:
        vectors: (t, d). subject: (t,) codes 0 ... N-1, N at least 2. rows: (r,) the templates to search with.
    """
    enrolled = Enrolled(vectors, subject, fusion)
    others = int(enrolled.owner[-1])
    parts, nearest = [], []
    for chunk, scores in enrolled.scores(vectors[rows]):
        own = subject[rows[chunk]]
        scores[own[:, None] == enrolled.owner] = -np.inf
        by_subject = enrolled.by_subject(scores, vectors[rows[chunk]])
        found = summarise(by_subject, np.full(own.size, NON_MATED), own)
        # The last of N subjects is the person, at minus infinity.
        parts.append(replace(found, subjects=others, top=found.top[:, :others]))
        nearest.append(enrolled.nearest(scores, by_subject))
    best = np.concatenate(nearest)
    return Searched(replace(join(parts), partner=subject[best]), best)


def mate_scores(
    vectors: Vectors, subject: NDArray[np.int64], rows: NDArray[np.int64], fusion: Fusion = Fusion.MEAN
) -> Floats:
    """(r,) the score of each template with its person's other templates; NaN for a person's only one."""
    order = np.argsort(subject, kind="stable")
    start, end = (np.searchsorted(subject[order], subject[rows], side=side) for side in ("left", "right"))
    mates = np.full(rows.size, np.nan)
    for line, (row, first, last) in enumerate(zip(rows.tolist(), start.tolist(), end.tolist(), strict=True)):
        others = order[first:last][order[first:last] != row]
        if others.size:
            best = mean = float((vectors[others] @ vectors[row]).max())
            if others.size > 1:
                mean = float(mean_vector(vectors[others]) @ vectors[row])
            mates[line] = fuse(best, mean, fusion)
    return mates
