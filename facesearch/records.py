"""One schema per result: what `--json` prints, the server answers and describes in OpenAPI, and the client reads.

`SubjectRecord.of(subject)` makes a record, `record.value()` gives the result back. Fields that this version does not
know are ignored, so that a client understands a newer server.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from facesearch import errors
from facesearch.corrections import JournalEntry
from facesearch.errors import FaceSearchError, PhotoError
from facesearch.names import path_text, text_path
from facesearch.types import (
    Candidate,
    Comparison,
    Decision,
    EnrolledPhoto,
    EnrollOutcome,
    EnrollStatus,
    Face,
    Finding,
    Reason,
    Rejection,
    SearchResult,
    Subject,
    Threshold,
)


def rounded(value: float | None, digits: int = 6) -> float | None:
    """Round a score or a pixel; float32 carries no more than six digits."""
    return None if value is None else round(float(value), digits)


Score = Annotated[float, BeforeValidator(rounded)]
Pixels = Annotated[float, BeforeValidator(lambda value: rounded(value, 3))]
Point = tuple[Pixels, Pixels]
Box = Annotated[
    tuple[Pixels, Pixels, Pixels, Pixels], Field(description="x1, y1, x2, y2 in pixels of the upright photo.")
]
Points = Annotated[
    tuple[Point, Point, Point, Point, Point], Field(description="Eyes, nose and mouth corners, in pixels.")
]
PhotoText = Annotated[str, BeforeValidator(lambda path: path if isinstance(path, str) else path_text(path))]


def example(**values: Any) -> ConfigDict:
    """Show these values as an example in OpenAPI."""
    return ConfigDict(json_schema_extra={"examples": [values]})


class Record(BaseModel):
    """One result as a JSON object. `of` makes it of a result, `value` gives the result back.

    Where a field is called otherwise in the result, its alias is the name there.
    """

    model_config = ConfigDict(frozen=True, from_attributes=True, populate_by_name=True)

    @classmethod
    def of(cls, result: Any) -> Self:
        return cls.model_validate(result)


Why = Annotated[Reason | None, Field(description="Why the photo or face was not used; null where it was.")]
Detail = Annotated[str | None, Field(description="The same in words, or what else to know of the photo.")]


def _why(rejection: Rejection | None, note: str | None) -> dict[str, Any]:
    return {"reason": rejection and rejection.reason, "detail": rejection.detail if rejection else note}


def _rejection(reason: Reason | None, detail: str | None) -> Rejection | None:
    return None if reason is None else Rejection(reason, detail or "")


class AnyFaceRecord(Record):
    """One detected face, or nulls for a photo without any."""

    photo: str
    face: int | None = Field(description="From 1 on, best detection first.")
    box: Box | None
    landmarks: Points | None
    detection_score: Score | None

    @classmethod
    def of_face(
        cls,
        photo: str,
        number: int | None,
        face: Face | None,
        rejection: Rejection | None = None,
        note: str | None = None,
        **more: Any,
    ) -> Self:
        """Make the record of a face, or of a photo without any."""
        found: dict[str, Any] = {"box": None, "landmarks": None, "detection_score": None}
        if face is not None:
            found = {"box": face.box.tolist(), "landmarks": face.landmarks.tolist()}
            found["detection_score"] = face.detection_score
        return cls.model_validate({"photo": photo, "face": number, **found, **_why(rejection, note), **more})

    def found(self) -> Face | None:
        """Return the face; None where there is none."""
        if self.box is None or self.landmarks is None or self.detection_score is None:
            return None
        return Face(np.array(self.box, np.float32), np.array(self.landmarks, np.float32), self.detection_score)


class FaceRecord(AnyFaceRecord):
    """One detected face; a photo without any has one record with a reason and nulls."""

    reason: Why
    detail: Detail


ExpectedFpir = Annotated[
    float | None,
    BeforeValidator(rounded),
    Field(description="Share of searches for strangers that return somebody here; null where nothing tells."),
]
ExpectedBasis = Annotated[str | None, Field(description="What the expected FPIR rests on.")]


class ThresholdRecord(Record):
    """The threshold in force, where it comes from, and what is to be expected at it."""

    threshold: Score = Field(validation_alias="value")
    threshold_basis: str = Field(validation_alias="basis")
    expected_fpir: ExpectedFpir = None
    expected_fpir_basis: ExpectedBasis = Field(default=None, validation_alias="expected_basis")

    def in_force(self) -> Threshold:
        """Return the threshold."""
        return Threshold(self.threshold, self.threshold_basis, self.expected_fpir, self.expected_fpir_basis)


class CandidateRecord(Record):
    """One person on a candidate list."""

    subject: str
    subject_id: int
    score: Score = Field(
        description="What is compared with the threshold, -1 to 1: the mean of the two below, or with fusion `max` the "
        "first of them."
    )
    best_template_score: Score = Field(description="Cosine similarity with the person's best template.")
    mean_score: Score = Field(description="Cosine similarity with the mean of the person's templates.")
    template_id: int
    photo: str
    photo_id: int

    def value(self) -> Candidate:
        return Candidate(**dict(self))


class SearchRecord(AnyFaceRecord):
    """One searched face."""

    COLUMNS: ClassVar = (
        "photo", "face", "x1", "y1", "x2", "y2", "detection_score", "decision", "reason", "subject", "score", "margin",
        "threshold",
    )  # fmt: skip
    """Of a CSV file."""

    decision: Decision
    reason: Why
    detail: Detail
    subject: str | None
    score: Score | None
    margin: Score | None = Field(description="Ahead of the runner-up, in cosine.")
    threshold: Score
    threshold_basis: str
    expected_fpir: ExpectedFpir
    expected_fpir_basis: ExpectedBasis
    candidates: tuple[CandidateRecord, ...]
    complete: bool = Field(
        default=True, exclude_if=bool, description="False where not everybody was searched: see `degraded`."
    )

    @classmethod
    def of(cls, result: SearchResult, **more: Any) -> Self:
        best = result.best
        named = result.decision in {Decision.MATCH, Decision.AMBIGUOUS}
        decided = {
            "decision": result.decision,
            "subject": best.subject if best and named else None,
            "score": None if best is None else best.score,
            "margin": result.margin,
            "candidates": result.candidates,
            "complete": result.complete,
            **dict(ThresholdRecord.of(result.threshold)),
        }
        return cls.of_face(
            result.photo, result.face_number, result.face, result.rejection, result.note, **decided, **more
        )

    def value(self) -> SearchResult:
        return SearchResult(
            photo=self.photo,
            face_number=self.face,
            face=self.found(),
            decision=self.decision,
            threshold=Threshold(self.threshold, self.threshold_basis, self.expected_fpir, self.expected_fpir_basis),
            candidates=tuple(each.value() for each in self.candidates),
            margin=self.margin,
            rejection=_rejection(self.reason, self.detail),
            complete=self.complete,
            note=None if self.reason else self.detail,
        )

    def row(self) -> list[object]:
        """Return the cells of a CSV file, by `COLUMNS`."""
        values = {**dict(self), **dict(zip(("x1", "y1", "x2", "y2"), self.box or [None] * 4, strict=True))}
        return [values[name] for name in self.COLUMNS]


class ComparisonRecord(Record):
    """Two photos compared 1:1."""

    a: str
    b: str
    score: Score
    threshold: Score
    threshold_basis: str
    match: bool
    notes: tuple[str | None, str | None] = Field(description="What to know of a and of b, although they can be used.")

    @classmethod
    def of(cls, result: Comparison) -> Self:
        names = ("a", "b", "score", "notes")
        values = {**{name: getattr(result, name) for name in names}, "match": result.is_match}
        in_force = {"threshold": result.threshold.value, "threshold_basis": result.threshold.basis}
        return cls.model_validate({**values, **in_force})

    def value(self) -> Comparison:
        in_force = Threshold(self.threshold, self.threshold_basis)
        return Comparison(self.a, self.b, self.score, in_force, self.notes)


class SubjectRecord(Record):
    """One person of the gallery."""

    id: int = Field(validation_alias="subject_id")
    subject: str = Field(validation_alias="name")
    aliases: tuple[str, ...] = Field(description="Other names by which folders and people call the person.")
    photos: int
    templates: int
    attributes: dict[str, str]
    created_at: str = Field(description="UTC, ISO 8601.")
    model_config = example(
        id=1,
        subject="Ada Lovelace",
        aliases=["A. Byron"],
        photos=2,
        templates=2,
        attributes={"team": "analysis"},
        created_at="2026-01-31T12:00:00+00:00",
    )

    def value(self) -> Subject:
        return Subject(
            self.subject, self.attributes, self.photos, self.templates, self.created_at, self.id, self.aliases
        )


class EnrolledPhotoRecord(Record):
    """One enrolled photo, as `people show` lists it."""

    id: int = Field(validation_alias="photo_id")
    photo: PhotoText
    sha256: str
    origin: str
    faces: int
    template_ids: tuple[int, ...]
    detection_score: Score


class QualityRecord(Record):
    """What the quality policy measured on an enrolled face."""

    size: Pixels = Field(description="The shorter side of the box, in pixels.")
    sharpness: Pixels
    yaw: Pixels
    roll: Pixels = Field(description="In degrees.")


class EnrolledFaceRecord(Record):
    """One enrolled face."""

    template_id: int | None = Field(description="Null where the model in use could make none from the photo.")
    box: Box
    detection_score: Score
    quality: QualityRecord


class PhotoRecord(Record):
    """One enrolled photo with its faces."""

    id: int = Field(validation_alias="photo_id")
    photo: PhotoText = Field(validation_alias="path")
    sha256: str
    origin: str = Field(description="Who said whom the photo shows: enrolled, moved or confirmed.")
    width: int
    height: int
    enrolled_at: str
    faces: tuple[EnrolledFaceRecord, ...]

    def value(self) -> EnrolledPhoto:
        """Return the photo as `FaceSearch` lists it."""
        return EnrolledPhoto(
            text_path(self.photo),
            self.sha256,
            len(self.faces),
            tuple(face.template_id for face in self.faces if face.template_id is not None),
            max(face.detection_score for face in self.faces),
            self.id,
            self.origin,
        )


class EnrollRecord(Record):
    """What became of one photo that was to be enrolled, or of a folder or file that was not looked at."""

    photo: str
    subject: str | None
    status: EnrollStatus
    reason: Why
    detail: Detail
    note: str | None
    faces: int
    template_ids: tuple[int, ...]
    detection_score: Score | None

    @classmethod
    def of(cls, result: EnrollOutcome, **more: Any) -> Self:
        names = ("photo", "status", "note", "faces", "template_ids", "detection_score")
        values = {**{name: getattr(result, name) for name in names}, "subject": result.subject or None}
        return cls.model_validate({**values, **_why(result.rejection, result.note), **more})

    def value(self) -> EnrollOutcome:
        why, score = _rejection(self.reason, self.detail), self.detection_score
        photo, subject = self.photo, self.subject or ""
        return EnrollOutcome(photo, subject, self.status, why, self.faces, self.template_ids, score, self.note)


class HistoryRecord(Record):
    """One correction."""

    id: int = Field(validation_alias="entry_id")
    at: str = Field(description="UTC, ISO 8601.")
    actor: str
    action: str
    what: str = Field(description="What was done, in words.")
    detail: dict[str, Any]
    undone_by: int | None = Field(description="The entry that undid this one.")
    undoable: bool = Field(description="Whether what it changed is still known.")

    def value(self) -> JournalEntry:
        return JournalEntry(self.id, self.at, self.actor, self.action, self.detail, self.undone_by, self.undoable)


class FindingRecord(Record):
    """One line of a check."""

    ok: bool
    subject: str
    detail: str
    fixed: bool

    def value(self) -> Finding:
        return Finding(**dict(self))


class ProblemRecord(Record):
    """An error as RFC 9457 has it, with a reason code for programs and a hint for people."""

    type: str
    title: str
    status: int
    reason: str
    detail: str
    hint: str | None
    model_config = example(
        type="about:blank",
        title="Not Found",
        status=404,
        reason="unknown_subject",
        detail="Nobody with the id 7 is enrolled.",
        hint="Ids stay gone with their people.",
    )

    def value(self) -> FaceSearchError:
        """Return the error that the engine would have raised; `ServerError` for what only a server says."""
        if kind := _KINDS.get(self.reason):
            return kind(self.detail, self.hint)
        if self.reason in set(Reason):
            return PhotoError(self.detail, reason=self.reason, hint=self.hint)
        return errors.ServerError(self.detail, self.hint)


_KINDS: Final[dict[str, type[FaceSearchError]]] = {
    kind.reason: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, FaceSearchError) and kind is not PhotoError
}
"""Errors by reason."""
