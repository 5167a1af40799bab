"""A gallery's store: opening its database or making one, its transactions, and the space reserved for removals.

A full disk refuses a DELETE as it refuses an INSERT, and even a query that has to make SQLite's shared-memory file.
Somebody who wants to be forgotten must not have to wait for space. So a file in the gallery's folder takes up space
that is given up when the disk is full.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar

from facesearch.errors import (
    ConfigError,
    CorruptGalleryError,
    DiskFullError,
    GalleryError,
    GalleryLockedError,
    GalleryNotFoundError,
)
from facesearch.files import make_folder, place_new, remove_index_cache, work_folder
from facesearch.names import path_text
from facesearch.store import audit
from facesearch.store.database import SCHEMA_VERSION
from facesearch.store.erasure_list import ErasureList
from facesearch.store.keys import KEY_SOURCES, Cipher, cipher_of, refuse_key_of_plain
from facesearch.store.location import DatabaseUrl, Location
from facesearch.store.sqlite import DATABASE_NAME, SqliteDatabase, create_database_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from facesearch.store.database import Database

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

RESERVED_NAME: Final = "gallery.reserved"
RESERVED: Final = 1 << 20
"""Bytes: 64 pages of the database. Removing a person with 40 photos writes about 30 of them to the log."""
STEP: Final = RESERVED // 8
"""Bytes: enough to open a database, and too little for an enrolment to eat up what a removal may need."""


def open_database(
    location: Location, *, create: bool = False, passphrase: str | None = None, encrypted: bool = False
) -> Database:
    """The database there, its schema the one this code works with; with `create`, made where there is none.

    Raises `GalleryNotFoundError`, `GalleryLockedError`, `SchemaOutdatedError`, `GalleryUnavailableError`,
    `CorruptGalleryError`, or `ConfigError` for the key of a plain gallery.
    """
    try:
        database = connect(location, create=create, passphrase=passphrase, encrypted=encrypted)
        try:
            if isinstance(location, DatabaseUrl) and database.schema_version() is None:
                _begin(location, database, create=create)
            database.require_head()
        except BaseException:
            database.close()
            raise
    except DiskFullError:
        if isinstance(location, DatabaseUrl) or not shrink_reserved_space(location):
            raise
        # SQLite needs a little space even to read.
        return open_database(location, create=create, passphrase=passphrase, encrypted=encrypted)
    return database


def _begin(location: DatabaseUrl, database: Database, *, create: bool) -> None:
    """Make the schema on a server, in one transaction."""
    if not create:
        raise GalleryNotFoundError(
            f"There is no gallery in the database {location}.",
            "Make one with `facesearch enroll PEOPLE_FOLDER`, or name another database.",
        )
    database.upgrade()


def connect(
    location: Location, *, create: bool = False, passphrase: str | None = None, encrypted: bool = False
) -> Database:
    """The database there, of whatever schema. Raises as `open_database`, but takes every schema."""
    if isinstance(location, DatabaseUrl):
        return _connect_to_server(location, passphrase=passphrase, encrypted=encrypted)
    path = location / DATABASE_NAME
    if not is_database(path):
        if not create:
            raise GalleryNotFoundError(
                f"There is no gallery in {location}.",
                "Make one with `facesearch enroll PEOPLE_FOLDER`, or name another with --gallery DIR.",
            )
        if encrypted and not passphrase:
            raise GalleryLockedError("An encrypted gallery needs a key.", "Give a passphrase.")
        if passphrase and not encrypted:
            raise useless_key(location)
        _make_database(path, Cipher.new(passphrase) if encrypted and passphrase else None)
    if passphrase:
        refuse_key_of_plain(path, f"The gallery in {path_text(location)}")
    return SqliteDatabase(path, cipher_of(path, passphrase))


def useless_key(folder: Path) -> ConfigError:
    """Return the error for a key with which a gallery would be made that it does not encrypt."""
    return ConfigError(
        f"A new gallery in {path_text(folder)} would not be encrypted, but a key was given.",
        f"Make it with `facesearch init --encrypted`, or give no key ({KEY_SOURCES}).",
    )


def _make_database(path: Path, cipher: Cipher | None) -> None:
    """Make the database of an empty gallery: the whole of it or nothing, whenever the process or the power dies.

    Where another process makes one at the same time, the first stays. Raises `GalleryError` where none can be made.
    """
    folder = path.parent
    try:
        make_folder(folder)
        with work_folder(folder) as work:
            database = SqliteDatabase(create_database_file(work), cipher)
            try:
                database.upgrade()
                database.require_sole_use()
            finally:
                database.close()
            with suppress(FileExistsError):
                place_new(database.path, path)
    except OSError as error:
        raise GalleryError(
            f"No gallery can be made in {folder}: {error.strerror}.", "Name another folder with --gallery DIR."
        ) from error


def _connect_to_server(location: DatabaseUrl, *, passphrase: str | None, encrypted: bool) -> Database:
    from facesearch.store.postgres import PostgresDatabase  # here: only who has such a gallery has the driver

    if encrypted:
        raise GalleryError(
            "facesearch encrypts galleries in folders only.", "Encrypt the disk of the database server instead."
        )
    if passphrase:
        raise ConfigError(
            f"The gallery in {location} is not encrypted by facesearch, but a key was given.",
            f"Give no key ({KEY_SOURCES}), and encrypt the disk of the database server.",
        )
    try:
        make_folder(location.folder)
    except OSError as error:
        raise GalleryError(
            f"No folder for the index cache can be made in {location.folder}: {error.strerror}.",
            "Name another with FACESEARCH_CACHE.",
        ) from error
    return PostgresDatabase(location)


def is_database(path: Path) -> bool:
    """Whether there is a database file. Raises `CorruptGalleryError` where it is empty: no gallery ever is."""
    try:
        found = path.is_file()
        empty = found and path.stat().st_size == 0
    except OSError as error:
        raise GalleryError(
            f"{path} cannot be looked at: {error.strerror}.", "Check the folder's permissions."
        ) from error
    if empty:
        raise CorruptGalleryError(
            f"{path} is empty: the gallery that it held is lost.", "Restore a backup, or remove the file to begin anew."
        )
    return found


class Store:
    """Everything that a gallery knows, in its database. Safe to use from several threads, and by several processes.

    `work` takes a connection first, then `args`. What it changed is committed and on disk when a method returns.
    PostgreSQL may do `work` again, where another writer was faster.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        """Where the index cache is, and in a gallery that is a folder, everything else."""
        self.erasure_list = ErasureList(folder, beside=database.owns_folder)

    @property
    def is_encrypted(self) -> bool:
        """Whether everything on disk is encrypted; there is no index cache then."""
        return self.database.is_encrypted

    @property
    def place(self) -> str:
        """Where the gallery is, for people: its folder, or its URL without a password."""
        return path_text(self.folder.absolute()) if self.database.owns_folder else self.database.place

    def read(
        self,
        work: Callable[Concatenate[Connection, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Do work that sees one state of the database and changes nothing."""
        with self.database.read() as connection:
            return work(connection, *args, **kwargs)

    def write(
        self,
        work: Callable[Concatenate[Connection, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Do work that changes no template."""
        return self.database.transact(lambda connection: work(connection, *args, **kwargs))

    def change(
        self,
        work: Callable[Concatenate[Connection, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Do work that may add or remove templates."""
        return self.write(work, *args, **kwargs)

    def remove(
        self,
        work: Callable[Concatenate[Connection, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Do work that removes templates, also on a full disk. No index cache holds them when this returns.

        On a full disk it is done again in the reserved space. The log is folded into the database then, and the space
        reserved again.
        """
        try:
            return self._remove(lambda connection: work(connection, *args, **kwargs))
        except DiskFullError:
            if not release_reserved_space(self.folder):
                raise
        result = self._remove(lambda connection: work(connection, *args, **kwargs))
        with suppress(GalleryError):  # the removal is on disk; the log is folded in when there is space again
            self.database.checkpoint()
        reserve_space(self.folder)
        return result

    def _remove(self, work: Callable[[Connection], Result]) -> Result:
        def removed(connection: Connection) -> Result:
            result = work(connection)
            remove_index_cache(self.folder)
            return result

        return self.database.transact(removed)

    def prepare_models(self) -> None:
        """Make ready for another active model what is outside of the database."""

    def close(self) -> None:
        """Close the database."""
        try:
            self.database.close()
        finally:
            if self.database.owns_folder:
                reserve_space(self.folder)


def reserve_space(folder: Path) -> None:
    """Take up the space where it is not taken up; a gallery that cannot stays without."""
    path = folder / RESERVED_NAME
    with suppress(OSError):
        if path.is_file() and path.stat().st_size == RESERVED:
            return
        if shutil.disk_usage(folder).free < 2 * RESERVED:
            return  # what is left serves its purpose as it is
        with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(os.urandom(RESERVED))  # no file system can compress it away


def shrink_reserved_space(folder: Path) -> bool:
    """Give up a little of the space; returns whether there was any."""
    path = folder / RESERVED_NAME
    try:
        size = path.stat().st_size
        os.truncate(path, max(0, size - STEP))
    except OSError:
        return False
    return size > 0


def release_reserved_space(folder: Path) -> bool:
    """Give the space up; returns whether there was any."""
    try:
        (folder / RESERVED_NAME).unlink()
    except OSError:
        return False
    return True


def has_gallery(location: Location) -> bool:
    """Whether there is a gallery, of whatever schema."""
    if not isinstance(location, DatabaseUrl):
        return is_database(location / DATABASE_NAME)
    database = connect(location)
    try:
        return database.schema_version() is not None
    finally:
        database.close()


def change_passphrase(location: Location, old: str | None, new: str) -> None:
    """Encrypt the gallery there with another passphrase, in place and in one transaction.

    Raises `GalleryError` where it is not encrypted or in use, `GalleryLockedError` where `old` does not open it.
    """
    database = open_database(location, passphrase=old)
    try:
        if not isinstance(database, SqliteDatabase) or not database.is_encrypted:
            raise GalleryError(
                f"The gallery in {location} is not encrypted, so it has no key to change.",
                "Make an encrypted one with `facesearch init --encrypted` and enroll the photos into it.",
            )
        database.transact(lambda connection: audit.record(connection, "rekey", {}))
        database.change_passphrase(new)
    finally:
        database.close()


def upgrade_gallery(location: Location, passphrase: str | None = None) -> tuple[str | None, str]:
    """Bring the database of the gallery there to the newest schema: (version before, version after).

    Raises `GalleryNotFoundError`, or `SchemaOutdatedError` where the database is of a newer facesearch.
    """
    database = connect(location, passphrase=passphrase)
    try:
        before = database.schema_version()
        if before is None and isinstance(location, DatabaseUrl):
            raise GalleryNotFoundError(f"There is no gallery in {location}.", "Name another with --gallery.")
        database.upgrade()
        return before, SCHEMA_VERSION
    finally:
        database.close()
