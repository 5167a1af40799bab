"""Opening the database of a gallery, wherever it is, or making one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facesearch.errors import DiskFullError, GalleryError, GalleryLockedError, GalleryNotFoundError
from facesearch.gallery.ballast import shrink_ballast
from facesearch.gallery.encryption import Cipher, cipher_of
from facesearch.gallery.files import make_folder
from facesearch.gallery.location import DatabaseUrl, Location
from facesearch.gallery.sqlite import DATABASE_NAME, SqliteDatabase, create_database_file

if TYPE_CHECKING:
    from pathlib import Path

    from facesearch.gallery.database import Database


def open_database(
    location: Location, *, create: bool = False, passphrase: str | None = None, encrypted: bool = False
) -> Database:
    """The database there, its schema the one this code works with; with `create`, made where there is none.

    Raises as `Gallery.open` does.
    """
    try:
        database = connect(location, create=create, passphrase=passphrase, encrypted=encrypted)
        try:
            if database.revision() is None:
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


def _begin(location: Location, database: Database, *, create: bool) -> None:
    if create:
        database.upgrade()
    elif isinstance(location, DatabaseUrl):
        raise GalleryNotFoundError(
            f"There is no gallery in the database {location}.",
            "Make one with `facesearch enroll PEOPLE_FOLDER`, or name another database.",
        )


def connect(
    location: Location, *, create: bool = False, passphrase: str | None = None, encrypted: bool = False
) -> Database:
    """The database there, of whatever schema. Raises as `Gallery.open` does, `SchemaOutdatedError` apart."""
    if isinstance(location, DatabaseUrl):
        return _connect_to_server(location, encrypted=encrypted)
    path = location / DATABASE_NAME
    if is_database(path):
        return SqliteDatabase(path, cipher_of(path, passphrase))
    if not create:
        raise GalleryNotFoundError(
            f"There is no gallery in {location}.",
            "Make one with `facesearch enroll PEOPLE_FOLDER`, or name another with --gallery DIR.",
        )
    if encrypted and not passphrase:
        raise GalleryLockedError("An encrypted gallery needs a key.", "Give a passphrase.")
    cipher = Cipher.new(passphrase) if encrypted and passphrase else None
    return SqliteDatabase(create_database_file(location), cipher)


def _connect_to_server(location: DatabaseUrl, *, encrypted: bool) -> Database:
    from facesearch.gallery.postgres import PostgresDatabase  # here: only who has such a gallery has the driver

    if encrypted:
        raise GalleryError(
            "facesearch encrypts galleries in folders only.", "Encrypt the disk of the database server instead."
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
    """Whether there is a database file with something in it."""
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError as error:
        raise GalleryError(
            f"{path} cannot be looked at: {error.strerror}.", "Check the folder's permissions."
        ) from error
