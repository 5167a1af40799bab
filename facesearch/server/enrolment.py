"""Enrolment of photos that were sent, and the small pictures of faces: from their files, or kept of what was sent."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING, Any, Final

from anyio.to_thread import run_sync

from facesearch.api import parse_policy
from facesearch.errors import ConfigError, GalleryError, PhotoError, UnknownSubjectError
from facesearch.jobs.sources import read_photo_bytes
from facesearch.recognition.thumbnail import thumbnail
from facesearch.server.fairness import departed, noticing_departure
from facesearch.server.schemas import Enrollments, SentPhoto
from facesearch.server.security import client_of, demand, told
from facesearch.server.uploads import parse_attributes
from facesearch.store import people
from facesearch.store import photos as stored_photos
from facesearch.store.subjects import clean_name
from facesearch.store.templates import locate
from facesearch.types import EnrollStatus, Reason

if TYPE_CHECKING:
    from fastapi import Request

    from facesearch.recognition.quality import FaceChoice
    from facesearch.server.security import Caller
    from facesearch.server.state import State
    from facesearch.server.uploads import Form
    from facesearch.store.photos import PhotoDetail
    from facesearch.store.subjects import SubjectKey
    from facesearch.types import Subject

_ABOUT_OTHERS: Final = {None, Reason.IDENTITY_CONFLICT, Reason.DUPLICATE, Reason.ERASED, Reason.REMOVED}
"""Reasons whose details tell of other photos and people; without a reason the detail is a note."""
CHOICES: Final = ("faces", "strict", "any_quality", "bring_back_erased")
"""Fields of a form that say how to enroll."""
SWITCHES = {"true": True, "1": True, "false": False, "0": False, "": False}


async def enroll(
    request: Request, state: State, caller: Caller, form: Form, who: SubjectKey
) -> tuple[Enrollments, bool]:
    """Enroll the form's photos as the person of that name or id: the answer, and whether the person is new.

    Enrolments wait for each other. A client that leaves while its waits enrolls nothing.
    """
    left = Event()
    with state.enrolments.place(client_of(request)):
        async with noticing_departure(request, left.set):
            return await run_sync(_enroll, state, caller, form, who, left)


def _enroll(state: State, caller: Caller, form: Form, who: SubjectKey, left: Event) -> tuple[Enrollments, bool]:
    choices: dict[str, Any] = {
        "attributes": parse_attributes(form.fields.get("attributes")),
        "faces": _faces(form.fields.get("faces", "")),
        "strict": _switch(form, "strict"),
        "any_quality": _switch(form, "any_quality"),
        "bring_back_erased": _switch(form, "bring_back_erased"),
    }
    if choices["bring_back_erased"]:
        demand(caller, "delete")
    photos = [photo.data for photo in form.photos]
    with state.enrolling:
        if left.is_set():
            raise departed()
        subject = state.gallery.read(people.find, who).name if isinstance(who, int) else clean_name(who)
        existed = _find(state, subject) is not None
        outcomes = state.models.run(lambda now: now.engine.enroll_uploads(photos, subject, **choices))
    places = state.gallery.read(locate, [key for outcome in outcomes for key in outcome.template_ids[:1]])
    found = _find(state, subject)
    results = []
    for index, (photo, outcome) in enumerate(zip(form.photos, outcomes, strict=True)):
        subject_id, photo_id = places.get(next(iter(outcome.template_ids), 0), (None, None))
        if state.options.thumbnails and outcome.status is EnrollStatus.ENROLLED and photo_id is not None:
            stored = state.gallery.read(stored_photos.find_detail, photo_id)
            if stored is not None and stored_photos.is_upload(stored.path):
                _keep_crop(state, stored, photo.data)
        result = SentPhoto.of(outcome, photo=photo.name, photo_index=index, subject_id=subject_id, photo_id=photo_id)
        results.append(result if caller.reads else _without_others(result, who, found.subject_id if found else None))
    created = not existed and any(outcome.status is EnrollStatus.ENROLLED for outcome in outcomes)
    return Enrollments(subject=None if found is None else told(caller, found), results=results), created


def _without_others(result: SentPhoto, who: SubjectKey, own_id: int | None) -> SentPhoto:
    """As much as may be told to somebody who may not read: nothing of anybody that the request did not name."""
    hidden: dict[str, Any] = {"subject": None if isinstance(who, int) else who, "note": None}
    if result.reason in _ABOUT_OTHERS:
        hidden["detail"] = None
    if result.subject_id != own_id:
        hidden["subject_id"] = None
    return result.model_copy(update=hidden)


def _find(state: State, subject: str) -> Subject | None:
    try:
        return state.gallery.read(people.find, subject)
    except UnknownSubjectError:
        return None


def _faces(text: str) -> FaceChoice:
    if text.isascii() and text.isdigit() and len(text) <= 6:
        return int(text)
    return parse_policy(text or "single")


def _switch(form: Form, name: str) -> bool:
    text = form.fields.get(name, "").lower()
    if text not in SWITCHES:
        raise ConfigError(f"{name} is {text!r}.", "Send true or false.")
    return SWITCHES[text]


def picture(state: State, photo: PhotoDetail) -> bytes | None:
    """A JPEG of the photo's first face; None where its file is gone or has other bytes now.

    It is cut from the file once, and kept: to decode a large photo takes a second.
    """
    kept = state.gallery.read(stored_photos.find_crop, photo.photo_id)
    if kept is not None or stored_photos.is_upload(photo.path):
        return kept
    try:
        data = read_photo_bytes(photo.path)
        return _keep_crop(state, photo, data) if hashlib.sha256(data).hexdigest() == photo.sha256 else None
    except PhotoError:
        return None


def _keep_crop(state: State, photo: PhotoDetail, data: bytes) -> bytes:
    jpeg = thumbnail(data, photo.faces[0].box)
    with suppress(GalleryError):  # one that cannot be written to
        state.gallery.write(stored_photos.keep_crop, photo.photo_id, jpeg)
    return jpeg
