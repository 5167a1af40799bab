"""Probes: from one photo to search results, comparisons and faces."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from facesearch import arguments
from facesearch.errors import MultipleFacesError, NoFaceError, PhotoError
from facesearch.names import path_text
from facesearch.recognition.alignment import align
from facesearch.recognition.decoding import decode_guarded, start_decoding
from facesearch.recognition.photo import note_on, read_photo_bytes
from facesearch.recognition.quality import PROBE_LIMITS, FacePolicy, choose_faces, judge, measure
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
    from collections.abc import Iterator, Mapping, Sequence

    from PIL.Image import Image as PillowImage

    from facesearch.recognition.encoder import Encoder
    from facesearch.search.gallery import Gallery
    from facesearch.store.outputs import Output
    from facesearch.types import Vector, Vectors

Image: TypeAlias = "Path | str | bytes | Pixels | PillowImage"
"""A photo: a path, the bytes of a file, pixels (height, width, 3) uint8, RGB and upright, or an image of Pillow, whose
EXIF orientation is applied."""


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

    def __post_init__(self) -> None:
        """Raise `ConfigError` for values that make no sense."""
        arguments.whole("k", self.k, 1)
        arguments.number("margin", self.margin, 0)
        arguments.flag("degraded", self.degraded)
        if self.where is not None:
            arguments.texts("where", self.where)


def image_name(image: Image) -> str:
    """How results refer to the photo: its path as text, or what kind of object was given."""
    if isinstance(image, (str, Path)):
        return path_text(image)
    if isinstance(image, bytes):
        return "<bytes>"
    return "<image>" if arguments.is_pillow(image) else "<array>"


def expect(*images: Image) -> None:
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
        data = image if isinstance(image, bytes) else read_photo_bytes(Path(image))
        return decode_guarded(data), note_on(data)
    return _own_pixels(image), None


def note_of(photo: Path | bytes) -> str | None:
    """What somebody should know of a photo that could be decoded. Raises `PhotoError` where it is gone meanwhile."""
    return note_on(photo if isinstance(photo, bytes) else read_photo_bytes(photo))


def _own_pixels(image: PillowImage | Pixels) -> Pixels:
    if not isinstance(image, np.ndarray):
        from facesearch.recognition.formats import upright_copy

        return np.asarray(upright_copy(image))
    arguments.pixels(image)
    return np.ascontiguousarray(image)


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A photo after detection and alignment, before the recogniser: what can wait to be embedded with others."""

    name: str
    faces: tuple[Face, ...]
    """Best detection first."""
    crops: tuple[Pixels | Rejection, ...] = ()
    """For each face the aligned crop (112, 112, 3), or why a score of it would mean nothing."""
    rejection: Rejection | None = None
    """Why the photo cannot be used: it is none, or no face is in it."""
    note: str | None = None
    """What somebody should know of it, although it can be used."""

    @property
    def usable(self) -> list[Pixels]:
        """The crops to embed, in the order of their faces."""
        return [crop for crop in self.crops if not isinstance(crop, Rejection)]


def find_probe(encoder: Encoder, image: Image, *, name: str | None = None) -> Probe:
    """The faces of a photo, without their crops; a photo that cannot be used is a rejection, not an error."""
    return _find(encoder, image, name)[0]


def prepare_probe(encoder: Encoder, image: Image, *, name: str | None = None) -> Probe:
    """The faces of a photo with their crops; a photo that cannot be used is a rejection, not an error."""
    probe, pixels = _find(encoder, image, name)
    if pixels is None:
        return probe
    return replace(probe, crops=tuple(_crop(pixels, face) for face in probe.faces))


def _find(encoder: Encoder, image: Image, name: str | None) -> tuple[Probe, Pixels | None]:
    called = name or image_name(image)
    try:
        pixels, note = load_noted(image)
    except PhotoError as error:
        return Probe(called, (), rejection=_reason(error)), None
    try:
        faces = tuple(encoder.detect(pixels))
    except PhotoError as error:
        return Probe(called, (), rejection=_reason(error)), None
    if not faces:
        return Probe(called, (), rejection=Rejection(Reason.FACE_NOT_FOUND, encoder.none_found)), None
    return Probe(called, faces, note=note), pixels


def _crop(pixels: Pixels, face: Face) -> Pixels | Rejection:
    try:
        crop = align(pixels, face.landmarks)
    except PhotoError as error:
        return _reason(error)
    return judge(face, measure(face, crop), PROBE_LIMITS) or crop


def prepare_single(encoder: Encoder, image: Image, policy: FacePolicy, *, name: str | None = None) -> Probe:
    """The photo's one face, or its largest, however poor.

    Raises `PhotoError`, `NoFaceError`, or `MultipleFacesError` where the policy is `single` and no face dominates; each
    begins with the photo's name.
    """
    called = name or image_name(image)
    with _naming(called):
        pixels, note = load_noted(image)
        size = (pixels.shape[1], pixels.shape[0])
        chosen = choose_faces(encoder.detect(pixels), policy, size, encoder.none_found)
    if isinstance(chosen, Rejection):
        kind = NoFaceError if chosen.reason is Reason.FACE_NOT_FOUND else MultipleFacesError
        hint = "Use --faces largest to take the largest." if kind is MultipleFacesError else "Try another photo."
        raise kind(f"{called}: {chosen.detail}", hint)
    with _naming(called):
        return Probe(called, tuple(chosen), tuple(align(pixels, face.landmarks) for face in chosen), note=note)


@contextmanager
def _naming(photo: str) -> Iterator[None]:
    """Errors of a photo begin with its name."""
    try:
        yield
    except PhotoError as error:
        raise PhotoError(f"{photo}: {error.message}", reason=error.reason, hint=error.hint) from error


def embed_probes(encoder: Encoder, probes: Sequence[Probe]) -> list[tuple[Probe, Vectors]]:
    """Each probe with (n, d) float32, a row for each of its usable faces; all of them share runs of the recogniser.

    A face that the recogniser fails on is not usable in the probe that comes back.
    """
    made = iter(encoder.embed_crops([crop for probe in probes for crop in probe.usable]))
    return [_embedded(probe, [next(made) for _ in probe.usable], encoder.info.dimension) for probe in probes]


def _embedded(probe: Probe, made: Sequence[Vector | Rejection], dimension: int) -> tuple[Probe, Vectors]:
    remaining = iter(made)
    crops: list[Pixels | Rejection] = []
    for crop in probe.crops:
        vector = crop if isinstance(crop, Rejection) else next(remaining)
        crops.append(vector if isinstance(vector, Rejection) else crop)
    rows = [vector for vector in made if not isinstance(vector, Rejection)]
    return replace(probe, crops=tuple(crops)), np.array(rows, np.float32).reshape(-1, dimension)


def identify(gallery: Gallery, encoder: Encoder, image: Image, options: SearchOptions) -> list[SearchResult]:
    """One result per face, best detection first; a photo or face that cannot be searched is `unusable`."""
    probe = prepare_probe(encoder, image)
    ((probe, vectors),) = embed_probes(encoder, [probe])
    if not len(vectors):
        return decide_probe(probe, [], options)
    model_id = encoder.info.model_id  # another may have become the gallery's while the photo was looked at
    if not options.degraded:
        return decide_probe(probe, gallery.search(vectors, options.k, options.where, model_id), options)
    found, complete = gallery.search_or_local(vectors, options.k, options.where, model_id)
    return [replace(result, complete=complete) for result in decide_probe(probe, found, options)]


def decide_probe(probe: Probe, found: Sequence[Sequence[Candidate]], options: SearchOptions) -> list[SearchResult]:
    """One result per face, from the candidates `found` for each usable one; one for a photo without any face."""
    if probe.rejection is not None:
        return [_unusable(probe.name, None, None, probe.rejection, options)]
    remaining = iter(found)
    return [
        _unusable(probe.name, number, face, crop, options)
        if isinstance(crop, Rejection)
        else replace(_decided(probe.name, number, face, next(remaining), options), note=probe.note)
        for number, (face, crop) in enumerate(zip(probe.faces, probe.crops, strict=True), 1)
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


def _reason(error: PhotoError) -> Rejection:
    return Rejection(Reason(error.reason), error.message)


def verify(encoder: Encoder, a: Image, b: Image, threshold: Threshold, policy: FacePolicy) -> Comparison:
    """Compare two photos 1:1. Raises as `prepare_single`, and says which of the two it is."""
    names = zip((a, b), pair_names(image_name(a), image_name(b)), strict=True)
    probes = [prepare_single(encoder, image, policy, name=name) for image, name in names]
    first, second = (single_vector(*embedded) for embedded in embed_probes(encoder, probes))
    notes = (probes[0].note, probes[1].note)
    return Comparison(image_name(a), image_name(b), float(np.dot(first, second)), threshold, notes)


def pair_names(a: str, b: str) -> tuple[str, str]:
    """How errors of a comparison call the two photos, which may have one name or none."""
    return f"The first photo ({a})", f"The second photo ({b})"


def single_vector(probe: Probe, vectors: Vectors) -> Vector:
    """The vector of a probe with one face. Raises `PhotoError` where the recogniser failed on it."""
    (crop,) = probe.crops
    if isinstance(crop, Rejection):
        raise PhotoError(f"{probe.name}: {crop.detail}", reason=crop.reason, hint="Try --provider cpu.")
    vector: Vector = vectors[0]
    return vector


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
