"""The records of results: what `--json` prints, tables and CSV files are made from, and the server answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facesearch.names import path_text

if TYPE_CHECKING:
    from facesearch.corrections import JournalEntry
    from facesearch.jobs.reembedding import ReembedOutcome
    from facesearch.types import (
        Comparison,
        EnrolledPhoto,
        EnrollOutcome,
        Face,
        Finding,
        SearchResult,
        Subject,
        Threshold,
    )


def rounded(value: float | None, digits: int = 6) -> float | None:
    """A score or a pixel as JSON shows it; six digits are all that float32 carries."""
    return None if value is None else round(float(value), digits)


def enroll_record(outcome: EnrollOutcome) -> dict[str, Any]:
    """One photo of an enrolment, or a folder or file that was not looked at."""
    return {
        "photo": outcome.photo,
        "subject": outcome.subject or None,
        "status": outcome.status.value,
        "reason": outcome.rejection.reason.value if outcome.rejection else None,
        "detail": outcome.rejection.detail if outcome.rejection else outcome.note,
        "note": outcome.note,
        "faces": outcome.faces,
        "template_ids": list(outcome.template_ids),
        "detection_score": rounded(outcome.detection_score),
    }


def reembed_record(outcome: ReembedOutcome) -> dict[str, Any]:
    """One photo of a re-embedding."""
    return {
        "photo": outcome.photo,
        "status": outcome.status.value,
        "reason": outcome.rejection.reason.value if outcome.rejection else None,
        "detail": outcome.rejection.detail if outcome.rejection else None,
        "templates": outcome.templates,
        "missing": outcome.missing,
        "from_crop": outcome.from_crop,
    }


def face_record(photo: str, number: int | None, face: Face | None) -> dict[str, Any]:
    """One detected face, counted from 1; nulls where there is none."""
    return {
        "photo": photo,
        "face": number,
        "box": [rounded(value, 3) for value in face.box.tolist()] if face else None,
        "landmarks": [[rounded(value, 3) for value in point] for point in face.landmarks.tolist()] if face else None,
        "detection_score": rounded(face.detection_score) if face else None,
    }


def search_record(result: SearchResult) -> dict[str, Any]:
    """One searched face."""
    best = result.best
    return {
        **face_record(result.photo, result.face_number, result.face),
        "decision": result.decision.value,
        "reason": result.rejection.reason.value if result.rejection else None,
        "detail": result.rejection.detail if result.rejection else result.note,
        "subject": best.subject if best and result.decision.value in {"match", "ambiguous"} else None,
        "score": rounded(best.score) if best else None,
        "margin": rounded(result.margin),
        **threshold_record(result.threshold),
        "candidates": [
            {
                "subject": each.subject,
                "subject_id": each.subject_id,
                "score": rounded(each.score),
                "template_id": each.template_id,
                "photo": each.photo,
                "photo_id": each.photo_id,
            }
            for each in result.candidates
        ],
        **({} if result.complete else {"complete": False}),
    }


def threshold_record(threshold: Threshold) -> dict[str, Any]:
    """The threshold in force, and what it rests on."""
    return {"threshold": rounded(threshold.value), "threshold_basis": threshold.basis}


def comparison_record(comparison: Comparison) -> dict[str, Any]:
    """A 1:1 comparison."""
    return {
        "a": comparison.a,
        "b": comparison.b,
        "score": rounded(comparison.score),
        **threshold_record(comparison.threshold),
        "match": comparison.is_match,
        "notes": list(comparison.notes),
    }


def subject_record(subject: Subject) -> dict[str, Any]:
    """One person of the gallery."""
    return {
        "id": subject.subject_id,
        "subject": subject.name,
        "aliases": list(subject.aliases),
        "photos": subject.photos,
        "templates": subject.templates,
        "attributes": dict(subject.attributes),
        "created_at": subject.created_at,
    }


def photo_record(photo: EnrolledPhoto) -> dict[str, Any]:
    """One enrolled photo of a person."""
    return {
        "id": photo.photo_id,
        "photo": path_text(photo.photo),
        "sha256": photo.sha256,
        "origin": photo.origin,
        "faces": photo.faces,
        "template_ids": list(photo.template_ids),
        "detection_score": rounded(photo.detection_score),
    }


def journal_record(entry: JournalEntry) -> dict[str, Any]:
    """One correction."""
    return {
        "id": entry.entry_id,
        "at": entry.at,
        "actor": entry.actor,
        "action": entry.action,
        "what": entry.what,
        "detail": entry.detail,
        "undone_by": entry.undone_by,
        "undoable": entry.undoable,
    }


def finding_record(finding: Finding) -> dict[str, Any]:
    """One line of a check."""
    return {"ok": finding.ok, "subject": finding.subject, "detail": finding.detail, "fixed": finding.fixed}
