"""Transactions on a gallery's database, and what is searched kept up with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from facesearch.search.changes import Effect
from facesearch.search.vector_databases import AFTER
from facesearch.store.revisions import read_revision

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

    from facesearch.search.mirror import IndexMirror
    from facesearch.search.vector_databases import VectorDatabases
    from facesearch.store.database import Database
    from facesearch.store.revisions import Revision

Result = TypeVar("Result")


class Transactions:
    """Carries work out in one transaction each. Threads queue for the lock, which is fair; SQLite's waiting is not."""

    def __init__(self, database: Database, databases: VectorDatabases, mirror: IndexMirror) -> None:
        self._database = database
        self._vector_databases = databases
        self._mirror = mirror

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """Work that sees one state of the database, and changes nothing."""
        with self._database.read() as connection:
            return work(connection)

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Work that changes no template."""
        with self._mirror.lock:
            return self._database.transact(work)

    def write_templates(self, work: Callable[[Connection, Effect], Result], *, for_good: bool = False) -> Result:
        """Work that notes its effect on templates, which the index takes over once it is committed.

        `for_good`: what it removes may be in no file any more when this returns.
        """

        def watched(connection: Connection) -> tuple[Result, Effect, Revision, Revision]:
            before, effect = read_revision(connection), Effect()
            result = work(connection, effect)
            self._vector_databases.follow(connection)
            after = read_revision(connection)
            if for_good:
                self._mirror.erase_on_disk(effect.removed, before, after)
            return result, effect, before, after

        with self._mirror.lock:
            result, effect, before, after = self._database.transact(watched)
            self._vector_databases.catch_up(at_least=1 if effect.removed else AFTER)
            self._mirror.take_over(effect, before, after)
            return result

    def write_unwatched(self, work: Callable[[Connection], Result]) -> Result:
        """Work whose effect on templates the index finds out by itself, at the next search."""

        def watched(connection: Connection) -> Result:
            result = work(connection)
            self._vector_databases.follow(connection)
            return result

        with self._mirror.lock:
            result = self._database.transact(watched)
            self._vector_databases.catch_up()
            self._mirror.forget_people()
            return result
