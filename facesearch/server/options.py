"""Bounds and switches of one server process."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self
from urllib.parse import urlsplit

from facesearch.errors import ConfigError
from facesearch.recognition.photo import MAX_BYTES

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
MAX_PHOTOS: Final = 64
"""Photos in one request."""


_HOST: Final = re.compile(r"[A-Za-z0-9._:-]+")
_ROOT: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*")


class AccessLog(StrEnum):
    """A line for each answered request on stderr."""

    OFF = "off"
    COMMON = "common"
    """The Common Log Format with the time to answer and the request's id behind it."""
    JSON = "json"


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Bounds and switches of one server process."""

    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str | None = None
    """Where a proxy makes the server reachable: its host and origin are this server's own, its path is the root."""
    allowed_hosts: tuple[str, ...] = ()
    """Further names in the Host header that mean this server; without any, and without `public_url`, all do where the
    address is no loopback one."""
    root_path: str = ""
    """Path that a proxy takes off before it passes a request on; that of `public_url` where it is empty."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks whose X-Forwarded-For and X-Forwarded-Proto are believed."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may use the API from a browser."""
    access_log: AccessLog = AccessLog.OFF
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

    @classmethod
    def of(cls, access_log: str, **given: Any) -> Self:
        """Options as a command line or a file has them: lists and plain words."""
        if access_log not in set(AccessLog):
            raise ConfigError(f"{access_log!r} is no kind of access log.", f"Use one of: {', '.join(AccessLog)}.")
        several: dict[str, Any] = {
            name: tuple(given.pop(name, None) or ()) for name in ("allowed_hosts", "trusted_proxies", "cors_origins")
        }
        return cls(access_log=AccessLog(access_log), **several, **given)

    def __post_init__(self) -> None:
        """Raises `ConfigError` for what is no URL, host, origin or path."""
        for origin in (*self.cors_origins, *([self.public_url] if self.public_url else ())):
            if not re.fullmatch(
                r"https?://[^/?#@\s]+" + ("" if origin in self.cors_origins else r"(/[^?#\s]*)?"), origin
            ):
                raise ConfigError(f"{origin!r} is no URL of a server.", "Give one as https://faces.example.org.")
        for host in self.allowed_hosts:
            if not _HOST.fullmatch(host):
                raise ConfigError(f"{host!r} is no host name.", "Give one as faces.example.org, without a port.")
        if not _ROOT.fullmatch(self.root):
            raise ConfigError(f"{self.root!r} is no path.", "Give one as /faces, without a slash at its end.")

    @property
    def root(self) -> str:
        """The path under which the server is reached, without a slash at its end."""
        return self.root_path or (urlsplit(self.public_url).path.rstrip("/") if self.public_url else "")

    @property
    def hosts(self) -> frozenset[str] | None:
        """What the Host header may name; None for anything."""
        named = {host.lower() for host in self.allowed_hosts}
        if self.public_url:
            named.add(urlsplit(self.public_url).hostname or "")
        return None if not named and self.host not in LOOPBACK else frozenset(named | LOOPBACK | {self.host})

    @property
    def origins(self) -> frozenset[str]:
        """Origins that are this server's own, whatever the Host header says, or allowed."""
        own = "://".join(urlsplit(self.public_url)[:2]).lower() if self.public_url else None
        return frozenset({*self.cors_origins, *([own] if own else ())})

    @property
    def is_public(self) -> bool:
        """Whether others than this machine can reach the server."""
        return self.hosts is None or not self.hosts <= LOOPBACK
