"""The application: one engine, its routes under /v1, and the page at /."""

from __future__ import annotations

from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, FastAPI
from starlette.staticfiles import StaticFiles

from facesearch.server import problems
from facesearch.server.batching import Pipeline
from facesearch.server.following import ModelInForce
from facesearch.server.guard import Guard
from facesearch.server.metrics import Measured, Metrics
from facesearch.server.options import ENROLMENTS, ServerOptions
from facesearch.server.routes import corrections, photos, probes, report, service, subjects
from facesearch.server.security import KeyRing
from facesearch.server.state import State
from facesearch.store.directory import Directory
from facesearch.store.keys import KeyStore
from facesearch.store.photos import CropStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from facesearch.api import FaceSearch

PAGE: Final = Path(__file__).parent / "static"


def create_app(engine: FaceSearch, options: ServerOptions | None = None) -> FastAPI:
    """The ASGI application over an engine, whose gallery is made if there is none. The engine stays the caller's.

    Raises `ConfigError` where the address is open to others and the gallery has no key, `GalleryError` or `ModelError`.
    """
    bounds = options or ServerOptions()
    gallery = engine.ensure_gallery()
    models = ModelInForce(engine)  # raises here, not at the first request
    keys = KeyRing(KeyStore(gallery.database), bounds)
    metrics, directory = Metrics(), Directory(gallery.database)
    pipeline = Pipeline(engine, models, capacity=bounds.capacity, workers=bounds.workers, batches=metrics.batches)
    metrics.gauge("facesearch_waiting_photos", "Photos accepted and not answered yet.", lambda: pipeline.waiting)
    metrics.gauge("facesearch_templates", "Templates of the gallery.", lambda: gallery.counts()["templates"])
    metrics.gauge("facesearch_subjects", "People of the gallery.", lambda: gallery.counts()["subjects"])

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        pipeline.close()

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
    app.state.options = bounds
    app.state.keys = keys
    app.state.facesearch = State(
        engine=engine,
        models=models,
        options=bounds,
        pipeline=pipeline,
        metrics=metrics,
        directory=directory,
        crops=CropStore(gallery.database),
        checking=Lock(),
        enrolling=Lock(),
        enrolments=BoundedSemaphore(ENROLMENTS),
    )
    problems.install(app)
    api = APIRouter(prefix="/v1")
    for routes in (probes, subjects, photos, corrections, report, service):
        api.include_router(routes.router)
    app.include_router(api)
    if PAGE.is_dir():
        app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
    app.add_middleware(Measured, metrics=metrics)
    app.add_middleware(Guard, options=bounds)
    return app
