"""Changing the model of a gallery: new templates from the photos, then the switch, without losing anybody."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Final

from facesearch.config import DEFAULT_DET_SIZE, DEFAULT_PRECISION
from facesearch.errors import GalleryError, ModelMismatchError, PhotoError
from facesearch.jobs.sources import read_photo_bytes
from facesearch.names import path_text
from facesearch.recognition.extractor import Extractor
from facesearch.recognition.quality import NO_LIMITS, FacePolicy, refind
from facesearch.recognition.runtime import parse_precision
from facesearch.recognition.thumbnail import box_in_thumbnail
from facesearch.store import audit
from facesearch.store import reembedding as stored
from facesearch.store import templates as stored_templates
from facesearch.store.photos import find_crop, is_upload
from facesearch.types import Reason, Rejection
from facesearch.walking import is_gone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from facesearch.jobs.parts import Parts
    from facesearch.recognition.extractor import Extraction
    from facesearch.search.gallery import Gallery
    from facesearch.store.reembedding import GalleryModel, KnownFace, LackingPhoto, Retired
    from facesearch.types import ModelInfo, Vector

LOOKUP: Final = 512
"""Photos looked up in the database at a time."""
COMMIT: Final = 16
"""Photos per transaction, as in an enrolment: a crash loses at most these, none of which was reported."""


class ReembedStatus(StrEnum):
    """What became of a photo's faces."""

    EMBEDDED = "embedded"
    """All that lacked a template have one now."""
    FAILED = "failed"
    """Some could not be embedded; the rejection says why."""
    CHANGED = "changed"
    """The file has other bytes than those that were enrolled."""
    GONE = "gone"
    """There is no file any more, or never was one."""


@dataclass(frozen=True, slots=True)
class ReembedOutcome:
    """One photo of a re-embedding. The templates that it tells of are on disk."""

    photo: str
    status: ReembedStatus
    templates: int
    """Faces of it that were embedded."""
    missing: int
    """Faces of it that still lack a template."""
    from_crop: bool = False
    """Made from the small picture that was kept of an upload: less exact than from the photo."""
    rejection: Rejection | None = None
    """Why faces are missing."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A change of the active model."""

    model: ModelInfo
    previous: str
    """Id of the model that was active before."""
    missing: int
    """Enrolled faces that no search finds now."""


class ModelChange:
    """The change of an engine's gallery to another model. Its pack is the engine's."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @property
    def total(self) -> int:
        """Enrolled faces that lack a template of the engine's model; those of a new model all do."""
        model_id = self._parts.extractor.info.model_id
        faces = self._parts.gallery.read(stored_templates.counts)["faces"]
        known = self._parts.gallery.read(stored.gallery_models)
        return {each.info.model_id: each.missing for each in known}.get(model_id, faces)

    def reembed(self) -> Iterator[ReembedOutcome]:
        """Make the templates of the engine's model that are missing: an outcome per photo that lacks some.

        An outcome is yielded when it is on disk: stop anywhere, and the next run goes on from there. Searches use the
        active model meanwhile. With the active model it completes what is missing.
        """
        self._parts.gallery.write(stored.add_model, self._parts.model)
        yield from self._run(self._parts.extractor)

    def _run(self, extractor: Extractor) -> Iterator[ReembedOutcome]:
        counts = dict.fromkeys((status.value for status in ReembedStatus), 0)
        gallery = self._parts.gallery
        try:
            for outcome in Reembedding(gallery, extractor).run():
                counts[outcome.status] += 1
                yield outcome
        finally:
            gallery.write(audit.record, "reembed", {"model": extractor.info.model_id, **counts})

    def activate(self, *, allow_missing: bool = False) -> Switch:
        """Search with the engine's model from now on.

        Raises `GalleryError` where faces lack a template of it and not `allow_missing`.
        """
        return self._switch(self._parts.extractor.info.model_id, allow_missing=allow_missing)

    def complete_previous(self) -> Iterator[ReembedOutcome]:
        """Make what the model that was active before lacks, as `reembed` does: before a `rollback`.

        Where nobody was enrolled since, nothing is, and its pack is not needed.
        """
        previous = self.previous()
        if previous.missing:
            yield from self._run(self._encoder_of(previous.info))

    def previous(self) -> GalleryModel:
        """The model that was active before the one that is; `GalleryError` where there is none."""
        gallery = self._parts.gallery
        return gallery.read(stored.find_gallery_model, gallery.read(stored.previous_model))

    def rollback(self, *, allow_missing: bool = False) -> Switch:
        """Search with the model that was active before. Raises `GalleryError` as `activate` does."""
        return self._switch(self._parts.gallery.read(stored.previous_model), allow_missing=allow_missing)

    def _switch(self, model_id: str, *, allow_missing: bool) -> Switch:
        gallery = self._parts.gallery
        previous = stored.activate(gallery, model_id, allow_missing=allow_missing)
        found = gallery.read(stored.find_gallery_model, model_id)
        return Switch(found.info, previous, found.missing)

    def _encoder_of(self, info: ModelInfo) -> Extractor:
        extractor = Extractor(
            self._parts.packs.resolve(info.pack),
            provider=info.settings.get("provider", self._parts.settings.provider),
            det_size=info.settings.get("det_size", DEFAULT_DET_SIZE),
            workers=self._parts.settings.workers,
            batch=self._parts.settings.batch,
            precision=parse_precision(info.settings.get("precision", DEFAULT_PRECISION)),
            flip=bool(info.settings.get("flip")),
        )
        if extractor.info.model_id != info.model_id:
            raise ModelMismatchError(
                f"The pack {info.pack} makes templates of {extractor.info.model_id} now, not of {info.model_id}.",
                "Put the files back that made the gallery; `facesearch models info PACK` shows a pack's.",
            )
        return extractor

    def retire(self, model: str, *, allow_missing: bool = False) -> Retired:
        """Remove a model, named by its id or its pack, with its templates for good. Raises `GalleryError`."""
        text, gallery = path_text(model), self._parts.gallery
        known = [each.info for each in gallery.read(stored.gallery_models)]
        named = [each.model_id for each in known if text in (each.model_id, each.pack)]
        if len(named) > 1:
            raise GalleryError(f"The pack {text} has several models here: {', '.join(named)}.", "Name one of them.")
        return stored.retire(gallery, named[0] if named else text, allow_missing=allow_missing)


class Reembedding:
    """One run over all photos that lack templates of the extractor's model."""

    def __init__(self, gallery: Gallery, extractor: Extractor) -> None:
        self._gallery = gallery
        self._extractor = extractor

    def run(self) -> Iterator[ReembedOutcome]:
        """An outcome per photo. Photos that are enrolled meanwhile come last, as their ids are higher."""
        model_id, after = self._extractor.info.model_id, 0
        while group := self._gallery.read(stored.lacking_photos, model_id, after=after, limit=LOOKUP):
            after = group[-1].photo_id
            there: list[LackingPhoto] = []
            for photo in group:
                gone = _why_gone(photo)
                if gone is None:
                    there.append(photo)
                else:
                    yield _without(photo, ReembedStatus.GONE, gone, Reason.INACCESSIBLE)
            yield from self._embed(there)

    def _embed(self, photos: list[LackingPhoto]) -> Iterator[ReembedOutcome]:
        """Embed photos, and report each group once it is on disk."""
        extracted = self._extractor.extract_many(photos, self._load, policy=FacePolicy.ALL, limits=NO_LIMITS)
        with closing(extracted):
            while group := [_assign(each) for each in islice(extracted, COMMIT)]:
                vectors = [pair for _, pairs in group for pair in pairs]
                if vectors:
                    self._gallery.change(stored.add_templates, self._extractor.info.model_id, vectors)
                for outcome, _ in group:
                    yield outcome

    def _load(self, photo: LackingPhoto) -> bytes:
        if not is_upload(photo.path):
            return read_photo_bytes(photo.path)
        crop = self._gallery.read(find_crop, photo.photo_id)
        if crop is None:
            raise PhotoError("It was removed meanwhile.", reason=Reason.INACCESSIBLE)
        return crop


def _why_gone(photo: LackingPhoto) -> str | None:
    if is_upload(photo.path):
        return None if photo.has_crop else "It was uploaded, and no picture of it was kept: upload it again."
    return "There is no such file any more: enroll the photo from where it is now." if is_gone(photo.path) else None


def _without(
    photo: LackingPhoto, status: ReembedStatus, why: str, reason: Reason = Reason.UNREADABLE
) -> ReembedOutcome:
    missing = sum(face.lacking for face in photo.faces)
    return ReembedOutcome(path_text(photo.path), status, 0, missing, rejection=Rejection(reason, why))


def _assign(encoded: Extraction[LackingPhoto]) -> tuple[ReembedOutcome, list[tuple[int, Vector]]]:
    """Give each enrolled face that lacks one the vector of the face that was found in its place."""
    photo = encoded.source
    from_crop = is_upload(photo.path)
    if not from_crop and encoded.sha256 and encoded.sha256 != photo.sha256:
        return _without(photo, ReembedStatus.CHANGED, "The file is not the one that was enrolled: enroll it again."), []
    if encoded.rejection is not None and not encoded.faces_found:
        reason, detail = encoded.rejection.reason, encoded.rejection.detail
        return _without(photo, ReembedStatus.FAILED, detail, reason), []
    vectors: list[tuple[int, Vector]] = []
    problems: list[Rejection] = []
    for face, found in _refound(encoded, from_crop=from_crop):
        if face.lacking and isinstance(found, Rejection):
            problems.append(found)
        elif face.lacking and not isinstance(found, Rejection):
            vectors.append((face.face_id, found))
    status = ReembedStatus.FAILED if problems else ReembedStatus.EMBEDDED
    rejection = problems[0] if problems else None
    return ReembedOutcome(path_text(photo.path), status, len(vectors), len(problems), from_crop, rejection), vectors


def _refound(encoded: Extraction[LackingPhoto], *, from_crop: bool) -> Iterator[tuple[KnownFace, Vector | Rejection]]:
    """Each enrolled face with its new vector, or why there is none."""
    photo = encoded.source
    known = photo.faces[:1] if from_crop else photo.faces
    boxes = [box_in_thumbnail(face.box) if from_crop else face.box for face in known]
    for face, place in zip(known, refind(boxes, encoded.faces), strict=True):
        if isinstance(place, Rejection):
            yield face, place
        else:
            made = encoded.made[place]
            yield face, made if isinstance(made, Rejection) else made.vector
    for face in photo.faces[len(known) :]:
        yield face, Rejection(Reason.FACE_NOT_FOUND, "Of this upload a picture of another face was kept.")
