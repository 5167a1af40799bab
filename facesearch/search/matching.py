"""From vectors to candidates, and from candidates to a decision: the one place where a threshold is applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from facesearch.arguments import require_unit_vectors
from facesearch.errors import CorruptGalleryError
from facesearch.store.templates import Described, describe_templates
from facesearch.types import Candidate, Decision

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Protocol

    import numpy as np
    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection

    from facesearch.types import Ids, Vectors

    class Searchable(Protocol):
        """The part of a `VectorIndex` that a search needs."""

        @property
        def dimension(self) -> int: ...

        def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[NDArray[np.float32], Ids]:
            """See `VectorIndex.search`."""


DEFAULT_MARGIN = 0.05
"""Cosine. A runner-up closer than this makes a match ambiguous. It is about half a standard deviation of the scores of
different people, which is 0.09 for a MobileFace recogniser on LFW: a difference that chance explains."""
TOGETHER = 16
"""Queries per call of the index. From 20 on FAISS multiplies matrices, and equal vectors then score unequal."""
MOST_KNOWN: Final = 1 << 15
"""Templates whose descriptions are remembered: about 10 MB."""

Known: TypeAlias = dict[int, Described]
"""Whose templates are, by template id; proven when they were read."""


class UnknownTemplateError(Exception):
    """A template is not remembered: the database has to be asked."""


def search_subjects(
    index: Searchable, vectors: Vectors, k: int, allowed: Ids | None, known: Known, connection: Connection | None
) -> list[tuple[Candidate, ...]]:
    """Return the k best subjects for each vector (n, d); at least two where there are two, to know the runner-up.

    Exact, ties included. Whose the templates are is read, and remembered in `known`; without a connection it is taken
    from there. Raises `GalleryError` for vectors that are not finite or not of unit length, `UnknownTemplateError`.
    """
    require_unit_vectors(vectors, index.dimension)
    k = max(k, 2)
    found: list[tuple[Candidate, ...]] = []
    for start in range(0, len(vectors), TOGETHER):
        found += _best_subjects(index, vectors[start : start + TOGETHER], k, allowed, known, connection)
    return [candidates[:k] for candidates in found]


def _best_subjects(
    index: Searchable, queries: Vectors, k: int, allowed: Ids | None, known: Known, connection: Connection | None
) -> list[tuple[Candidate, ...]]:
    # k templates can be fewer than k subjects: fetch more until there are enough or everything was fetched.
    found: dict[int, tuple[Candidate, ...]] = {}
    fetch = 4 * k
    while unsettled := [position for position in range(len(queries)) if position not in found]:
        scores, ids = index.search(queries[unsettled], fetch, allowed)
        described = _described(ids[ids != -1].tolist(), known, connection)
        for position, row_ids, row_scores in zip(unsettled, ids.tolist(), scores.tolist(), strict=True):
            hits = [hit for hit in zip(row_ids, row_scores, strict=True) if hit[0] != -1]
            candidates = best_per_subject(hits, described)
            if len(hits) < fetch or _is_settled(candidates, hits, k):
                found[position] = candidates
        fetch *= 4
    return [found[position] for position in range(len(queries))]


def _described(ids: Sequence[int], known: Known, connection: Connection | None) -> Known:
    """Describe every template. The index equals the database, so a template without a person is damage."""
    if connection is None:
        try:
            return {each: known[each] for each in ids}
        except KeyError as error:
            raise UnknownTemplateError from error
    described = describe_templates(connection, ids)
    lost = set(ids) - described.keys()
    if lost:
        raise CorruptGalleryError(
            f"Template {min(lost)} belongs to nobody: the database is damaged.", "Run: facesearch check"
        )
    if len(known) + len(described) > MOST_KNOWN:
        known.clear()
    known.update(described)
    return described


def _is_settled(candidates: Sequence[Candidate], hits: Sequence[tuple[int, float]], k: int) -> bool:
    """Tell whether no template that was not fetched can come before the k-th candidate; on a tie it could."""
    return len(candidates) >= k and candidates[k - 1].score > hits[-1][1]


def best_per_subject(hits: Iterable[tuple[int, float]], described: Mapping[int, Described]) -> tuple[Candidate, ...]:
    """Return one candidate per subject by its best template, best first; equal scores in order of template id.

    `hits` are (template id, score).
    """
    candidates: dict[str, Candidate] = {}
    for template_id, score in sorted(hits, key=lambda hit: (-hit[1], hit[0])):
        subject, photo, subject_id, photo_id = described[template_id]
        candidates.setdefault(subject, Candidate(subject, score, template_id, photo, subject_id, photo_id))
    return tuple(candidates.values())


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
