"""The people of the gallery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from facesearch.arguments import key_values
from facesearch.errors import ConfigError
from facesearch.records import SubjectRecord, rounded
from facesearch.server.enrolment import CHOICES, enroll
from facesearch.server.problems import photos_body, problems
from facesearch.server.schemas import (
    Attributes,
    Enrollments,
    Forget,
    LookAlikes,
    Merge,
    Receipt,
    ReceiptCounts,
    Reference,
    Rename,
    SubjectList,
)
from facesearch.server.security import Enroller, Reader, Remover, client_of, told
from facesearch.server.state import State, StateOf
from facesearch.server.uploads import WHERE_EXAMPLE, read_form
from facesearch.store import people, templates
from facesearch.store.photos import details_of_subject
from facesearch.store.subjects import page_of_subjects

if TYPE_CHECKING:
    from facesearch.server.following import InForce
    from facesearch.types import Candidate

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
    wanted = key_values(where, WHERE_EXAMPLE) or None
    page = state.gallery.read(page_of_subjects, limit=limit, after=after, search=search, where=wanted)
    return {"subjects": list(map(SubjectRecord.of, page.subjects)), "total": page.total, "next": page.after}


@router.post(
    "",
    responses={201: {"model": Enrollments, "description": "The person is new."}, **problems(408, 413, 415, 429)},
    openapi_extra=photos_body("subject", "attributes", *CHOICES, required=("subject",), raw=False),
    summary="Enroll photos as the person of that name",
)
async def create(request: Request, response: Response, state: StateOf, caller: Enroller) -> Enrollments:
    """The person is created if new: 201. Photos that cannot be used are told with their reasons; without any that can,
    nobody is created. What is reported as enrolled is on disk.
    """
    state.enrolments.require(client_of(request))
    form = await read_form(request, "subject", "attributes", *CHOICES)
    if "subject" not in form.fields:
        raise ConfigError("The form has no field `subject`.", "Send the person's name in it.")
    answer, created = await enroll(request, state, caller, form, form.fields["subject"])
    response.status_code = 201 if created else 200
    return answer


@router.post("/forget", responses=problems(404, 408, 413), summary="Erase several people")
def forget(body: Forget, state: StateOf, caller: Remover) -> Receipt | ReceiptCounts:
    """Forget people, all of them or none, with one receipt."""
    receipt = state.engine.forget(body.ids)
    return Receipt(**receipt) if caller.reads else ReceiptCounts(**receipt)


@router.get("/{id}", responses=problems(404), summary="One person")
def read(id: SubjectId, state: StateOf, _: Reader) -> SubjectRecord:  # noqa: A002  # the name in the URL
    """Name, counts and attributes."""
    return SubjectRecord.of(state.gallery.read(people.find, id))


@router.patch("/{id}", responses=problems(404, 408, 409, 413), summary="Rename")
def rename(id: SubjectId, body: Rename, state: StateOf, caller: Enroller) -> SubjectRecord | Reference:  # noqa: A002
    """Give a person another name; 409 where it is somebody else's: that is what `merge` is for."""
    return told(caller, state.engine.rename_subject(id, body.subject))


@router.patch("/{id}/attributes", responses=problems(404, 408, 413), summary="Set attributes")
def set_attributes(id: SubjectId, body: Attributes, state: StateOf, caller: Enroller) -> SubjectRecord | Reference:  # noqa: A002
    """Set some attributes; null removes one, those not named stay."""
    return told(caller, state.engine.set_attributes(id, body.attributes))


@router.post("/{id}/merge", responses=problems(404, 408, 413), summary="Make two people one")
def merge(id: SubjectId, body: Merge, state: StateOf, caller: Remover) -> SubjectRecord | Reference:  # noqa: A002
    """This person's photos become the other's, and this person goes. Undoing takes it back."""
    return told(caller, state.engine.merge_subjects(id, body.into))


@router.delete("/{id}", responses=problems(404), summary="Erase")
def erase(id: SubjectId, state: StateOf, caller: Remover) -> Receipt | ReceiptCounts:  # noqa: A002
    """Forget a person, as `facesearch people forget` does: out of the gallery, its log, the caches, and backups that
    are restored later. The answer is the receipt; `clean` says whether a scan of every file found nothing left. Photo
    files themselves stay.
    """
    return forget(Forget(ids=[id]), state, caller)


@router.post("/{id}/remove", responses=problems(404), summary="Remove")
def remove(id: SubjectId, state: StateOf, caller: Remover) -> SubjectRecord | Reference:  # noqa: A002
    """Remove a person with all photos, and answer what the person was. It can be undone for 30 days."""
    return told(caller, state.engine.remove_subject(id))


@router.get("/{id}/lookalikes", response_model=LookAlikes, responses=problems(404), summary="Who looks alike")
def look_alikes(
    id: SubjectId,  # noqa: A002
    state: StateOf,
    _: Reader,
    k: Annotated[int, Query(ge=1, le=50)] = 5,
) -> dict[str, Any]:
    """The people whose templates come closest to this person's, best first."""
    found = state.models.run(lambda now: _find_look_alikes(state, now, id, k))
    state.trail.put("lookalikes", {"subjects": 1}).result()
    return found


def _find_look_alikes(state: State, now: InForce, subject_id: int, k: int) -> dict[str, Any]:
    """The `k` people whose templates come closest to one of this person's."""
    faces = [face for photo in state.gallery.read(details_of_subject, subject_id) for face in photo.faces]
    own = [face.template_id for face in faces if face.template_id is not None]
    vectors = state.gallery.read(templates.vectors_of, own)
    name = state.gallery.read(people.find, subject_id).name
    best: dict[str, tuple[Candidate, int]] = {}
    for template_id, candidates in zip(own, state.gallery.search(vectors, k + 1, model_id=now.model_id), strict=True):
        for each in candidates:
            if each.subject != name and (each.subject not in best or each.score > best[each.subject][0].score):
                best[each.subject] = (each, template_id)
    closest = sorted(best.values(), key=lambda found: -found[0].score)[:k]
    places = state.gallery.read(templates.locate, [each.template_id for each, _ in closest])
    results = [
        {
            "subject_id": places[each.template_id][0],
            "subject": each.subject,
            "score": rounded(each.score),
            "template_id": template_id,
            "other_template_id": each.template_id,
            "other_photo_id": places[each.template_id][1],
        }
        for each, template_id in closest
        if each.template_id in places
    ]
    return {"threshold": now.threshold.value, "results": results}
