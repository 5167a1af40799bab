"""Finds faces with an SCRFD model (Guo et al., ICLR 2022): letterbox, decode, non-maximum suppression."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from facesearch.errors import ConfigError, ModelError, PhotoError
from facesearch.recognition.runtime import Trust
from facesearch.types import DETECTION_THRESHOLD, Face, Reason
from facesearch.versions import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from facesearch.recognition.runtime import Session
    from facesearch.types import Pixels


_MEAN: Final = np.float32(127.5)
_SCALE: Final = np.float32(1 / 128)
"""(pixel - mean) * scale: SCRFD's normalisation, as InsightFace trains and runs it."""


class Letterbox:
    """A model input that one photo after the other is put into. Used by one thread at a time.

    At 640 it has 4.9 MB: making a new one for each photo was measured to cost as much as filling it, as the system
    hands out zeroed pages.
    """

    def __init__(self, size: int) -> None:
        """`size` is the square's side in pixels."""
        self._size = size
        self._blob = np.empty((1, 3, size, size), np.float32)
        self._filled: tuple[int, int] | None = None
        """Height and width of what the last photo covered; the rest is black."""

    def put(self, pixels: Pixels) -> tuple[NDArray[np.float32], float]:
        """The photo as (1, 3, size, size), good until the next call, and the scale from photo to input.

        Sizes are rounded down and the scale is that of the height, as InsightFace does; a side never falls to zero.
        """
        height, width = pixels.shape[:2]
        new_height, new_width = self._fit(height, width)
        if self._filled != (new_height, new_width):
            self._blob.fill(-_MEAN * _SCALE)
            self._filled = new_height, new_width
        require("cv2")
        import cv2

        planes = cv2.split(cv2.resize(pixels, (new_width, new_height)))  # converting whole planes is what is fast
        area = self._blob[0, :, :new_height, :new_width]
        for plane, target in zip(planes, area, strict=True):
            np.subtract(plane, _MEAN, out=target)
        area *= _SCALE
        return self._blob, new_height / height

    def _fit(self, height: int, width: int) -> tuple[int, int]:
        ratio = height / width  # divided first, as the reference does: 290 x 400 at 640 becomes 463 wide, not 464
        if ratio > 1:
            return self._size, max(1, int(self._size / ratio))
        return max(1, int(self._size * ratio)), self._size


STRIDES: Final = (8, 16, 32)
"""Pixels per cell of the three output grids."""
ANCHORS: Final = 2
"""Per cell, both on its corner."""
AUTO_SIZES: Final = (128, 640)
"""What `auto` stands for: at 640 small faces are found, at 128 those that fill the photo."""
FAST_SIZES: Final = (320, 640)
"""What `fast` stands for: 320, and 640 as well where that found nothing, or small faces only."""
LARGE_ENOUGH: Final = 40
"""Pixels at 320: with a face whose shorter side has these, an eighth of the photo, `fast` looks no closer. Measured on
LFW (SCRFD-500M, MobileFace): templates have a cosine of 0.96 to those found at 640 here, 0.98 at most, 0.90 at half."""
NMS_THRESHOLD: Final = 0.4
"""Of two boxes that overlap more (intersection over union) only the better stays; InsightFace's default."""
MAX_SIZE: Final = 4096
"""Larger detection sizes ask for gigabytes."""

_GREY: Final = np.full((64, 64, 3), 127, np.uint8)
"""A photo that no detector has a reason to fail on."""

_NAMED_SIZES: Final = {"auto": AUTO_SIZES, "fast": FAST_SIZES}
_LANDMARKS: Final = 5


class _Candidates(NamedTuple):
    """Detections before suppression, in pixels of the photo."""

    scores: NDArray[np.float32]
    """(n,)"""
    boxes: NDArray[np.float32]
    """(n, 4)"""
    landmarks: NDArray[np.float32]
    """(n, 5, 2), NaN where the model has none."""


class Detector:
    """An SCRFD model at one or several square input sizes. Safe to use from several threads.

    Models have nine outputs (for each stride scores, boxes, landmarks) or six (no landmarks). With six, faces have
    landmarks of NaN: they can be found and counted, but not aligned.
    """

    def __init__(
        self,
        session: Session,
        det_sizes: tuple[int, ...],
        threshold: float = DETECTION_THRESHOLD,
        nms_threshold: float = NMS_THRESHOLD,
        trust: Trust | None = None,
    ) -> None:
        """Checks that the model is an SCRFD and takes the sizes. `FAST_SIZES` are tried in turn, others all.

        Raises:
            ModelError: it is not.
            ConfigError: it takes one size only, and that is another.
        """
        outputs = len(session.output_names)
        if outputs not in (2 * len(STRIDES), 3 * len(STRIDES)):
            raise ModelError(
                f"The detector has {outputs} outputs; an SCRFD has 6 or 9.", "Use an SCRFD model as the detector."
            )
        _check_input(session.input_shape, det_sizes)
        self._session = session
        self._det_sizes = det_sizes
        self._threshold = threshold
        self._nms_threshold = nms_threshold
        self._trust = trust or Trust("The detector")
        self._buffers = threading.local()
        self.has_landmarks = outputs == 3 * len(STRIDES)

    def detect(self, pixels: Pixels) -> list[Face]:
        """All faces of the photo, best score first; those of several sizes are merged by one suppression.

        Raises:
            PhotoError: `model_failure`, the model does not run on this photo, or its output is not finite.
            ModelError: its outputs are not those of an SCRFD, or it has failed on everything so far.
        """
        try:
            faces = self._find(pixels)
        except PhotoError as error:
            self._trust.failed(error.message, lambda: self._find(_GREY))
            raise
        self._trust.has_worked = True
        return faces

    def _find(self, pixels: Pixels) -> list[Face]:
        found = [self._candidates(pixels, self._det_sizes[0])]
        if self._det_sizes != FAST_SIZES or self._has_only_small_faces(found[0], pixels):
            found += [self._candidates(pixels, size) for size in self._det_sizes[1:]]
        scores, boxes, landmarks = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return [
            Face(box=boxes[i], landmarks=landmarks[i], detection_score=float(scores[i]))
            for i in nms(boxes, scores, self._nms_threshold)
        ]

    def _has_only_small_faces(self, found: _Candidates, pixels: Pixels) -> bool:
        sides = np.minimum(found.boxes[:, 2] - found.boxes[:, 0], found.boxes[:, 3] - found.boxes[:, 1])
        return not np.any(sides * self._det_sizes[0] >= LARGE_ENOUGH * max(pixels.shape[:2]))

    def _candidates(self, pixels: Pixels, size: int) -> _Candidates:
        blob, scale = self._letterbox(size).put(pixels)
        try:
            outputs = self._session.run(blob)
        except ModelError as error:
            raise _failure(error.message) from error
        levels = [self._decode(outputs, level, size) for level in range(len(STRIDES))]
        scores, boxes, landmarks = (np.concatenate(parts) for parts in zip(*levels, strict=True))
        if not np.isfinite(boxes).all():
            raise _failure("The detector returned boxes that are not finite.")
        if self.has_landmarks and not np.isfinite(landmarks).all():
            raise _failure("The detector returned landmarks that are not finite.")
        return _Candidates(
            scores, np.divide(boxes, scale, dtype=np.float32), np.divide(landmarks, scale, dtype=np.float32)
        )

    def _letterbox(self, size: int) -> Letterbox:
        """This thread's own."""
        if not hasattr(self._buffers, "by_size"):
            self._buffers.by_size = {size: Letterbox(size) for size in self._det_sizes}
        by_size: dict[int, Letterbox] = self._buffers.by_size
        return by_size[size]

    def _decode(self, outputs: Sequence[NDArray[np.float32]], level: int, size: int) -> _Candidates:
        """The candidates of one stride, in pixels of the letterboxed photo."""
        stride = STRIDES[level]
        centres = anchor_centres(size, stride)
        scores = _rows(outputs[level], len(centres), 1)[:, 0]
        if not np.isfinite(scores).all():  # compared with the threshold, NaN would be no face
            raise _failure("The detector returned scores that are not finite.")
        hits = np.flatnonzero(scores >= self._threshold)  # before decoding: few of thousands pass
        at = centres[hits]
        sides = _rows(outputs[level + len(STRIDES)], len(centres), 4)[hits] * np.float32(stride)
        boxes = np.concatenate([at - sides[:, :2], at + sides[:, 2:]], axis=1)
        if not self.has_landmarks:
            return _Candidates(scores[hits], boxes, np.full((len(hits), _LANDMARKS, 2), np.nan, np.float32))
        offsets = _rows(outputs[level + 2 * len(STRIDES)], len(centres), 2 * _LANDMARKS)[hits] * np.float32(stride)
        return _Candidates(scores[hits], boxes, at[:, None, :] + offsets.reshape(-1, _LANDMARKS, 2))


def parse_det_size(text: str) -> tuple[int, ...]:
    """`auto` -> (128, 640); `fast` -> (320, 640); `640` -> (640,).

    Raises:
        ConfigError: neither of these words nor a positive multiple of 32 up to 4096.
    """
    if text in _NAMED_SIZES:
        return _NAMED_SIZES[text]
    size = int(text) if text.isascii() and text.isdigit() else 0
    if str(size) != text or size < STRIDES[-1] or size % STRIDES[-1] or size > MAX_SIZE:
        raise ConfigError(
            f"{text!r} is no detection size.",
            f"Use auto, fast, or a multiple of {STRIDES[-1]} up to {MAX_SIZE}, such as 640.",
        )
    return (size,)


@lru_cache(maxsize=64)
def anchor_centres(size: int, stride: int) -> NDArray[np.float32]:
    """(n, 2) x, y in pixels of the input, row by row, each cell's anchors one after the other; read-only."""
    steps = np.arange(size // stride, dtype=np.float32) * stride
    x, y = np.meshgrid(steps, steps)
    centres = np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), ANCHORS, axis=0)
    centres.flags.writeable = False
    return centres


def nms(boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float) -> NDArray[np.intp]:
    """Indices of the boxes (n, 4) that stay, best score (n,) first; of equal scores the earlier box wins.

    Greedy: a box goes when its intersection over union with a better one that stays exceeds `threshold`. Sides count
    both end pixels (+1), the convention of the Fast R-CNN code and of InsightFace.
    """
    order = np.argsort(-scores, kind="stable")
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        overlap = np.minimum(boxes[best, 2:], boxes[rest, 2:]) - np.maximum(boxes[best, :2], boxes[rest, :2]) + 1
        intersection = np.prod(np.maximum(overlap, 0), axis=1)
        order = rest[intersection / (areas[best] + areas[rest] - intersection) <= threshold]
    return np.array(kept, dtype=np.intp)


def _failure(message: str) -> PhotoError:
    return PhotoError(message, reason=Reason.MODEL_FAILURE, hint="Try --provider cpu.")


def _rows(output: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """An output as (rows, columns), whether or not the model keeps the batch axis."""
    if output.shape not in ((rows, columns), (1, rows, columns)):
        raise ModelError(
            f"The detector returned an output of shape {output.shape} where SCRFD has ({rows}, {columns}).",
            "Use an SCRFD model with strides 8, 16, 32 and two anchors.",
        )
    return output.reshape(rows, columns)


def _check_input(shape: tuple[int | None, ...], det_sizes: tuple[int, ...]) -> None:
    if shape[0] not in (None, 1) or shape[1] not in (None, 3):
        raise ModelError(f"The detector takes input of shape {shape}, not one RGB photo.", "Use an SCRFD model.")
    for size in det_sizes:
        if shape[2] not in (None, size) or shape[3] not in (None, size):
            raise ConfigError(
                f"This detector takes {shape[3]}x{shape[2]} pixels only, not {size}x{size}.",
                f"Set the detection size to {shape[2]}.",
            )
