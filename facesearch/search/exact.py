"""Exact search through a vector database, or without one.

A vector database may lag behind the database, may have been restored from a backup, and may keep its vectors in half
precision. So it only proposes templates. They are scored again from the vectors in the database, which alone knows what
exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

import numpy as np
import sqlalchemy as sa

from facesearch.errors import VectorDatabaseError
from facesearch.search.matching import search_subjects
from facesearch.search.vector_databases import MANY_PENDING, DatabaseVectors, active_vector_database, pending_ids
from facesearch.store import models
from facesearch.store.schema import TemplateRow
from facesearch.store.templates import templates_where

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from facesearch.index.base import ExternalIndex
    from facesearch.search.matching import Asked
    from facesearch.search.vector_databases import VectorDatabases
    from facesearch.types import Candidate, Ids, Vectors

SLACK: Final = 8
"""Results fetched beyond those asked for: room for ids that the database does not know any more."""
LOCAL: Final = 50_000
"""Newest templates that are searched while the vector database is down; reading them takes about half a second."""


def search(databases: VectorDatabases, vectors: Vectors, asked: Asked) -> list[tuple[Candidate, ...]] | None:
    """Search as `Gallery.search`; None where another index has taken the vector database's place meanwhile."""
    databases.catch_up(at_least=MANY_PENDING)
    searched = None
    try:
        with databases.database.read() as connection:
            active, searched = models.active_model(connection), active_vector_database(connection)
            if active is None:
                return [() for _ in vectors]
            if searched is None:
                return None
            row, info = active
            models.require_made_by(info.model_id, asked.model_id)
            index = databases.open(searched, connection, row, info.dimension)
            truth = DatabaseVectors(connection, row, info.dimension)
            allowed = templates_where(connection, asked.where) if asked.where else None
            proposed = ProposedTemplates(index, truth, pending_ids(connection, searched, row))
            return search_subjects(proposed, vectors, asked, allowed, {}, connection)
    except VectorDatabaseError:
        now, _ = databases.state()
        if searched is None or (now is not None and now.row == searched.row):
            raise
        return None


def search_newest(
    databases: VectorDatabases, vectors: Vectors, asked: Asked
) -> tuple[list[tuple[Candidate, ...]], bool]:
    """Search the newest templates without a vector database; return whether these are all, too."""
    with databases.database.read() as connection:
        active = models.active_model(connection)
        if active is None:
            return [() for _ in vectors], True
        row, info = active
        models.require_made_by(info.model_id, asked.model_id)
        newest = NewestTemplates(DatabaseVectors(connection, row, info.dimension))
        allowed = templates_where(connection, asked.where) if asked.where else None
        return search_subjects(newest, vectors, asked, allowed, {}, connection), newest.complete


class Truth(Protocol):
    """The vectors as the database has them."""

    def vectors(self, ids: Ids) -> tuple[Ids, Vectors]:
        """Return those of `ids` that exist, in order of id, with their vectors."""
        ...

    def blocks(self) -> Iterator[tuple[Ids, Vectors]]:
        """Return all of them, in blocks."""
        ...


@dataclass(frozen=True, slots=True)
class ProposedTemplates:
    """What a vector database proposes, seen from one transaction: scores are exact."""

    index: ExternalIndex
    truth: DatabaseVectors
    pending: Ids

    together: ClassVar = 16

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        return self.truth.dimension

    def search(
        self,
        queries: Vectors,
        k: int,
        allowed: Ids | None = None,
        floor: float = -1,  # noqa: ARG002  # of the interface
    ) -> tuple[NDArray[np.float32], Ids]:
        """See `VectorIndex.search`."""
        newest = self.truth.connection.scalar(sa.select(sa.func.max(TemplateRow.id))) or 1
        return search_exactly(self.index, self.truth, queries, min(k, newest), allowed, self.pending)


class NewestTemplates:
    """The newest templates, read from the database: what can be searched without the vector database."""

    together = 16

    def __init__(self, truth: DatabaseVectors) -> None:
        self._truth = truth
        self.dimension = truth.dimension
        query = sa.select(TemplateRow.id).where(TemplateRow.model_id == truth.model_row)
        ids = truth.connection.scalars(query.order_by(TemplateRow.id.desc()).limit(LOCAL + 1)).all()
        self.complete = len(ids) <= LOCAL
        """Whether these are all templates."""
        self._ids = np.sort(np.array(ids[:LOCAL], np.int64))

    def search(
        self,
        queries: Vectors,
        k: int,
        allowed: Ids | None = None,
        floor: float = -1,  # noqa: ARG002  # of the interface
    ) -> tuple[NDArray[np.float32], Ids]:
        """See `VectorIndex.search`."""
        return search_everything(self._truth.blocks(self._ids), queries, min(k, len(self._ids)), allowed)


def search_exactly(
    index: ExternalIndex,
    truth: Truth,
    queries: Vectors,
    k: int,
    allowed: Ids | None = None,
    pending: Ids | None = None,
) -> tuple[NDArray[np.float32], Ids]:
    """Search `truth` as `VectorIndex.search` does, with the proposals of `index` and exact scores; all k columns.

    `pending` are ids that the index may lack: they are looked at too. Equal scores come in order of id.
    """
    pending = np.empty(0, np.int64) if pending is None else pending
    if allowed is not None:
        pending = pending[np.isin(pending, allowed)]
    found = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    open_rows = np.arange(len(queries))
    fetch = k + SLACK
    while len(open_rows):
        if fetch > index.limit:
            found[0][open_rows], found[1][open_rows] = search_everything(truth.blocks(), queries[open_rows], k, allowed)
            break
        estimates, proposed = index.search(queries[open_rows], fetch, allowed)
        candidates = np.union1d(proposed[proposed != -1], pending)
        scores, ids = _best(queries[open_rows], *truth.vectors(candidates), k)
        # Templates that were not proposed score at most this much; a row that is not full has proposed all.
        bounds = np.where(proposed[:, -1] == -1, -np.inf, estimates[:, -1] + index.error)
        certain = scores[:, -1] >= bounds
        found[0][open_rows[certain]], found[1][open_rows[certain]] = scores[certain], ids[certain]
        open_rows = open_rows[~certain]
        fetch *= 4
    return found


def search_everything(
    blocks: Iterable[tuple[Ids, Vectors]], queries: Vectors, k: int, allowed: Ids | None
) -> tuple[NDArray[np.float32], Ids]:
    """Search ids (n,) and vectors (n, d) in blocks as `VectorIndex.search` does, without an index; all k columns."""
    scores = np.full((len(queries), k), -np.inf, np.float32)
    ids = np.full((len(queries), k), -1, np.int64)
    for block_ids, vectors in blocks:
        kept = slice(None) if allowed is None else np.isin(block_ids, allowed)
        block_scores, best_ids = _best(queries, block_ids[kept], vectors[kept], k)
        scores, ids = _sorted(np.hstack([scores, block_scores]), np.hstack([ids, best_ids]), k)
    return scores, ids


def _best(queries: Vectors, ids: Ids, vectors: Vectors, k: int) -> tuple[NDArray[np.float32], Ids]:
    """Return the k best of these for each query, best first, filled with -inf and -1."""
    scores = np.full((len(queries), max(k, len(ids))), -np.inf, np.float32)
    # Not a matrix product: that rounds equal vectors differently from one column to the next.
    scores[:, : len(ids)] = np.einsum("qd,nd->qn", queries, vectors)
    padded = np.full(scores.shape[1], -1, np.int64)
    padded[: len(ids)] = ids
    return _sorted(scores, np.broadcast_to(padded, scores.shape), k)


def _sorted(scores: NDArray[np.float32], ids: Ids, k: int) -> tuple[NDArray[np.float32], Ids]:
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)
