"""uvicorn's HTTP protocol with bounds on what it reads before an application is asked.

uvicorn waits for headers for ever and keeps as many as come. Here they are limited in size and time, and so are the
rest of a body after its answer, and the number of connections: beyond it the one that waited longest for a request
goes, so that nobody who holds connections open keeps others out.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from facesearch.server.guard import MAX_HEADERS

if TYPE_CHECKING:
    from typing import Any

CONNECTIONS: Final = 512
"""Open at a time: half of the files that a process usually may have open."""
HEADER_SECONDS: Final = 10.0
"""Until the headers of a request are there, from the connection's beginning or the request's first byte."""
LINGER_SECONDS: Final = 5.0
"""In which the rest of a body is read and dropped after its answer, so that the client gets to read that."""
HEADER_BYTES: Final = 2 * MAX_HEADERS
"""Of the request line, headers and trailers with all that stands between them; beyond `MAX_HEADERS` the guard says so
in words, beyond this nobody reads on."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_headers = True
        self._in_body = False
        self._header_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._idle_since = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._allow(HEADER_SECONDS)
        if len(self.connections) > CONNECTIONS:
            idle = (each for each in self.connections if isinstance(each, BoundedProtocol) and each.is_idle)
            min(idle, key=lambda each: each._idle_since).transport.abort()  # this one is idle, too

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Whether no request is being read or answered."""
        return not self.transport.is_closing() and (
            self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]  # none at first
        )

    def data_received(self, data: bytes) -> None:
        began = self._in_headers
        super().data_received(data)
        if began and self._in_headers and not self.transport.is_closing():
            self._count(len(data))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = self._in_body = True
        self._header_bytes = 0
        self._allow(HEADER_SECONDS)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_headers:  # a trailer, which nobody reads
            self._count(len(name) + len(value))
            return
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()
        if self.cycle.response_complete:  # the rest of a body that was answered before
            self._stop_timer()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._idle_since = self.loop.time()
        if self._in_body:
            self._allow(LINGER_SECONDS)

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > HEADER_BYTES:
            self.transport.abort()

    def _allow(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
