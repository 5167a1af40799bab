"""Telling an engine what changed.

A note names a template. Whether it came or went is looked up when the engine is told: what exists is put into it with
the vector that the database has, what does not is taken out of it. So it does no harm to tell an engine twice, after a
crash, and it does not matter in which order notes become visible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.search.backlog import (
    DatabaseVectors,
    change_vector_database,
    pending,
    remove_notes,
)
from facesearch.store.models import all_models

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from facesearch.search.backlog import Note, VectorDatabase
    from facesearch.search.opening import Opener
    from facesearch.store.database import Database
    from facesearch.types import Ids, Vectors

TOGETHER: Final = 1000
"""Notes in one transaction."""


@dataclass(frozen=True, slots=True, eq=False)
class Errand:
    """What to tell an engine about the templates of one model."""

    model_row: int
    dimension: int
    """0 where the gallery does not know the model any more."""
    present: tuple[Ids, Vectors]
    gone: Ids


def deliver(database: Database, opener: Opener, engine: VectorDatabase) -> int:
    """Tell an engine outside of the database everything it has not been told; returns how many notes that was.

    The caller holds the lease. Raises `VectorDatabaseError`; what was delivered until then is noted.
    """
    done = 0
    while True:
        with database.read() as connection:
            notes = pending(connection, engine, TOGETHER)
            errands = list(_errands(connection, notes))
        if not notes:
            return done
        position = max([engine.position, *(run_errand(opener, None, engine, errand) for errand in errands)])
        database.transact(lambda connection: _note_delivery(connection, engine, notes, position))  # noqa: B023  # at once
        done += len(notes)


def deliver_within(connection: Connection, opener: Opener, engine: VectorDatabase) -> int:
    """The same for an engine in the database itself, in the transaction under way."""
    done = 0
    while notes := pending(connection, engine, TOGETHER):
        for errand in _errands(connection, notes):
            run_errand(opener, connection, engine, errand)
        remove_notes(connection, notes)
        done += len(notes)
    return done


def create_indexes(database: Database, opener: Opener, engine: VectorDatabase) -> None:
    """Have an index of every model, if only an empty one."""

    def work(connection: Connection) -> None:
        for model in all_models(connection):
            opener.open(engine, connection, model.row, model.info.dimension).create()

    database.transact(work)


def run_errand(opener: Opener, connection: Connection | None, engine: VectorDatabase, errand: Errand) -> int:
    """Tell the engine; returns its position."""
    index = opener.open(engine, connection, errand.model_row, errand.dimension)
    if not errand.dimension:
        index.drop()
        return 0
    if len(errand.present[0]):
        index.create()
        index.add(*errand.present)
    if len(errand.gone):
        index.create()
        index.remove(errand.gone)
    return index.position


def _errands(connection: Connection, notes: list[Note]) -> list[Errand]:
    dimensions = {model.row: model.info.dimension for model in all_models(connection)}
    found = []
    for model_row in sorted({note.model_row for note in notes}):
        ids = np.unique(np.array([note.template_id for note in notes if note.model_row == model_row], np.int64))
        dimension = dimensions.get(model_row, 0)
        present = DatabaseVectors(connection, model_row, dimension).vectors(ids)
        found.append(Errand(model_row, dimension, present, np.setdiff1d(ids, present[0])))
    return found


def _note_delivery(connection: Connection, engine: VectorDatabase, notes: list[Note], position: int) -> None:
    remove_notes(connection, notes)
    change_vector_database(connection, engine, position=position)
