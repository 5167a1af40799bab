"""Opening the database of a gallery, making one, and the space that is reserved for removals on a full disk.

A full disk refuses a DELETE as it refuses an INSERT, and even a query that has to make SQLite's shared-memory file.
Somebody who wants to be forgotten must not have to wait for space. So a file in the gallery's folder takes up space
that is given up when the disk is full.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from facesearch.errors import (
    ConfigError,
    CorruptGalleryError,
    DiskFullError,
    GalleryError,
    GalleryLockedError,
    GalleryNotFoundError,
)
from facesearch.files import make_folder, place_new, work_folder
from facesearch.names import path_text
from facesearch.store.keys import KEY_SOURCES, Cipher, cipher_of, refuse_key_of_plain
from facesearch.store.location import DatabaseUrl, Location
from facesearch.store.sqlite import DATABASE_NAME, SqliteDatabase, create_database_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from facesearch.search.gallery import Gallery
    from facesearch.store.database import Database


def open_database(
    location: Location, *, create: bool = False, passphrase: str | None = None, encrypted: bool = False
) -> Database:
    """The database there, its schema the one this code works with; with `create`, made where there is none.

    Raises as `Gallery.open` does.
    """
    try:
        database = connect(location, create=create, passphrase=passphrase, encrypted=encrypted)
        try:
            if isinstance(location, DatabaseUrl) and database.revision() is None:
                _begin(location, database, create=create)
            database.require_head()
        except BaseException:
            database.close()
            raise
    except DiskFullError:
        if isinstance(location, DatabaseUrl) or not shrink_ballast(location):
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
    """The database there, of whatever schema. Raises as `Gallery.open` does, `SchemaOutdatedError` apart."""
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


Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

BALLAST_NAME = "gallery.ballast"
SIZE = 1 << 20
"""Bytes: 64 pages of the database. Removing a person with 40 photos writes about 30 of them to the log."""


STEP = SIZE // 8
"""Bytes: enough to open a database, and too little for an enrolment to eat up what a removal may need."""


def make_ballast(folder: Path) -> None:
    """Take up the space where it is not taken up; a gallery that cannot stays without."""
    path = folder / BALLAST_NAME
    with suppress(OSError):
        if path.is_file() and path.stat().st_size == SIZE:
            return
        if shutil.disk_usage(folder).free < 2 * SIZE:
            return  # what is left serves its purpose as it is
        with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(os.urandom(SIZE))  # no file system can compress it away


def shrink_ballast(folder: Path) -> bool:
    """Give up a little of the space; returns whether there was any."""
    path = folder / BALLAST_NAME
    try:
        size = path.stat().st_size
        os.truncate(path, max(0, size - STEP))
    except OSError:
        return False
    return size > 0


def release_ballast(folder: Path) -> bool:
    """Give the space up; returns whether there was any."""
    try:
        (folder / BALLAST_NAME).unlink()
    except OSError:
        return False
    return True


def despite_full_disk(
    removal: Callable[Concatenate[Gallery, Arguments], Result],
) -> Callable[Concatenate[Gallery, Arguments], Result]:
    """A method of `Gallery` that is tried again without the ballast where the disk is full.

    The log is folded into the database then, and the ballast made again from the space it took.
    """

    @wraps(removal)
    def retried(gallery: Gallery, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return removal(gallery, *args, **kwargs)
        except DiskFullError:
            if not release_ballast(gallery.folder):
                raise
        result = removal(gallery, *args, **kwargs)
        with suppress(GalleryError):  # the removal is on disk; the log is folded in when there is space again
            gallery.database.checkpoint()
        make_ballast(gallery.folder)
        return result

    return retried
