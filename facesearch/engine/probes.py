"""Probes: from one photo to search results, comparisons and faces."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from facesearch.errors import ConfigError, MultipleFacesError, NoFaceError, PhotoError
from facesearch.gallery.decision import DEFAULT_MARGIN, decide
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
from facesearch.vision.decoding import decode_guarded
from facesearch.vision.photo import read_photo_bytes
from facesearch.vision.quality import PROBE_LIMITS, FacePolicy, choose_faces, judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from facesearch.gallery.gallery import Gallery
    from facesearch.vision.encoder import Encoder

Image: TypeAlias = Path | str | bytes | Pixels
"""A photo: a path, the bytes of a file, or pixels (height, width, 3) uint8, RGB and upright."""


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

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"k is {self.k}, but at least one candidate has to be asked for.", "Give -k 1 or more.")
        if not self.margin >= 0:
            raise ConfigError(f"The margin is {self.margin}, which is below 0.", "Give --margin 0 to switch it off.")


def image_name(image: Image) -> str:
    """How results refer to the photo: its path, or what kind of object was given."""
    if isinstance(image, (str, Path)):
        return os.fspath(image)
    return "<bytes>" if isinstance(image, bytes) else "<array>"


def load_image(image: Image) -> Pixels:
    """Pixels (height, width, 3) uint8, RGB, upright. Raises `PhotoError`, or `ConfigError` for a wrong array."""
    if isinstance(image, (str, Path)):
        return decode_guarded(read_photo_bytes(Path(image)))
    if isinstance(image, bytes):
        return decode_guarded(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ConfigError(
            f"An array of shape {image.shape} and type {image.dtype} is no photo.",
            "Give (height, width, 3) uint8 in RGB order; OpenCV's arrays are BGR: image[:, :, ::-1].",
        )
    return np.ascontiguousarray(image)


def identify(gallery: Gallery, encoder: Encoder, image: Image, options: SearchOptions) -> list[SearchResult]:
    """One result per face, best detection first; a photo or face that cannot be searched is `unusable`."""
    name = image_name(image)
    try:
        pixels = load_image(image)
        faces = encoder.detect(pixels)
    except PhotoError as error:
        return [_unusable(name, None, None, _reason(error), options)]
    if not faces:
        return [_unusable(name, None, None, Rejection(Reason.FACE_NOT_FOUND, "No face was found."), options)]
    encoded = _encode_usable(encoder, pixels, faces)
    vectors = np.array([each.vector for each in encoded if isinstance(each, Template)], np.float32)
    found = iter(gallery.search(vectors, options.k, options.where) if len(vectors) else ())
    return [
        _unusable(name, index, face, each, options)
        if isinstance(each, Rejection)
        else _decided(name, index, face, next(found), options)
        for index, (face, each) in enumerate(zip(faces, encoded, strict=True))
    ]


def _decided(
    name: str, index: int, face: Face, candidates: Sequence[Candidate], options: SearchOptions
) -> SearchResult:
    decision, margin = decide(candidates, options.threshold.value, options.margin)
    return SearchResult(name, index, face, decision, options.threshold, tuple(candidates[: options.k]), margin)


def _unusable(
    name: str, index: int | None, face: Face | None, rejection: Rejection, options: SearchOptions
) -> SearchResult:
    return SearchResult(name, index, face, Decision.UNUSABLE, options.threshold, rejection=rejection)


def _reason(error: PhotoError) -> Rejection:
    return Rejection(Reason(error.reason), error.message)


def _encode_usable(encoder: Encoder, pixels: Pixels, faces: Sequence[Face]) -> list[Template | Rejection]:
    """A template per face, or why a score of it would mean nothing."""
    try:
        templates = encoder.encode(pixels, faces)
    except PhotoError as error:
        if len(faces) == 1:
            return [_reason(error)]
        return [each for face in faces for each in _encode_usable(encoder, pixels, [face])]
    return [judge(each.face, each.quality, PROBE_LIMITS) or each for each in templates]


def one_face(encoder: Encoder, image: Image, policy: FacePolicy) -> Template:
    """The template of the photo's one face, or of its largest.

    Raises `PhotoError`, `NoFaceError`, or `MultipleFacesError` where the policy is `single` and no face dominates.
    """
    pixels = load_image(image)
    chosen = choose_faces(encoder.detect(pixels), policy, (pixels.shape[1], pixels.shape[0]))
    if isinstance(chosen, Rejection):
        kind = NoFaceError if chosen.reason is Reason.FACE_NOT_FOUND else MultipleFacesError
        hint = "Use --faces largest to take the largest." if kind is MultipleFacesError else "Try another photo."
        raise kind(f"{image_name(image)}: {chosen.detail}", hint)
    (template,) = encoder.encode(pixels, chosen)
    return template


def verify(encoder: Encoder, a: Image, b: Image, threshold: Threshold, policy: FacePolicy) -> Comparison:
    """Compare two photos 1:1. Raises as `one_face`."""
    first, second = one_face(encoder, a, policy), one_face(encoder, b, policy)
    score = float(np.dot(first.vector, second.vector))
    return Comparison(image_name(a), image_name(b), score, threshold)


def draw_faces(photo: Path, boxes: Sequence[tuple[Face, str, bool]], out: Path) -> None:
    """Write a copy of the photo with boxes and labels (face, label, matched), in the format of `out`'s suffix.

    Raises `PhotoError` if the photo cannot be read, `ConfigError` if `out` cannot be written.
    """
    from facesearch.vision.annotate import annotate, save_photo

    save_photo(annotate(load_image(photo), boxes), out)


def draw_results(photo: Path, results: Sequence[SearchResult], out: Path) -> None:
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


def write_embeddings(out: Path, found: Sequence[tuple[Path, Template]], model: ModelInfo) -> None:
    """Write n faces as .npz, readable by the owner alone: vectors (n, d) float32, photos (n,), boxes (n, 4), landmarks
    (n, 5, 2), scores (n,) of detection, and the model's id. Raises `ConfigError` if it cannot be written.
    """
    templates = [template for _, template in found]
    arrays = {
        "vectors": np.array([each.vector for each in templates], np.float32).reshape(-1, model.dimension),
        "photos": np.array([str(path) for path, _ in found], str),
        "boxes": np.array([each.face.box for each in templates], np.float32).reshape(-1, 4),
        "landmarks": np.array([each.face.landmarks for each in templates], np.float32).reshape(-1, 5, 2),
        "scores": np.array([each.face.detection_score for each in templates], np.float32),
        "model_id": np.array(model.model_id),
    }
    try:
        with os.fdopen(os.open(out, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # the stub takes the keywords for allow_pickle
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}.", "Choose another place.") from error
