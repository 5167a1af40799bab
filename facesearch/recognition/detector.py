"""Finds faces: letterbox, a network at one or several sizes, non-maximum suppression, one face of several sizes."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.errors import ConfigError, ModelError, PhotoError
from facesearch.recognition.networks import (
    STRIDES,
    Batched,
    Candidates,
    failure,
    keeps_photos_apart,
    network_of,
    require_sizes,
)
from facesearch.recognition.runtime import Trust
from facesearch.types import DETECTION_THRESHOLD, Face
from facesearch.versions import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from facesearch.recognition.networks import Network
    from facesearch.recognition.runtime import Session
    from facesearch.types import Pixels


@dataclass(frozen=True, slots=True)
class DetectionSizes:
    """At which sizes a photo is looked at, and what becomes of what is found at several."""

    sides: tuple[int, ...]
    """Longer side of the network's input in pixels, coarse to fine."""
    square: bool = False
    """Pad photos to a square, as InsightFace does, and not to the next multiple of 32: a photo of 4:3 spends a quarter
    of the network's time on padding then."""
    average: bool = False
    """Take a face's box and landmarks as the mean over the sizes, and not from the size with the best score."""
    only_if_needed: bool = False
    """Look at the second size only where the first found nothing, or small faces only."""


AUTO: Final = DetectionSizes((128, 640), average=True)
"""At 640 small faces are found, at 128 those that fill the photo. Suppression decides which faces there are; the mean
of both sizes is more accurate than either: on 1,662 people of LFW by 0.9 points of TAR at FAR 1e-3."""
FAST: Final = DetectionSizes((320, 640), only_if_needed=True)
INSIGHTFACE: Final = DetectionSizes((128, 640), square=True)
"""InsightFace's own rule, for comparison with it."""
NAMED_SIZES: Final = {"auto": AUTO, "fast": FAST, "insightface": INSIGHTFACE}
MAX_SIZE: Final = 4096
"""Larger detection sizes ask for gigabytes."""
LARGE_ENOUGH: Final = 40
"""Pixels at 320: with a face whose shorter side has these, an eighth of the photo, `fast` looks no closer. Measured on
LFW (SCRFD-500M, MobileFace): templates have a cosine of 0.96 to those found at 640 here, 0.98 at most, 0.90 at half."""
NMS_THRESHOLD: Final = 0.4
"""Of two boxes that overlap more (intersection over union) only the better stays; InsightFace's default."""
MOST_SIDE: Final = 400
"""Pixels of the network's input: larger faces are left out of the mean, unless there is no other size."""
FULL_WEIGHT: Final = 150
"""Pixels of the network's input from which a face counts no more by its size in the mean."""
_GREY: Final = np.full((64, 64, 3), 127, np.uint8)
"""A photo that no detector has a reason to fail on."""


def parse_det_size(text: str) -> DetectionSizes:
    """`auto`, `fast` and `insightface` by their names; `640` -> 640 alone; `insightface:640` -> that, padded square.

    Raises:
        ConfigError: neither of these words nor a positive multiple of 32 up to 4096.
    """
    if text in NAMED_SIZES:
        return NAMED_SIZES[text]
    digits = text.removeprefix("insightface:")
    size = int(digits) if digits.isascii() and digits.isdigit() else 0
    if str(size) != digits or size < STRIDES[-1] or size % STRIDES[-1] or size > MAX_SIZE:
        raise ConfigError(
            f"{text!r} is not a detection size.",
            f"Use auto, fast, insightface, or a multiple of {STRIDES[-1]} up to {MAX_SIZE}, such as 640.",
        )
    return DetectionSizes((size,), square=digits != text)


class Letterbox:
    """Makes a network's input of photos. Used by one thread at a time.

    At 640 an input has up to 4.9 MB: making a new one for each photo was measured to cost as much as filling it, as the
    system hands out zeroed pages.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._memory = np.empty(0, np.float32)

    def put(self, pixels: Pixels, scaled: tuple[int, int], shape: tuple[int, int]) -> NDArray[np.float32]:
        """The photo, scaled to a height and width, as (1, 3, *shape), black at right and below.

        Good until the next call.
        """
        needed = 3 * shape[0] * shape[1]
        if len(self._memory) < needed:
            self._memory = np.empty(needed, np.float32)
        blob = self._memory[:needed].reshape(1, 3, *shape)
        network, (height, width) = self._network, scaled
        require("cv2")
        import cv2

        planes = cv2.split(cv2.resize(pixels, (width, height)))  # converting whole planes is what is fast
        area = blob[0, :, :height, :width]
        for plane, filled in zip(reversed(planes) if network.is_bgr else planes, area, strict=True):
            np.subtract(plane, network.mean, out=filled)
        area *= network.scale
        blob[0, :, height:] = blob[0, :, :height, width:] = -network.mean * network.scale
        return blob


class Detector:
    """A network at one or several input sizes. Safe to use from several threads."""

    def __init__(
        self,
        session: Session,
        sizes: DetectionSizes,
        threshold: float = DETECTION_THRESHOLD,
        nms_threshold: float = NMS_THRESHOLD,
        *,
        kind: str | None = None,
        batch: int = 1,
        trust: Trust | None = None,
    ) -> None:
        """Checks that the model is an SCRFD or a YuNet, which `kind` may say, and takes the sizes.

        `batch` photos of one shape, of threads that detect at once, share a run where the model keeps them apart.

        Raises:
            ModelError: it is not.
            ConfigError: it takes one size only, and that is another.
        """
        self._network = network_of(session, kind)
        self._fixed = session.input_shape[2:4]
        require_sizes(session.input_shape, sizes.sides)
        share = batch > 1 and keeps_photos_apart(session, self._network)
        self._session: Session = Batched(session, batch) if share else session
        self._sizes = sizes
        self._threshold = threshold
        self._nms_threshold = nms_threshold
        self._trust = trust or Trust("The detector")
        self._own = threading.local()

    def detect(self, pixels: Pixels) -> list[Face]:
        """All faces of an upright RGB photo (height, width, 3) uint8, best score first.

        Raises:
            PhotoError: `model_failure`, the model does not run on this photo, or its output is not finite.
            ModelError: its outputs are not those of its kind, or it has failed on everything so far.
        """
        try:
            faces = self._find(pixels)
        except PhotoError as error:
            self._trust.failed(error.message, self._fails_on_grey)
            raise
        self._trust.has_worked = True
        return faces

    def _fails_on_grey(self) -> bool:
        try:
            self._find(_GREY)
        except PhotoError:
            return True
        return False

    def inputs(self, pixels: Pixels) -> list[NDArray[np.float32]]:
        """What the network is given of a photo: (1, 3, height, width) at each size."""
        return [self._input(pixels, side).copy() for side in self._sizes.sides]

    def _input(self, pixels: Pixels, side: int) -> NDArray[np.float32]:
        scaled = fit(pixels, side)
        return self._letterbox.put(pixels, scaled, self._shape(scaled))

    def _find(self, pixels: Pixels) -> list[Face]:
        looks = [self._look(pixels, self._sizes.sides[0])]
        if not self._sizes.only_if_needed or not np.any(_sides(looks[0].boxes).min(axis=1) >= LARGE_ENOUGH):
            looks += [self._look(pixels, side) for side in self._sizes.sides[1:]]
        return self._faces(pixels, looks)

    def _look(self, pixels: Pixels, side: int) -> Candidates:
        """The detections at one size, in pixels of the input."""
        blob = self._input(pixels, side)
        try:
            outputs = self._session.run(blob)
        except ModelError as error:
            raise failure(error.message) from error
        rows = [each.reshape(each.shape[-2:]) for each in outputs]  # whether or not the model keeps the batch axis
        found = self._network.decode(rows, (blob.shape[2], blob.shape[3]), self._threshold)
        if not np.isfinite(found.boxes).all():
            raise failure("The detector returned boxes that are not finite.")
        if self._network.has_landmarks and not np.isfinite(found.landmarks).all():
            raise failure("The detector returned landmarks that are not finite.")
        return found

    def _faces(self, pixels: Pixels, looks: Sequence[Candidates]) -> list[Face]:
        """The photo's faces, best first: joint suppression decides which there are."""
        height = pixels.shape[0]
        scales = [fit(pixels, side)[0] / height for side in self._sizes.sides[: len(looks)]]
        scaled = list(zip(looks, scales, strict=True))
        scores = np.concatenate([each.scores for each in looks])
        boxes = np.concatenate([np.divide(each.boxes, scale, dtype=np.float32) for each, scale in scaled])
        landmarks = np.concatenate([np.divide(each.landmarks, scale, dtype=np.float32) for each, scale in scaled])
        kept = nms(boxes, scores, self._nms_threshold)
        faces = boxes[kept], landmarks[kept]
        if self._sizes.average and len(kept):
            sides = np.concatenate([_sides(each.boxes).max(axis=1) for each in looks])
            same = (overlaps(boxes[kept], boxes) > self._nms_threshold) & (sides <= MOST_SIDE)
            faces = _means(boxes, landmarks, scores, sides, same, kept, np.cumsum([len(each.scores) for each in looks]))
        return [Face(box, points, float(scores[i])) for i, box, points in zip(kept, *faces, strict=True)]

    def _shape(self, scaled: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the input for a photo that was scaled to (height, width)."""
        if self._sizes.square:
            scaled = max(scaled), max(scaled)
        return (self._fixed[0] or _padded(scaled[0])), (self._fixed[1] or _padded(scaled[1]))

    @property
    def _letterbox(self) -> Letterbox:
        """This thread's own."""
        if not hasattr(self._own, "letterbox"):
            self._own.letterbox = Letterbox(self._network)
        made: Letterbox = self._own.letterbox
        return made


def fit(pixels: Pixels, side: int) -> tuple[int, int]:
    """Height and width of the photo scaled to the longer side `side`.

    They are rounded down, and the scale is that of the height, as InsightFace does; a side never falls to zero.
    """
    height, width = pixels.shape[:2]
    ratio = height / width  # divided first, as the reference does: 290 x 400 at 640 becomes 463 wide, not 464
    if ratio > 1:
        return side, max(1, int(side / ratio))
    return max(1, int(side * ratio)), side


def _padded(side: int) -> int:
    return -(-side // STRIDES[-1]) * STRIDES[-1]


def _sides(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 2): width and height."""
    return boxes[:, 2:] - boxes[:, :2]


def _means(
    boxes: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    scores: NDArray[np.float32],
    sides: NDArray[np.float32],
    same: NDArray[np.bool_],
    kept: NDArray[np.intp],
    ends: NDArray[np.intp],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes (k, 4) and landmarks (k, 5, 2) of the `kept` faces: of each the mean of its best detection at each size.

    `same` (k, n) says which of the n detections show a face; those of a size end before its number in `ends`. Weights
    are the score times the side in pixels of the input, up to `FULL_WEIGHT`.
    """
    best = np.repeat(kept[:, None], len(ends), axis=1)
    weights = np.zeros(best.shape, np.float32)
    for size, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        if start < end:
            found = np.where(same[:, start:end], scores[start:end], 0)
            best[:, size] = start + found.argmax(axis=1)
            weights[:, size] = found.max(axis=1) * np.minimum(sides[best[:, size]], FULL_WEIGHT)
    alone = ~weights.any(axis=1)
    best[alone, 0], weights[alone, 0] = kept[alone], 1
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("ks,ksc->kc", weights, boxes[best]), np.einsum("ks,kspc->kpc", weights, landmarks[best])


def overlaps(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, m): intersection over union of the boxes `a` (n, 4) and `b` (m, 4).

    Sides count both end pixels (+1), the convention of the Fast R-CNN code and of InsightFace.
    """
    inside = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2]) + 1
    shared = np.prod(np.maximum(inside, 0), axis=2)
    areas = np.prod(_sides(a) + 1, axis=1)[:, None] + np.prod(_sides(b) + 1, axis=1)
    ratios: NDArray[np.float32] = shared / (areas - shared)
    return ratios


def nms(boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float) -> NDArray[np.intp]:
    """Indices of the boxes (n, 4) that stay, best score (n,) first; of equal scores the earlier box wins.

    Greedy: a box goes when its overlap with a better one that stays exceeds `threshold`.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        order = rest[overlaps(boxes[best : best + 1], boxes[rest])[0] <= threshold]
    return np.array(kept, dtype=np.intp)
