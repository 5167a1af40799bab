"""What PostgreSQL's errors mean for somebody who uses a gallery, by SQLSTATE (postgresql.org/docs, appendix A)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from facesearch.errors import (
    CorruptGalleryError,
    DiskFullError,
    GalleryConflictError,
    GalleryError,
    GalleryUnavailableError,
)

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

    from facesearch.store.database import Database

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


def describe_error(error: DBAPIError, database: Database) -> GalleryError:
    """What to raise instead of the driver's error. The message never holds a password, nor a row's values."""
    origin = error.orig
    state: str = getattr(origin, "sqlstate", None) or ""
    where = f"The database server of {database.place}"
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
