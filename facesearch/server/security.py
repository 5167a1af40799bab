"""Who may do what: API keys with scopes. A key is shown once, kept hashed, and compared in constant time."""

from __future__ import annotations

import hmac
import shlex
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final

from anyio.to_thread import run_sync
from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from facesearch.errors import ConfigError
from facesearch.records import SubjectRecord
from facesearch.server.problems import Problem
from facesearch.server.schemas import Reference
from facesearch.store.keys import ALL_SCOPES, active_keys, hash_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from facesearch.search.gallery import Gallery
    from facesearch.server.options import ServerOptions
    from facesearch.store.keys import StoredKey
    from facesearch.types import Subject

SECONDS: Final = 1.0
"""How long a list of keys is trusted: a key that was revoked works no longer than this."""

OPEN_TO_ALL: Final = frozenset({"/v1/health/live", "/v1/health/ready"})
"""Paths below /v1 that need no key."""

bearer = HTTPBearer(auto_error=False, scheme_name="key", description="A key of `facesearch keys create NAME`.")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever makes a request."""

    name: str | None
    """Of the key; None where no key is asked for."""
    scopes: frozenset[str]

    @property
    def actor(self) -> str:
        """As the audit has it."""
        return "http" if self.name is None else f"key:{self.name}"

    @property
    def reads(self) -> bool:
        """Whether names, attributes and scores may be told."""
        return "read" in self.scopes


class KeyRing:
    """The gallery's keys, read again every second. Once a key was asked for, it stays so as long as the server runs."""

    def __init__(self, gallery: Gallery, options: ServerOptions) -> None:
        """Raises `ConfigError` for an address that others reach while the gallery has no key."""
        self._gallery = gallery
        self._lock = threading.Lock()
        self._keys: list[StoredKey] = gallery.read(active_keys)
        self._read_at = time.monotonic()
        public = options.is_public
        if public and not self._keys:
            raise ConfigError(
                f"Others can reach {options.public_url or options.host}, so the server does not start without a key.",
                "facesearch keys create NAME --scope read",
            )
        self._required = public or options.require_key or bool(self._keys)

    async def caller(self, presented: str | None) -> Caller:
        """Who presents this key; 401 for none or a wrong one where one is needed."""
        if time.monotonic() - self._read_at > SECONDS:
            await run_sync(self._read)  # it may wait for the database, which must not hold up everybody else
        if not self._required:
            return Caller(None, ALL_SCOPES)
        wanted = hash_key(presented or "")
        found: StoredKey | None = None
        for key in self._keys:  # all of them, so that the time says nothing about which one is near
            if hmac.compare_digest(key.digest, wanted):
                found = key
        if found is None:
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "unauthorized",
                "A valid key is needed." if presented is None else "The key is not valid.",
                "Send `Authorization: Bearer KEY`; `facesearch keys create NAME` makes one.",
                {"WWW-Authenticate": "Bearer"},
            )
        return Caller(found.name, found.scopes)

    def _read(self) -> None:
        with self._lock:
            if time.monotonic() - self._read_at > SECONDS:
                self._keys = self._gallery.read(active_keys)
                self._read_at = time.monotonic()
                self._required = self._required or bool(self._keys)


def client_of(request: Request) -> str:
    """Who is to share with others: a key, or without keys an address."""
    caller: Caller = request.state.caller
    return caller.actor if caller.name is not None or request.client is None else request.client.host


def told(caller: Caller, subject: Subject) -> SubjectRecord | Reference:
    """The person as a key with the scope `read` sees it; for others the id."""
    return SubjectRecord.of(subject) if caller.reads else Reference(id=subject.subject_id)


def demand(caller: Caller, *scopes: str) -> None:
    """Raise `Problem` 403 unless the caller has one of these scopes, of which the first is proposed."""
    if caller.scopes.isdisjoint(scopes):
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "missing_scope",
            f"This key may not do that: it lacks the scope {scopes[0]}.",
            f"facesearch keys create NAME --scope {shlex.quote(scopes[0])}",
        )


def require(*scopes: str) -> Callable[..., Awaitable[Caller]]:
    """A dependency: the caller whom the guard let in, who has one of these scopes; 403 otherwise."""

    async def check(request: Request, _: Annotated[object, Security(bearer)]) -> Caller:
        caller: Caller = request.state.caller
        demand(caller, *scopes)
        return caller

    return check


Anybody = Annotated[Caller, Depends(require(*sorted(ALL_SCOPES)))]
Monitor = Annotated[Caller, Depends(require("metrics", "read"))]
Reader = Annotated[Caller, Depends(require("read"))]
Enroller = Annotated[Caller, Depends(require("enroll"))]
Remover = Annotated[Caller, Depends(require("delete"))]
