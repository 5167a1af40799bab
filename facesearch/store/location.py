"""Where a gallery is: a folder on this machine, or a PostgreSQL database that several machines share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import SplitResult, urlsplit

from facesearch.errors import ConfigError

DRIVER: Final = "postgresql+psycopg"
_SCHEMES: Final = frozenset({DRIVER, "postgresql", "postgres"})


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A PostgreSQL database. As text it has no password, so that none gets into a message, a log or a report."""

    url: str = field(repr=False)
    """As SQLAlchemy takes it; a password in it is percent-encoded."""
    folder: Path
    """On this machine, for the index cache."""

    def __str__(self) -> str:
        return _without_password(urlsplit(self.url))


Location: TypeAlias = Path | DatabaseUrl


def parse_location(text: str, cache: Path) -> Location:
    """A folder, or a URL `postgresql+psycopg://user@host/database`, whose index cache goes below `cache`.

    Raises `ConfigError` for any other URL.
    """
    if "://" not in text:
        return Path(text).expanduser()
    parts = _split(text)
    if parts.scheme not in _SCHEMES:
        raise ConfigError(
            f"No gallery can live at a URL that begins with {parts.scheme}://.",
            f"Name a folder, or a PostgreSQL database: {DRIVER}://user@host/database",
        )
    parts = parts._replace(scheme=DRIVER)
    name = hashlib.sha256(_without_password(parts).encode()).hexdigest()[:16]
    return DatabaseUrl(parts.geturl(), cache / "galleries" / name)


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port  # parsed when it is asked for
    except ValueError:  # whose message may quote the password
        raise ConfigError(
            "The gallery's URL cannot be read.",
            f"Write {DRIVER}://user@host:port/database, with special characters percent-encoded.",
        ) from None
    return parts


def _without_password(parts: SplitResult) -> str:
    credentials, at, host = parts.netloc.rpartition("@")
    query = "&".join(pair for pair in parts.query.split("&") if not pair.lower().startswith(("password=", "sslpass")))
    return parts._replace(netloc=f"{credentials.partition(':')[0]}{at}{host}", query=query).geturl()
