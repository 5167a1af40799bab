"""Probes: from one photo to search results, comparisons and faces."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facesearch import arguments
from facesearch.errors import MultipleFacesError, NoFaceError, PhotoError
from facesearch.jobs.sources import read_photo_bytes
from facesearch.names import path_text
from facesearch.recognition.decoding import decode_noted, start_decoding
from facesearch.recognition.extractor import Extraction, Prepared
from facesearch.recognition.quality import NO_LIMITS, PROBE_LIMITS, FaceChoice, FacePolicy, Limits, refusal
from facesearch.search.matching import DEFAULT_MARGIN, decide
from facesearch.types import (
    Candidate,
    Comparison,
    Decision,
    Face,
    ModelInfo,
    Pixels,
    Reason,
    Rejection,
    SearchResult,
    Template,
    Threshold,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from PIL.Image import Image as PillowImage

    from facesearch.operations import Image
    from facesearch.outputs import Output
    from facesearch.recognition.extractor import Extractor
    from facesearch.search.gallery import Gallery
    from facesearch.types import Vector, Vectors


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How a probe is searched."""

    threshold: Threshold
    k: int = 5
    """Subjects on the candidate list."""
    margin: float = DEFAULT_MARGIN
    """Cosine; a runner-up closer than this makes a match ambiguous."""
    where: Mapping[str, str] | None = None
    """Only subjects with these attributes."""
    degraded: bool = False
    """Where the gallery's engine is down, search what the database has of the newest templates."""

    @property
    def floor(self) -> float:
        """The score below which a candidate changes no decision."""
        return self.threshold.value - self.margin


def expect(images: Sequence[Image]) -> None:
    """Let a decoder start in the background, while the gallery and the models are opened, if a photo needs one.

    Raises `ConfigError` for what cannot be a photo.
    """
    for image in images:
        arguments.photo(image)
    if any(isinstance(image, (str, Path, bytes)) for image in images):
        start_decoding()


def load_image(image: Image) -> Pixels:
    """Pixels (height, width, 3) uint8, RGB, upright. Raises `PhotoError`, or `ConfigError` for a wrong array."""
    return load_noted(image)[0]


def load_noted(image: Image) -> tuple[Pixels, str | None]:
    """`load_image`, and what somebody should know of the photo although it can be used."""
    if isinstance(image, (str, Path, bytes)):
        return decode_noted(photo_bytes(image if isinstance(image, bytes) else Path(image)))
    return _own_pixels(image), None


def photo_bytes(image: Path | bytes) -> bytes:
    """The bytes of a file, or those given. Raises `PhotoError`."""
    return image if isinstance(image, bytes) else read_photo_bytes(image)


def _own_pixels(image: PillowImage | Pixels) -> Pixels:
    if not isinstance(image, np.ndarray):
        from facesearch.recognition.formats import upright_copy

        return np.asarray(upright_copy(image))
    arguments.pixels(image)
    return np.ascontiguousarray(image)


def prepare_probe(
    extractor: Extractor,
    image: Image,
    *,
    policy: FaceChoice = FacePolicy.ALL,
    limits: Limits | None = PROBE_LIMITS,
    name: str | None = None,
) -> Prepared[str]:
    """The faces of a photo with their crops; a photo that cannot be used is a rejection, not an error."""
    called = name or arguments.photo(image)
    try:
        pixels, note = load_noted(image)
    except PhotoError as error:
        return Prepared(Extraction(called, rejection=refusal(error)))
    return extractor.prepare(Extraction(called, note=note), pixels, policy=policy, limits=limits)


def prepare_single(extractor: Extractor, image: Image, policy: FacePolicy, *, name: str | None = None) -> Prepared[str]:
    """The photo's one face, or its largest, however poor.

    Raises `PhotoError`, `NoFaceError`, or `MultipleFacesError` where the policy is `single` and no face dominates; each
    begins with the photo's name.
    """
    called = name or arguments.photo(image)
    with _naming(called):
        pixels, note = load_noted(image)
    prepared = extractor.prepare(Extraction(called, note=note), pixels, policy=policy, limits=NO_LIMITS)
    refused = prepared.photo.rejection or next((each for each in prepared.crops if isinstance(each, Rejection)), None)
    if refused is None:
        return prepared
    detail = f"{called}: {refused.detail}"
    if refused.reason is Reason.FACE_NOT_FOUND:
        raise NoFaceError(detail, "Try another photo.")
    if refused.reason is Reason.MULTIPLE_FACES:
        raise MultipleFacesError(detail, "Use --faces largest to take the largest.")
    raise PhotoError(detail, reason=refused.reason)


@contextmanager
def _naming(photo: str) -> Iterator[None]:
    """Errors of a photo begin with its name."""
    try:
        yield
    except PhotoError as error:
        raise PhotoError(f"{photo}: {error.message}", reason=error.reason, hint=error.hint) from error


def identify(gallery: Gallery, extractor: Extractor, image: Image, options: SearchOptions) -> list[SearchResult]:
    """One result per face, best detection first; a photo or face that cannot be searched is `unusable`."""
    (photo,) = extractor.finish([prepare_probe(extractor, image)])
    return search_photo(gallery, photo, options)


def identify_many(
    gallery: Gallery, extractor: Extractor, images: Iterable[Path | bytes], options: SearchOptions
) -> Generator[list[SearchResult], None, None]:
    """`identify` for many files at once, in their order, as enrolment reads, decodes and embeds them."""
    photos = extractor.extract_many(images, photo_bytes, policy=FacePolicy.ALL, limits=PROBE_LIMITS)
    with closing(photos):
        for photo in photos:
            yield search_photo(gallery, photo.of(arguments.photo(photo.source)), options)


def search_photo(gallery: Gallery, photo: Extraction[str], options: SearchOptions) -> list[SearchResult]:
    """Search the faces of a photo that have a template, and decide on each face."""
    templates = photo.templates
    if not templates:
        return decide_photo(photo, [], options)
    vectors = vectors_of(photo)
    model_id = templates[0].model_id  # another may have become the gallery's while the photo was looked at
    if not options.degraded:
        return decide_photo(photo, gallery.search(vectors, options.k, options.where, model_id, options.floor), options)
    found, complete = gallery.search_or_local(vectors, options.k, options.where, model_id, options.floor)
    return [replace(result, complete=complete) for result in decide_photo(photo, found, options)]


def vectors_of(photo: Extraction[str]) -> Vectors:
    """(n, d) float32, a row for each template."""
    return np.array([each.vector for each in photo.templates], np.float32)


def decide_photo(
    photo: Extraction[str], found: Sequence[Sequence[Candidate]], options: SearchOptions
) -> list[SearchResult]:
    """One result per face, from the candidates `found` for each template; one for a photo without any face."""
    if not photo.faces:
        assert photo.rejection is not None
        return [_unusable(photo.source, None, None, photo.rejection, options)]
    remaining = iter(found)
    return [
        _unusable(photo.source, number, face, made, options)
        if isinstance(made, Rejection)
        else replace(_decided(photo.source, number, face, next(remaining), options), note=photo.note)
        for number, (face, made) in enumerate(zip(photo.faces, photo.made, strict=True), 1)
    ]


def _decided(
    name: str, number: int, face: Face, candidates: Sequence[Candidate], options: SearchOptions
) -> SearchResult:
    decision, margin = decide(candidates, options.threshold.value, options.margin)
    return SearchResult(name, number, face, decision, options.threshold, tuple(candidates[: options.k]), margin)


def _unusable(
    name: str, number: int | None, face: Face | None, rejection: Rejection, options: SearchOptions
) -> SearchResult:
    return SearchResult(name, number, face, Decision.UNUSABLE, options.threshold, rejection=rejection)


def verify(extractor: Extractor, a: Image, b: Image, threshold: Threshold, policy: FacePolicy) -> Comparison:
    """Compare two photos 1:1. Raises as `prepare_single`, and says which of the two it is."""
    names = zip((a, b), pair_names(arguments.photo(a), arguments.photo(b)), strict=True)
    prepared = [prepare_single(extractor, image, policy, name=name) for image, name in names]
    first, second = extractor.finish(prepared)
    score = float(np.dot(single_vector(first), single_vector(second)))
    return Comparison(arguments.photo(a), arguments.photo(b), score, threshold, (first.note, second.note))


def pair_names(a: str, b: str) -> tuple[str, str]:
    """How errors of a comparison call the two photos, which may have one name or none."""
    return f"The first photo ({a})", f"The second photo ({b})"


def single_vector(photo: Extraction[str]) -> Vector:
    """The vector of a photo with one face. Raises `PhotoError` where the recogniser failed on it."""
    (made,) = photo.made
    if isinstance(made, Rejection):
        raise PhotoError(f"{photo.source}: {made.detail}", reason=made.reason, hint="Try --provider cpu.")
    return made.vector


def draw_faces(photo: Path | bytes, boxes: Sequence[tuple[Face, str, bool]], out: Output) -> None:
    """Write a copy of the photo with boxes and labels (face, label, matched), in the format of `out`'s suffix.

    Raises `PhotoError` if the photo cannot be read, `ConfigError` if `out` cannot be written.
    """
    from facesearch.recognition.annotate import annotate, encode_photo

    out.write(encode_photo(annotate(load_image(photo), boxes), out.path.suffix))


def draw_results(photo: Path | bytes, results: Sequence[SearchResult], out: Output) -> None:
    """`draw_faces` with the decision on each face: who and the score, or that nobody matches.

    A photo that could not be read or has no face is passed over: there is nothing to draw.
    """
    boxes = [(each.face, _label(each), each.decision is Decision.MATCH) for each in results if each.face is not None]
    if boxes:
        draw_faces(photo, boxes, out)


def _label(result: SearchResult) -> str:
    best = result.best
    if best is None or result.decision not in {Decision.MATCH, Decision.AMBIGUOUS}:
        return result.decision.value
    doubt = "?" if result.decision is Decision.AMBIGUOUS else ""
    return f"{best.subject}{doubt} {best.score:.2f}"


def write_embeddings(out: Output, found: Sequence[tuple[Path, Template]], model: ModelInfo) -> None:
    """Write n faces as .npz: vectors (n, d) float32, photos (n,), boxes (n, 4), landmarks (n, 5, 2), scores (n,) of
    detection, and the model's id. Raises `ConfigError` if it cannot be written.
    """
    templates = [template for _, template in found]
    arrays = {
        "vectors": np.array([each.vector for each in templates], np.float32).reshape(-1, model.dimension),
        "photos": np.array([path_text(path) for path, _ in found], str),
        "boxes": np.array([each.face.box for each in templates], np.float32).reshape(-1, 4),
        "landmarks": np.array([each.face.landmarks for each in templates], np.float32).reshape(-1, 5, 2),
        "scores": np.array([each.face.detection_score for each in templates], np.float32),
        "model_id": np.array(model.model_id),
    }
    with out.unfinished() as path, path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # the stub takes the keywords for allow_pickle
