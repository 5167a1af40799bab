"""Opening a gallery's SQLite database: the driver, the pragmas, the schema revision, transactions.

The settings follow measurements of power cuts and bit flips: WAL with `synchronous=FULL` lost nothing in thousands of
simulated power cuts, but only where SQLite's WAL-reset bug (3.7.0 to 3.51.2) is fixed; elsewhere the rollback journal
with `synchronous=EXTRA` is used. Transactions that write begin with BEGIN IMMEDIATE, so that they wait for each other
at the start and never fail in the middle.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

from facesearch.errors import CorruptGalleryError, GalleryError, SchemaOutdatedError
from facesearch.gallery.schema import HEAD_REVISION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

DATABASE_NAME = "gallery.db"
PAGE_SIZE = 16384
"""Bytes. A 512-d vector is 2 KB: on SQLite's 4 KB pages a row each wastes almost half of the file."""
BUSY_TIMEOUT_MS = 10_000
FIXED_VERSIONS = (((3, 51, 3), None), ((3, 50, 7), (3, 51, 0)), ((3, 44, 6), (3, 45, 0)))
"""Half-open ranges of SQLite versions without the WAL-reset bug (sqlite.org/wal.html)."""


def has_safe_wal(version: tuple[int, ...]) -> bool:
    """Whether this SQLite can be trusted with a WAL database that several connections use."""
    return any(low <= version and (high is None or version < high) for low, high in FIXED_VERSIONS)


def sqlite_module() -> ModuleType:
    """The DB-API module to use: the standard library's where its SQLite is sound, else `pysqlite3`'s if newer."""
    if has_safe_wal(sqlite3.sqlite_version_info):
        return sqlite3
    try:
        from pysqlite3 import dbapi2
    except ImportError:
        return sqlite3
    newer = dbapi2.sqlite_version_info > sqlite3.sqlite_version_info
    return dbapi2 if newer else sqlite3


class Database:
    """A gallery's database file. Thread-safe; `read()` and `write()` hand out one transaction each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.module = sqlite_module()
        self.journal_mode = "WAL" if has_safe_wal(self.module.sqlite_version_info) else "DELETE"
        self.engine = self._make_engine()

    @property
    def sqlite_version(self) -> str:
        """Of the library in use, e.g. `3.53.4`."""
        return str(self.module.sqlite_version)

    def _make_engine(self) -> Engine:
        url = URL.create("sqlite", database=os.fspath(self.path))
        engine = sa.create_engine(url, module=self.module)
        event.listen(engine, "connect", self._prepare_connection)
        event.listen(engine, "begin", _begin)
        return engine

    def _prepare_connection(self, dbapi: Any, _record: object) -> None:
        # The driver must not open transactions of its own: `_begin` does, so that DDL is transactional too.
        dbapi.isolation_level = None
        synchronous = "FULL" if self.journal_mode == "WAL" else "EXTRA"
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
        if dbapi.execute("PRAGMA journal_mode").fetchone()[0].upper() != self.journal_mode:
            dbapi.execute(f"PRAGMA journal_mode={self.journal_mode}")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view of the database."""
        with self._translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction: committed and on disk when the block ends, undone when it raises."""
        writer = self.engine.execution_options(facesearch_write=True)
        with self._translated(), writer.begin() as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._explain(error) from error

    def _explain(self, error: DBAPIError) -> GalleryError:
        text = str(error.orig)
        if "malformed" in text or "not a database" in text or "disk image" in text:
            return CorruptGalleryError(
                f"the database {self.path} is damaged: {text}",
                "stop using it, copy the folder, and restore from a backup",
            )
        if "locked" in text or "busy" in text:
            return GalleryError(
                f"the database {self.path} stayed locked for {BUSY_TIMEOUT_MS // 1000} s",
                "another process holds a write transaction: wait for it or stop it",
            )
        if "full" in text:
            return GalleryError(
                f"no space is left to write {self.path}",
                "free some space and run the same command again: nothing acknowledged is lost",
            )
        if "readonly" in text or "unable to open" in text:
            return GalleryError(f"{self.path} cannot be opened for this: {text}", "check the folder's permissions")
        return GalleryError(f"the database {self.path} refused: {text}", "run `facesearch check`")

    def revision(self) -> str | None:
        """The schema revision in the file; None where there is no schema yet."""
        with self.read() as connection:
            exists = connection.scalar(sa.text("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"))
            return connection.scalar(sa.text("SELECT version_num FROM alembic_version")) if exists else None

    def require_head(self) -> None:
        """Raise `SchemaOutdatedError` unless the schema is the one this code works with."""
        found = self.revision()
        if found == HEAD_REVISION:
            return
        if found is not None and found > HEAD_REVISION:
            raise SchemaOutdatedError(
                f"the gallery was written by a newer facesearch (schema {found}, this one knows {HEAD_REVISION})",
                "upgrade facesearch: pip install -U facesearch",
            )
        raise SchemaOutdatedError(
            f"the gallery's schema is {found or 'missing'}, this facesearch needs {HEAD_REVISION}",
            f"run: facesearch db upgrade --gallery {self.path.parent}",
        )

    def upgrade(self) -> None:
        """Bring the schema to the newest revision, in one transaction."""
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
        try:
            with self.write() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError as error:
            raise SchemaOutdatedError(
                f"the schema of {self.path} cannot be upgraded: {error}",
                "it was probably written by a newer facesearch: pip install -U facesearch",
            ) from error

    def close(self) -> None:
        """Close all connections; the last one folds the WAL back into the database."""
        self.engine.dispose()


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("facesearch_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def migrations_folder() -> Path:
    """Where the Alembic scripts are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def create_database_file(folder: Path) -> Path:
    """Make the gallery folder (0700) and an empty database file (0600); existing ones are left as they are."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / DATABASE_NAME
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return path
    fsync_folder(folder)
    return path


def fsync_folder(folder: Path) -> None:
    """Make a rename or a new file in this folder survive a power cut; Windows has no such call and needs none."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
