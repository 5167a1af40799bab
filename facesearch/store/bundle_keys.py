"""Ed25519 signatures of bundles, with keys in PEM files as `openssl` makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facesearch.errors import ConfigError, CorruptGalleryError
from facesearch.versions import require

if TYPE_CHECKING:
    from pathlib import Path

_MAKE = "Make a pair: openssl genpkey -algorithm ed25519 -out key.pem; openssl pkey -in key.pem -pubout -out public.pem"


def sign(data: bytes, key: Path) -> bytes:
    """The signature (64 bytes) with the private key in that file. Raises `ConfigError` where there is none."""
    require("cryptography")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        found = load_pem_private_key(_read(key), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{key} holds no private key that can be used: {error}", _MAKE) from error
    if not isinstance(found, Ed25519PrivateKey):
        raise ConfigError(f"{key} is no Ed25519 key.", _MAKE)
    return found.sign(data)


def check_signature(data: bytes, signature: bytes | None, key: Path, file: Path) -> None:
    """Raise `CorruptGalleryError` unless `signature` is the private key's to the public key in that file.

    Raises `ConfigError` where there is no public key.
    """
    require("cryptography")
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        found = load_pem_public_key(_read(key))
    except ValueError as error:
        raise ConfigError(f"{key} holds no public key that can be used: {error}", _MAKE) from error
    if not isinstance(found, Ed25519PublicKey):
        raise ConfigError(f"{key} is no Ed25519 key.", _MAKE)
    if signature is None:
        raise CorruptGalleryError(f"{file} is not signed.", "Ask for one that is, or import it without --verify-key.")
    try:
        found.verify(signature, data)
    except InvalidSignature:
        raise CorruptGalleryError(
            f"{file} is not signed with the key to {key}, or was changed since.", "Do not trust it; get it again."
        ) from None


def _read(key: Path) -> bytes:
    try:
        return key.read_bytes()
    except OSError as error:
        raise ConfigError(f"{key} cannot be read: {error.strerror}.", _MAKE) from error
