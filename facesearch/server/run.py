"""Running the server until it is told to stop."""

from __future__ import annotations

import gc
import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import uvicorn

from facesearch.errors import ConfigError
from facesearch.server.app import create_app
from facesearch.vision.alignment import work_in_calling_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from facesearch.engine.facesearch import FaceSearch
    from facesearch.server.options import ServerOptions

GRACE_SECONDS = 30
"""For requests that were accepted when the server is told to stop."""


def serve(engine: FaceSearch, options: ServerOptions, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, then finish what was accepted. `ready` hears the URL once it can be opened.

    Raises `ConfigError` where the address cannot be used, or as `create_app`.
    """
    app = create_app(engine, options)
    listener = _listen(options)
    host, port = listener.getsockname()[:2]
    ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
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
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((options.host, options.port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"{options.host}:{options.port} cannot be used: {error.strerror}.",
            "Choose another with --port; 0 takes a free one.",
        ) from error
    return listener
