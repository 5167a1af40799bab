"""API keys: random, shown once, stored as a hash, with scopes."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from facesearch.gallery.database import Database

ALL_SCOPES: Final = frozenset({"read", "enroll", "delete"})
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
        """Keys that were not revoked, by name."""
        return []
