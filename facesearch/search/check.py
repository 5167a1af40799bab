"""`facesearch check`: proving that store, index cache and vector databases agree."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from facesearch.errors import CorruptGalleryError
from facesearch.index.rowfiles import is_row_cache
from facesearch.index.snapshot import read_snapshot
from facesearch.search.database_checks import check_vector_databases
from facesearch.store import models, templates
from facesearch.store.check import check_database, check_erased, check_photos
from facesearch.store.revisions import read_revision
from facesearch.types import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from facesearch.index.snapshot import Snapshot
    from facesearch.search.gallery import Gallery


def check_gallery(gallery: Gallery, *, fix: bool = False) -> Iterator[Finding]:
    """Look at everything a gallery holds, one finding after the other; damage is a finding, never an error.

    `fix` rebuilds what can be rebuilt from what is proven whole: the index cache, a vector database. It erases again
    whoever was erased and is back. Damaged rows are named; a backup mends them. Changed photos are named; they have to
    be enrolled again.
    """
    sound = True
    for finding in check_database(gallery.database):
        sound = sound and finding.ok
        yield finding
    if sound:
        yield from check_erased(gallery, fix=fix)
        yield from check_vector_databases(gallery.vector_databases, fix=fix)
        yield _check_cache(gallery, fix=fix)
    yield from check_photos(gallery.database, listed=not sound)


def _check_cache(gallery: Gallery, *, fix: bool) -> Finding:
    """Look at the cache, against a database that is sound."""
    found = gallery.read(_compare_cache, gallery.folder)
    if found.ok:
        return found
    if not fix:
        return replace(found, detail=f"{found.detail}; `facesearch check --fix` rebuilds it")
    count = gallery.mirror.rebuild()
    return Finding(ok=True, subject="index", detail=f"{found.detail}; rebuilt from {count} templates", fixed=True)


def _compare_cache(connection: Connection, folder: Path) -> Finding:
    try:
        snapshot = _read_cache(folder)
    except CorruptGalleryError as error:
        return Finding(ok=False, subject="index", detail=error.message)
    active = models.active_model(connection)
    if snapshot is None or active is None:
        return Finding(ok=True, subject="index", detail="no cache yet; it is built at the next search")
    if snapshot.token != read_revision(connection).token or snapshot.model_id != active[1].model_id:
        detail = "the cache is of an older state; it catches up at the next search"
        return Finding(ok=True, subject="index", detail=detail)
    if snapshot.vectors.shape[1] != active[1].dimension or not _same_templates(connection, active[0], snapshot):
        detail = "the cache carries the database's token but not its templates"
        return Finding(ok=False, subject="index", detail=detail)
    return Finding(ok=True, subject="index", detail=f"the cache holds exactly the {len(snapshot.ids)} templates")


def _read_cache(folder: Path) -> Snapshot | None:
    if not is_row_cache(folder):
        return read_snapshot(folder)
    from facesearch.index import row_index  # FAISS

    return row_index.read_as_snapshot(folder)


def _same_templates(connection: Connection, model_row: int, snapshot: Snapshot) -> bool:
    order = np.argsort(snapshot.ids)
    position = 0
    for block in templates.templates(connection, model_row, snapshot.vectors.shape[1]):
        part = order[position : position + len(block.ids)]
        position += len(block.ids)
        kept = ((snapshot.ids, block.ids), (snapshot.checksums, block.checksums), (snapshot.vectors, block.vectors))
        if not all(np.array_equal(cached[part], stored) for cached, stored in kept):
            return False
    return position == len(snapshot.ids)
