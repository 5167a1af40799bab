"""What every request passes before anything looks at it: bounds on its body, its origin, and headers for its answer.

Plain ASGI: a middleware that wraps requests in tasks of its own would double the cost of a small one.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from facesearch.server.problems import Problem, busy

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from facesearch.server.state import ServerOptions

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
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
    "Cache-Control": "no-store",
}
"""On every answer that does not say otherwise."""
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Outermost layer of the application."""

    def __init__(self, app: ASGIApp, options: ServerOptions) -> None:
        self._app = app
        self._options = options
        self._held = 0
        """Bytes of bodies in memory, over all requests."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(self, scope, receive)
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(raw=message["headers"])
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._require_same_origin(scope)
            body.require_size()
            await self._app(scope, body.receive, send_with_headers)
        except Problem as problem:
            if started:
                raise
            await problem.response()(scope, receive, send_with_headers)
        finally:
            self._held -= body.held

    def hold(self, size: int) -> None:
        """Account for bytes of a body; 429 where all bodies together take too much."""
        if self._held + size > self._options.body_memory:
            raise busy("Too much is being uploaded at the moment.")
        self._held += size

    @property
    def options(self) -> ServerOptions:
        """The bounds."""
        return self._options

    def _require_same_origin(self, scope: Scope) -> None:
        """A page of another site must not use the visitor's browser to reach this server.

        On a loopback address nothing else keeps it out where no key is asked for: the Host header stops a name that
        was pointed to 127.0.0.1 (DNS rebinding), the Origin header a form that posts here.
        """
        headers = Headers(scope=scope)
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if self._options.host in LOOPBACK and host not in LOOPBACK:
            raise Problem(
                HTTPStatus.MISDIRECTED_REQUEST, "wrong_host", "This server answers to localhost.", "Use its own URL."
            )
        origin = headers.get("origin")
        if scope["method"] not in SAFE_METHODS and origin is not None:
            source = urlsplit(origin)
            if source.netloc != headers.get("host", ""):
                raise Problem(HTTPStatus.FORBIDDEN, "cross_origin", "Pages of other sites cannot change anything here.")


class _Body:
    """The body of one request, counted and timed as it arrives."""

    def __init__(self, guard: Guard, scope: Scope, receive: Receive) -> None:
        self._guard = guard
        self._scope = scope
        self._receive = receive
        self._deadline: float | None = None
        self._complete = False
        self.held = 0

    def require_size(self) -> None:
        """413 at once where the request says itself that it is too large."""
        announced = Headers(scope=self._scope).get("content-length", "")
        if announced.isdigit() and int(announced) > self._guard.options.max_body:
            raise self._too_large()

    async def receive(self) -> Message:
        if self._complete:  # what comes now is the client going away, at any time
            return await self._receive()
        message = await self._timed()
        if message["type"] == "http.request":
            self._complete = not message.get("more_body", False)
            size = len(message.get("body", b""))
            if self.held + size > self._guard.options.max_body:
                raise self._too_large()
            self._guard.hold(size)
            self.held += size
        return message

    async def _timed(self) -> Message:
        options = self._guard.options
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + options.body_seconds
        try:
            # Not wait_for: it would make a task for every piece.
            async with asyncio.timeout(min(options.idle_seconds, max(self._deadline - now, 0.001))):
                return await self._receive()
        except TimeoutError:
            raise Problem(
                HTTPStatus.REQUEST_TIMEOUT,
                "slow_body",
                "The request took too long to arrive.",
                "Send smaller photos, or over a faster connection.",
                {"Connection": "close"},
            ) from None

    def _too_large(self) -> Problem:
        limit = self._guard.options.max_body / 2**20
        return Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too_large",
            f"The request is larger than {limit:.0f} MB.",
            "Send fewer or smaller photos; 2 megapixels a face are plenty.",
        )
