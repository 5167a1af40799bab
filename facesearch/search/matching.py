"""From vectors to candidates, and from candidates to a decision: the one place where a threshold is applied.

An index finds templates, and people are scored by `fusion`. So it is asked for more templates until nobody who was not
found can belong among the candidates.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from facesearch.arguments import require_unit_vectors
from facesearch.errors import CorruptGalleryError
from facesearch.fusion import fuse, least, mean_vector, most
from facesearch.store.templates import Described, describe_templates, vectors_of_subjects
from facesearch.types import Candidate, Decision, Fusion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection

    from facesearch.types import Ids, Vector, Vectors

    class Searchable(Protocol):
        """The part of a `VectorIndex` that a search needs."""

        @property
        def dimension(self) -> int: ...

        @property
        def together(self) -> int:
            """See `LocalIndex.together`."""

        def search(
            self, queries: Vectors, k: int, allowed: Ids | None = None, floor: float = -1
        ) -> tuple[NDArray[np.float32], Ids]:
            """See `LocalIndex.search`."""


DEFAULT_MARGIN = 0.05
"""Cosine. A runner-up closer than this makes a match ambiguous. It is about half a standard deviation of the scores of
different people, which is 0.09 for a MobileFace recogniser on LFW: a difference that chance explains."""
MOST_KNOWN: Final = 1 << 15
"""Templates whose descriptions are remembered: about 10 MB, and the mean vector of each person with several."""
SLICE: Final = 32
"""Templates that are described together."""
FIRST: Final = 64
"""Templates that are fetched for a query at first; four times as many each time that these do not settle it."""

Known: TypeAlias = dict[int, Described]
"""Whose templates are, by template id; proven when they were read."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a search is to return."""

    k: int
    """Subjects for each vector."""
    where: Mapping[str, str] | None = None
    """Attributes of the subjects."""
    model_id: str | None = None
    """What made the vectors, where it is not the gallery's own model."""
    fusion: Fusion = Fusion.MEAN
    floor: float = -1
    """Candidates that score lower may be missing. A search that knows its threshold is faster with it."""


class UnknownTemplateError(Exception):
    """A template is not remembered: the database has to be asked."""


def search_subjects(
    index: Searchable, vectors: Vectors, asked: Asked, allowed: Ids | None, known: Known, connection: Connection | None
) -> list[tuple[Candidate, ...]]:
    """Return the best subjects for each vector (n, d); at least two where there are two, to know the runner-up.

    Exact from the floor on, ties included. `allowed` are the templates that `asked.where` admits. Whose the templates
    are is read, and remembered in `known`; without a connection it is taken from there. Raises
    `GalleryError` for vectors that are not finite or not of unit length, `UnknownTemplateError`.
    """
    require_unit_vectors(vectors, index.dimension)
    found: list[tuple[Candidate, ...]] = []
    for start in range(0, len(vectors), index.together):
        found += _best_subjects(index, vectors[start : start + index.together], asked, allowed, known, connection)
    return found


def _best_subjects(
    index: Searchable, queries: Vectors, asked: Asked, allowed: Ids | None, known: Known, connection: Connection | None
) -> list[tuple[Candidate, ...]]:
    k, floor = max(asked.k, 2), least(asked.floor, asked.fusion)
    found: dict[int, tuple[Candidate, ...]] = {}
    fetch = max(4 * k, FIRST)
    while unsettled := [position for position in range(len(queries)) if position not in found]:
        scores, ids = index.search(queries[unsettled], fetch, allowed, floor)
        for position, row_ids, row_scores in zip(unsettled, ids.tolist(), scores.tolist(), strict=True):
            hits = [hit for hit in zip(row_ids, row_scores, strict=True) if hit[0] != -1]
            hits.sort(key=lambda hit: (-hit[1], hit[0]))
            people = _Ranking(queries[position], k, floor, asked.fusion)
            if people.take(hits, known, connection) or len(hits) < fetch:
                found[position] = people.candidates()
        fetch *= 4
    return [found[position] for position in range(len(queries))]


class _Ranking:
    """The best k people for one query."""

    def __init__(self, query: Vector, k: int, floor: float, fusion: Fusion) -> None:
        self._query, self._k, self._floor, self._fusion = query, k, floor, fusion
        self._people: dict[int, tuple[float, int, Described, float, float]] = {}
        """By subject id: score, best template, whose it is, the template's score and the mean's."""
        self._best: list[float] = []
        """A heap of the k best scores."""

    def take(self, hits: Sequence[tuple[int, float]], known: Known, connection: Connection | None) -> bool:
        """Take (template id, score) until nobody can come before the k-th, on a tie neither; return whether that is so.

        `hits` fall; equal ones are in order of template id.
        """
        for start in range(0, len(hits), SLICE):
            if self._is_settled(hits[start][1]):
                return True
            part = hits[start : start + SLICE]
            described = _described([template_id for template_id, _ in part], known, connection)
            for template_id, best in part:
                each = described[template_id]
                if each.subject_id not in self._people:  # the first is the best
                    self._add(template_id, each, best)
        return bool(hits) and self._is_settled(hits[-1][1])

    def _add(self, template_id: int, each: Described, best: float) -> None:
        mean = best if each.mean is None else float(np.dot(self._query, each.mean))
        score = fuse(best, mean, self._fusion)
        self._people[each.subject_id] = (score, template_id, each, best, mean)
        heapq.heappush(self._best, score)
        if len(self._best) > self._k:
            heapq.heappop(self._best)

    def _is_settled(self, unseen: float) -> bool:
        """Tell whether nobody whose templates score at most `unseen` can come before the k-th.

        Below the floor it does not matter who comes first.
        """
        full = len(self._best) == self._k
        return full and (unseen < self._floor or self._best[0] > most(unseen, self._fusion))

    def candidates(self) -> tuple[Candidate, ...]:
        """Return the k best, best first; equal scores in order of template id."""
        ranked = sorted(self._people.values(), key=lambda row: (-row[0], row[1]))[: self._k]
        return tuple(
            Candidate(each.subject, score, template_id, each.photo, each.subject_id, each.photo_id, best, mean)
            for score, template_id, each, best, mean in ranked
        )


def _described(ids: Sequence[int], known: Known, connection: Connection | None) -> Known:
    """Describe every template. The index equals the database, so a template without a person is damage."""
    if connection is None:
        try:
            return {each: known[each] for each in ids}
        except KeyError as error:
            raise UnknownTemplateError from error
    described = _with_means(connection, describe_templates(connection, ids))
    lost = set(ids) - described.keys()
    if lost:
        raise CorruptGalleryError(
            f"Template {min(lost)} belongs to nobody: the database is damaged.", "Run: facesearch check"
        )
    if len(known) + len(described) > MOST_KNOWN:
        known.clear()
    known.update(described)
    return described


def _with_means(connection: Connection, described: Known) -> Known:
    people = vectors_of_subjects(connection, (each.subject_id for each in described.values()))
    means = {subject_id: mean_vector(vectors) for subject_id, vectors in people.items()}
    return {key: each._replace(mean=means.get(each.subject_id)) for key, each in described.items()}


def decide(candidates: Sequence[Candidate], threshold: float, margin: float) -> tuple[Decision, float | None]:
    """Return the decision, and how far the best subject is ahead of the runner-up (None without one).

    `score >= threshold` is a match, everywhere in this project. A match whose runner-up is closer than `margin` is
    ambiguous, even where the runner-up itself is below the threshold.
    """
    lead = candidates[0].score - candidates[1].score if len(candidates) > 1 else None
    if not candidates or candidates[0].score < threshold:
        return Decision.UNKNOWN, lead
    if lead is not None and lead < margin:
        return Decision.AMBIGUOUS, lead
    return Decision.MATCH, lead
