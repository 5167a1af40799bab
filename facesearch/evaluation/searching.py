"""Vectors searched among vectors: what a gallery would find, kept as far as the 1:N rates need it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facesearch.errors import EvaluationError
from facesearch.evaluation.rates import Counts, Floats
from facesearch.evaluation.searches import NON_MATED, SearchScores, join, summarise
from facesearch.types import Vectors

_CELLS = 4_000_000
"""Scores looked at together: 16 MB."""


class Enrolled:
    """Templates of N people, arranged by person."""

    def __init__(self, vectors: Vectors, subject: NDArray[np.int64]) -> None:
        """`vectors` (t, d), `subject` (t,) codes 0 ... N-1. Raises EvaluationError: nobody is enrolled."""
        if not len(vectors):
            raise EvaluationError(
                "Nobody could be enrolled, so nothing can be searched.", "Give photos with a usable face."
            )
        self.order = np.argsort(subject, kind="stable")
        self.owner = subject[self.order]
        self._vectors = vectors[self.order]
        self._starts = np.flatnonzero(np.append(True, np.diff(self.owner) > 0))

    def scores(self, probes: Vectors) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Rows of (q, d) probes and their scores with all templates, as arranged; NaN for a probe of NaN."""
        step = max(1, _CELLS // len(self.owner))
        for start in range(0, max(len(probes), 1), step):
            rows = slice(start, start + step)
            yield rows, probes[rows] @ self._vectors.T

    def by_subject(self, scores: NDArray[np.float32]) -> Floats:
        """(q, N) the score of each subject: that of the best template."""
        return np.maximum.reduceat(scores, self._starts, axis=1).astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """Searches, and who they resemble most."""

    scores: SearchScores
    nearest: Counts
    """(q,) row of the enrolled template with the best score in each non-mated search; any row for a failed one."""


def search_everybody(
    gallery: Vectors,
    subject: NDArray[np.int64],
    probes: Vectors,
    mate: NDArray[np.int64],
    identity: NDArray[np.int64] | None,
) -> Searched:
    """Search probes among enrolled templates.

    Args:
        gallery: (t, d) templates. subject: (t,) codes 0 ... N-1 of who they show.
        probes: (q, d); a row of NaN is a failed probe.
        mate: (q,) the probe's own subject, or `NON_MATED` or `NOT_ENROLLED`.
        identity: (q,) codes of the people on the probes.

    Raises EvaluationError: nobody is enrolled.
    """
    enrolled = Enrolled(gallery, subject)
    parts, nearest = [], []
    for rows, scores in enrolled.scores(probes):
        own = mate[rows]
        parts.append(summarise(enrolled.by_subject(scores), own, None if identity is None else identity[rows]))
        nearest.append(enrolled.order[scores[own == NON_MATED].argmax(axis=1)])
    return Searched(join(parts), np.concatenate(nearest))


def search_others(vectors: Vectors, subject: NDArray[np.int64], rows: NDArray[np.int64]) -> Searched:
    """Search enrolled templates among everybody else's, which a stranger's search is like.

    Args:
        vectors: (t, d). subject: (t,) codes 0 ... N-1, N at least 2. rows: (r,) the templates to search with.
    """
    enrolled = Enrolled(vectors, subject)
    others = int(enrolled.owner[-1])
    parts, nearest = [], []
    for chunk, scores in enrolled.scores(vectors[rows]):
        own = subject[rows[chunk]]
        scores[own[:, None] == enrolled.owner] = -np.inf
        found = summarise(enrolled.by_subject(scores), np.full(own.size, NON_MATED), own)
        # The last of N subjects is the person, at minus infinity.
        parts.append(replace(found, subjects=others, top=found.top[:, :others]))
        nearest.append(enrolled.order[scores.argmax(axis=1)])
    best = np.concatenate(nearest)
    return Searched(replace(join(parts), partner=subject[best]), best)


def mate_scores(vectors: Vectors, subject: NDArray[np.int64], rows: NDArray[np.int64]) -> Floats:
    """(r,) the best score of each template with its person's other templates; NaN for a person's only one."""
    order = np.argsort(subject, kind="stable")
    start, end = (np.searchsorted(subject[order], subject[rows], side=side) for side in ("left", "right"))
    mates = np.full(rows.size, np.nan)
    for line, (row, first, last) in enumerate(zip(rows.tolist(), start.tolist(), end.tolist(), strict=True)):
        others = order[first:last][order[first:last] != row]
        if others.size:
            mates[line] = float((vectors[others] @ vectors[row]).max())
    return mates
