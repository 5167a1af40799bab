"""The index for many vectors: a scan over small codes finds who could be among the best, exact scores decide.

How many are scored exactly is decided for each query: all whose estimate leaves a chance to reach the k-th best score,
or `FLOOR` where that is higher. The chance to lose one of a score of exactly that much is that of a normal deviate
beyond `CERTAINTY` deviations, and it falls quickly above it. Scores below `FLOOR` may be missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.errors import GalleryError
from facesearch.index.codes import SLOPE, CodeScan
from facesearch.index.stored import StoredVectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facesearch.types import Ids, Vector, Vectors

FLOOR: Final = 0.3
"""Cosine from which on a score is found as surely as `CERTAINTY` says: at or below the threshold of any model."""
CERTAINTY: Final = 3.0
"""Standard deviations: of scores of exactly the floor 1 in 740 is lost, 0.05 above it 1 in 400,000 (512 dimensions)."""
HEAD: Final = 512
"""Rows of highest estimate that are scored exactly in any case: 0.2 ms."""
FETCH: Final = 1024
"""Rows that a scan returns at first."""
MOST_AT_FIRST: Final = 1 << 14
"""Up to this many, if queries turn out to need them."""
FEW: Final = 4096
"""Allowed rows that are scored exactly without a scan, however small the index: 1.3 ms."""
PART: Final = 32
"""Up to this part of all rows, scoring the allowed ones exactly is quicker than a scan."""


class TwoStageIndex:
    """A `VectorIndex` over codes and vectors by row; the row of a removed vector stays empty."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.scan = CodeScan(dimension)
        self.stored = StoredVectors(dimension)
        self._margin = CERTAINTY * self.scan.deviation
        self._fetch = FETCH
        self.generation: bytes | None = None
        """Of the files that hold the mapped vectors; see `rowfiles`."""
        self.row_ids: Ids = np.empty(0, np.int64)
        """(rows,) the id of every row, -1 where it was removed."""
        self.ids: Ids = np.empty(0, np.int64)
        """(n,) sorted."""
        self.rows: NDArray[np.int64] = np.empty(0, np.int64)
        """(n,) the rows of `ids`."""

    def __len__(self) -> int:
        return len(self.ids)

    def restore(self, scan: CodeScan, stored: StoredVectors, row_ids: Ids) -> None:
        """Become the index over these rows; `GalleryError` where two have the same id."""
        self.scan, self.stored, self.row_ids = scan, stored, row_ids
        order = np.argsort(row_ids, kind="stable")
        self.rows = order[int(np.count_nonzero(row_ids == -1)) :]
        self.ids = row_ids[self.rows]
        if not bool(np.all(np.diff(self.ids) > 0)):
            raise GalleryError("An index cannot hold two vectors of one id.", "Run: facesearch reindex")

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """See `VectorIndex.add`."""
        if not len(ids):
            return
        rows = np.arange(len(self.row_ids), len(self.row_ids) + len(ids))
        self.scan.append(vectors)
        self.stored.append(vectors)
        self.row_ids = np.concatenate([self.row_ids, np.asarray(ids, np.int64)])
        order = np.argsort(ids)
        places = np.searchsorted(self.ids, ids[order])
        self.ids = np.insert(self.ids, places, ids[order])
        self.rows = np.insert(self.rows, places, rows[order])

    def remove(self, ids: Ids) -> int:
        """See `VectorIndex.remove`."""
        places = self._places(ids)
        rows = self.rows[places]
        self.scan.blank(rows)
        self.stored.blank(rows)
        self.row_ids[rows] = -1
        self.ids, self.rows = np.delete(self.ids, places), np.delete(self.rows, places)
        return len(rows)

    def _places(self, ids: Ids) -> NDArray[np.int64]:
        """Where those of `ids` that are indexed stand in `_ids`."""
        if not len(self.ids):
            return np.empty(0, np.int64)
        ids = np.unique(np.asarray(ids, np.int64))
        places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        known: NDArray[np.int64] = places[self.ids[places] == ids]
        return known

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[NDArray[np.float32], Ids]:
        """See `VectorIndex.search`; what scores below `FLOOR` may be missing where more than `HEAD` are indexed."""
        scores = np.full((len(queries), k), -np.inf, np.float32)
        ids = np.full((len(queries), k), -1, np.int64)
        rows = None if allowed is None else self.rows[self._places(allowed)]
        count = min(k, len(self) if rows is None else len(rows))
        if not count:
            return scores, ids
        queries = np.ascontiguousarray(queries, np.float32)
        if rows is not None and len(rows) <= max(FEW, len(self.row_ids) // PART):
            found = [self._ranked(self.stored.scores(query, rows), rows, count) for query in queries]
        else:
            found = self._scanned(queries, count, rows)
        for position, (best, best_rows) in enumerate(found):
            self.stored.prove(best_rows)
            scores[position, :count], ids[position, :count] = best, self.row_ids[best_rows]
        return scores, ids

    def _scanned(
        self, queries: Vectors, count: int, allowed: NDArray[np.int64] | None
    ) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """The `count` best of every query: scores and rows."""
        marks = self.row_ids  # -1: not to be returned
        fetch = max(self._fetch, count)
        if allowed is not None:
            marks = np.full(len(self.row_ids), -1, np.int8)
            marks[allowed] = 0
            fetch *= len(marks) // len(allowed)
        turned = self.scan.turned(queries)
        found: dict[int, tuple[NDArray[np.float32], NDArray[np.int64]]] = {}
        while unsettled := [position for position in range(len(queries)) if position not in found]:
            if fetch >= len(marks):
                rows = np.flatnonzero(marks >= 0)
                for position in unsettled:
                    found[position] = self._ranked(self.stored.scores(queries[position], rows), rows, count)
                break
            estimates, scanned = self.scan.best(turned[unsettled], fetch)
            for position, row_estimates, rows in zip(unsettled, estimates, scanned, strict=True):
                among = marks[rows] >= 0
                unseen = float(row_estimates[-1]) if rows[-1] >= 0 else np.inf
                best = self._settled(queries[position], row_estimates[among], rows[among], count, unseen)
                if best is not None:
                    found[position] = best
            fetch *= 4
        return [found[position] for position in range(len(queries))]

    def _settled(
        self, query: Vector, estimates: NDArray[np.float32], rows: NDArray[np.int64], count: int, unseen: float
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
        """The `count` best of these rows; None where one that the scan left out, of at most `unseen`, may be better."""
        if len(rows) < count:
            return None
        head = max(HEAD, count)
        scores = self.stored.scores(query, rows[:head])
        worst = float(np.partition(scores, -count)[-count])
        bound = SLOPE * max(FLOOR, worst) - self._margin
        if unseen > bound:
            return None
        needed = int(np.searchsorted(-estimates, -bound))  # estimates fall
        # Starting with what queries needed lately saves the second scan.
        self._fetch = min(max(FETCH, int(1.25 * needed), int(0.98 * self._fetch)), MOST_AT_FIRST)
        if needed > head:
            scores = np.concatenate([scores, self.stored.scores(query, rows[head:needed])])
        return self._ranked(scores, rows[: len(scores)], count)

    def _ranked(
        self, scores: NDArray[np.float32], rows: NDArray[np.int64], count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The `count` best, equal ones in order of id."""
        among = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
        order = among[np.lexsort((self.row_ids[rows[among]], -scores[among]))][:count]
        return scores[order], rows[order]

    def contents(self) -> tuple[Ids, Vectors]:
        """See `VectorIndex.contents`; `ChangedRowError` where a mapped vector is not as written."""
        self.stored.prove(self.rows)
        return self.ids.copy(), self.stored.take(self.rows)
