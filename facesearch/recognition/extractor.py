"""Photos -> faces -> crops -> templates, for whoever needs them: one photo, or many in a pipeline."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from facesearch.errors import PhotoError
from facesearch.recognition.alignment import align
from facesearch.recognition.decoding import decode_guarded
from facesearch.recognition.models import Models, workers_for_many
from facesearch.recognition.photo import note_on
from facesearch.recognition.pipeline import Pipeline
from facesearch.recognition.quality import NO_LIMITS, FaceChoice, FacePolicy, Limits, choose_faces, judge, measure
from facesearch.types import Face, Pixels, Quality, Reason, Rejection, Template

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from facesearch.types import Vector

T = TypeVar("T")
Other = TypeVar("Other")


@dataclass(frozen=True, slots=True, eq=False)
class Extraction(Generic[T]):
    """A photo with its faces and their templates, or the reason why there are none."""

    source: T
    sha256: str = ""
    """Of the file's bytes, in hex; empty where there are none."""
    size: tuple[int, int] | None = None
    """Width and height of the upright photo in pixels; None where it could not be decoded."""
    faces: tuple[Face, ...] = ()
    """The faces the policy chose, best detection first."""
    made: tuple[Template | Rejection, ...] = ()
    """For each of `faces` its template, or why it has none."""
    rejection: Rejection | None = None
    """Why the photo has no template; None where it has one."""
    faces_found: int = 0
    """Faces the detector found, whether or not they were chosen."""
    note: str | None = None
    """What somebody should know of the photo, although it can be decoded."""

    def of(self, source: Other) -> Extraction[Other]:
        """The same photo of another source."""
        known = {each.name: getattr(self, each.name) for each in fields(self)}
        return Extraction(**{**known, "source": source})

    @property
    def templates(self) -> tuple[Template, ...]:
        """The templates of the faces that have one."""
        return tuple(each for each in self.made if isinstance(each, Template))

    @property
    def reasons(self) -> tuple[Rejection | None, ...]:
        """For each of `faces` why it has no template; None where it has one, or none was asked for."""
        if not self.made:
            return (None,) * len(self.faces)
        return tuple(each if isinstance(each, Rejection) else None for each in self.made)


@dataclass(frozen=True, slots=True, eq=False)
class Decoded(Generic[T]):
    """A photo after decoding, or with what hindered it."""

    source: T
    sha256: str
    pixels: Pixels | None
    rejection: Rejection | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Prepared(Generic[T]):
    """A photo after detection and alignment: small, as its pixels are gone but for the crops."""

    photo: Extraction[T]
    crops: tuple[tuple[Pixels, Quality] | Rejection, ...] = ()
    """For each of the photo's faces the crop (112, 112, 3) with its quality, or why it is not used."""
    usable: list[Pixels] = field(init=False)
    """The crops to embed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "usable", [each[0] for each in self.crops if not isinstance(each, Rejection)])

    def finished(self, vectors: Iterator[Vector | Rejection], model_id: str) -> Extraction[T]:
        """The photo with the vectors of its usable crops, which are taken from `vectors`."""
        if not self.crops:
            return self.photo
        made: list[Template | Rejection] = []
        for face, crop in zip(self.photo.faces, self.crops, strict=True):
            if isinstance(crop, Rejection):
                made.append(crop)
            else:
                vector = next(vectors)
                made.append(vector if isinstance(vector, Rejection) else Template(vector, model_id, face, crop[1]))
        reasons = [each for each in made if isinstance(each, Rejection)]
        return replace(self.photo, made=tuple(made), rejection=reasons[0] if len(reasons) == len(made) else None)


class Extractor(Models):
    """A model pack, ready to turn photos into templates. Safe to use from several threads."""

    def prepare(self, decoded: Decoded[T], *, policy: FaceChoice, limits: Limits) -> Prepared[T]:
        """Detect, choose and align the faces of a photo. What cannot be used is a rejection.

        Raises `ModelError` where the detector cannot be opened, or has failed on everything so far.
        """
        pixels = decoded.pixels
        photo = Extraction(decoded.source, decoded.sha256, rejection=decoded.rejection, note=decoded.note)
        if pixels is None:
            return Prepared(photo)
        size = (pixels.shape[1], pixels.shape[0])
        photo = replace(photo, size=size)
        try:
            found = self.detect(pixels)
        except PhotoError as error:
            return Prepared(replace(photo, rejection=refusal(error)))
        chosen = choose_faces(found, policy, size, self.none_found)
        if isinstance(chosen, Rejection):
            return Prepared(replace(photo, rejection=chosen, faces_found=len(found)))
        crops = tuple(_crop(pixels, face, limits) for face in chosen)
        return Prepared(replace(photo, faces=tuple(chosen), faces_found=len(found)), crops)

    def finish(self, group: Sequence[Prepared[T]]) -> list[Extraction[T]]:
        """The templates of several photos, whose faces share runs of the recogniser. Raises `ModelError`."""
        vectors = iter(self.embed_crops([crop for each in group for crop in each.usable]))
        model_id = self.info.model_id if any(each.usable for each in group) else ""
        return [each.finished(vectors, model_id) for each in group]

    def extract(self, pixels: Pixels, faces: Sequence[Face] | None = None) -> list[tuple[Face, Template | Rejection]]:
        """`faces`, or all that are detected, of an upright RGB photo (height, width, 3), each with what became of it.

        A face has no template where its landmarks coincide (`extreme_pose`) or the recogniser fails (`model_failure`).
        Raises `ModelError`, and `PhotoError` where the detector fails on the photo.
        """
        chosen = tuple(self.detect(pixels) if faces is None else faces)
        prepared = Prepared(Extraction(None, faces=chosen), tuple(_crop(pixels, face, NO_LIMITS) for face in chosen))
        (photo,) = self.finish([prepared])
        return list(zip(photo.faces, photo.made, strict=True))

    def encode(self, pixels: Pixels, faces: Sequence[Face] | None = None) -> list[Template]:
        """The templates that `extract` gives. Raises `PhotoError` where a face has none, with its reason."""
        templates: list[Template] = []
        for _, made in self.extract(pixels, faces):
            if isinstance(made, Rejection):
                raise PhotoError(made.detail, reason=made.reason)
            templates.append(made)
        return templates

    def extract_many(
        self,
        sources: Iterable[T],
        load: Callable[[T], bytes],
        *,
        policy: FaceChoice = FacePolicy.ALL,
        limits: Limits = NO_LIMITS,
        embed: bool = True,
    ) -> Generator[Extraction[T], None, None]:
        """One result for every source, in their order; memory does not grow with their number.

        Photos are read and decoded ahead, the workers detect and align, and faces of several photos share a run of the
        recogniser. A `PhotoError` of `load`, decoding or the detector becomes the photo's rejection; any other error
        ends the iteration. Closing the iterator early ends the threads. Without `embed` faces get no templates, and the
        recogniser is not opened. Raises `ModelError`.
        """
        with self.open_pipeline(load, policy=policy, limits=limits, embed=embed) as pipeline:
            for source in sources:
                pipeline.put(source)
                yield from pipeline.ready()
            yield from pipeline.rest()

    def open_pipeline(
        self, load: Callable[[T], bytes], *, policy: FaceChoice, limits: Limits, embed: bool = True
    ) -> PhotoPipeline[T]:
        """`extract_many` for whoever wants to decide when the next photo is put in."""
        steps = _Steps(self, load, policy, limits, embed)
        workers = self.workers or workers_for_many()
        return Pipeline(steps, workers=workers, batch=self.batch, budget=self.budget)


@dataclass(frozen=True, slots=True)
class _Steps(Generic[T]):
    """What a `Pipeline` does to photos."""

    extractor: Extractor
    fetch: Callable[[T], bytes]
    policy: FaceChoice
    limits: Limits
    embed: bool

    def load(self, source: T) -> tuple[T, bytes | PhotoError]:
        try:
            return source, self.fetch(source)
        except PhotoError as error:
            return source, error

    def decode(self, loaded: tuple[T, bytes | PhotoError], take: Callable[[int], None]) -> Decoded[T]:
        source, data = loaded
        if isinstance(data, PhotoError):
            return Decoded(source, "", None, refusal(data))
        digest = hashlib.sha256(data).hexdigest()
        try:
            return Decoded(source, digest, decode_guarded(data, take), note=note_on(data))
        except PhotoError as error:
            return Decoded(source, digest, None, refusal(error))

    def look(self, decoded: Decoded[T]) -> Prepared[T]:
        return self.extractor.prepare(decoded, policy=self.policy, limits=self.limits)

    def weight(self, prepared: Prepared[T]) -> int:
        return len(prepared.usable) if self.embed else 0

    def finish(self, group: Sequence[Prepared[T]]) -> list[Extraction[T]]:
        return self.extractor.finish(group) if self.embed else [prepared.photo for prepared in group]


def refusal(error: PhotoError) -> Rejection:
    """The rejection that says what an error says."""
    return Rejection(Reason(error.reason), error.message)


def _crop(pixels: Pixels, face: Face, limits: Limits) -> tuple[Pixels, Quality] | Rejection:
    try:
        crop = align(pixels, face.landmarks)
    except PhotoError as error:
        return refusal(error)
    quality = measure(face, crop)
    return judge(face, quality, limits) or (crop, quality)


PhotoPipeline: TypeAlias = Pipeline[T, tuple[T, bytes | PhotoError], Decoded[T], Prepared[T], Extraction[T]]
