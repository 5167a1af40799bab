"""What a vector engine outside of this process must do, and the exact search over one.

An engine may lag behind the database, may have been restored from a backup, and may keep its vectors in half precision.
So it only proposes: whoever it proposes is scored again from the vectors in the database, which alone knows who exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from facesearch.index.base import VectorIndex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from facesearch.types import Ids, Vectors

SLACK = 8
"""Results fetched beyond those asked for: room for ids that the database does not know any more."""


class ExternalIndex(VectorIndex, Protocol):
    """A `VectorIndex` kept elsewhere. `add` replaces what an id held before, so that it can be repeated."""

    error: float
    """How far a score it gives may be from the exact one."""
    limit: int
    """The most results it gives for a query."""
    position: int
    """A number by which another process can tell it to show at least what this one has changed; 0 if it always does."""

    def create(self) -> None:
        """Make it where there is none."""
        ...

    def ids(self) -> Iterator[Ids]:
        """The ids of everything in it, in blocks and in no order."""
        ...

    def vectors(self, ids: Ids) -> tuple[Ids, Vectors]:
        """Those of `ids` that are in it, in order of id, with their vectors: exact within `error`."""
        ...

    def drop(self) -> None:
        """Remove it and everything in it; no error where it is gone already."""
        ...


class Truth(Protocol):
    """The vectors as the database has them."""

    def vectors(self, ids: Ids) -> tuple[Ids, Vectors]:
        """Those of `ids` that exist, in order of id, with their vectors."""
        ...

    def blocks(self) -> Iterator[tuple[Ids, Vectors]]:
        """All of them, in blocks."""
        ...


def search_exactly(
    index: ExternalIndex,
    truth: Truth,
    queries: Vectors,
    k: int,
    allowed: Ids | None = None,
    pending: Ids | None = None,
) -> tuple[NDArray[np.float32], Ids]:
    """`VectorIndex.search` over what `truth` holds, as `index` proposes it and with exact scores.

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
        # What was not proposed scores at most this much; a row that is not full has proposed everything.
        bounds = np.where(proposed[:, -1] == -1, -np.inf, estimates[:, -1] + index.error)
        certain = scores[:, -1] >= bounds
        found[0][open_rows[certain]], found[1][open_rows[certain]] = scores[certain], ids[certain]
        open_rows = open_rows[~certain]
        fetch *= 4
    return found


def search_everything(
    truth: Truth, queries: Vectors, k: int, allowed: Ids | None = None
) -> tuple[NDArray[np.float32], Ids]:
    """`VectorIndex.search` without an index: reads every vector of `truth`."""
    scores = np.full((len(queries), k), -np.inf, np.float32)
    ids = np.full((len(queries), k), -1, np.int64)
    for block_ids, vectors in truth.blocks():
        kept = slice(None) if allowed is None else np.isin(block_ids, allowed)
        block_scores, best_ids = _best(queries, block_ids[kept], vectors[kept], k)
        scores, ids = _sorted(np.hstack([scores, block_scores]), np.hstack([ids, best_ids]), k)
    return scores, ids


def _best(queries: Vectors, ids: Ids, vectors: Vectors, k: int) -> tuple[NDArray[np.float32], Ids]:
    """The k best of these for each query, best first, filled with -inf and -1."""
    scores = np.full((len(queries), max(k, len(ids))), -np.inf, np.float32)
    # Not a matrix product: that rounds equal vectors differently from one column to the next.
    scores[:, : len(ids)] = np.einsum("qd,nd->qn", queries, vectors)
    padded = np.full(scores.shape[1], -1, np.int64)
    padded[: len(ids)] = ids
    return _sorted(scores, np.broadcast_to(padded, scores.shape), k)


def _sorted(scores: NDArray[np.float32], ids: Ids, k: int) -> tuple[NDArray[np.float32], Ids]:
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)
