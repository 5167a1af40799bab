"""Exact search through a vector database, or without one.

A vector database may lag behind the database, may have been restored from a backup, and may keep its vectors in half
precision. So it only proposes templates. They are scored again from the vectors in the database, which alone knows what
exists.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import sqlalchemy as sa

from facesearch.store.schema import TemplateRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from facesearch.index.base import ExternalIndex
    from facesearch.search.backlog import DatabaseVectors
    from facesearch.types import Ids, Vectors

SLACK: Final = 8
"""Results fetched beyond those asked for: room for ids that the database does not know any more."""
LOCAL: Final = 50_000
"""Newest templates that are searched while the vector database is down; reading them takes about half a second."""


class Truth(Protocol):
    """The vectors as the database has them."""

    def vectors(self, ids: Ids) -> tuple[Ids, Vectors]:
        """Return those of `ids` that exist, in order of id, with their vectors."""
        ...

    def blocks(self) -> Iterator[tuple[Ids, Vectors]]:
        """Return all of them, in blocks."""
        ...


class BoundIndex:
    """A vector database, seen from one transaction: it finds what that transaction sees, with exact scores."""

    def __init__(self, index: ExternalIndex, truth: DatabaseVectors, pending: Ids) -> None:
        self.index = index
        self.truth = truth
        self.pending = pending
        self.dimension = truth.dimension

    def __len__(self) -> int:
        """Return an upper limit of the number of templates; counting them would take long."""
        newest = self.truth.connection.scalar(sa.select(sa.func.max(TemplateRow.id)))
        return min(newest or 0, sys.maxsize)

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[NDArray[np.float32], Ids]:
        """See `VectorIndex.search`."""
        if not k:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        return search_exactly(self.index, self.truth, queries, k, allowed, self.pending)


class NewestTemplates:
    """The newest templates, read from the database: what can be searched without the vector database."""

    def __init__(self, truth: DatabaseVectors) -> None:
        self.truth = truth
        self.dimension = truth.dimension
        query = sa.select(TemplateRow.id).where(TemplateRow.model_id == truth.model_row)
        ids = truth.connection.scalars(query.order_by(TemplateRow.id.desc()).limit(LOCAL + 1)).all()
        self.complete = len(ids) <= LOCAL
        """Whether these are all templates."""
        self._ids = np.array(ids[:LOCAL], np.int64)

    def __len__(self) -> int:
        return len(self._ids)

    def vectors(self, ids: Ids) -> tuple[Ids, Vectors]:
        """See `Truth.vectors`."""
        return self.truth.vectors(ids)

    def blocks(self) -> Iterator[tuple[Ids, Vectors]]:
        """See `Truth.blocks`."""
        for start in range(0, len(self._ids), 1000):
            yield self.truth.vectors(self._ids[start : start + 1000])

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[NDArray[np.float32], Ids]:
        """See `VectorIndex.search`."""
        return search_everything(self, queries, k, allowed)


def search_exactly(
    index: ExternalIndex,
    truth: Truth,
    queries: Vectors,
    k: int,
    allowed: Ids | None = None,
    pending: Ids | None = None,
) -> tuple[NDArray[np.float32], Ids]:
    """Search `truth` as `VectorIndex.search` does, with the proposals of `index` and exact scores.

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
            found[0][open_rows], found[1][open_rows] = search_everything(truth, queries[open_rows], k, allowed)
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
    truth: Truth, queries: Vectors, k: int, allowed: Ids | None = None
) -> tuple[NDArray[np.float32], Ids]:
    """Search as `VectorIndex.search` does without an index: reads every vector of `truth`."""
    scores = np.full((len(queries), k), -np.inf, np.float32)
    ids = np.full((len(queries), k), -1, np.int64)
    for block_ids, vectors in truth.blocks():
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
