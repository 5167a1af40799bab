"""Running the server until it is told to stop."""

from __future__ import annotations

import errno
import gc
import signal
import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import uvicorn

from facesearch.errors import ConfigError
from facesearch.recognition.alignment import work_in_calling_thread
from facesearch.server.app import create_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from facesearch.api import FaceSearch
    from facesearch.server.options import ServerOptions

GRACE_SECONDS = 30
"""For requests that were accepted when the server is told to stop."""


def serve(engine: FaceSearch, options: ServerOptions, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, then finish what was accepted. `ready` hears the URL once it can be opened.

    Raises `ConfigError` where the address cannot be used, or as `create_app`.
    """
    app = create_app(engine, options)
    listener = _listen(options)
    ready(f"http://{_joined(*listener.getsockname()[:2])}")
    work_in_calling_thread()  # requests are what runs side by side here
    gc.collect()
    gc.freeze()  # else a collection now and then looks at all that was imported: a request waits 80 ms for it
    config = uvicorn.Config(
        app,
        access_log=False,  # lines would hold what people searched for
        log_level="warning",
        server_header=False,
        proxy_headers=False,  # nobody may say where a request comes from
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=10,
        lifespan="on",
    )
    # uvicorn repeats the signal that stopped it, when it is done: the engine is to be closed after that, not skipped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with listener, suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


def _listen(options: ServerOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        with ExitStack() as stack:
            listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((options.host, options.port))
            listener.listen(512)
            stack.pop_all()
            return listener
    except OSError as error:
        hint = "Choose another with --port; 0 takes a free one."
        if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
            hint = "Choose an address of this machine with --host; ::1 is the loopback address of IPv6."
        place = _joined(options.host, options.port)
        raise ConfigError(f"{place} cannot be used: {error.strerror}.", hint) from error


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
