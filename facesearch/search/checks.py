"""`facesearch check`: proving that store, index cache and vector databases agree."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from facesearch.errors import CorruptGalleryError, FaceSearchError
from facesearch.search.moving import RETIRED, differences, equalise, remove_retired
from facesearch.search.vector_databases import count_pending, vector_databases
from facesearch.store import models, templates
from facesearch.store.check import check_database, check_erased, check_photos
from facesearch.store.database import read_revision
from facesearch.types import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

    from facesearch.index.cache_file import Cache, CacheFile
    from facesearch.index.vector_file import MappedVectors
    from facesearch.search.gallery import Gallery
    from facesearch.search.mirror import IndexMirror
    from facesearch.search.vector_databases import VectorDatabase, VectorDatabases
    from facesearch.store.database import Database


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
        yield check_cache(gallery.database, gallery.mirror, fix=fix)
    yield from check_photos(gallery.database, listed=not sound)


def check_cache(database: Database, mirror: IndexMirror, *, fix: bool) -> Finding:
    """Compare the index cache with a database that is sound; `fix` builds it anew where they differ."""
    with database.read() as connection:
        found = _compare_cache(connection, mirror.file)
    if found.ok:
        return found
    if not fix:
        return replace(found, detail=f"{found.detail}; `facesearch check --fix` rebuilds it")
    count = mirror.rebuild()
    return Finding(ok=True, subject="index", detail=f"{found.detail}; rebuilt from {count} templates", fixed=True)


def _compare_cache(connection: Connection, file: CacheFile) -> Finding:
    try:
        opened, active = file.open(), models.active_model(connection)
        if opened is None or active is None:
            return Finding(ok=True, subject="index", detail="no cache yet; it is built at the next search")
        cache, rows = opened
        if cache.revision != read_revision(connection).token or cache.model_id != active[1].model_id:
            detail = "the cache is of an older state; it catches up at the next search"
            return Finding(ok=True, subject="index", detail=detail)
        if cache.dimension != active[1].dimension or not _same_templates(connection, active[0], cache, rows):
            detail = "the cache carries the database's token but not its templates"
            return Finding(ok=False, subject="index", detail=detail)
    except CorruptGalleryError as error:
        return Finding(ok=False, subject="index", detail=error.message)
    return Finding(ok=True, subject="index", detail=f"the cache holds exactly the {len(cache.rows)} templates")


def _same_templates(connection: Connection, model_row: int, cache: Cache, rows: MappedVectors) -> bool:
    vectors = rows.taken(cache.rows)
    ids, checksums = cache.ids[cache.rows], cache.checksums[cache.rows]
    position = 0
    for block in templates.templates(connection, model_row, cache.dimension):
        part = slice(position, position + len(block.ids))
        position += len(block.ids)
        kept = ((ids, block.ids), (checksums, block.checksums), (vectors, block.vectors))
        if not all(np.array_equal(cached[part], stored) for cached, stored in kept):
            return False
    return position == len(ids)


def check_vector_databases(databases: VectorDatabases, *, fix: bool) -> Iterator[Finding]:
    """Compare every vector database with the database: counts, ids, and some of the vectors. `fix` makes them equal."""
    with databases.database.read() as connection:
        found = vector_databases(connection)
    if not found:
        return
    with databases.lease() as held:
        if not held:
            detail = "another process is telling it what changed: check again when it is done"
            yield Finding(ok=False, subject="vector database", detail=detail)
            return
        try:
            for target in found:
                yield from _look(databases, target, fix=fix)
        except FaceSearchError as error:
            yield Finding(ok=False, subject="vector database", detail=f"{error.message} {error.hint or ''}".strip())


def _look(databases: VectorDatabases, target: VectorDatabase, *, fix: bool) -> Iterator[Finding]:
    if target.filled_to == RETIRED:
        detail = f"{target.kind} still holds vectors of this gallery, which is searched elsewhere"
        if fix:
            remove_retired(databases)
        done = "removed" if fix else "`facesearch check --fix` removes them"
        yield Finding(ok=fix, subject="vector database", detail=f"{detail}; {done}", fixed=fix)
    elif not target.active:
        detail = f"a move to {target.kind} was begun: `facesearch reindex --index {target.kind}` goes on with it"
        yield Finding(ok=True, subject="vector database", detail=detail)
    else:
        yield _compared(databases, target, fix=fix)


def _compared(databases: VectorDatabases, target: VectorDatabase, *, fix: bool) -> Finding:
    try:
        differing, count, waiting = _differences(databases, target)
    except FaceSearchError as error:
        if not fix:
            raise
        differing, count, waiting = error.message, 0, 0  # a collection that is gone is made again
    if not differing:
        detail = f"{target.kind} holds exactly the {count} templates"
        detail += f", {waiting} changes wait" if waiting else ""
        return Finding(ok=True, subject="vector database", detail=detail)
    detail = f"{target.kind} {differing}"
    if not fix:
        return Finding(ok=False, subject="vector database", detail=f"{detail}; `facesearch check --fix` mends it")
    equalise(databases, target)
    left, count, _ = _differences(databases, target)
    detail += f"; now it holds {count} templates" if not left else "; that was not mended"
    return Finding(ok=not left, subject="vector database", detail=detail, fixed=not left)


def _differences(databases: VectorDatabases, target: VectorDatabase) -> tuple[str, int, int]:
    """Return what differs in words, how many templates there are, and how many changes wait."""
    with databases.database.read() as connection:
        found = [each for _, _, each in differences(databases, connection, target)]
        words = "; ".join(str(each) for each in found if str(each))
        return words, sum(each.count for each in found), count_pending(connection, target)
