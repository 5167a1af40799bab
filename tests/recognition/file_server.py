"""A real HTTP server on 127.0.0.1 that serves one file, well or badly."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from tests.capabilities import require

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class FileServer:
    """What is served and how; may be changed between requests."""

    body: bytes
    url: str = ""
    etag: str | None = '"one"'
    status: int = 200
    ranges: bool = True
    """Whether Range is obeyed."""
    cut_after: int | None = None
    """Bytes of the body after which the connection ends, too early."""
    states_length: bool = True
    wrong_range: bool = False
    """Answers 206 with a range nobody asked for."""
    redirect: str | None = None
    requests: list[dict[str, str]] = field(default_factory=list)
    """Headers of every request, in order."""


@contextmanager
def serve(body: bytes) -> Iterator[FileServer]:
    """Serve `body` at `.url` while the context lasts."""
    require("loopback")
    server = FileServer(body)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, server)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_address[1]}/pack.zip"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def _answer(handler: BaseHTTPRequestHandler, server: FileServer) -> None:
    server.requests.append(dict(handler.headers))
    status, start, end = server.status, 0, len(server.body)
    if server.redirect is not None:
        handler.send_response(302)
        handler.send_header("Location", server.redirect)
        handler.end_headers()
        return
    wanted = handler.headers.get("Range")
    if wanted is not None and server.ranges and handler.headers.get("If-Range") in (None, server.etag):
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        status = 206 if start < end else 416
    if server.wrong_range and status == 206:
        start = max(0, start - 10)
    handler.send_response(status)
    if server.etag is not None:
        handler.send_header("ETag", server.etag)
    if status == 206:
        handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
    body = server.body[start:end] if status in (200, 206) else b""
    if server.states_length:
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: server.cut_after])
