"""The steps that a photo goes through on its way to templates, for many photos at once (`pipeline`)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from facesearch.errors import PhotoError
from facesearch.recognition.alignment import align
from facesearch.recognition.photo import note_on
from facesearch.recognition.pipeline import Pipeline
from facesearch.recognition.quality import FaceChoice, Limits, choose_faces, judge, measure
from facesearch.types import Face, Pixels, Quality, Reason, Rejection, Template

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPhoto(Generic[T]):
    """What became of one photo: templates, or the reason why there are none."""

    source: T
    sha256: str
    """Of the file's bytes, in hex; empty where they could not be read."""
    size: tuple[int, int] | None
    """Width and height of the upright photo in pixels; None where it could not be decoded."""
    templates: tuple[Template, ...]
    rejection: Rejection | None
    """Set exactly when there are no templates."""
    faces_found: int = 0
    """Faces the detector found, whether or not they were used."""
    unused: tuple[tuple[Face, Rejection], ...] = ()
    """Faces the policy chose, and the limits refused or the recogniser failed on."""
    note: str | None = None
    """What somebody should know of the photo, although it can be decoded."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodedPhoto(Generic[T]):
    """A photo after decoding, or with what hindered it."""

    source: T
    sha256: str
    pixels: Pixels | None
    rejection: Rejection | None = None
    note: str | None = None
    """As in `EncodedPhoto`."""


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPhoto(Generic[T]):
    """A photo after detection and alignment: small, as its pixels are gone but for the crops."""

    outcome: EncodedPhoto[T]
    faces: tuple[tuple[Face, Quality], ...] = ()
    crops: tuple[Pixels, ...] = ()

    def finished(self, made: Sequence[Template | Rejection]) -> EncodedPhoto[T]:
        """The outcome, with what the recogniser `made` of each of `faces`."""
        templates = tuple(each for each in made if isinstance(each, Template))
        failed = tuple(
            (face, each) for (face, _), each in zip(self.faces, made, strict=True) if isinstance(each, Rejection)
        )
        rejection = failed[0][1] if failed and not templates else self.outcome.rejection
        unused = self.outcome.unused + failed
        return replace(self.outcome, templates=templates, rejection=rejection, unused=unused)


class PhotoSteps(Generic[T]):
    """What a `Pipeline` does to photos; `finish` turns crops into vectors."""

    def __init__(
        self,
        load: Callable[[T], bytes],
        decode: Callable[[bytes, Callable[[int], None]], Pixels],
        detect: Callable[[Pixels], list[Face]],
        policy: FaceChoice,
        limits: Limits,
        finish: Callable[[Sequence[PreparedPhoto[T]]], list[EncodedPhoto[T]]],
        none_found: str,
    ) -> None:
        self._load = load
        self._decode = decode
        self._detect = detect
        self._policy = policy
        self._limits = limits
        self.finish = finish
        self._none_found = none_found

    def load(self, source: T) -> tuple[T, bytes | PhotoError]:
        try:
            return source, self._load(source)
        except PhotoError as error:
            return source, error

    def decode(self, loaded: tuple[T, bytes | PhotoError], take: Callable[[int], None]) -> DecodedPhoto[T]:
        source, data = loaded
        if isinstance(data, PhotoError):
            return DecodedPhoto(source, "", None, _why(data))
        digest = hashlib.sha256(data).hexdigest()
        try:
            return DecodedPhoto(source, digest, self._decode(data, take), note=note_on(data))
        except PhotoError as error:
            return DecodedPhoto(source, digest, None, _why(error))

    def look(self, decoded: DecodedPhoto[T]) -> PreparedPhoto[T]:
        source, digest, pixels = decoded.source, decoded.sha256, decoded.pixels
        if pixels is None:
            return PreparedPhoto(EncodedPhoto(source, digest, None, (), decoded.rejection))
        size = (pixels.shape[1], pixels.shape[0])
        outcome: EncodedPhoto[T] = EncodedPhoto(source, digest, size, (), None, note=decoded.note)
        try:
            found = self._detect(pixels)
        except PhotoError as error:
            return PreparedPhoto(replace(outcome, rejection=_why(error)))
        chosen = choose_faces(found, self._policy, size, self._none_found)
        if isinstance(chosen, Rejection):
            return PreparedPhoto(replace(outcome, rejection=chosen, faces_found=len(found)))
        return _crop(replace(outcome, faces_found=len(found)), pixels, chosen, self._limits)

    def weight(self, prepared: PreparedPhoto[T]) -> int:
        return len(prepared.crops)


def _why(error: PhotoError) -> Rejection:
    return Rejection(Reason(error.reason), error.message)


def _crop(outcome: EncodedPhoto[T], pixels: Pixels, chosen: Sequence[Face], limits: Limits) -> PreparedPhoto[T]:
    """Aligns and judges the chosen faces; where none is good enough, the first one's reason is the photo's."""
    faces: list[tuple[Face, Quality]] = []
    crops: list[Pixels] = []
    unused: list[tuple[Face, Rejection]] = []
    for face in chosen:
        try:
            crop = align(pixels, face.landmarks)
        except PhotoError as error:
            unused.append((face, Rejection(Reason(error.reason), error.message)))
            continue
        quality = measure(face, crop)
        rejection = judge(face, quality, limits)
        if rejection is None:
            faces.append((face, quality))
            crops.append(crop)
        else:
            unused.append((face, rejection))
    rejection = None if faces else unused[0][1]
    result = replace(outcome, rejection=rejection, unused=tuple(unused))
    return PreparedPhoto(result, tuple(faces), tuple(crops))


PhotoPipeline: TypeAlias = Pipeline[T, tuple[T, bytes | PhotoError], DecodedPhoto[T], PreparedPhoto[T], EncodedPhoto[T]]
