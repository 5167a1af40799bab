"""Searching an engine as if it equalled the database."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import numpy as np
import sqlalchemy as sa

from facesearch.index.external import search_everything, search_exactly
from facesearch.store.schema import TemplateRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from facesearch.index.external import ExternalIndex
    from facesearch.search.backlog import DatabaseVectors
    from facesearch.types import Ids, Vectors

LOCAL: Final = 50_000
"""Templates that are looked at where the engine is down: the newest; reading them takes about half a second."""


class BoundIndex:
    """An engine, seen from one transaction: what is searched is what that sees, with exact scores."""

    def __init__(self, index: ExternalIndex, truth: DatabaseVectors, pending: Ids) -> None:
        self.index = index
        self.truth = truth
        self.pending = pending
        self.dimension = truth.dimension

    def __len__(self) -> int:
        """No fewer templates than there are; counting them would take long."""
        newest = self.truth.connection.scalar(sa.select(sa.func.max(TemplateRow.id)))
        return min(newest or 0, sys.maxsize)

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[NDArray[np.float32], Ids]:
        """See `VectorIndex.search`."""
        if not k:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        return search_exactly(self.index, self.truth, queries, k, allowed, self.pending)


class LocalIndex:
    """What can be searched without the engine: the newest templates, read from the database."""

    def __init__(self, truth: DatabaseVectors) -> None:
        self.truth = truth
        self.dimension = truth.dimension
        query = sa.select(TemplateRow.id).where(TemplateRow.model_id == truth.model_row)
        ids = truth.connection.scalars(query.order_by(TemplateRow.id.desc()).limit(LOCAL + 1)).all()
        self.complete = len(ids) <= LOCAL
        """Whether that is all of them."""
        self._ids = np.array(ids[:LOCAL], np.int64)

    def __len__(self) -> int:
        """Of the templates that are searched."""
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
