"""Outermost layer: the id of each request, how long its answer took, and a line about it in the access log."""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import Headers, MutableHeaders

from facesearch.server.guard import route_of
from facesearch.server.options import AccessLog

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from facesearch.server.metrics import Metrics

log = logging.getLogger("facesearch.access")

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Of the X-Request-ID header; another is replaced."""


def log_to_stderr() -> None:
    """Write the access log of this process as it is, a line for each request."""
    log.addHandler(logging.StreamHandler(sys.stderr))
    log.setLevel(logging.INFO)
    log.propagate = False


class Access:
    """Times requests by the path of their endpoint, so that ids and names never become labels or lines."""

    def __init__(self, app: ASGIApp, metrics: Metrics, kind: AccessLog) -> None:
        self._app = app
        self._metrics = metrics
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        status, size, started = 0, 0, time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(raw=message["headers"])["X-Request-ID"] = request_id
            size += len(message.get("body", b""))
            await send(message)

        # uvicorn leaves the body out of an answer to HEAD, by the method in its own scope.
        inner = {**scope, "state": {**scope.get("state", {}), "request_id": request_id}}
        if scope["method"] == "HEAD":
            inner["method"] = "GET"
        try:
            await self._app(inner, receive, watch)
        except Exception:
            status = status or 500
            raise
        finally:
            seconds = time.perf_counter() - started
            self._metrics.requests.labels(scope["method"], _endpoint(inner), str(status)).observe(seconds)
            if self._kind is not AccessLog.OFF:
                log.info(self._line(inner, scope["method"], status, size, seconds))

    def _line(self, scope: Scope, method: str, status: int, size: int, seconds: float) -> str:
        """One request in words. The query is left out: it may hold names that somebody searched for."""
        state, client = scope["state"], scope.get("client")
        now = datetime.now(UTC)
        facts: dict[str, Any] = {
            "time": now.isoformat(timespec="milliseconds"),
            "client": client[0] if client else None,
            "actor": state["caller"].name if "caller" in state else None,
            "method": method,
            "path": route_of(scope),
            "status": status,
            "bytes": size,
            "seconds": round(seconds, 6),
            "request_id": state["request_id"],
        }
        if self._kind is AccessLog.JSON:
            return json.dumps(facts)
        who = f"{facts['client'] or '-'} - {facts['actor'] or '-'}"
        request = json.dumps(f"{method} {facts['path']} HTTP/{scope['http_version']}")
        when = f"{now:%d/%b/%Y:%H:%M:%S %z}"
        return f"{who} [{when}] {request} {status} {size} {seconds:.6f} {state['request_id']}"


def _endpoint(scope: Scope) -> str:
    """The path of the endpoint with the names of its parameters; all that is no endpoint has one label."""
    route = getattr(scope.get("route"), "path", None)
    return "other" if route is None else f"/v1{route.removeprefix('/v1')}"
