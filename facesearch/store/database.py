"""A gallery's database, whichever it is: transactions, revisions, and what else differs between two kinds.

`SqliteDatabase` is a file in the gallery's folder; `PostgresDatabase` is on a server. Everything else in this package
takes one of these, or an open connection, and is the same for both.

A **revision** is a state of the templates. Whoever changes templates gives the change a random token, by trigger, and
notes the ids of the templates that it touched. So an index that equals an earlier revision has to read only those.

In SQLite one change follows the other, and the newest token stands for all before it. The newest 4096 changes, each of
one template, are kept in their order. An index whose token is not among them is too old, or of a state that a rollback
or a restored backup took back: everything has to be compared.

On PostgreSQL changes overlap. The newest hundred transactions are kept, each with the ids that it touched, and the
oldest half is swept up now and then: the change of the transaction that does names what it swept up. A change is
visible to a transaction exactly when its templates are. So an index that holds what some changes left has to look only
at what the others touched, as long as it had seen all that was swept up, and nothing is gone in another way.
"""

from __future__ import annotations

import shlex
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import sqlalchemy as sa

from facesearch.errors import CorruptGalleryError, SchemaOutdatedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    from sqlalchemy.engine import Connection, Engine

    from facesearch.types import Ids

Result = TypeVar("Result")

DATABASE: Final = "facesearch_database"
"""The execution option of a connection that leads to its `Database`."""
TOKEN_BYTES: Final = 16
"""Of a revision token."""

SCHEMA_VERSION: Final = "0001"
"""The schema that this code works with; a test asserts that it is the newest migration."""


class Database(ABC):
    """Thread-safe; `read()` and `write()` hand out one transaction each."""

    engine: Engine
    owns_folder: bool
    """Whether the gallery is a folder. One on a server has only its index cache in a folder."""

    # -- transactions

    @abstractmethod
    def read(self) -> AbstractContextManager[Connection]:
        """A consistent view of the database: everything in it is of one moment."""

    @abstractmethod
    def write(self) -> AbstractContextManager[Connection]:
        """A write transaction: committed and on disk when the block ends, undone when it raises.

        It sees one moment too, and its own changes. Raises `GalleryConflictError` where another writer was faster:
        `transact` tries again.
        """

    @abstractmethod
    def transact(self, work: Callable[[Connection], Result]) -> Result:
        """Do `work` in a write transaction and commit it, anew as a whole where another writer was faster.

        What `work` does besides the database must bear being done again.
        """

    @abstractmethod
    def hold_writers_off(self) -> AbstractContextManager[Connection]:
        """A transaction during which nobody else changes templates; it sees everything that was changed before."""

    @abstractmethod
    def migration(self) -> AbstractContextManager[Connection]:
        """A write transaction that may rebuild tables, alone."""

    @abstractmethod
    def version(self) -> int | None:
        """A number that equals an earlier one only if nothing was committed in between, by whomever.

        None where the database cannot tell.
        """

    # -- the schema

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, for messages: never with a password."""

    def schema_version(self) -> str | None:
        """The version of the schema; None where there is no schema yet."""
        with self.read() as connection:
            exists = sa.inspect(connection).has_table("alembic_version")
            found = connection.scalar(sa.text("SELECT version_num FROM alembic_version")) if exists else None
        if isinstance(found, bytes):  # a damaged file can hold any type anywhere
            raise CorruptGalleryError(f"The schema version of {self.place} is damaged.", "Restore it from a backup.")
        return found

    def require_head(self) -> None:
        """Raise `SchemaOutdatedError` unless the schema is the one this code works with."""
        found = self.schema_version()
        if found == SCHEMA_VERSION:
            return
        if found is not None and found > SCHEMA_VERSION:
            raise SchemaOutdatedError(
                f"The gallery was written by a newer facesearch (schema {found}, this one knows {SCHEMA_VERSION}).",
                "Upgrade facesearch: pip install -U facesearch",
            )
        raise SchemaOutdatedError(
            f"The gallery's schema is {found or 'missing'}, this facesearch needs {SCHEMA_VERSION}.",
            f"Run: facesearch db upgrade --gallery {shlex.quote(self.place)}",
        )

    def upgrade(self) -> None:
        """Bring the schema to the newest revision, in one transaction."""
        from alembic.util import CommandError

        try:
            with self.migration() as connection:
                run_migrations(connection)
        except CommandError as error:
            raise SchemaOutdatedError(
                f"The schema of {self.place} cannot be upgraded: {error}.",
                "It was probably written by a newer facesearch: pip install -U facesearch",
            ) from error

    # -- the rest

    @property
    @abstractmethod
    def is_encrypted(self) -> bool:
        """Whether facesearch itself encrypts everything it writes."""

    @abstractmethod
    def describe(self) -> str:
        """Its kind, version and what its durability rests on, in a few words."""

    @abstractmethod
    def faults(self, connection: Connection, most: int) -> Iterator[str]:
        """What the database itself finds wrong with its pages, indexes and references, up to `most` of each."""

    @abstractmethod
    def sound(self, connection: Connection) -> str:
        """What no `faults` prove, in words."""

    @abstractmethod
    def schema_faults(self, connection: Connection) -> Iterator[str]:
        """Tables, indexes and triggers that are not as the migrations make them, by name."""

    @abstractmethod
    def checkpoint(self) -> bool:
        """Clear away what removed rows left behind; returns False where others were in the way."""

    # -- what the two spell differently

    @staticmethod
    def of(connection: Connection) -> Database:
        """The database that gave the connection."""
        database: Database = connection.get_execution_options()[DATABASE]
        return database

    @abstractmethod
    def reserve_ids(self, connection: Connection, table: str, count: int) -> list[int]:
        """Ids for new rows of a table, rising, which were never given before and never will be again."""

    @abstractmethod
    def skip_ids(self, connection: Connection, table: str, highest: int) -> None:
        """Give no id up to `highest` to a row of this table any more."""

    @abstractmethod
    def hold_models(self, connection: Connection) -> None:
        """Wait for everybody who holds the active model, and let nobody do so until the transaction ends.

        As the transaction's first statement it lets the transaction see what it waited for.
        """

    @abstractmethod
    def tokens(self, connection: Connection) -> frozenset[bytes]:
        """The changes of templates that `connection` sees and that were not swept up."""

    @abstractmethod
    def touched(self, connection: Connection, known: frozenset[bytes], now: frozenset[bytes]) -> Ids | None:
        """Ids of the templates that changes since `known` touched, sorted; None where that is not known."""

    @abstractmethod
    def packed_keys(self, connection: Connection, model_row: int, after: int, limit: int) -> bytes:
        """Ids and checksums of a model's templates behind an id, by id: int64 (n, 2), big-endian."""

    @abstractmethod
    def select(self, connection: Connection, query: str, ids: Sequence[int]) -> Iterable[Sequence[Any]]:
        """Rows of a query that ends in the name of a column, which has to be one of `ids`."""

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


@dataclass(frozen=True)
class Revision:
    """A state of the templates, by the changes that made it."""

    changes: frozenset[bytes]
    """The token of each that is not swept up."""

    @cached_property
    def token(self) -> bytes:
        """16 bytes, equal for two states only if they are the same."""
        if len(self.changes) == 1:
            return next(iter(self.changes))
        return sha256(b"".join(sorted(self.changes))).digest()[:TOKEN_BYTES]


def read_revision(connection: Connection) -> Revision:
    """The state of the templates that `connection` sees."""
    found = Database.of(connection).tokens(connection)
    if not found:
        raise CorruptGalleryError("The gallery has no revision token.", "Restore the gallery from a backup.")
    return Revision(found)


def touched_since(connection: Connection, known: Revision, now: Revision) -> Ids | None:
    """Ids of all templates, of any model, that may differ between two states; None where that is not known.

    `now` is what `connection` sees. Sorted, each once.
    """
    if known.token == now.token:
        return np.empty(0, np.int64)
    return Database.of(connection).touched(connection, known.changes, now.changes)


_one_at_a_time = threading.Lock()
"""Alembic keeps what it works on in global variables."""


def run_migrations(connection: Connection) -> None:
    """Bring a database to the newest revision, in the transaction that is under way."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _one_at_a_time:
        command.upgrade(config, "head")


def migrations_folder() -> Path:
    """Where the Alembic scripts are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"
