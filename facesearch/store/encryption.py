"""Encryption at rest: SQLCipher's AES-256 pages, keyed by what a person keeps elsewhere.

The key of the pages is PBKDF2-HMAC-SHA512 of the passphrase with 256,000 rounds under the salt in the file's first 16
bytes: SQLCipher 4's own rule, so that its command-line tool opens a gallery too. It is computed once for each process,
not for each connection. Write-ahead log and journals are encrypted with it; temporary tables stay in memory. The index
cache is left out: reading it back would cost as much as reading the database.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.errors import ConfigError, GalleryLockedError, InstallationError
from facesearch.files import read_pieces

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

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
