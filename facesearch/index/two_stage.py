"""The index for many vectors: a scan over small codes finds the candidates, and exact scores decide.

Each query decides how many are scored exactly: all whose estimate leaves a chance to reach the k-th best score, or
`FLOOR` where that is higher. A score of exactly that much is lost with the chance of a normal deviate beyond
`CERTAINTY` deviations; the chance falls quickly above it. Scores below `FLOOR` may be missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.files import INDEX_CACHE_NAME
from facesearch.index.cache_file import Cache, FilesReplacedError, new_generation
from facesearch.index.quantizer import SLOPE, CodeScan
from facesearch.index.rows import Rows, sketch
from facesearch.index.vector_file import damaged, row_checksums
from facesearch.types import IndexKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from facesearch.index.cache_file import CacheFile, Stamp
    from facesearch.index.vector_file import MappedVectors
    from facesearch.types import Ids, Vector, Vectors

FLOOR: Final = 0.3
"""Cosine from which on `CERTAINTY` holds: at or below the threshold of any model."""
CERTAINTY: Final = 3.0
"""Standard deviations. 1 in 740 scores of exactly the floor is lost, 1 in 400,000 at 0.05 above it (512 dimensions)."""
HEAD: Final = 512
"""Rows of highest estimate that are always scored exactly: 0.2 ms."""
FETCH: Final = 1024
"""Rows that the first scan of a query returns."""
MOST_AT_FIRST: Final = 1 << 14
"""The most that it returns, where earlier queries needed them."""
FEW: Final = 4096
"""Allowed rows that are scored exactly without a scan, however small the index: 1.3 ms."""
PART: Final = 32
"""Scoring the allowed rows exactly is quicker than a scan where they are at most 1 in this many of all rows."""
SPARSE: Final = 0.5
"""Part of the rows below which, if no more hold a vector, the files are written anew without the empty ones."""
BLOCK: Final = 1 << 15
"""Rows that are copied at a time."""


class TwoStageIndex:
    """A `LocalIndex` over codes and vectors by row. The row of a removed vector stays empty."""

    kind = IndexKind.TWO_STAGE

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.scan = CodeScan(dimension)
        self.stored = Rows(dimension)
        self._margin = CERTAINTY * self.scan.deviation
        self._fetch = FETCH
        self._generation: bytes | None = None
        """The files that hold the mapped vectors."""
        self.row_ids: Ids = np.empty(0, np.int64)
        """(rows,) the id of every row, -1 where it was removed."""
        self.ids: Ids = np.empty(0, np.int64)
        """(n,) sorted."""
        self.rows: NDArray[np.int64] = np.empty(0, np.int64)
        """(n,) the rows of `ids`."""

    def __len__(self) -> int:
        return len(self.ids)

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
        """Return the places in `self.ids` of those of `ids` that are indexed."""
        if not len(self.ids):
            return np.empty(0, np.int64)
        ids = np.unique(np.asarray(ids, np.int64))
        places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        known: NDArray[np.int64] = places[self.ids[places] == ids]
        return known

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[NDArray[np.float32], Ids]:
        """See `VectorIndex.search`; scores below `FLOOR` may be missing where more than `HEAD` are indexed."""
        rows = None if allowed is None else self.rows[self._places(allowed)]
        count = min(k, len(self) if rows is None else len(rows))
        scores, ids = np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64)
        if not count:
            return scores, ids
        queries = np.ascontiguousarray(queries, np.float32)
        if rows is not None and len(rows) <= max(FEW, len(self.row_ids) // PART):
            found = [self._ranked(self.stored.scores(query, rows), rows, count) for query in queries]
        else:
            found = self._scanned(queries, count, rows)
        for position, (best, best_rows) in enumerate(found):
            self.stored.prove(best_rows)
            scores[position], ids[position] = best, self.row_ids[best_rows]
        return scores, ids

    def _scanned(
        self, queries: Vectors, count: int, allowed: NDArray[np.int64] | None
    ) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Return the `count` best of every query: scores and rows."""
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
        """Return the `count` best of these rows; None where a row that the scan left out may be better.

        The estimates of the rows left out are at most `unseen`.
        """
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
        """Return the `count` best, equal ones in order of id."""
        among = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
        order = among[np.lexsort((self.row_ids[rows[among]], -scores[among]))][:count]
        return scores[order], rows[order]

    def contents(self) -> tuple[Ids, Vectors]:
        """See `LocalIndex.contents`; `ChangedRowError` where a mapped vector is not as written."""
        self.stored.prove(self.rows)
        return self.ids.copy(), self.stored.take(self.rows)

    @property
    def unsaved_bytes(self) -> int:
        """See `LocalIndex.unsaved_bytes`."""
        return self.stored.recent.nbytes

    def load(self, cache: Cache, rows: MappedVectors) -> None:
        """See `LocalIndex.load`. The vectors stay in the file; a search proves those that it returns."""
        try:
            self.scan.unpack(cache.codes, len(cache.ids))
        except ValueError as error:
            raise damaged(Path(INDEX_CACHE_NAME), str(error)) from error
        self.stored = Rows(self.dimension, rows)
        self.row_ids, self.rows = cache.ids.copy(), cache.rows
        self.ids = self.row_ids[self.rows]
        self._generation = cache.generation

    def save(self, file: CacheFile, stamp: Stamp, current: AbstractContextManager[bool]) -> bool:
        """See `LocalIndex.save`. Appends the new rows to the files it was loaded from, where they are still there."""
        known, head = len(self.stored.mapped.vectors), file.head()
        if self._generation is not None and head is not None:
            if head[:2] != (self._generation, known):
                raise FilesReplacedError
            if head.revision == stamp.revision:
                return True
        if len(self) < SPARSE * len(self.row_ids):
            self._close_gaps()
        if self._generation is None or head is None:
            cache = self._cache(stamp, new_generation())
            saved = file.create(cache, self._all_rows(), current)
        else:
            cache = self._cache(stamp, self._generation)
            gone = np.flatnonzero((self.row_ids[:known] == -1) & (self.stored.mapped.checksums != 0))
            saved = file.extend(cache, known, self.stored.recent, gone, current)
        if saved:
            self.stored = Rows(self.dimension, file.map(cache))
            self._generation = cache.generation
        return saved

    def _close_gaps(self) -> None:
        """Take new rows without the empty ones; they are in no file then."""
        dense = TwoStageIndex(self.dimension)
        for part in range(0, len(self), BLOCK):
            rows = self.rows[part : part + BLOCK]
            self.stored.prove(rows)
            dense.add(self.ids[part : part + BLOCK], self.stored.take(rows))
        self.scan, self.stored, self.row_ids, self.rows = dense.scan, dense.stored, dense.row_ids, dense.rows
        self._generation = None

    def _all_rows(self) -> Iterator[Vectors]:
        for start in range(0, len(self.row_ids), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(self.row_ids)))
            block = self.stored.take(rows)
            block[self.row_ids[rows] == -1] = 0
            yield block

    def _cache(self, stamp: Stamp, generation: bytes) -> Cache:
        mapped, recent = self.stored.mapped, self.stored.recent
        gone = self.row_ids == -1
        checksums = np.zeros(len(self.row_ids), np.uint32)
        checksums[self.rows] = stamp.checksums
        return Cache(
            stamp.revision,
            stamp.model_id,
            generation,
            self.kind,
            self.dimension,
            self.row_ids,
            checksums,
            np.where(gone, np.uint32(0), np.concatenate([mapped.checksums, row_checksums(recent)])),
            np.where(gone, np.float32(0), np.concatenate([mapped.sketches, sketch(recent)])),
            self.scan.packed(),
        )
