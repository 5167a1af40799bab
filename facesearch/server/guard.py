"""What every request passes before anything looks at it: its origin, its key, bounds, and headers for its answer.

Plain ASGI: a middleware that wraps requests in tasks of its own would double the cost of a small one.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers, MutableHeaders

from facesearch.server.fairness import Room
from facesearch.server.problems import Problem
from facesearch.server.security import OPEN_TO_ALL, Caller, client_of
from facesearch.store.audit import acting_as

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from facesearch.server.options import ServerOptions
    from facesearch.server.security import KeyRing

CONTENT_SECURITY: Final = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'self'"
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}
"""On every answer."""
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_HEADERS: Final = 32 * 2**10
"""Bytes of all names and values."""
MAX_JSON: Final = 64 * 2**10
"""Bytes of a body that holds no photo."""


class Guard:
    """What stands between the outermost layer, which only watches, and the application."""

    def __init__(self, app: ASGIApp, options: ServerOptions, keys: KeyRing) -> None:
        self._app = app
        self._keys = keys
        self.options = options
        self.memory = Room(
            options.body_memory,
            max(options.body_memory // 2, options.max_body),
            "Too much is being uploaded at the moment.",
        )
        """Bytes of bodies, over all requests."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        path = route_of(scope)
        is_api = path.startswith("/v1/")
        kept = "no-store" if is_api else "no-cache"
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                answer = MutableHeaders(raw=message["headers"])
                for name, value in HEADERS.items():
                    answer.setdefault(name, value)
                answer.setdefault("Cache-Control", kept)
            await send(message)

        try:
            self._require_small(headers)
            self._require_own_host(headers)
            self._require_same_origin(headers, is_api=is_api, is_safe=scope["method"] in SAFE_METHODS)
            caller = await self._caller(path, headers) if is_api else Caller(None, frozenset())
            scope.setdefault("state", {})["caller"] = caller
            with Body(self, Request(scope), receive) as body, acting_as(caller.actor):
                scope["state"]["body"] = body
                await self._app(scope, body.receive, send_with_headers)
        except Problem as problem:
            if started:
                raise
            await problem.response()(scope, receive, send_with_headers)

    async def _caller(self, path: str, headers: Headers) -> Caller:
        """Who asks; 401 before a byte of the body is read."""
        if path in OPEN_TO_ALL:
            return Caller(None, frozenset())
        scheme, key = get_authorization_scheme_param(headers.get("authorization"))
        return await self._keys.caller(key if scheme.lower() == "bearer" else None)

    def _require_small(self, headers: Headers) -> None:
        if sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEADERS:
            raise Problem(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_large",
                f"The request's headers are larger than {MAX_HEADERS // 2**10} KB.",
            )

    def _require_own_host(self, headers: Headers) -> None:
        """Keep out names that somebody pointed here (DNS rebinding)."""
        hosts = self.options.hosts
        if hosts is not None and _parsed(f"//{headers.get('host', '')}")[0] not in hosts:
            raise Problem(
                HTTPStatus.MISDIRECTED_REQUEST,
                "wrong_host",
                "This server answers to other names.",
                "Use its own URL; `facesearch serve --public-url URL` or `--allowed-host` adds one.",
            )

    def _require_same_origin(self, headers: Headers, *, is_api: bool, is_safe: bool) -> None:
        """A page of another site must not use the visitor's browser to reach this server.

        Browsers say where a request comes from: by Sec-Fetch-Site in all, by Origin in those that may change something.
        """
        origin = headers.get("origin")
        if origin in self.options.origins:
            return
        foreign = is_api and headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}
        if not is_safe and origin is not None:
            foreign = foreign or _parsed(origin)[1] != headers.get("host", "")
        if foreign:
            raise Problem(
                HTTPStatus.FORBIDDEN,
                "cross_origin",
                "Pages of other sites may not use this server.",
                "Behind a proxy: `facesearch serve --public-url URL`. For a site of yours: --cors-origin.",
            )


def route_of(scope: Scope) -> str:
    """The path of a request below the server's root."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _parsed(url: str) -> tuple[str, str]:
    """Host without and with port; 400 for what is no URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise Problem(HTTPStatus.BAD_REQUEST, "bad_request", "A header holds no address that can be read.") from None
    return parts.hostname or "", parts.netloc


class Body:
    """The body of one request, counted and timed as it arrives."""

    def __init__(self, guard: Guard, request: Request, receive: Receive) -> None:
        self._guard = guard
        self._client = client_of(request)
        self._announced = request.headers.get("content-length", "")
        self._receive = receive
        self._deadline: float | None = None
        self._complete = False
        self._limit = MAX_JSON
        self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Free what was held."""
        self._guard.memory.give_back(self._client, self._held)

    def expect_photos(self) -> None:
        """Take as many bytes as photos need. To be called before anything is read."""
        self._limit = self._guard.options.max_body

    async def receive(self) -> Message:
        if self._complete:  # what comes now is the client going away, at any time
            return await self._receive()
        if self._deadline is None:
            self._deadline = time.monotonic() + self._guard.options.body_seconds
            self._require_size(int(self._announced) if self._announced.isdigit() else 0)
        message = await self._timed(self._deadline - time.monotonic())
        if message["type"] != "http.request":
            raise Problem(HTTPStatus.BAD_REQUEST, "incomplete", "The request ended before its body did.")
        self._complete = not message.get("more_body", False)
        size = len(message.get("body", b""))
        self._require_size(self._held + size)
        self._guard.memory.take(self._client, size)
        self._held += size
        return message

    async def _timed(self, seconds_left: float) -> Message:
        try:
            # Not wait_for: it would make a task for every piece.
            async with asyncio.timeout(min(self._guard.options.idle_seconds, max(seconds_left, 0.001))):
                return await self._receive()
        except TimeoutError:
            raise Problem(
                HTTPStatus.REQUEST_TIMEOUT,
                "slow_body",
                "The request took too long to arrive.",
                "Send smaller photos, or over a faster connection.",
                {"Connection": "close"},
            ) from None

    def _require_size(self, size: int) -> None:
        if size > self._limit:
            raise Problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "too_large",
                f"The request is larger than {self._limit / 2**20:.4g} MB.",
                "Send fewer or smaller photos; 2 megapixels a face are plenty.",
            )
