"""The exact index: FAISS's flat inner product, by template id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import faiss
import numpy as np

from facesearch.arguments import require_unit_vectors
from facesearch.index.cache_file import Cache, new_generation
from facesearch.index.huge_pages import WORTH, HugePages
from facesearch.index.vector_file import row_checksums
from facesearch.types import IndexKind

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from facesearch.index.cache_file import CacheFile, Stamp
    from facesearch.index.vector_file import MappedVectors
    from facesearch.types import Ids, Vectors

ALONE: Final = 1 << 24
"""Products of numbers below which one thread is faster than several: about 2 ms. FAISS's threads wait for the next
search in a loop, which doubles the CPU time of a request to the server."""
THREADS: Final = faiss.omp_get_max_threads()
"""By the machine or OMP_NUM_THREADS."""


class FlatIndex:
    """A `LocalIndex` that compares a query with every vector: exact, no training."""

    kind = IndexKind.FLAT
    together = 16
    """From 20 on FAISS multiplies matrices, and equal vectors then score unequal."""
    unsaved_bytes = 0
    """Nothing is mapped: every save writes all vectors."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._flat = faiss.IndexFlatIP(dimension)
        self._index = faiss.IndexIDMap2(self._flat)
        self._huge_pages = HugePages()

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """See `VectorIndex.add`."""
        if len(ids):
            self._index.add_with_ids(np.ascontiguousarray(vectors, np.float32), np.ascontiguousarray(ids, np.int64))
            size = int(self._flat.codes.size())
            if size >= WORTH:
                self._huge_pages.follow(int(self._flat.get_xb()), size)

    def remove(self, ids: Ids) -> int:
        """See `VectorIndex.remove`."""
        return int(self._index.remove_ids(np.ascontiguousarray(ids, np.int64))) if len(ids) else 0

    def search(
        self,
        queries: Vectors,
        k: int,
        allowed: Ids | None = None,
        floor: float = -1,  # noqa: ARG002  # of the interface
    ) -> tuple[NDArray[np.float32], Ids]:
        """See `VectorIndex.search`; exact whatever `floor` is."""
        count = min(k, len(self) if allowed is None else min(len(allowed), len(self)))
        if not len(queries) or not count:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        parameters = None
        if allowed is not None:
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBatch(np.ascontiguousarray(allowed, np.int64)))
        few = len(queries) * len(self) * self.dimension < ALONE
        faiss.omp_set_num_threads(1 if few else THREADS)
        scores, ids = self._index.search(np.ascontiguousarray(queries, np.float32), count, params=parameters)
        scores[ids == -1] = -np.inf  # FAISS has -FLT_MAX there
        return scores, ids

    def contents(self) -> tuple[Ids, Vectors]:
        """See `LocalIndex.contents`."""
        count = len(self)
        if not count:
            return np.empty(0, np.int64), np.empty((0, self.dimension), np.float32)
        ids = faiss.vector_to_array(self._index.id_map)
        vectors = faiss.rev_swig_ptr(self._flat.get_xb(), count * self.dimension)
        return ids.astype(np.int64), vectors.reshape(count, self.dimension).copy()

    def load(self, cache: Cache, rows: MappedVectors) -> None:
        """See `LocalIndex.load`."""
        vectors = rows.taken(cache.rows)
        require_unit_vectors(vectors, self.dimension)
        self.add(cache.ids[cache.rows], vectors)

    def save(self, file: CacheFile, stamp: Stamp, current: AbstractContextManager[bool]) -> bool:
        """See `LocalIndex.save`."""
        ids, vectors = self.contents()
        checksums = np.empty(len(ids), np.uint32)
        checksums[np.argsort(ids)] = stamp.checksums
        cache = Cache(
            stamp.revision,
            stamp.model_id,
            new_generation(),
            self.kind,
            self.dimension,
            ids,
            checksums,
            row_checksums(vectors),
            sketches=np.empty(0, np.float32),
            codes=[],
        )
        return file.create(cache, [vectors], current)
