"""API keys: random, shown once, stored as a hash, with scopes."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from facesearch.errors import ConfigError, GalleryError
from facesearch.names import printable
from facesearch.store import audit
from facesearch.store.rows import insert, now, require_whole, stored_columns
from facesearch.store.schema import ApiKeyRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.engine import Connection

    from facesearch.store.database import Database

ALL_SCOPES: Final = frozenset({"read", "enroll", "delete"})
NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""It stands in the audit and in command lines."""
_PREFIX: Final = "fsk_"
"""Lets scanners for leaked secrets find it."""
_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What the gallery keeps of a key."""

    name: str
    digest: bytes
    """SHA-256 of the key. A slow hash protects what people make up; 256 random bits need none."""
    scopes: frozenset[str]
    created_at: str


def make_key() -> str:
    """A new key: 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(_BYTES)


def hash_key(key: str) -> bytes:
    """(32,) bytes."""
    return hashlib.sha256(key.encode(errors="replace")).digest()


class KeyStore:
    """The keys of one gallery."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def active(self) -> list[StoredKey]:
        """Every key that works, by name. Raises `CorruptGalleryError` where one is damaged."""
        query = sa.select(*stored_columns(ApiKeyRow)).order_by(ApiKeyRow.name)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            require_whole(ApiKeyRow, row)
        return [StoredKey(row.name, row.digest, frozenset(json.loads(row.scopes)), row.created_at) for row in rows]

    def create(self, name: str, scopes: Iterable[str]) -> str:
        """Store a new key and return it: nobody can tell it again. Raises `GalleryError` for a name that is taken."""
        wanted = frozenset(scopes)
        if not NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no name for a key.", "Use up to 64 letters, digits, '_', '-' and '.'.")
        if not wanted or not wanted <= ALL_SCOPES:
            raise ConfigError(
                f"{', '.join(sorted(wanted - ALL_SCOPES)) or 'Nothing'} is no scope of a key.",
                f"Use one or more of: {', '.join(sorted(ALL_SCOPES))}.",
            )
        key = make_key()

        def create(connection: Connection) -> None:
            if connection.scalar(sa.select(ApiKeyRow.id).where(ApiKeyRow.name == name)) is not None:
                raise GalleryError(
                    f"There is a key called {name} already.", f"facesearch keys revoke {shlex.quote(name)}"
                )
            values = {"name": name, "digest": hash_key(key), "scopes": sorted(wanted), "created_at": now()}
            insert(connection, ApiKeyRow, values)
            audit.record(connection, "keys.create", {"key": name, "scopes": " ".join(sorted(wanted))})

        self._database.transact(create)
        return key

    def revoke(self, name: str) -> None:
        """Remove a key; running servers refuse it within a second. Raises `GalleryError` where there is none."""

        def revoke(connection: Connection) -> None:
            if not connection.execute(sa.delete(ApiKeyRow).where(ApiKeyRow.name == printable(name))).rowcount:
                raise GalleryError(f"There is no key called {name!r}.", "facesearch keys list")
            audit.record(connection, "keys.revoke", {"key": name})

        self._database.transact(revoke)
