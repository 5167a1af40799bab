"""The part of `facesearch check` about external engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facesearch.errors import FaceSearchError
from facesearch.search.backlog import DatabaseVectors, count_pending, pending_ids, seen_whole, vector_databases
from facesearch.search.comparing import compare
from facesearch.search.lease import delivery_lease
from facesearch.search.moving import RETIRED, equalise, remove_retired
from facesearch.store.models import all_models
from facesearch.types import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from facesearch.search.backlog import VectorDatabase
    from facesearch.search.vector_databases import VectorDatabases


def check_vector_databases(keeper: VectorDatabases, *, fix: bool) -> Iterator[Finding]:
    """Compare every engine with the database: counts, ids, and some of the vectors. `fix` makes them equal."""
    with keeper.database.read() as connection:
        found = vector_databases(connection)
    if not found:
        return
    with delivery_lease(keeper.database, keeper.folder) as held:
        if not held:
            detail = "another process is telling the engine what changed: check again when it is done"
            yield Finding(ok=False, subject="engine", detail=detail)
            return
        try:
            for engine in found:
                yield from _look(keeper, engine, fix=fix)
        except FaceSearchError as error:
            yield Finding(ok=False, subject="engine", detail=f"{error.message} {error.hint or ''}".strip())


def _look(keeper: VectorDatabases, engine: VectorDatabase, *, fix: bool) -> Iterator[Finding]:
    if engine.filled_to == RETIRED:
        detail = f"{engine.kind} still holds vectors of this gallery, which is searched elsewhere"
        if fix:
            remove_retired(keeper)
        done = "removed" if fix else "`facesearch check --fix` removes them"
        yield Finding(ok=fix, subject="engine", detail=f"{detail}; {done}", fixed=fix)
    elif not engine.active:
        detail = f"a move to {engine.kind} was begun: `facesearch reindex --index {engine.kind}` goes on with it"
        yield Finding(ok=True, subject="engine", detail=detail)
    else:
        yield _compared(keeper, engine, fix=fix)


def _compared(keeper: VectorDatabases, engine: VectorDatabase, *, fix: bool) -> Finding:
    try:
        differences, count, waiting = _differences(keeper, engine)
    except FaceSearchError as error:
        if not fix:
            raise
        differences, count, waiting = [error.message], 0, 0  # a collection that is gone is made again
    if not differences:
        detail = f"{engine.kind} holds exactly the {count} templates"
        return Finding(ok=True, subject="engine", detail=detail + (f", {waiting} changes wait" if waiting else ""))
    detail = "; ".join(f"{engine.kind} {words}" for words in differences)
    if not fix:
        return Finding(ok=False, subject="engine", detail=f"{detail}; `facesearch check --fix` mends it")
    equalise(keeper, engine)
    left, count, _ = _differences(keeper, engine)
    detail += f"; now it holds {count} templates" if not left else "; that was not mended"
    return Finding(ok=not left, subject="engine", detail=detail, fixed=not left)


def _differences(keeper: VectorDatabases, engine: VectorDatabase) -> tuple[list[str], int, int]:
    """What differs in words, how many templates there are, and how many changes the engine was not told."""
    words, count = [], 0
    with keeper.database.read() as connection:
        for model in all_models(connection):
            index = keeper.opener.open(seen_whole(engine), connection, model.row, model.info.dimension)
            truth = DatabaseVectors(connection, model.row, model.info.dimension)
            difference = compare(connection, index, truth, pending_ids(connection, engine, model.row))
            count += difference.count
            if not difference.is_none:
                words.append(str(difference))
        return words, count, count_pending(connection, engine)
