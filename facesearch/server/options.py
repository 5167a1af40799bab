"""Bounds and switches of one server process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from facesearch.recognition.photo import MAX_BYTES

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
MAX_PHOTOS: Final = 64
"""Photos in one request."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Bounds and switches of one server process."""

    host: str = "127.0.0.1"
    port: int = 8000
    require_key: bool = False
    """Ask for a key although the address is a loopback one and the gallery has no key."""
    thumbnails: bool = False
    """Whether faces of enrolled photos are shown, and crops of uploaded ones kept for it."""
    capacity: int = 64
    """Photos that may wait for the models; beyond it a request is answered 429."""
    workers: int | None = None
    """Threads that decode and detect; None takes up to four."""
    max_body: int = MAX_BYTES + 2**20
    """Bytes of one request."""
    body_memory: int = 256 * 2**20
    """Bytes of all requests that are being received or answered; beyond it a request is answered 429."""
    body_seconds: float = 30.0
    """Until a request's body is here; after that 408."""
    idle_seconds: float = 10.0
    """Between two pieces of a body; after that 408."""
