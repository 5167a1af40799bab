"""The index for many vectors: a scan over small codes finds the candidates, and exact scores decide.

Each query decides how many are scored exactly: all whose estimate leaves a chance to reach the k-th best score, or the
floor where that is higher. A score of exactly that much is lost with the chance of a normal deviate beyond
`CERTAINTY` deviations; the chance falls quickly above it. Scores below the floor may be missing.

A search for scores that match goes by its threshold. For it the coarse codes are enough, mostly.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.files import INDEX_CACHE_NAME
from facesearch.index.cache_file import Cache, FilesReplacedError, new_generation
from facesearch.index.quantizer import Codes
from facesearch.index.rows import Rows, sketch
from facesearch.index.vector_file import damaged, inserted, row_checksums
from facesearch.types import IndexKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from facesearch.index.cache_file import CacheFile, Stamp
    from facesearch.index.quantizer import CodeScan
    from facesearch.index.vector_file import MappedVectors
    from facesearch.types import Ids, Vector, Vectors

FLOOR: Final = 0.3
"""Cosine from which on `CERTAINTY` holds, unless a search asks for a higher one: at or below any model's threshold."""
CERTAINTY: Final = 3.0
"""Standard deviations. 1 in 740 scores of exactly the floor is lost, 1 in 400,000 at 0.05 above it (512 dimensions)."""
HEAD: Final = 256
"""Rows of highest estimate that are always scored exactly: 0.1 ms."""
HEAD_ABOVE: Final = 64
"""The same where a search asks for a floor: nothing below it has to be found."""
AT_ONCE: Final = 512
"""Rows that may reach the floor which are scored at once. Of more, the head's scores may leave some out."""
COARSE_FROM: Final = 0.38
"""Floor from which on the coarse codes are scanned first. Below it they leave more than 1 row in 100 to be scored."""
WORTH: Final = 256
"""A coarse scan pays as long as it leaves at most 1 row in so many to be scored."""
DOUBT: Final = 16
"""Coarse scans in vain, minus those that served, from which on none is tried for so many queries."""
FETCH: Final = 256
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
    together = 512

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.codes = Codes(dimension)
        self.stored = Rows(dimension)
        self._fetch = {self.codes.fine: FETCH, self.codes.coarse: FETCH}
        """By scan, how many rows queries needed lately."""
        self._doubt = 0
        """How many more coarse scans were in vain lately than served, as far as they count."""
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
        self.codes.append(vectors)
        self.stored.append(vectors)
        self.row_ids = np.concatenate([self.row_ids, np.asarray(ids, np.int64)])
        order = np.argsort(ids)
        places = np.searchsorted(self.ids, ids[order])
        self.ids = inserted(self.ids, places, ids[order])
        self.rows = inserted(self.rows, places, rows[order])

    def remove(self, ids: Ids) -> int:
        """See `VectorIndex.remove`."""
        places = self._places(ids)
        rows = self.rows[places]
        self.codes.blank(rows)
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

    def search(
        self, queries: Vectors, k: int, allowed: Ids | None = None, floor: float = -1
    ) -> tuple[NDArray[np.float32], Ids]:
        """See `VectorIndex.search`; scores below `FLOOR` may be missing where more than `HEAD` are indexed."""
        rows = None if allowed is None else self.rows[self._places(allowed)]
        count = min(k, len(self) if rows is None else len(rows))
        scores, ids = np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64)
        if not count:
            return scores, ids
        queries = np.ascontiguousarray(queries, np.float32)
        if rows is not None and len(rows) <= max(FEW, len(self.row_ids) // PART):
            found = dict(enumerate(self._ranked(self.stored.scores(query, rows), rows, count) for query in queries))
        else:
            found = self._scanned(queries, count, rows, max(FLOOR, floor))
        for position, (best, best_rows) in found.items():
            self.stored.prove(best_rows)
            scores[position], ids[position] = best, self.row_ids[best_rows]
        return scores, ids

    def _scanned(
        self, queries: Vectors, count: int, allowed: NDArray[np.int64] | None, floor: float
    ) -> dict[int, tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Return the `count` best of every query by its position: scores and rows."""
        marks, rarity = self.row_ids, 1  # -1: not to be returned
        if allowed is not None:
            marks = np.full(len(self.row_ids), -1, np.int8)
            marks[allowed] = 0
            rarity = len(marks) // len(allowed)
        turned = self.codes.turned(queries)
        found: dict[int, tuple[NDArray[np.float32], NDArray[np.int64]]] = {}
        unsettled = list(range(len(queries)))
        for scan, growth in self._scans(floor):
            fetch = rarity * max(self._fetch[scan], count) * growth
            if fetch >= len(marks):
                rows = np.flatnonzero(marks >= 0)
                for position in unsettled:
                    found[position] = self._ranked(self.stored.scores(queries[position], rows), rows, count)
                break
            for position, estimates, rows, unseen in zip(unsettled, *scan.best(turned[unsettled], fetch), strict=True):
                among = (rows >= 0) & (marks[rows] >= 0)
                best = self._settled(scan, queries[position], estimates[among], rows[among], unseen, count, floor)
                if best is not None:
                    found[position] = best
            unsettled = [position for position in unsettled if position not in found]
            if not unsettled:
                break
        return found

    def _scans(self, floor: float) -> Iterator[tuple[CodeScan, int]]:
        """Yield what to scan in turn, and how many times as many rows as usual it returns."""
        if floor >= COARSE_FROM and self._doubt < DOUBT:
            yield self.codes.coarse, 1
        elif self._doubt:
            self._doubt -= 1
        for power in itertools.count():
            yield self.codes.fine, 4**power

    def _settled(
        self,
        scan: CodeScan,
        query: Vector,
        estimates: NDArray[np.float32],
        rows: NDArray[np.int64],
        unseen: float,
        count: int,
        floor: float,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
        """Return the `count` best of these rows; None where a row that the scan left out may be better.

        The estimates of the rows left out are at most `unseen`.
        """
        if len(rows) < count:
            return None
        first = estimates >= _bound(scan, floor)
        if not count <= np.count_nonzero(first) <= AT_ONCE:
            head = min(max(HEAD if floor <= FLOOR else HEAD_ABOVE, count), len(rows))
            first = np.zeros(len(rows), np.bool)
            first[np.argpartition(-estimates, head - 1)[:head]] = True
        best = rows[first]
        scores = self.stored.scores(query, best)
        bound = _bound(scan, max(floor, float(np.partition(scores, -count)[-count])))
        others = rows[~first & (estimates >= bound)]
        if unseen > bound:
            self._learn(scan, 2 * len(rows), in_vain=True)
            return None
        self._learn(scan, int(1.25 * (len(best) + len(others))), in_vain=False)
        if len(others):
            best = np.concatenate([best, others])
            scores = np.concatenate([scores, self.stored.scores(query, others)])
        return self._ranked(scores, best, count)

    def _learn(self, scan: CodeScan, needed: int, *, in_vain: bool) -> None:
        """Start the next scan with what queries needed lately: it saves a second one."""
        fetch, most = self._fetch[scan], MOST_AT_FIRST
        if scan is self.codes.coarse:
            most = max(FETCH, len(self.row_ids) // WORTH)
            self._doubt = max(0, self._doubt - 1 + 3 * (in_vain and fetch >= most))
        self._fetch[scan] = min(max(FETCH, needed, int(0.98 * fetch)), most)

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
            self.codes.unpack(cache.codes[0], len(cache.ids))
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
        self.codes, self.stored, self.row_ids, self.rows = dense.codes, dense.stored, dense.row_ids, dense.rows
        self._fetch = dense._fetch
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
            self.codes.packed(),
        )


def _bound(scan: CodeScan, score: float) -> float:
    """Return the estimate from which on a row has a chance to score so much."""
    return scan.slope * score - CERTAINTY * scan.deviation
