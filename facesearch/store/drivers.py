"""Database drivers: which SQLite is used, what the drivers' errors mean, and which pages hold no text."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.errors import (
    CorruptGalleryError,
    DiskFullError,
    GalleryConflictError,
    GalleryError,
    GalleryLockedError,
    GalleryUnavailableError,
    InstallationError,
)
from facesearch.files import read_into

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection
    from sqlalchemy.exc import DBAPIError

_CONFLICTS: Final = frozenset({"40001", "40P01", "23505", "23503"})
"""Serialization failure, deadlock, unique violation, foreign key violation: another transaction came in between."""
_PASSING: Final = ("08", "57P01", "57P02", "57P03", "57P05")
"""Connection lost; shut down, crashed, starting up."""
_REFUSED: Final[dict[str, tuple[str, str]]] = {
    "28": (
        "refused the login",
        "Check the user in the URL; keep the password in ~/.pgpass or PGPASSWORD.",
    ),
    "3D000": ("has no such database", "Make it on the server: createdb --encoding=UTF8 --template=template0 NAME"),
    "3F000": ("has no such schema", "Make it on the server: CREATE SCHEMA NAME"),
    "25006": (
        "is a standby or read-only",
        "Name the primary server in the URL to change anything; searching works here.",
    ),
    "42501": ("denies that", "The user needs CREATE on the schema to make or upgrade a gallery, and owns its tables."),
    "42P01": ("has no gallery in this database", "Make one: facesearch enroll PEOPLE_FOLDER --gallery URL"),
    "53300": ("has no connection left", "Raise max_connections on the server, or stop other programs."),
    "55P03": ("kept a lock too long", "Another program holds one, maybe by hand: wait for it or stop it."),
    "57014": ("cancelled the statement", "Look for a statement_timeout on the server."),
    "XX001": ("says that its data are damaged", "Stop using it, and restore the server's backup."),
    "XX002": ("says that an index is damaged", "Run on the server: REINDEX DATABASE NAME"),
}
"""By SQLSTATE or its class: what the server does, and what to do."""

_BEFORE_LOGIN: Final = (
    (": FATAL:  role ", "28"),
    (": FATAL:  database ", "3D000"),
    ("authentication", "28"),
    ("no password", "28"),
    ("pg_hba", "28"),
    ("too many clients", "53300"),
    ("connection slots", "53300"),
)
"""Words of libpq, and what they amount to."""


def explain_postgres(error: DBAPIError, place: str) -> GalleryError:
    """What to raise instead of the driver's error. The message never holds a password, nor a row's values."""
    origin = error.orig
    state: str = getattr(origin, "sqlstate", None) or ""
    where = f"The database server of {place}"
    if state in _CONFLICTS:
        return GalleryConflictError(
            "Others changed the same rows of the gallery at the same time.", "Run the same again."
        )
    if state.startswith(_PASSING) or error.connection_invalidated or (not state and _lost(str(origin))):
        return GalleryUnavailableError(
            f"{where} does not answer: {_first_line(origin)}",
            "Nothing acknowledged is lost. Check host, port and whether the server runs; then run the same again.",
        )
    if state in {"53100", "58030"}:
        return DiskFullError(
            f"{where} has no space left on its disk, or cannot write to it.",
            "Free some space on the server and run the same command again: nothing acknowledged is lost.",
        )
    for prefix, (what, hint) in _REFUSED.items():
        if state.startswith(prefix):
            kind = CorruptGalleryError if prefix.startswith("XX") else GalleryError
            return kind(f"{where} {what}: {_first_line(origin)}", hint)
    return _by_text(where, origin)


def _by_text(where: str, origin: BaseException | None) -> GalleryError:
    """libpq tells of what happens before a login in words only."""
    for words, state in _BEFORE_LOGIN:
        if words in str(origin) and not getattr(origin, "sqlstate", None):
            what, hint = _REFUSED[state]
            return GalleryError(f"{where} {what}: {_first_line(origin)}", hint)
    return GalleryError(f"{where} refused: {_first_line(origin)}", "Run `facesearch check`.")


def _lost(text: str) -> bool:
    signs = ("connection failed", "connection is bad", "connection is lost", "resolve host", "closed", "timeout")
    return any(sign in text for sign in signs) and not any(words in text for words, _ in _BEFORE_LOGIN)


def _first_line(origin: BaseException | None) -> str:
    """The server's own words, without the lines that quote a statement or the values of a row."""
    lines = [line for line in str(origin).splitlines() if line.strip()]
    return f"{lines[0].strip().rstrip('.')}." if lines else "it says nothing."


def sqlcipher_module() -> ModuleType:
    """The DB-API module of SQLCipher; `InstallationError` where it is not installed."""
    try:
        from sqlcipher3 import dbapi2
    except ImportError as error:
        raise InstallationError(
            "Encrypted galleries need SQLCipher, which is not installed.", "Run: pip install 'facesearch[encrypted]'"
        ) from error
    module: ModuleType = dbapi2
    return module


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


BUSY_TIMEOUT_MS = 10_000
SPACE_TO_WORK = 1 << 18
"""Bytes. Where less is free, a failed write means a full disk: SQLite says "disk I/O error" of some of its files."""


def explain_sqlite(text: str, path: Path, *, encrypted: bool) -> GalleryError:
    """The error to raise instead of SQLite's."""
    if encrypted and "not a database" in text:
        return GalleryLockedError(
            f"The key does not open the gallery in {path.parent}.",
            "Give the key that it was made with; without it nobody can read the gallery.",
        )
    if any(sign in text for sign in ("malformed", "not a database", "disk image", "Could not decode")):
        return damaged(path, text)
    if "locked" in text or "busy" in text:
        return GalleryError(
            f"The database {path} stayed locked for {BUSY_TIMEOUT_MS // 1000} s.",
            "Another process holds a write transaction: wait for it or stop it.",
        )
    if "full" in text or ("disk I/O" in text and shutil.disk_usage(path.parent).free < SPACE_TO_WORK):
        return DiskFullError(
            f"No space is left to write {path}.",
            "Free some space and run the same command again: nothing acknowledged is lost.",
        )
    if "disk I/O" in text:
        return GalleryError(
            f"The disk or the system refused to read or write {path}.",
            "Look for a failing disk or a limit on file sizes (ulimit -f): nothing acknowledged is lost.",
        )
    if "readonly" in text or "unable to open" in text:
        return GalleryError(f"{path} cannot be opened for this: {text}.", "Check the folder's permissions.")
    return GalleryError(f"The database {path} refused: {text}.", "Run `facesearch check`.")


def damaged(path: Path, why: str) -> CorruptGalleryError:
    """The error for a damaged database file."""
    return CorruptGalleryError(
        f"The database {path} is damaged: {why}.", "Stop using it, copy the folder, and restore from a backup."
    )


TEXTLESS: Final = ("templates", "faces", "revision", "backlog")
"""Tables without a name, a path or another text."""


@dataclass(frozen=True, slots=True, eq=False)
class TextlessPages:
    """Pages of a SQLite database whose bytes are numbers, vectors and landmarks only."""

    size: int
    """Bytes of a page."""
    mask: NDArray[np.bool]
    """(n,) for each page of the file whether it is one."""


def textless_pages(connection: Connection, path: Path) -> TextlessPages:
    """The pages of the tables `TEXTLESS` and their indexes, by the links from page to page in the file.

    SQLite overwrites a page with zeros before another table gets it, so that nothing else is left in one. The log has
    to be folded in, and `connection` to be open until the pages were used: nobody changes the file meanwhile.
    """
    size = int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())
    mask = np.zeros(path.stat().st_size // size, np.bool)
    tables = ", ".join(f"'{name}'" for name in TEXTLESS)
    roots = connection.exec_driver_sql(f"SELECT rootpage FROM sqlite_master WHERE tbl_name IN ({tables})")  # noqa: S608
    for root in roots.scalars().all():
        level = np.array([root])
        while len(level):
            level = level[(level > 0) & (level <= len(mask))]
            mask[level - 1] = True
            level = np.concatenate([np.empty(0, np.int64), *_children(path, level, size)])
    return TextlessPages(size, mask)


def _children(path: Path, level: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """The pages below each of a level, all of which are of one kind: none below leaves (sqlite.org/fileformat.html)."""
    for number in level.tolist():
        page = np.zeros(size, np.uint8)
        read_into(path, (number - 1) * size, page.data)
        if page[0] not in _INTERIOR:
            return
        count = int.from_bytes(page[3:5].tobytes(), "big")
        cells = page[12 : 12 + 2 * count].view(">u2").astype(np.int64)
        yield page[cells[:, None] + np.arange(4)].view(">u4")[:, 0].astype(np.int64)
        yield page[8:12].view(">u4").astype(np.int64)


_INTERIOR: Final = {2, 5}
