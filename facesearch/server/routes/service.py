"""The server and the gallery themselves."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Response

from facesearch.records import finding_record
from facesearch.server.metrics import MEDIA_TYPE
from facesearch.server.options import MAX_PHOTOS
from facesearch.server.routes.documented import problems
from facesearch.server.schemas import Findings, Health, Info
from facesearch.server.security import Reader
from facesearch.server.state import State, StateOf

if TYPE_CHECKING:
    from facesearch.server.following import InForce

router = APIRouter(tags=["service"])


@router.get("/info", response_model=Info, responses=problems(), summary="The gallery, the model and the bounds")
def info(state: StateOf, caller: Reader) -> dict[str, Any]:
    """What `facesearch info` prints, and what this server allows."""
    return {
        **state.models.run(lambda now: _described(state, now)),
        "thumbnails": state.options.thumbnails,
        "scopes": sorted(caller.scopes),
        "max_photo_bytes": state.options.max_photo,
        "max_photos": MAX_PHOTOS,
        "version": version("facesearch"),
    }


def _described(state: State, now: InForce) -> dict[str, Any]:
    found = now.engine.describe()
    state.models.require_still(now)
    return found


@router.get("/check", response_model=Findings, responses=problems(429), summary="Prove that the gallery is sound")
def check(state: StateOf, _: Reader) -> dict[str, Any]:
    """What `facesearch check` finds. It reads everything, so one runs at a time."""
    with state.alone(state.checking, "A check"):
        found = list(state.engine.check())
    return {"ok": all(each.ok for each in found), "findings": list(map(finding_record, found))}


@router.get("/health/live", response_model=Health, responses=problems(), summary="Is the process alive?")
async def live() -> dict[str, str]:
    """Answers without looking at anything; needs no key."""
    return {"status": "ok"}


@router.get("/health/ready", response_model=Health, responses=problems(), summary="Can it answer?")
def ready(state: StateOf) -> dict[str, str]:
    """503 where the gallery or its model cannot be used, with the pack that is lacking; needs no key."""
    state.models.look()
    return {"status": "ok"}


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}, **problems()},
    summary="Metrics for Prometheus",
)
def metrics(state: StateOf, _: Reader) -> Response:
    """Requests, queue, batches, gallery size and memory."""
    return Response(state.metrics.render(), media_type=MEDIA_TYPE)
