"""The people of the gallery."""

from __future__ import annotations

from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Query, Request, Response

from facesearch.errors import ConfigError
from facesearch.records import subject_record
from facesearch.server.enrolment import enroll
from facesearch.server.lookalikes import find_look_alikes
from facesearch.server.routes.documented import photos_body, problems
from facesearch.server.schemas import (
    Attributes,
    Enrollments,
    LookAlikes,
    Merge,
    Receipt,
    Rename,
    SubjectList,
    SubjectRecord,
)
from facesearch.server.security import Enroller, Reader, Remover
from facesearch.server.state import StateOf
from facesearch.server.uploads import parse_where, read_form
from facesearch.store.audit import acting_as

router = APIRouter(prefix="/subjects", tags=["subjects"])

SubjectId = Annotated[int, Path(ge=1, description="Of the person; it stays through renames.", examples=[1])]


@router.get("", response_model=SubjectList, responses=problems(), summary="List and search people")
def list_subjects(
    state: StateOf,
    _: Reader,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[str | None, Query(max_length=1000, description="The `next` of the page before.")] = None,
    search: Annotated[str | None, Query(max_length=200, description="Part of a name, in any case.")] = None,
    where: Annotated[list[str] | None, Query(description="`key=value`: only people with this attribute.")] = None,
) -> dict[str, Any]:
    """One page of people by name."""
    page = state.directory.page(limit=limit, after=after, search=search, where=parse_where(where))
    return {"subjects": list(map(subject_record, page.subjects)), "total": page.total, "next": page.after}


@router.post(
    "",
    response_model=Enrollments,
    responses={201: {"model": Enrollments, "description": "The person is new."}, **problems(408, 413, 415, 429)},
    openapi_extra=photos_body(
        "subject", "attributes", "faces", "strict", "any_quality", "bring_back_erased", required=("subject",), raw=False
    ),
    summary="Enroll photos as the person of that name",
)
async def create(request: Request, response: Response, state: StateOf, caller: Enroller) -> dict[str, Any]:
    """The person is created if new: 201. Photos that cannot be used are told with their reasons; without any that can,
    nobody is created. What is reported as enrolled is on disk.
    """
    state.pipeline.require_room()
    form = await read_form(request)
    if "subject" not in form.fields:
        raise ConfigError("The form has no field `subject`.", "Send the person's name in it.")
    answer, created = await run_sync(enroll, state, caller, form, form.fields["subject"])
    response.status_code = 201 if created else 200
    return answer


@router.get("/{id}", response_model=SubjectRecord, responses=problems(404), summary="One person")
def read(id: SubjectId, state: StateOf, _: Reader) -> dict[str, Any]:  # noqa: A002  # the name in the URL
    """Name, counts and attributes."""
    return subject_record(state.gallery.subject(id))


@router.patch("/{id}", response_model=SubjectRecord, responses=problems(404, 408, 409, 413), summary="Rename")
def rename(id: SubjectId, body: Rename, state: StateOf, caller: Enroller) -> dict[str, Any]:  # noqa: A002
    """Give a person another name; 409 where it is somebody else's: that is what `merge` is for."""
    with acting_as(caller.actor):
        state.gallery.rename_subject(id, body.subject)
    return subject_record(state.gallery.subject(id))


@router.patch(
    "/{id}/attributes", response_model=SubjectRecord, responses=problems(404, 408, 413), summary="Set attributes"
)
def set_attributes(id: SubjectId, body: Attributes, state: StateOf, caller: Enroller) -> dict[str, Any]:  # noqa: A002
    """Set some attributes; null removes one, those not named stay."""
    with acting_as(caller.actor):
        state.gallery.set_attributes(id, body.attributes)
    return subject_record(state.gallery.subject(id))


@router.post(
    "/{id}/merge", response_model=SubjectRecord, responses=problems(404, 408, 413), summary="Make two people one"
)
def merge(id: SubjectId, body: Merge, state: StateOf, caller: Remover) -> dict[str, Any]:  # noqa: A002
    """This person's photos become the other's, and this person goes. Undoing takes it back."""
    with acting_as(caller.actor):
        state.gallery.merge_subjects(id, body.into)
    return subject_record(state.gallery.subject(body.into))


@router.delete("/{id}", response_model=Receipt, responses=problems(404), summary="Erase")
def erase(id: SubjectId, state: StateOf, caller: Remover) -> dict[str, Any]:  # noqa: A002
    """Forget a person, as `facesearch people forget` does: out of the gallery, its log, the caches, and backups that
    are restored later. The answer is the receipt; `clean` says whether a scan of every file found nothing left. Photo
    files themselves stay.
    """
    with acting_as(caller.actor):
        return state.engine.forget([id])


@router.get("/{id}/lookalikes", response_model=LookAlikes, responses=problems(404), summary="Who looks alike")
def look_alikes(
    id: SubjectId,  # noqa: A002
    state: StateOf,
    _: Reader,
    k: Annotated[int, Query(ge=1, le=50)] = 5,
) -> dict[str, Any]:
    """The people whose templates come closest to this person's, best first."""
    return state.models.run(lambda now: find_look_alikes(state, now, id, k))
