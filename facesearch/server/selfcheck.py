"""The gallery against itself, for the page: `facesearch audit` with ids beside names, bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from facesearch.evaluation.audit import Audit, Kind, LabelledTemplates, audit_templates
from facesearch.jobs.calibrate import gallery_templates
from facesearch.records import rounded

if TYPE_CHECKING:
    from facesearch.server.following import InForce
    from facesearch.server.state import State

MOST: Final = 100
"""Findings of each kind in one answer, worst first; the totals tell how many there are."""


def audit_gallery(state: State, now: InForce) -> dict[str, Any]:
    """What a person should look at. A gallery of fewer than two templates has nothing."""
    threshold, counts = now.threshold.value, state.gallery.counts()
    answer: dict[str, Any] = {"threshold": threshold, "people": counts["subjects"], "templates": counts["templates"]}
    if counts["templates"] < 2:
        return {**answer, "complete": True, "totals": dict.fromkeys(Kind, 0), "findings": []}
    known = gallery_templates(state.gallery)
    state.models.require_still(now)
    found = audit_templates(known, threshold)
    return {
        "threshold": threshold,
        "people": len(known.names),
        "templates": len(known.subject),
        "complete": found.complete,
        "totals": {kind.value: len(findings) for kind, findings in found.by_kind.items()},
        "findings": _records(state, known, found),
    }


def _records(state: State, known: LabelledTemplates, found: Audit) -> list[dict[str, Any]]:
    some = [each for findings in found.by_kind.values() for each in findings[:MOST]]
    places = state.directory.locate(int(known.ids[row]) for each in some for row in (each.a, each.b))

    def side(row: int) -> dict[str, Any]:
        template_id = int(known.ids[row])
        subject_id, photo_id = places.get(template_id, (None, None))
        return {
            "subject": known.names[known.subject[row]],
            "subject_id": subject_id,
            "photo": known.photos[row],
            "photo_id": photo_id,
            "template_id": template_id,
        }

    return [
        {
            "kind": each.kind.value,
            "score": rounded(each.score),
            "a": side(each.a),
            "b": side(each.b),
            "note": each.note or None,
        }
        for each in some
    ]
