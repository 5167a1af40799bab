"""A two-stage index between its files and its memory: loading, saving, and taking people out of the files for good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.errors import CorruptGalleryError
from facesearch.files import INDEX_CACHE_NAME, remove_index_cache
from facesearch.index.codes import CodeScan
from facesearch.index.rowfiles import (
    RowCache,
    create,
    extend,
    forget_rows,
    is_row_cache,
    map_vectors,
    new_generation,
    read_head,
    read_row_cache,
    row_checksums,
)
from facesearch.index.snapshot import Snapshot, damaged
from facesearch.index.stored import Mapped, StoredVectors, sketch
from facesearch.index.two_stage import TwoStageIndex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from facesearch.types import Ids, Vectors

SPARSE: Final = 0.5
"""Part of the rows that may be empty before the files are written anew without them."""
NO_STATE: Final = b""
"""The token of files that no state of the database equals."""
BLOCK: Final = 1 << 15
"""Rows that are copied at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Of the database: what the files say besides the vectors."""

    token: bytes
    model_id: str
    checksums: NDArray[np.uint32]
    """(n,) of the templates, in order of id."""


def load(folder: Path, model_id: str, dimension: int) -> tuple[TwoStageIndex, State] | None:
    """The index in the files, if there is one of this model; `CorruptGalleryError` where they are not as written."""
    cache = read_row_cache(folder)
    if cache is None or (cache.model_id, cache.dimension) != (model_id, dimension):
        return None
    try:
        index = _restored(folder, cache)
    except CorruptGalleryError:
        head = read_head(folder)
        if head is None or head[:2] == (cache.generation, len(cache.ids)):
            raise
        cache = read_row_cache(folder)  # another process has put new files in place between one and the other
        if cache is None:
            return None
        index = _restored(folder, cache)
    return index, State(cache.token, cache.model_id, cache.checksums[index.rows])


def read_as_snapshot(folder: Path) -> Snapshot | None:
    """What the files hold, every vector proven by its checksum; `CorruptGalleryError` where one is not as written."""
    cache = read_row_cache(folder)
    if cache is None:
        return None
    index = _restored(folder, cache)
    index.stored.prove(index.rows)
    dense = len(index.rows) == len(cache.ids) and bool(np.all(np.diff(index.rows) == 1))
    vectors = index.stored.mapped.vectors if dense else index.stored.take(index.rows)
    return Snapshot(cache.token, cache.model_id, index.ids, cache.checksums[index.rows], vectors)


def _restored(folder: Path, cache: RowCache) -> TwoStageIndex:
    count, dimension = len(cache.ids), cache.dimension
    index, scan = TwoStageIndex(dimension), CodeScan(dimension)
    try:
        scan.unpack(cache.codes, count)
    except ValueError as error:
        raise damaged(folder / INDEX_CACHE_NAME, str(error)) from error
    vectors = map_vectors(folder, cache.generation, count, dimension)
    index.restore(
        scan, StoredVectors(dimension, Mapped(vectors, cache.vector_checksums, cache.sketches)), cache.ids.copy()
    )
    index.generation = cache.generation
    return index


def save(folder: Path, index: TwoStageIndex, state: State, current: AbstractContextManager[bool]) -> bool | None:
    """Write what the files lack; `current` is as in `write_snapshot`. Returns whether they are of this state now.

    None says that another process has written them since they were loaded: load them anew, and catch up.
    """
    known, head = len(index.stored.mapped.vectors), read_head(folder)
    if index.generation is not None and head is not None:
        if head[:2] != (index.generation, known):
            return None
        if head.token == state.token:
            return True
    if len(index) < SPARSE * len(index.row_ids):
        _close_gaps(index)
    if index.generation is None or head is None:
        cache = _cache_of(index, state, new_generation())
        saved = create(folder, cache, _all_rows(index), current)
    else:
        cache = _cache_of(index, state, index.generation)
        gone = np.flatnonzero((index.row_ids[:known] == -1) & (index.stored.mapped.checksums != 0))
        saved = extend(folder, cache, known, index.stored.recent, gone, current)
    if saved:
        vectors = map_vectors(folder, cache.generation, len(cache.ids), cache.dimension)
        index.stored = StoredVectors(cache.dimension, Mapped(vectors, cache.vector_checksums, cache.sketches))
        index.generation = cache.generation
    return saved


def forget(folder: Path, ids: Ids, before: bytes, after: bytes) -> None:
    """Take templates out of the files for good, while a transaction that removes them is open.

    `before` and `after` are the database's tokens without the removal and with it. Files that are of neither are of no
    state afterwards: should the removal be undone, they lack templates that nothing since their token touched. Where
    that cannot be done row by row, the files go.
    """
    try:
        cache = read_row_cache(folder) if is_row_cache(folder) else None
        if cache is None:
            remove_index_cache(folder)
            return
        map_vectors(folder, cache.generation, len(cache.ids), cache.dimension)
    except CorruptGalleryError:
        remove_index_cache(folder)
        return
    scan = CodeScan(cache.dimension)
    scan.unpack(cache.codes, len(cache.ids))
    scan.blank(np.flatnonzero(np.isin(cache.ids, ids)))
    forget_rows(folder, cache, ids, after if cache.token == before else NO_STATE, scan.packed())


def _close_gaps(index: TwoStageIndex) -> None:
    """Give the index new rows without the empty ones; they are in no file then."""
    dense = TwoStageIndex(index.dimension)
    for part in range(0, len(index), BLOCK):
        rows = index.rows[part : part + BLOCK]
        index.stored.prove(rows)
        dense.add(index.ids[part : part + BLOCK], index.stored.take(rows))
    index.restore(dense.scan, dense.stored, dense.row_ids)
    index.generation = None


def _all_rows(index: TwoStageIndex) -> Iterator[Vectors]:
    for start in range(0, len(index.row_ids), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(index.row_ids)))
        block = index.stored.take(rows)
        block[index.row_ids[rows] == -1] = 0
        yield block


def _cache_of(index: TwoStageIndex, state: State, generation: bytes) -> RowCache:
    mapped, recent = index.stored.mapped, index.stored.recent
    gone = index.row_ids == -1
    checksums = np.zeros(len(index.row_ids), np.uint32)
    checksums[index.rows] = state.checksums
    return RowCache(
        state.token,
        state.model_id,
        generation,
        index.dimension,
        index.row_ids,
        checksums,
        np.where(gone, np.uint32(0), np.concatenate([mapped.checksums, row_checksums(recent)])),
        np.where(gone, np.float32(0), np.concatenate([mapped.sketches, sketch(recent)])),
        index.scan.packed(),
    )
