"""Who comes closest to a person of the gallery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facesearch.records import rounded

if TYPE_CHECKING:
    from facesearch.server.following import InForce
    from facesearch.server.state import State
    from facesearch.types import Candidate


def find_look_alikes(state: State, now: InForce, subject_id: int, k: int) -> dict[str, Any]:
    """The `k` people whose templates come closest to one of this person's."""
    faces = [face for photo in state.directory.photos(subject_id) for face in photo.faces]
    own = [face.template_id for face in faces if face.template_id is not None]
    vectors = state.directory.vectors(own)
    name = state.gallery.subject(subject_id).name
    best: dict[str, tuple[Candidate, int]] = {}
    for template_id, candidates in zip(own, state.gallery.search(vectors, k + 1, model_id=now.model_id), strict=True):
        for each in candidates:
            if each.subject != name and (each.subject not in best or each.score > best[each.subject][0].score):
                best[each.subject] = (each, template_id)
    closest = sorted(best.values(), key=lambda found: -found[0].score)[:k]
    places = state.directory.locate(each.template_id for each, _ in closest)
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
