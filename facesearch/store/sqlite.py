"""A gallery's database as a SQLite file: the driver, the pragmas, transactions.

The settings follow measurements of power cuts and bit flips: WAL with `synchronous=FULL` lost nothing in thousands of
simulated power cuts, but only where SQLite's WAL-reset bug (3.7.0 to 3.51.2) is fixed; elsewhere the rollback journal
with `synchronous=EXTRA` is used. Transactions that write begin with BEGIN IMMEDIATE, so that they wait for each other
at the start and never fail in the middle.
"""

from __future__ import annotations

import os
import re
import threading
import time
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

import numpy as np
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

from facesearch.errors import (
    CorruptGalleryError,
    DiskFullError,
    GalleryError,
)
from facesearch.files import fsync_folder, make_folder
from facesearch.names import path_text
from facesearch.store.database import DATABASE, Database, run_migrations
from facesearch.store.drivers import (
    BUSY_TIMEOUT_MS,
    damaged,
    explain_sqlite,
    has_safe_wal,
    sqlcipher_module,
    sqlite_module,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from facesearch.store.keys import Cipher
    from facesearch.types import Ids

Result = TypeVar("Result")

DATABASE_NAME = "gallery.db"
PAGE_SIZE = 16384
"""Bytes. A 512-d vector is 2 KB: on SQLite's 4 KB pages a row each wastes almost half of the file."""
READ, WRITE = ("BEGIN",), ("BEGIN IMMEDIATE",)
MIGRATE = ("PRAGMA foreign_keys=OFF", "BEGIN IMMEDIATE")
OUTSIDE: tuple[str, ...] = ()
"""How transactions begin; what SQLite refuses in a transaction is run outside of one."""


class SqliteDatabase(Database):
    """A gallery's database file. Thread-safe; `read()` and `write()` hand out one transaction each."""

    owns_folder = True

    def __init__(self, path: Path, cipher: Cipher | None = None) -> None:
        """`cipher` opens an encrypted file, and encrypts a new one."""
        self.path = path
        self.cipher = cipher
        self.is_writable = os.access(path.parent, os.W_OK)
        self.module = sqlcipher_module() if cipher else sqlite_module()
        self.journal_mode = "WAL" if has_safe_wal(self.module.sqlite_version_info) else "DELETE"
        self.engine = self._make_engine()
        self._watch: Any = None
        """A connection that never writes, so that SQLite tells it of every commit, its own process's too."""
        self._watching = threading.Lock()

    @property
    def place(self) -> str:
        return path_text(self.path.parent)

    @property
    def is_encrypted(self) -> bool:
        return self.cipher is not None

    def describe(self) -> str:
        return f"SQLite {self.module.sqlite_version}, journal {self.journal_mode}"

    def _make_engine(self) -> Engine:
        engine = sa.create_engine(
            self._url(),
            module=self.module,
            # Every thread may hold a transaction; SQLite needs no limit, and a full pool would be one more way to fail.
            max_overflow=-1,
            execution_options={DATABASE: self},
        )
        event.listen(engine, "connect", self._prepare_connection)
        event.listen(engine, "begin", _begin)
        return engine

    def _url(self) -> URL:
        if self.is_writable:
            return URL.create("sqlite", database=os.fspath(self.path))
        # SQLite opens a database of a read-only folder only when told that nobody else writes it. A log beside it says
        # that somebody does, or did until a crash: that needs the log's index, and fails where it cannot be made.
        log = self.path.with_name(f"{self.path.name}-wal")
        alone = {} if log.exists() and log.stat().st_size else {"immutable": "1"}
        return URL.create(
            "sqlite", database=f"file:{quote(os.fsencode(self.path))}", query={"mode": "ro", "uri": "true", **alone}
        )

    def _prepare_connection(self, dbapi: Any, _record: object) -> None:
        # The driver must not open transactions of its own: `_begin` does, so that DDL is transactional too.
        dbapi.isolation_level = None
        synchronous = "FULL" if self.journal_mode == "WAL" else "EXTRA"
        if self.cipher is not None:
            dbapi.execute("PRAGMA cipher_log_level=NONE")  # it would write to stderr
            dbapi.execute(f"PRAGMA key={self.cipher.literal}")
            dbapi.execute(f"PRAGMA cipher_page_size={PAGE_SIZE}")
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            f"page_size={PAGE_SIZE}",
            f"synchronous={synchronous}",
            "foreign_keys=ON",
            "secure_delete=ON",
            "trusted_schema=OFF",
            "cell_size_check=ON",
        ):
            dbapi.execute(f"PRAGMA {pragma}")
        if self.is_writable:
            self._set_journal_mode(dbapi)

    def _set_journal_mode(self, dbapi: Any) -> None:
        """Switch the journal mode where it is another. SQLite does not wait for a lock here as it does elsewhere."""
        deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
        while True:
            try:
                if dbapi.execute("PRAGMA journal_mode").fetchone()[0].upper() != self.journal_mode:
                    dbapi.execute(f"PRAGMA journal_mode={self.journal_mode}")
            except self.module.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        writer = self.engine.execution_options(facesearch_begin=WRITE)
        with self._translated(), writer.begin() as connection:
            yield connection

    def transact(self, work: Callable[[Connection], Result]) -> Result:
        """As `write`: writers wait for each other here, and none is ever undone for another's sake."""
        with self.write() as connection:
            return work(connection)

    hold_writers_off = write  # there is one writer at a time

    def version(self) -> int | None:
        """By SQLite's own count of what others committed. No lock and no snapshot is held between two looks."""
        with self._translated(), self._watching:
            if self._watch is None:
                pooled = self.engine.raw_connection()
                self._watch = pooled.driver_connection
                pooled.detach()
            return int(self._watch.execute("PRAGMA data_version").fetchone()[0])

    def _stop_watching(self) -> None:
        """Until the next look. Numbers of before and after are not to be compared."""
        with self._watching:
            if self._watch is not None:
                self._watch.close()
                self._watch = None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._explained(str(error.orig)) from error
        except self.module.Error as error:  # of the driver itself
            raise self._explained(str(error)) from error
        except UnicodeDecodeError as error:  # the driver fails to decode a message that quotes damaged text
            raise damaged(self.path, "its schema cannot be read") from error

    def _explained(self, text: str) -> GalleryError:
        return explain_sqlite(text, self.path, encrypted=self.is_encrypted)

    @contextmanager
    def migration(self) -> Iterator[Connection]:
        """A write transaction that may rebuild tables.

        Foreign keys are not in force in it: dropping the old table would otherwise empty those that refer to it. They
        are checked before the commit.
        """
        migrator = self.engine.execution_options(facesearch_begin=MIGRATE)
        try:
            with self._translated(), migrator.begin() as connection:
                yield connection
                if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                    raise CorruptGalleryError(
                        f"{self.path} holds rows that refer to missing rows, so it was not upgraded.",
                        "Run `facesearch check` with the version that wrote it.",
                    )
        finally:
            self.engine.dispose()  # the next connections have foreign keys in force again

    def copy_from(self, source: SqliteDatabase) -> None:
        """Become a copy of one state of `source`, which others may read and write meanwhile."""
        mine, theirs = self.engine.raw_connection(), source.engine.raw_connection()
        try:
            with self._translated():
                theirs.driver_connection.backup(mine.driver_connection)  # type: ignore[union-attr]  # open ones
        finally:
            theirs.close()
            mine.close()
            self.engine.dispose()

    def change_passphrase(self, passphrase: str) -> None:
        """Encrypt an encrypted database anew, in place and in one transaction.

        Raises `GalleryError` where somebody else uses it. This object does not open it any more.
        """
        assert self.cipher is not None
        new = self.cipher.with_passphrase(passphrase)
        self.require_sole_use()
        outside = self.engine.execution_options(facesearch_begin=OUTSIDE)
        with self._translated(), outside.begin() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=DELETE")
            connection.exec_driver_sql(f"PRAGMA rekey={new.literal}")
        self.engine.dispose()

    def require_sole_use(self) -> None:
        """Fold the log in and leave a single file behind; `GalleryError` where somebody else has it open."""
        outside = self.engine.execution_options(facesearch_begin=OUTSIDE)
        self._stop_watching()
        self.engine.dispose()
        try:
            with self._translated(), outside.begin() as connection:
                connection.exec_driver_sql("PRAGMA busy_timeout=500")
                connection.exec_driver_sql("PRAGMA journal_mode=DELETE")
        except (CorruptGalleryError, DiskFullError):
            raise
        except GalleryError as error:
            raise GalleryError(
                f"Another process uses the gallery in {self.path.parent}.", "Stop it, and run the same again."
            ) from error
        finally:
            self.engine.dispose()

    def checkpoint(self, wait_ms: int = BUSY_TIMEOUT_MS) -> bool:
        """Fold the write-ahead log into the database and empty it.

        Returns False where readers were in the way for as long as `wait_ms`; what they let pass is folded in.
        """
        outside = self.engine.execution_options(facesearch_begin=OUTSIDE)
        with self._translated(), outside.begin() as connection:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={wait_ms}")
            try:
                # Without a log, it does nothing.
                busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        return not busy

    def rewrite(self) -> None:
        """Write the file anew from its rows: what SQLite left in the gaps of pages goes. Raises `GalleryError`."""
        outside = self.engine.execution_options(facesearch_begin=OUTSIDE)
        with self._translated(), outside.begin() as connection:
            connection.exec_driver_sql("VACUUM")

    def close(self) -> None:
        """Close all connections; the last one folds the WAL back into the database."""
        self._stop_watching()
        self.engine.dispose()

    def faults(self, connection: Connection, most: int) -> Iterator[str]:
        for (problem,) in connection.exec_driver_sql(f"PRAGMA integrity_check({most})"):
            if problem != "ok":
                yield problem
        for row in connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(most):
            yield f"row {row[1]} of {row[0]} refers to a missing row of {row[2]}"

    def sound(self, connection: Connection) -> str:  # noqa: ARG002  # it needs none
        return "every page, index and reference is sound"

    def schema_faults(self, connection: Connection) -> Iterator[str]:
        """By the statements that everything was made with: damage can switch a trigger off."""
        expected, found = _expected_statements(), _statements(connection)
        yield from sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))

    # -- what PostgreSQL spells differently

    def reserve_ids(self, connection: Connection, table: str, count: int) -> list[int]:
        """By SQLite's own table of the ids that were given."""
        given = f"ifnull((SELECT seq FROM sqlite_sequence WHERE name = '{table}'), 0)"  # noqa: S608  # a table's name
        present = f"ifnull((SELECT max(id) FROM {table}), 0)"  # noqa: S608
        last = int(connection.exec_driver_sql(f"SELECT max({given}, {present})").scalar_one())
        return list(range(last + 1, last + 1 + count))

    def skip_ids(self, connection: Connection, table: str, highest: int) -> None:
        """SQLite does by itself."""

    def hold_models(self, connection: Connection) -> None:
        """There is one writer anyway."""

    def tokens(self, connection: Connection) -> frozenset[bytes]:
        """The newest, which stands for all before it."""
        found = connection.exec_driver_sql("SELECT token FROM revision ORDER BY id DESC LIMIT 1").scalar()
        return frozenset() if found is None else frozenset([bytes(found)])

    def touched(self, connection: Connection, known: frozenset[bytes], now: frozenset[bytes]) -> Ids | None:  # noqa: ARG002
        """What rows behind the known one say, where none is missing between them."""
        rows = connection.exec_driver_sql(_SINCE, tuple(known)).all() if len(known) == 1 else []
        if not rows or [row.id for row in rows] != list(range(rows[0].id, rows[0].id + len(rows))):
            return None
        try:
            digits = b"".join(row.touched for row in rows[1:]).decode("ascii")
            pairs = np.frombuffer(bytes.fromhex(digits), ">i8").reshape(-1, 2)
        except (TypeError, ValueError):  # any may have been touched, or what was is damaged
            return None
        if len(pairs) != len(rows) - 1 or not np.array_equal(pairs[:, 0], pairs[:, 1]):
            return None
        return np.unique(pairs[:, 0]).astype(np.int64)

    def packed_keys(self, connection: Connection, model_row: int, after: int, limit: int) -> bytes:
        """In hexadecimal first. A damaged checksum that is no number counts as 0."""
        return bytes.fromhex(connection.exec_driver_sql(_KEYS, (model_row, after, limit)).scalar() or "")

    def select(self, connection: Connection, query: str, ids: Sequence[int]) -> Iterable[Sequence[Any]]:
        """With a parameter for each id."""
        return connection.exec_driver_sql(f"{query} IN ({', '.join('?' * len(ids))})", tuple(ids))


_SINCE: Final = (
    "SELECT id, touched FROM revision "
    "WHERE id >= (SELECT id FROM revision WHERE token = ? ORDER BY id DESC LIMIT 1) ORDER BY id"
)
_KEYS: Final = (
    "SELECT group_concat(printf('%016x%016x', id, crc), '') FROM "
    "(SELECT id, crc FROM templates WHERE model_id = ? AND id > ? ORDER BY id LIMIT ?)"
)


@cache
def _expected_statements() -> dict[str, str]:
    in_memory = sa.create_engine("sqlite://", module=sqlite_module())  # the disk may be full
    try:
        with in_memory.begin() as connection:
            run_migrations(connection)
            return _statements(connection)
    finally:
        in_memory.dispose()


def _statements(connection: Connection) -> dict[str, str]:
    """What everything was made with; blanks and quotes differ between an upgraded and a new gallery."""
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {name: re.sub(r"[\s\"]+", "", sql).lower() for name, sql in rows}


def _begin(connection: Connection) -> None:
    for statement in connection.get_execution_options().get("facesearch_begin", READ):
        connection.exec_driver_sql(statement)


def create_database_file(folder: Path) -> Path:
    """Make the gallery folder (0700) and an empty database file (0600); existing ones are left as they are.

    Raises `GalleryError` where that cannot be.
    """
    path = folder / DATABASE_NAME
    try:
        if not path.exists():
            make_folder(folder)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            fsync_folder(folder)
    except OSError as error:
        raise GalleryError(
            f"No gallery can be made in {folder}: {error.strerror}.", "Name another folder with --gallery DIR."
        ) from error
    return path
