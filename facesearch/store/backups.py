"""Backups: one file with a consistent copy of the database, the list of erased people, and a SHA-256 over both.

    8 bytes     b"FSBACKUP"
    4 bytes     length of the header, little-endian
    header      JSON: format, created_at, encrypted, erased and database (lengths in bytes)
    erased  the list of erased people, as text
    database    SQLite or, for an encrypted gallery, SQLCipher with the key of that time
    32 bytes    SHA-256 of everything before

A backup is written while others read and write the gallery. It is restored into a folder of its own first, where
everybody who was erased since goes again; only a database that `check` finds whole takes the place of another.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from facesearch.errors import ConfigError, CorruptGalleryError, FaceSearchError, GalleryError
from facesearch.files import fsync_folder, remove_index_cache, unfinished_gallery, work_folder
from facesearch.outputs import Outputs
from facesearch.store import audit
from facesearch.store.check import check_database
from facesearch.store.erasure import erase_again
from facesearch.store.erasure_list import ERASURE_LIST_NAME, ErasedEntries, ErasureList, read_copy, write_copy
from facesearch.store.keys import cipher_of, refuse_key_of_plain
from facesearch.store.rows import now
from facesearch.store.schema import ApiKeyRow, BacklogRow, SubjectRow, TemplateRow, VectorDatabaseRow
from facesearch.store.sqlite import DATABASE_NAME, SqliteDatabase, create_database_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from facesearch.store.opening import Store

MAGIC: Final = b"FSBACKUP"
FORMAT: Final = 1
_COPY: Final = 1 << 20


OF_THE_ERASED: Final = ("people.forget", "people.bring_back")
"""Events that outlive a gallery whose place a backup takes."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restored gallery holds."""

    created_at: str
    """When the backup was made: UTC, ISO 8601."""
    subjects: int
    templates: int
    erased_again: int
    """Templates of people who were erased since."""
    keys: tuple[str, ...]
    """Names of the API keys in force, which may have been revoked since."""
    knew_erased: bool = False
    """Whether the list of the erased lay in the folder, so that nobody comes back who was erased after the backup."""


def write_backup(store: Store, file: Path, *, force: bool = False) -> int:
    """Write a backup of the gallery, atomically and readable by its owner alone; returns its size in bytes.

    Raises `CorruptGalleryError` where the gallery is damaged, `ConfigError` where the file cannot be written, or is
    there already and not to be replaced by `force`, and `GalleryError` for a gallery in PostgreSQL.
    """
    if not isinstance(database := store.database, SqliteDatabase):
        raise GalleryError(
            "A gallery in PostgreSQL is backed up by the server's own tools.",
            "pg_dump --format=custom --file=gallery.dump DATABASE, and pg_restore; or backups of the whole server.",
        )
    with Outputs(gallery=store.folder, force=force).file(file) as output:
        store.write(audit.record, "backup", {})  # before the copy, so that the backup tells of itself
        with output.unfinished() as unfinished:
            copy = _copy_database(database, unfinished.parent)
            with unfinished.open("wb") as out:
                _write_container(out, store.read(store.erasure_list.read), copy, encrypted=store.is_encrypted)
            return unfinished.stat().st_size


def _copy_database(database: SqliteDatabase, work: Path) -> Path:
    copy = SqliteDatabase(create_database_file(work), database.cipher)
    try:
        copy.copy_from(database)
        _require_sound(copy, "The gallery is damaged, so it was not backed up")
        copy.require_sole_use()
    finally:
        copy.close()
    return copy.path


def _write_container(out: IO[bytes], erased: ErasedEntries, database: Path, *, encrypted: bool) -> None:
    digest = hashlib.sha256()

    def put(data: bytes) -> None:
        digest.update(data)
        out.write(data)

    listed = erased.format().encode()
    header = {
        "format": FORMAT,
        "created_at": now(),
        "encrypted": encrypted,
        "erased": len(listed),
        "database": database.stat().st_size,
    }
    encoded = json.dumps(header).encode()
    put(MAGIC + struct.pack("<I", len(encoded)) + encoded)
    put(listed)
    with database.open("rb") as source:
        while piece := source.read(_COPY):
            put(piece)
    out.write(digest.digest())


def restore_backup(file: Path, folder: Path, *, passphrase: str | None = None, force: bool = False) -> Restored:
    """Make the gallery in `folder` what it was when the backup was written, without those who were erased since.

    They are on the list in the backup, or on the list that lies in `folder`. Raises `CorruptGalleryError` for a damaged
    backup, `GalleryLockedError` where an encrypted one does not open, and `GalleryError` where there is a gallery
    already and not `force`, or it is in use. Until everything is proven, nothing in `folder` is changed.
    """
    if not file.is_file():
        raise ConfigError(f"There is no backup {file}.", "Check the path.")
    target = folder / DATABASE_NAME
    if target.is_file() and target.stat().st_size and not force:
        raise GalleryError(
            f"There is a gallery in {folder} already.",
            "Name another folder with --gallery DIR, or add --force to put the backup in its place.",
        )
    try:
        if folder.is_dir():
            return _restore_into(folder, file, passphrase)
        with unfinished_gallery(folder) as made:
            return _restore_into(made, file, passphrase)
    except OSError as error:
        raise GalleryError(
            f"{file} cannot be restored into {folder}: {error.strerror}.", "Check permissions and free space."
        ) from error


def _restore_into(folder: Path, file: Path, passphrase: str | None) -> Restored:
    target = folder / DATABASE_NAME
    with work_folder(folder) as work:
        path = create_database_file(work)
        header, packed = _unpack(file, path)
        erased = read_copy(folder).merged(packed)
        restored = _prepare(path, header, erased, passphrase, _told_of_the_erased(target, passphrase))
        restored = replace(restored, knew_erased=(folder / ERASURE_LIST_NAME).exists())
        _release(target, passphrase)
        # First the list: with it, nobody comes back should the power fail before the database is in its place.
        write_copy(folder, erased)
        remove_index_cache(folder)
        path.replace(target)
        fsync_folder(folder)
        return restored


def _unpack(file: Path, database: Path) -> tuple[dict[str, Any], ErasedEntries]:
    """Take a backup apart, its checksum proven before anything of it is used."""
    try:
        with file.open("rb") as source:
            _require_checksum(file, source)
            source.seek(len(MAGIC))
            (length,) = struct.unpack("<I", source.read(4))
            header = json.loads(source.read(length))
            if header["format"] != FORMAT:
                raise CorruptGalleryError(
                    f"{file} was written by a newer facesearch.", "Upgrade facesearch: pip install -U facesearch"
                )
            erased = ErasedEntries.parse(source.read(header["erased"]).decode("ascii"))
            with database.open("wb") as out:
                left = header["database"]
                while left > 0:
                    left -= out.write(source.read(min(_COPY, left)))
                out.flush()
                os.fsync(out.fileno())
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:  # of writing the database
            raise
        raise ConfigError(f"{file} cannot be read: {error.strerror}.", "Name a backup file.") from error
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise _damaged(file, "its header cannot be read") from error
    return header, erased


def _require_checksum(file: Path, source: IO[bytes]) -> None:
    left = os.fstat(source.fileno()).st_size - 32
    digest = hashlib.sha256()
    if left < len(MAGIC) or source.read(len(MAGIC)) != MAGIC:
        raise _damaged(file, "it is not a backup")
    digest.update(MAGIC)
    left -= len(MAGIC)
    while left > 0 and (piece := source.read(min(_COPY, left))):
        digest.update(piece)
        left -= len(piece)
    if digest.digest() != source.read():
        raise _damaged(file, "its SHA-256 does not match")


def _damaged(file: Path, why: str) -> CorruptGalleryError:
    return CorruptGalleryError(f"{file} cannot be restored: {why}.", "Use another backup.")


def _told_of_the_erased(target: Path, passphrase: str | None) -> list[audit.AuditEvent]:
    """What the audit log of the gallery that is replaced says of erasing; nothing where it cannot be read."""
    if not target.is_file() or not target.stat().st_size:
        return []
    try:
        database = SqliteDatabase(target, cipher_of(target, passphrase))
        try:
            with database.read() as connection:
                return [event for action in OF_THE_ERASED for event in audit.events(connection, action=action)]
        finally:
            database.close()
    except FaceSearchError:
        return []  # that may be why the backup is restored


def _prepare(
    path: Path,
    header: dict[str, Any],
    listed: ErasedEntries,
    passphrase: str | None,
    told: Sequence[audit.AuditEvent],
) -> Restored:
    """Bring a restored database to this version's schema and to today: whoever was erased since goes again.

    `told` are events that outlive the gallery that is replaced.
    """
    if passphrase:
        refuse_key_of_plain(path, "The backup")
    database = SqliteDatabase(path, cipher_of(path, passphrase))
    try:
        database.upgrade()
        with database.write() as connection:
            erasure_list = ErasureList(path.parent, beside=True)
            erasure_list.take_over(connection, listed, of_others=False)
            gone = len(erase_again(connection, erasure_list.read_own(connection)))
            # What a vector database holds belongs to the gallery that the backup was made of, which may live on.
            for row in (BacklogRow, VectorDatabaseRow):
                connection.execute(sa.delete(row))
            audit.keep(connection, told)
            audit.record(connection, "restore", {"backup_of": str(header["created_at"]), "templates_erased": gone})
            restored = Restored(
                created_at=str(header["created_at"]),
                subjects=connection.scalar(sa.select(sa.func.count()).select_from(SubjectRow)) or 0,
                templates=connection.scalar(sa.select(sa.func.count()).select_from(TemplateRow)) or 0,
                erased_again=gone,
                keys=tuple(connection.scalars(sa.select(ApiKeyRow.name).order_by(ApiKeyRow.name))),
            )
        _require_sound(database, "The backup holds a damaged gallery")
        database.require_sole_use()
        return restored
    finally:
        database.close()


def _require_sound(database: SqliteDatabase, what: str) -> None:
    faults = [finding for finding in check_database(database) if not finding.ok]
    if faults:
        raise CorruptGalleryError(f"{what}: {faults[0].subject}: {faults[0].detail}.", "Run: facesearch check")


def _release(target: Path, passphrase: str | None) -> None:
    """Make sure that nobody uses the database that is to be replaced, and that no log of it is left behind."""
    if target.is_file() and target.stat().st_size:
        try:
            database = SqliteDatabase(target, cipher_of(target, passphrase))
            try:
                database.require_sole_use()
            finally:
                database.close()
        except CorruptGalleryError:
            pass  # that may be why the backup is restored
    for suffix in ("-wal", "-shm", "-journal"):
        target.with_name(target.name + suffix).unlink(missing_ok=True)
