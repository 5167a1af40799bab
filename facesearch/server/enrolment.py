"""Enrolment of what was uploaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facesearch.api import parse_policy
from facesearch.errors import ConfigError, UnknownSubjectError
from facesearch.records import enroll_record, subject_record
from facesearch.server.security import demand
from facesearch.server.thumbnails import keep_crop
from facesearch.server.uploads import parse_attributes
from facesearch.store.audit import acting_as
from facesearch.store.subjects import clean_name
from facesearch.types import EnrollStatus

if TYPE_CHECKING:
    from facesearch.recognition.quality import FaceChoice
    from facesearch.server.security import Caller
    from facesearch.server.state import State
    from facesearch.server.uploads import Form
    from facesearch.store.subjects import SubjectKey

SWITCHES = {"true": True, "1": True, "false": False, "0": False, "": False}


def enroll(state: State, caller: Caller, form: Form, who: SubjectKey) -> tuple[dict[str, Any], bool]:
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
        subject = state.gallery.subject(who).name if isinstance(who, int) else clean_name(who)
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
        record = {**enroll_record(outcome), "photo": photo.name, "subject_id": subject_id, "photo_id": photo_id}
        results.append({"photo_index": index, **record})
    created = not existed and any(outcome.status is EnrollStatus.ENROLLED for outcome in outcomes)
    return {"subject": found, "results": results}, created


def _find(state: State, subject: str) -> dict[str, Any] | None:
    try:
        return subject_record(state.gallery.subject(subject))
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
