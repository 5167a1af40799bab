"""Photos in, faces, names and scores out. Nothing of the photos is kept."""

from __future__ import annotations

from asyncio import wrap_future
from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from facesearch.arguments import key_values
from facesearch.errors import ConfigError
from facesearch.jobs.probes import SearchOptions
from facesearch.recognition.quality import FacePolicy
from facesearch.recognition.thumbnail import PREVIEW_SIDE
from facesearch.records import ComparisonRecord
from facesearch.search.matching import DEFAULT_MARGIN
from facesearch.server.problems import PAIR_BODY, photos_body, problems
from facesearch.server.schemas import Detections, Identifications, SentFace, SentSearch
from facesearch.server.security import Reader, client_of
from facesearch.server.state import StateOf
from facesearch.server.uploads import WHERE_EXAMPLE, read_form
from facesearch.types import Face, Threshold

router = APIRouter(tags=["probes"])

ThresholdQuery = Annotated[
    float | None, Query(ge=-1, le=1, description="Cosine at which faces match; default: the gallery's.")
]


@router.post(
    "/detect",
    responses=problems(408, 413, 415, 429),
    openapi_extra=photos_body(),
    summary="Find the faces",
)
async def detect(request: Request, state: StateOf, _: Reader) -> Detections:
    """All faces of the photos, best detection first."""
    state.batcher.room.require(client_of(request))
    form = await read_form(request)
    results = []
    found = await state.batcher.detect(request, form.photos)
    await wrap_future(state.trail.put("detect", {"photos": len(found)}))
    for index, probe in enumerate(found):
        faces: list[tuple[int | None, Face | None]] = [*enumerate(probe.faces, 1)] or [(None, None)]
        results += [
            SentFace.of_face(probe.source, number, face, probe.rejection, probe.note, photo_index=index)
            for number, face in faces
        ]
    return Detections(results=results)


@router.post(
    "/identify",
    response_model=Identifications,
    responses=problems(408, 413, 415, 429),
    openapi_extra=photos_body(),
    summary="Who is this?",
)
async def identify(
    request: Request,
    state: StateOf,
    _: Reader,
    k: Annotated[int, Query(ge=1, le=100, description="People on each candidate list.")] = 5,
    threshold: ThresholdQuery = None,
    margin: Annotated[
        float, Query(ge=0, le=2, description="A runner-up closer than this makes a match ambiguous.")
    ] = DEFAULT_MARGIN,
    where: Annotated[
        list[str] | None, Query(description="`key=value`: search only people with this attribute.")
    ] = None,
    degraded: Annotated[
        bool,
        Query(
            description="While the gallery's vector database is down, search the newest templates without it: records "
            "of faces then have `complete: false`, unless these were all. Otherwise that is 503, `vector_database`."
        ),
    ] = False,
) -> JSONResponse:
    """Search every face of the photos among everybody enrolled."""
    state.batcher.room.require(client_of(request))
    wanted = key_values(where, WHERE_EXAMPLE) or None

    def options(in_force: Threshold) -> SearchOptions:
        chosen = in_force if threshold is None else Threshold(threshold, "given")
        return SearchOptions(chosen, k, margin, wanted, degraded)

    form = await read_form(request)
    answers = await state.batcher.identify(request, form.photos, options)
    counts = Counter(result.decision.value for results in answers for result in results)
    for decision, times in counts.items():
        state.metrics.decisions.labels(decision).inc(times)
    await wrap_future(state.trail.put("query", {**counts, "photos": len(answers)}))
    records = [
        SentSearch.of(result, photo_index=index).model_dump(mode="json")
        for index, results in enumerate(answers)
        for result in results
    ]
    # Made from the records themselves: to check every answer against its own description costs more than the search.
    return JSONResponse({"results": records})


@router.post(
    "/verify",
    responses=problems(408, 413, 415, 429),
    openapi_extra=PAIR_BODY,
    summary="Do two photos show the same person?",
)
async def verify(
    request: Request,
    state: StateOf,
    _: Reader,
    threshold: ThresholdQuery = None,
    faces: Annotated[FacePolicy, Query(description="single (one, or one that dominates) or largest")] = (
        FacePolicy.SINGLE
    ),
) -> ComparisonRecord:
    """Compare the faces of two photos 1:1."""
    if faces is FacePolicy.ALL:
        raise ConfigError("verify compares one face with one face.", "Use faces=single or faces=largest.")
    state.batcher.room.require(client_of(request))
    form = await read_form(request, files=("a", "b"))
    if len(form.photos) != 2:
        raise ConfigError(f"verify takes two photos, not {len(form.photos)}.", "Send a form with the fields a and b.")
    given = None if threshold is None else Threshold(threshold, "given")
    compared = await state.batcher.verify(request, *form.photos, faces, given)
    await wrap_future(state.trail.put("verify", {"photos": 2}))
    return ComparisonRecord.of(compared)


@router.post(
    "/preview",
    responses={
        200: {"content": {"image/jpeg": {}}, "description": f"A JPEG of at most {PREVIEW_SIDE} pixels a side."},
        **problems(408, 413, 415, 429),
    },
    response_class=Response,
    openapi_extra=photos_body(),
    summary="A picture of the photo",
)
async def picture(request: Request, state: StateOf, _: Reader) -> Response:
    """The photo that was sent, as something every browser can show; `Photo-Width` and `Photo-Height` are its own size
    in pixels, which boxes of faces refer to. Of several photos the first is taken.
    """
    state.batcher.room.require(client_of(request))
    form = await read_form(request)
    jpeg, width, height = await state.batcher.preview(request, form.photos[0])
    return Response(jpeg, media_type="image/jpeg", headers={"Photo-Width": str(width), "Photo-Height": str(height)})
