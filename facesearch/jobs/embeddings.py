"""Photos of an evaluation -> templates, each distinct photo once."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from facesearch.errors import ConfigError, EvaluationError, PhotoError
from facesearch.evaluation.trials.table import listed
from facesearch.jobs.embedding_cache import Embedding, EmbeddingCache
from facesearch.jobs.sources import read_photo_bytes
from facesearch.recognition.decoding import decode_guarded
from facesearch.recognition.embedder import ARCFACE_TEMPLATE, CROP_SIZE
from facesearch.recognition.quality import NO_LIMITS, FacePolicy, Limits, judge, measure
from facesearch.recognition.thumbnail import thumbnail
from facesearch.types import Face, ModelInfo, Reason, Rejection, Template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from facesearch.recognition.extractor import Extraction, Extractor

    Photo = Path | bytes
    Box: TypeAlias = tuple[float, float, float, float]

KEEP: Final = 256
"""Photos written to the cache at a time: what a kill can cost."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Photos after the models, in the order they were given."""

    photos: tuple[Embedding, ...]
    computed: int
    """Distinct photos that went through the models; the others were in the cache."""

    def limited(self, limits: Limits) -> Embedded:
        """The same with faces that `limits` refuse turned into failures, as `enroll` and `query` do."""
        return replace(self, photos=tuple(_limited(each, limits) for each in self.photos))

    def split_at(self, position: int) -> tuple[Embedded, Embedded]:
        """The photos before `position`, and those from there on."""
        return Embedded(self.photos[:position], self.computed), Embedded(self.photos[position:], self.computed)

    @property
    def usable(self) -> list[int]:
        """Positions of the photos that have a template."""
        return [i for i, each in enumerate(self.photos) if each.template is not None]

    @property
    def reasons(self) -> dict[str, int]:
        """How many photos failed, by reason, most frequent first."""
        return dict(Counter(each.reason for each in self.photos if each.reason).most_common())

    @property
    def said(self) -> str:
        """The reasons in words, for a message."""
        return ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.items())

    @property
    def several_faces(self) -> int:
        """Photos in which the policy had to choose among faces."""
        return sum(each.faces > 1 and each.template is not None for each in self.photos)


def _limited(embedding: Embedding, limits: Limits) -> Embedding:
    template = embedding.template
    refused = judge(template.face, template.quality, limits) if template else None
    return embedding if refused is None else replace(embedding, template=None, reason=refused.reason.value)


class PhotoEmbedder:
    """Embeds photos for an evaluation: no quality limits, one face per photo, nothing raised for a damaged photo."""

    def __init__(
        self,
        extractor: Extractor,
        *,
        faces: FacePolicy = FacePolicy.LARGEST,
        aligned: bool = False,
        cache: Path | None = None,
    ) -> None:
        """`aligned` takes photos as 112x112 crops without running the detector; `cache` is where vectors are kept.

        Raises `ConfigError` for a policy that gives several faces a photo.
        """
        if faces is FacePolicy.ALL:
            raise ConfigError("An evaluation takes one face of each photo.", "Use --faces largest or --faces single.")
        self._extractor = extractor
        self._faces = faces
        self._aligned = aligned
        info = extractor.info
        self._cache = cache and EmbeddingCache(cache, self.settings, info.model_id, info.dimension)

    @property
    def model(self) -> ModelInfo:
        """What makes the vectors."""
        return self._extractor.info

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides what a photo's vector is, as JSON values: for reports, and the cache's key."""
        info = self.model
        return {
            "model_id": info.model_id,
            "recognizer_sha256": info.recognizer_sha256,
            "detector_sha256": None if self._aligned else info.detector_sha256,
            "settings": dict(info.settings),
            "faces": "aligned crops" if self._aligned else self._faces.value,
        }

    def embed(self, photos: Sequence[Photo], advance: Callable[[], None] = lambda: None) -> Embedded:
        """One embedding per photo; `advance` is called for each.

        Raises `ModelError`, and `EvaluationError` where photos are missing or cannot be read, before any is embedded.
        """
        hashed = [_hashed(photo) for photo in photos]
        _require_read(photos, hashed)
        hashes = [each.sha256 for each in hashed]
        known = self._cache.load(filter(None, hashes)) if self._cache else {}
        for _ in range(sum(sha256 in known for sha256 in hashes)):
            advance()
        todo = {sha256: photo for sha256, photo in zip(hashes, photos, strict=True) if sha256 and sha256 not in known}
        fresh: list[Embedding] = []
        made: dict[str, Embedding] = {}
        for embedding in self._encode(list(todo.values())):
            fresh.append(embedding)
            made[embedding.sha256] = embedding
            advance()
            if len(fresh) >= KEEP:
                self._keep(fresh)
                fresh = []
        self._keep(fresh)
        found = known | made
        return Embedded(tuple(found.get(each.sha256, each) for each in hashed), len(made))

    def _keep(self, fresh: Sequence[Embedding]) -> None:
        if self._cache:
            self._cache.keep(each for each in fresh if each.reason != Reason.MODEL_FAILURE)  # it may work next time

    def _encode(self, photos: Sequence[Photo]) -> Iterator[Embedding]:
        if not photos:  # or the models would be made ready for nothing
            return
        if self._aligned:
            for photo in photos:
                yield self._encode_crop(photo)
            return
        for encoded in self._extractor.extract_many(photos, _load, policy=self._faces, limits=NO_LIMITS):
            yield _embedding(encoded)

    def _encode_crop(self, photo: Photo) -> Embedding:
        data = _load(photo)
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            crop = decode_guarded(data)
        except PhotoError as error:
            return Embedding(sha256, None, error.reason)
        if crop.shape != (CROP_SIZE, CROP_SIZE, 3):
            raise EvaluationError(
                f"{photo if isinstance(photo, Path) else 'A photo'} has {crop.shape[1]} x {crop.shape[0]} pixels; "
                f"an aligned crop has {CROP_SIZE} x {CROP_SIZE}.",
                "Leave out --aligned: the detector then finds and aligns the faces.",
            )
        face = Face(np.array([0, 0, CROP_SIZE, CROP_SIZE], np.float32), ARCFACE_TEMPLATE, 1.0)
        (vector,) = self._extractor.embedder.embed([crop])
        if isinstance(vector, Rejection):
            return Embedding(sha256, None, vector.reason.value, 1)
        return Embedding(sha256, Template(vector, self.model.model_id, face, measure(face, crop)), "", 1)


def _load(photo: Photo) -> bytes:
    return photo if isinstance(photo, bytes) else read_photo_bytes(photo)


def _embedding(photo: Extraction[Photo]) -> Embedding:
    if photo.rejection is not None:
        return Embedding(photo.sha256, None, photo.rejection.reason.value, photo.faces_found)
    return Embedding(photo.sha256, photo.templates[0], "", photo.faces_found)


def _hashed(photo: Photo) -> Embedding:
    """The photo's SHA-256 and no vector: what stays of it where the file cannot be read, or not a second time."""
    try:
        return Embedding(hashlib.sha256(_load(photo)).hexdigest(), None, Reason.UNREADABLE.value)
    except PhotoError as error:
        return Embedding("", None, error.reason)


def _require_read(photos: Sequence[Photo], hashed: Sequence[Embedding]) -> None:
    """Raise `EvaluationError`, by name, for files that could not be looked at: rates over the rest would be others."""
    pairs = zip(photos, hashed, strict=True)
    unread = [str(photo) for photo, each in pairs if each.reason == Reason.INACCESSIBLE]
    if unread:
        raise EvaluationError(
            f"{len(unread):,} of {len(photos):,} photos cannot be read: {listed(unread)}.",
            "Give permission, or leave them out.",
        )


def thumbnails(shown: Mapping[str, tuple[Path | bytes, Box | None]]) -> dict[str, bytes]:
    """JPEG bytes by name, of the face in the box (x1, y1, x2, y2) or of the whole photo.

    A photo that is gone or cannot be read is left out: the page then shows an empty frame.
    """
    pictures: dict[str, bytes] = {}
    for name, (photo, box) in shown.items():
        try:
            pictures[name] = thumbnail(photo if isinstance(photo, bytes) else read_photo_bytes(photo), box)
        except PhotoError:
            continue
    return pictures
