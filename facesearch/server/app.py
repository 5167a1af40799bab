"""The application over one engine, with its routes under /v1 and the page at /, and running it until told to stop."""

from __future__ import annotations

import errno
import gc
import signal
import socket
from contextlib import ExitStack, asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvicorn
from fastapi import APIRouter, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from facesearch.errors import ConfigError
from facesearch.recognition.embedder import work_in_calling_thread
from facesearch.server import corrections, photos, probes, problems, service, subjects
from facesearch.server.access import Access, log_to_stderr
from facesearch.server.batching import Batcher
from facesearch.server.following import ModelInForce
from facesearch.server.guard import Guard
from facesearch.server.metrics import Metrics
from facesearch.server.options import ServerOptions
from facesearch.server.protocol import BoundedProtocol
from facesearch.server.security import KeyRing
from facesearch.server.state import State
from facesearch.server.trail import Trail
from facesearch.store import templates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from facesearch.api import FaceSearch

PAGE: Final = Path(__file__).parent / "static"
GRACE_SECONDS: Final = 30
"""For requests that were accepted when the server is told to stop."""


def create_app(engine: FaceSearch, options: ServerOptions | None = None) -> FastAPI:
    """The ASGI application over an engine, whose gallery is made if there is none. The engine stays the caller's.

    Raises `ConfigError` where the address is open to others and the gallery has no key, `GalleryError` or `ModelError`.
    """
    bounds = options or ServerOptions()
    gallery = engine.ensure_gallery()
    models = ModelInForce(engine)  # raises here, not at the first request
    keys = KeyRing(gallery, bounds)
    metrics, trail = Metrics(), Trail(gallery.database)
    batcher = Batcher(engine, models, capacity=bounds.capacity, workers=bounds.workers, metrics=metrics)
    metrics.gauge("facesearch_waiting_photos", "Photos accepted and not answered yet.", lambda: batcher.room.held)
    metrics.gauge(
        "facesearch_templates", "Templates of the gallery.", lambda: gallery.read(templates.counts)["templates"]
    )
    metrics.gauge("facesearch_subjects", "People of the gallery.", lambda: gallery.read(templates.counts)["subjects"])

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        batcher.close()
        trail.close()

    app = FastAPI(
        title="facesearch",
        version=version("facesearch"),
        summary="Who is in this photo? A gallery of faces over HTTP.",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.facesearch = State(
        engine=engine,
        models=models,
        options=bounds,
        batcher=batcher,
        metrics=metrics,
        trail=trail,
    )
    problems.install(app)
    api = APIRouter(prefix="/v1")
    for routes in (probes.router, subjects.router, photos.router, corrections.router, service.report, service.router):
        api.include_router(routes)
    app.include_router(api)
    app.router.default = StaticFiles(directory=PAGE, html=True)  # not mounted: 405 comes before it
    app.add_middleware(Guard, options=bounds, keys=keys)
    if bounds.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=bounds.cors_origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )
    app.add_middleware(Access, metrics=metrics, kind=bounds.access_log)
    return app


def serve(engine: FaceSearch, options: ServerOptions, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, then finish what was accepted. `ready` hears the URL once it can be opened.

    Raises `ConfigError` where the address cannot be used, or as `create_app`.
    """
    app = create_app(engine, options)
    listener = _listen(options)
    ready(options.public_url or f"http://{_joined(_nameable(options.host), listener.getsockname()[1])}")
    log_to_stderr()
    work_in_calling_thread()  # requests are what runs side by side here
    gc.collect()
    gc.freeze()  # else a collection now and then looks at all that was imported: a request waits 80 ms for it
    # uvicorn repeats the signal that stopped it, when it is done: the engine is to be closed after that, not skipped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with listener, suppress(KeyboardInterrupt):
        uvicorn.Server(configure(app, options)).run(sockets=[listener])


def configure(app: FastAPI, options: ServerOptions) -> uvicorn.Config:
    """How uvicorn runs the application."""
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        access_log=False,  # its lines would hold what people searched for
        log_level="error",  # not a line for each request that is no HTTP
        server_header=False,
        proxy_headers=bool(options.trusted_proxies),  # nobody else may say where a request comes from
        forwarded_allow_ips=list(options.trusted_proxies),
        root_path=options.root,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=10,
        lifespan="on",
    )


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


def _nameable(host: str) -> str:
    """A host that a browser can be given: no address that stands for all of this machine."""
    return {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)  # noqa: S104


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
