"""Enrolment of photos that were sent, and the small pictures of faces: from their files, or kept of what was sent."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from facesearch.api import parse_policy
from facesearch.errors import ConfigError, PhotoError, UnknownSubjectError
from facesearch.recognition.photo import read_photo_bytes
from facesearch.recognition.thumbnail import thumbnail
from facesearch.records import SubjectRecord
from facesearch.server.schemas import Enrollments, SentPhoto
from facesearch.server.security import demand
from facesearch.server.uploads import parse_attributes
from facesearch.store import people
from facesearch.store.audit import acting_as
from facesearch.store.photos import is_upload
from facesearch.store.subjects import clean_name
from facesearch.types import EnrollStatus

if TYPE_CHECKING:
    from facesearch.recognition.quality import FaceChoice
    from facesearch.server.security import Caller
    from facesearch.server.state import State
    from facesearch.server.uploads import Form
    from facesearch.store.directory import PhotoDetail
    from facesearch.store.subjects import SubjectKey
    from facesearch.types import EnrollOutcome

SWITCHES = {"true": True, "1": True, "false": False, "0": False, "": False}


def enroll(state: State, caller: Caller, form: Form, who: SubjectKey) -> tuple[Enrollments, bool]:
    """Enroll the form's photos as the person of that name or id: the answer, and whether the person is new."""
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
    with state.in_turn(), acting_as(caller.actor):
        subject = state.gallery.read(people.find, who).name if isinstance(who, int) else clean_name(who)
        existed = _find(state, subject) is not None
        outcomes = state.models.run(lambda now: now.engine.enroll_uploads(photos, subject, **choices))
    places = state.directory.locate(key for outcome in outcomes for key in outcome.template_ids[:1])
    found = _find(state, subject)
    results = []
    for index, (photo, outcome) in enumerate(zip(form.photos, outcomes, strict=True)):
        subject_id, photo_id = (
            places.get(outcome.template_ids[0], (None, None)) if outcome.template_ids else (None,) * 2
        )
        keep_crop(state, photo.data, outcome, photo_id)
        ids = {"photo_index": index, "subject_id": subject_id, "photo_id": photo_id}
        results.append(SentPhoto.of(outcome, photo=photo.name, **ids))
    created = not existed and any(outcome.status is EnrollStatus.ENROLLED for outcome in outcomes)
    return Enrollments(subject=found, results=results), created


def _find(state: State, subject: str) -> SubjectRecord | None:
    try:
        return SubjectRecord.of(state.gallery.read(people.find, subject))
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
    """A JPEG of the photo's first face; None where its file is gone or has other bytes now."""
    if is_upload(photo.path):
        return state.crops.find(photo.photo_id)
    try:
        data = read_photo_bytes(photo.path)
        if hashlib.sha256(data).hexdigest() != photo.sha256:
            return None
        return thumbnail(data, photo.faces[0].box)
    except PhotoError:
        return None


def keep_crop(state: State, data: bytes, outcome: EnrollOutcome, photo_id: int | None) -> None:
    """Keep a crop of a photo that was just uploaded, where this server shows thumbnails."""
    if not state.options.thumbnails or outcome.status is not EnrollStatus.ENROLLED or photo_id is None:
        return
    photo = state.directory.photo(photo_id)
    if photo is not None and is_upload(photo.path):
        state.crops.keep(photo_id, thumbnail(data, photo.faces[0].box))
