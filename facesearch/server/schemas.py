"""Requests and answers in OpenAPI: the records of `facesearch ... --json`, in lists and with ids beside names."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from facesearch.records import (
    EnrollRecord,
    ExpectedBasis,
    ExpectedFpir,
    FaceRecord,
    FindingRecord,
    HistoryRecord,
    PhotoRecord,
    SearchRecord,
    SubjectRecord,
    example,
)


class SentFace(FaceRecord):
    """One face of a photo that was sent."""

    photo_index: int = Field(description="Position of the photo in the request.")


class SentSearch(SearchRecord):
    """One searched face of a photo that was sent."""

    photo_index: int = Field(description="Position of the photo in the request.")


class SentPhoto(EnrollRecord):
    """What became of one photo that was sent. A key without the scope `read` is not told whom it shows or resembles."""

    photo_index: int = Field(description="Position of the photo in the request.")
    photo_id: int | None
    subject_id: int | None


class ListedPhoto(PhotoRecord):
    """One photo of a person."""

    thumbnail: bool = Field(description="Whether /v1/photos/{id}/thumbnail may have a picture.")


class Detections(BaseModel):
    """Faces of the photos sent."""

    results: list[SentFace]


class Identifications(BaseModel):
    """Who is in the photos sent."""

    results: list[SentSearch]


class SubjectList(BaseModel):
    """One page of people."""

    subjects: list[SubjectRecord]
    total: int = Field(description="On all pages.")
    next: str | None = Field(description="The `after` of the next page; null on the last.")


class PhotoList(BaseModel):
    """The photos of a person."""

    photos: list[ListedPhoto]


class Enrollments(BaseModel):
    """What became of the photos that were sent; the person is null where none could be used."""

    subject: SubjectRecord | Reference | None
    results: list[SentPhoto]


class Rename(BaseModel):
    """A new name."""

    subject: str = Field(min_length=1, max_length=1000)
    model_config = example(subject="Ada Lovelace")


class Merge(BaseModel):
    """Who takes over the photos."""

    into: StrictInt = Field(description="Id of the person who stays.")
    model_config = example(into=1)


class Forget(BaseModel):
    """People to erase."""

    ids: list[StrictInt] = Field(min_length=1)
    model_config = example(ids=[1])


class Alias(BaseModel):
    """Another name."""

    alias: str = Field(min_length=1, max_length=1000)
    model_config = example(alias="A. Byron")


class Move(BaseModel):
    """Whom a photo shows."""

    to: StrictInt | Annotated[str, Field(min_length=1, max_length=1000)] = Field(
        description="Id or name of the person."
    )
    create: bool = Field(default=False, description="Make a person of that name where there is none.")
    model_config = example(to="Mary Somerville", create=True)


class Confirmed(BaseModel):
    """How many photos were confirmed."""

    confirmed: int
    model_config = example(confirmed=1)


class Undo(BaseModel):
    """The correction to undo."""

    entry: StrictInt | None = Field(default=None, ge=1, description="Of the history; null undoes the newest.")
    model_config = example(entry=12)


class History(BaseModel):
    """Corrections, newest first."""

    entries: list[HistoryRecord]


class Attributes(BaseModel):
    """Attributes to set; null removes one."""

    attributes: dict[str, str | None]
    model_config = example(attributes={"team": "analysis", "former": None})


class Removed(BaseModel):
    """How much was removed."""

    photos: int
    templates: int
    model_config = example(photos=2, templates=2)


class Reference(BaseModel):
    """All that a key without the scope `read` is told of a person or a correction."""

    id: int
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"id": 1}]})


class ReceiptCounts(BaseModel):
    """The receipt as far as a key without the scope `read` is told it: without names and places."""

    forgotten_at: str
    removed: dict[str, int] = Field(description="How many photos, templates and so on are gone.")
    photos_that_stay_for_others: int
    log_emptied: bool
    backups_since_enrolment: int = Field(description="They hold the person until they are deleted.")
    clean: bool = Field(description="Nothing was found.")
    model_config = ConfigDict(extra="ignore")


class Receipt(ReceiptCounts):
    """Proof that a person is gone, as `facesearch people forget --json` prints it; further fields may follow."""

    subjects: list[str]
    gallery: str
    removed_from: list[str] = Field(description="Files that held something.")
    scan: list[dict[str, Any]] = Field(description="What every file still holds, by kind.")
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


class Findings(BaseModel):
    """Whether the gallery is sound."""

    ok: bool
    findings: list[FindingRecord]


class Limits(BaseModel):
    """What this server allows, as any key is told."""

    thumbnails: bool
    scopes: list[str] = Field(description="What the caller may do: read, enroll, delete, metrics.")
    max_photo_bytes: int
    max_photos: int
    version: str


class Info(Limits):
    """The gallery and what searches it: `facesearch info`, and what this server allows."""

    model_config = ConfigDict(extra="allow")
    subjects: int
    photos: int
    templates: int
    model: str | None
    threshold: float
    threshold_basis: str
    expected_fpir: ExpectedFpir
    expected_fpir_basis: ExpectedBasis


class Health(BaseModel):
    """Whether the server lives, or is ready to answer."""

    status: Literal["ok"]
