"""Keys: what opens an encrypted gallery, and the API keys of a server.

SQLCipher encrypts the pages with AES-256. Their key is PBKDF2-HMAC-SHA512 of the passphrase with 256,000 rounds under
the salt in the file's first 16 bytes: SQLCipher 4's own rule, so that its command-line tool opens a gallery too. It is
computed once for each process, not for each connection. Write-ahead log and journals are encrypted with it; temporary
tables stay in memory. No index cache is written: reading it back would cost as much as reading the database.

An API key is random and shown once; its SHA-256 and scopes are stored.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import sqlalchemy as sa

from facesearch.errors import ConfigError, GalleryError, GalleryLockedError
from facesearch.files import read_pieces
from facesearch.names import printable
from facesearch.store import audit
from facesearch.store.rows import fetch, insert, now
from facesearch.store.schema import ApiKeyRow

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sqlalchemy.engine import Connection

ALL_SCOPES: Final = frozenset({"read", "enroll", "delete", "metrics"})
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


def hash_key(key: str) -> bytes:
    """(32,) bytes."""
    return hashlib.sha256(key.encode(errors="replace")).digest()


def active_keys(connection: Connection) -> list[StoredKey]:
    """Every key that works, by name. Raises `CorruptGalleryError` where one is damaged."""
    return [
        StoredKey(row.name, row.digest, frozenset(row.scopes), row.created_at)
        for row in fetch(connection, ApiKeyRow, order=ApiKeyRow.name)
    ]


def create_key(connection: Connection, name: str, scopes: Iterable[str]) -> str:
    """Store a new key of 256 random bits and return it: nobody can tell it again.

    Raises `ConfigError` for a name or scopes that cannot be, `GalleryError` for a name that is taken.
    """
    wanted = frozenset(scopes)
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name a key.", "Use up to 64 letters, digits, '_', '-' and '.'.")
    if not wanted or not wanted <= ALL_SCOPES:
        raise ConfigError(
            f"{', '.join(sorted(wanted - ALL_SCOPES)) or 'Nothing'} is not a scope of a key.",
            f"Use one or more of: {', '.join(sorted(ALL_SCOPES))}.",
        )
    if connection.scalar(sa.select(ApiKeyRow.id).where(ApiKeyRow.name == name)) is not None:
        raise GalleryError(f"There is a key called {name} already.", f"facesearch keys revoke {shlex.quote(name)}")
    key = _PREFIX + secrets.token_urlsafe(_BYTES)
    values = {"name": name, "digest": hash_key(key), "scopes": sorted(wanted), "created_at": now()}
    insert(connection, ApiKeyRow, values)
    audit.record(connection, "keys.create", {"key": name, "scopes": " ".join(sorted(wanted))})
    return key


def revoke_key(connection: Connection, name: str) -> None:
    """Remove a key; running servers refuse it within a second. Raises `GalleryError` where there is none."""
    if not connection.execute(sa.delete(ApiKeyRow).where(ApiKeyRow.name == printable(name))).rowcount:
        raise GalleryError(f"There is no key called {name!r}.", "facesearch keys list")
    audit.record(connection, "keys.revoke", {"key": name})


ROUNDS: Final = 256_000
"""SQLCipher 4's default (zetetic.net/sqlcipher/sqlcipher-api, kdf_iter)."""
_SALT: Final = 16
_PAGE: Final = 16384
_PLAIN: Final = b"SQLite format 3\0"
KEY_SOURCES: Final = "--key-file, FACESEARCH_KEY_FILE, FACESEARCH_KEY"
"""How a person gives a key."""
_FEWEST, _MOST = 16, 128
"""How often each byte value is in a page of ciphertext: 64 times on average with a deviation of 8, so six of them."""


@dataclass(frozen=True, slots=True)
class Cipher:
    """What opens one encrypted database."""

    key: bytes = field(repr=False)
    """(32,) bytes."""
    salt: bytes
    """(16,) bytes: the first of the file."""

    @classmethod
    def new(cls, passphrase: str) -> Cipher:
        """For a database that is to be made."""
        salt = secrets.token_bytes(_SALT)
        return cls(_derive(passphrase, salt), salt)

    def with_passphrase(self, passphrase: str) -> Cipher:
        """The same file's with another passphrase."""
        return Cipher(_derive(passphrase, self.salt), self.salt)

    @property
    def literal(self) -> str:
        """As SQLCipher's pragmas take it."""
        return f"\"x'{self.key.hex()}{self.salt.hex()}'\""


@lru_cache(maxsize=8)
def _derive(passphrase: str, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha512", passphrase.encode(), salt, ROUNDS, 32)


def is_encrypted(path: Path) -> bool:
    """Whether a database file is encrypted, by its first page: every byte value about equally often, no header.

    A plain database of which something was damaged is not: then SQLite says so.
    """
    try:
        page = next(read_pieces(path, _PAGE), b"")
    except OSError:
        return False
    if len(page) < _PAGE or page.startswith(_PLAIN):
        return False
    counts = np.bincount(np.frombuffer(page, np.uint8), minlength=256)
    return bool(counts.min() >= _FEWEST and counts.max() <= _MOST)


def refuse_key_of_plain(path: Path, what: str) -> None:
    """Raise `ConfigError` where a database is plain: somebody who gives a key believes that it is encrypted."""
    if next(read_pieces(path, len(_PLAIN)), b"") == _PLAIN:
        raise ConfigError(
            f"{what} is not encrypted, but a key was given.",
            f"Give no key ({KEY_SOURCES}), or make an encrypted gallery with `facesearch init --encrypted`.",
        )


def cipher_of(path: Path, passphrase: str | None) -> Cipher | None:
    """What opens this database, None where it is not encrypted; `GalleryLockedError` without a passphrase."""
    if not is_encrypted(path):
        return None
    if not passphrase:
        raise GalleryLockedError(
            f"The gallery in {path.parent} is encrypted, and no key was given.",
            "Name a file with the key (facesearch --key-file FILE ..., or FACESEARCH_KEY_FILE), or set FACESEARCH_KEY.",
        )
    salt = next(read_pieces(path, _SALT))
    return Cipher(_derive(passphrase, salt), salt)
