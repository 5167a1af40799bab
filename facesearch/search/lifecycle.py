"""Making a gallery, giving it another passphrase, bringing its schema up to date: with nobody else at work in it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from facesearch.errors import GalleryError, GalleryNotFoundError
from facesearch.files import unfinished_gallery
from facesearch.search.gallery import Gallery
from facesearch.store.location import DatabaseUrl
from facesearch.store.opening import connect, is_database, useless_key
from facesearch.store.schema import HEAD_REVISION
from facesearch.store.sqlite import DATABASE_NAME, SqliteDatabase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from facesearch.store.location import Location


def create_gallery(location: Location, passphrase: str | None = None, *, encrypted: bool = False) -> None:
    """Make an empty gallery. Raises `GalleryError` where there is one, `ConfigError` for a key of a plain one."""
    if _has_gallery(location):
        raise GalleryError(f"There is a gallery in {location} already.", "Name another place with --gallery.")
    with new_gallery(location, passphrase, encrypted=encrypted) as gallery:
        gallery.record("init", {"encrypted": int(gallery.is_encrypted)})


@contextmanager
def new_gallery(location: Location, passphrase: str | None = None, *, encrypted: bool = False) -> Iterator[Gallery]:
    """A gallery that is there when the block ends without an error.

    In a folder nothing is left of it otherwise. Raises `GalleryError` where none can be made, `ConfigError` for a key
    of a plain one.
    """
    if isinstance(location, DatabaseUrl):
        with Gallery.open(location, create=True, passphrase=passphrase, encrypted=encrypted) as gallery:
            yield gallery
        return
    if passphrase and not encrypted:
        raise useless_key(location)
    try:
        with (
            unfinished_gallery(location) as folder,
            Gallery.open(folder, create=True, passphrase=passphrase, encrypted=encrypted) as gallery,
        ):
            yield gallery
    except OSError as error:
        raise GalleryError(
            f"No gallery can be made in {location}: {error.strerror or error}.",
            "Name another folder with --gallery DIR.",
        ) from error


def _has_gallery(location: Location) -> bool:
    if not isinstance(location, DatabaseUrl):
        return is_database(location / DATABASE_NAME)
    database = connect(location)
    try:
        return database.revision() is not None
    finally:
        database.close()


def change_passphrase(location: Location, old: str | None, new: str) -> None:
    """Encrypt the gallery there with another passphrase, in place and in one transaction.

    Raises `GalleryError` where it is not encrypted or in use, `GalleryLockedError` where `old` does not open it.
    """
    with Gallery.open(location, passphrase=old) as gallery:
        if not gallery.is_encrypted:
            raise GalleryError(
                f"The gallery in {location} is not encrypted, so it has no key to change.",
                "Make an encrypted one with `facesearch init --encrypted` and enroll the photos into it.",
            )
        gallery.record("rekey", {})
    database = connect(location, passphrase=old)
    assert isinstance(database, SqliteDatabase)  # no other is encrypted
    try:
        database.change_passphrase(new)
    finally:
        database.close()


def upgrade_gallery(location: Location, passphrase: str | None = None) -> tuple[str | None, str]:
    """Bring the database of the gallery there to the newest schema: (revision before, revision after).

    Raises `GalleryNotFoundError`, or `SchemaOutdatedError` where the database is of a newer facesearch.
    """
    database = connect(location, passphrase=passphrase)
    try:
        before = database.revision()
        if before is None and isinstance(location, DatabaseUrl):
            raise GalleryNotFoundError(f"There is no gallery in {location}.", "Name another with --gallery.")
        database.upgrade()
        return before, HEAD_REVISION
    finally:
        database.close()
