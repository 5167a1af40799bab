"""The photos of a person."""

from __future__ import annotations

from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Request, Response

from facesearch.records import PhotoRecord
from facesearch.server.enrolment import CHOICES, enroll, picture
from facesearch.server.problems import not_found, photos_body, problems
from facesearch.server.schemas import Enrollments, PhotoList, Removed
from facesearch.server.security import Enroller, Reader, Remover, client_of
from facesearch.server.state import State, StateOf
from facesearch.server.subjects import SubjectId
from facesearch.server.uploads import read_form
from facesearch.store import people
from facesearch.store.photos import details_of_subject, find_detail

router = APIRouter(tags=["photos"])

PhotoId = Annotated[int, Path(ge=1, description="Of the photo.", examples=[1])]


@router.get("/subjects/{id}/photos", response_model=PhotoList, responses=problems(404), summary="List photos")
def list_photos(id: SubjectId, state: StateOf, _: Reader) -> dict[str, Any]:  # noqa: A002  # the name in the URL
    """The enrolled photos of a person with what was measured on each face."""
    shown = {"thumbnail": state.options.thumbnails}
    found = state.gallery.read(details_of_subject, id)
    return {"photos": [{**PhotoRecord.of(each).model_dump(), **shown} for each in found]}


@router.post(
    "/subjects/{id}/photos",
    responses=problems(404, 408, 413, 415, 429),
    openapi_extra=photos_body(*CHOICES),
    summary="Add photos",
)
async def add_photos(
    id: SubjectId,  # noqa: A002
    request: Request,
    state: StateOf,
    caller: Enroller,
) -> Enrollments:
    """Enroll photos of a person who is there. What is reported as enrolled is on disk."""
    state.enrolments.require(client_of(request))
    await run_sync(state.gallery.read, people.find, id)  # before a body is read for nobody
    form = await read_form(request, *CHOICES)
    answer, _ = await enroll(request, state, caller, form, id)
    return answer


@router.delete(
    "/subjects/{id}/photos/{photo_id}", response_model=Removed, responses=problems(404), summary="Remove a photo"
)
def remove_photo(id: SubjectId, photo_id: PhotoId, state: StateOf, _: Remover) -> dict[str, Any]:  # noqa: A002
    """Remove a photo with its templates, and the person where nothing else is known. It can be undone for 30 days."""
    return {"photos": 1, "templates": state.engine.remove_photo(id, photo_id)}


@router.get(
    "/photos/{id}/thumbnail",
    responses={200: {"content": {"image/jpeg": {}}, "description": "112 x 112 pixels at most."}, **problems(404)},
    response_class=Response,
    summary="A small picture of the face",
)
def thumbnail(id: PhotoId, state: StateOf, _: Reader) -> Response:  # noqa: A002
    """The first face of an enrolled photo, where this server shows them (`facesearch serve --thumbnails`)."""
    found = _picture(state, id)
    state.trail.put("thumbnail", {"photos": 1}).result()
    return Response(found, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=300"})


def _picture(state: State, photo_id: int) -> bytes:
    if not state.options.thumbnails:
        raise not_found("This server shows no thumbnails: it was started without --thumbnails.")
    photo = state.gallery.read(find_detail, photo_id)
    found = picture(state, photo) if photo is not None else None
    if found is None:
        raise not_found(f"There is no picture of the photo {photo_id}.")
    return found
