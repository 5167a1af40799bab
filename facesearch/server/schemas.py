"""The shapes of requests and answers, for OpenAPI: the records of `facesearch ... --json`, with ids beside names."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt


def _example(**values: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [values]})


class Problem(BaseModel):
    """RFC 9457, with a reason code for programs and a hint for people."""

    type: str
    title: str
    status: int
    reason: str
    detail: str
    hint: str | None
    model_config = _example(
        type="about:blank",
        title="Not Found",
        status=404,
        reason="unknown_subject",
        detail="Nobody with the id 7 is enrolled.",
        hint="Ids stay gone with their people.",
    )


Box = Annotated[list[float], Field(min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels, upright")]


class FaceRecord(BaseModel):
    """One detected face; a photo without any has one record with a reason and nulls."""

    photo_index: int = Field(description="Position of the photo in the request.")
    photo: str
    face: int | None = Field(description="From 1 on, best detection first.")
    box: Box | None
    landmarks: list[list[float]] | None = Field(description="Eyes, nose, mouth corners: (5, 2) in pixels.")
    detection_score: float | None
    reason: str | None
    detail: str | None


class Detections(BaseModel):
    """Faces of the photos sent."""

    results: list[FaceRecord]


class CandidateRecord(BaseModel):
    """One person on a candidate list."""

    subject: str
    subject_id: int
    score: float = Field(description="Cosine similarity, -1 to 1.")
    template_id: int
    photo: str
    photo_id: int


class SearchRecord(FaceRecord):
    """One searched face."""

    decision: Literal["match", "ambiguous", "unknown", "unusable"]
    subject: str | None
    score: float | None
    margin: float | None = Field(description="Ahead of the runner-up, in cosine.")
    threshold: float
    threshold_basis: str
    candidates: list[CandidateRecord]
    complete: bool = Field(default=True, description="False where not everybody was searched: see `degraded`.")


class Identifications(BaseModel):
    """Who is in the photos sent."""

    results: list[SearchRecord]


class ComparisonRecord(BaseModel):
    """Two photos compared 1:1."""

    a: str
    b: str
    score: float
    threshold: float
    threshold_basis: str
    match: bool
    notes: list[str | None] = Field(description="What somebody should know of a and of b; nulls where nothing.")
    model_config = _example(
        a="a.jpg",
        b="b.jpg",
        score=0.71,
        threshold=0.4,
        threshold_basis="uncalibrated default",
        match=True,
        notes=[None, None],
    )


class SubjectRecord(BaseModel):
    """One person of the gallery."""

    id: int
    subject: str
    aliases: list[str] = Field(description="Other names by which folders and people call the person.")
    photos: int
    templates: int
    attributes: dict[str, str]
    created_at: str
    model_config = _example(
        id=1,
        subject="Ada Lovelace",
        aliases=["A. Byron"],
        photos=2,
        templates=2,
        attributes={"team": "analysis"},
        created_at="2026-01-31T12:00:00+00:00",
    )


class SubjectList(BaseModel):
    """One page of people."""

    subjects: list[SubjectRecord]
    total: int = Field(description="On all pages.")
    next: str | None = Field(description="The `after` of the next page; null on the last.")


class QualityRecord(BaseModel):
    """What the quality policy measured on an enrolled face."""

    size: float
    sharpness: float
    yaw: float
    roll: float


class EnrolledFaceRecord(BaseModel):
    """One enrolled face."""

    template_id: int | None = Field(description="None where the model in use could make none from the photo.")
    box: Box
    detection_score: float
    quality: QualityRecord


class PhotoRecord(BaseModel):
    """One enrolled photo."""

    id: int
    photo: str
    sha256: str
    origin: Literal["enrolled", "moved", "confirmed"] = Field(description="Who said whom the photo shows.")
    width: int
    height: int
    enrolled_at: str
    thumbnail: bool = Field(description="Whether /v1/photos/{id}/thumbnail may have a picture.")
    faces: list[EnrolledFaceRecord]


class PhotoList(BaseModel):
    """The photos of a person."""

    photos: list[PhotoRecord]


class EnrollRecord(BaseModel):
    """What became of one photo that was sent."""

    photo_index: int
    photo: str
    photo_id: int | None
    subject: str
    subject_id: int | None
    status: Literal["enrolled", "unchanged", "moved", "rejected"]
    reason: str | None
    detail: str | None
    faces: int
    template_ids: list[int]
    detection_score: float | None


class Enrollments(BaseModel):
    """What became of the photos that were sent; the person is null where none could be used."""

    subject: SubjectRecord | None
    results: list[EnrollRecord]


class Rename(BaseModel):
    """A new name."""

    subject: str = Field(min_length=1, max_length=1000)
    model_config = _example(subject="Ada Lovelace")


class Merge(BaseModel):
    """Who takes over the photos."""

    into: StrictInt = Field(description="Id of the person who stays.")
    model_config = _example(into=1)


class Alias(BaseModel):
    """Another name."""

    alias: str = Field(min_length=1, max_length=1000)
    model_config = _example(alias="A. Byron")


class Move(BaseModel):
    """Whom a photo shows."""

    to: StrictInt | Annotated[str, Field(min_length=1, max_length=1000)] = Field(
        description="Id or name of the person."
    )
    create: bool = Field(default=False, description="Make a person of that name where there is none.")
    model_config = _example(to="Mary Somerville", create=True)


class Confirmed(BaseModel):
    """How many photos were confirmed."""

    confirmed: int
    model_config = _example(confirmed=1)


class Undo(BaseModel):
    """The correction to undo."""

    entry: StrictInt | None = Field(default=None, ge=1, description="Of the history; null undoes the newest.")
    model_config = _example(entry=12)


class HistoryRecord(BaseModel):
    """One correction."""

    id: int
    at: str = Field(description="UTC, ISO 8601.")
    actor: str
    action: str
    what: str = Field(description="What was done, in words.")
    detail: dict[str, Any]
    undone_by: int | None = Field(description="The entry that undid this one.")
    undoable: bool = Field(description="Whether what it changed is still known.")


class History(BaseModel):
    """Corrections, newest first."""

    entries: list[HistoryRecord]


class Attributes(BaseModel):
    """Attributes to set; null removes one."""

    attributes: dict[str, str | None]
    model_config = _example(attributes={"team": "analysis", "former": None})


class Removed(BaseModel):
    """How much was removed."""

    photos: int
    templates: int
    model_config = _example(photos=2, templates=2)


class Receipt(BaseModel):
    """Proof that a person is gone, as `facesearch people forget --json` prints it; further fields may follow."""

    subjects: list[str]
    forgotten_at: str
    gallery: str
    removed: dict[str, int] = Field(description="How many photos, templates and so on are gone.")
    removed_from: list[str] = Field(description="Files that held something.")
    photos_that_stay_for_others: int
    log_emptied: bool
    scan: list[dict[str, Any]] = Field(description="What every file still holds, by kind.")
    backups_since_enrolment: int = Field(description="They hold the person until they are deleted.")
    clean: bool = Field(description="Nothing was found.")
    model_config = ConfigDict(extra="allow")


class LookAlike(BaseModel):
    """Somebody whose templates come close."""

    subject_id: int
    subject: str
    score: float
    template_id: int = Field(description="The person's own template.")
    other_template_id: int
    other_photo_id: int | None


class LookAlikes(BaseModel):
    """Who looks most like a person, best first."""

    threshold: float
    results: list[LookAlike]


class FindingRecord(BaseModel):
    """One line of a check."""

    ok: bool
    subject: str
    detail: str
    fixed: bool


class Findings(BaseModel):
    """Whether the gallery is sound."""

    ok: bool
    findings: list[FindingRecord]


class Info(BaseModel):
    """The gallery and what searches it: `facesearch info`, and what this server allows."""

    model_config = ConfigDict(extra="allow")
    subjects: int
    photos: int
    templates: int
    model: str | None
    threshold: float
    threshold_basis: str
    thumbnails: bool
    scopes: list[str] = Field(description="What the caller may do: read, enroll, delete.")
    max_photo_bytes: int
    max_photos: int
    version: str


class Health(BaseModel):
    """Whether the server lives, or is ready to answer."""

    status: Literal["ok"]
