"""Which faces of a photo are used, and why a face is not good enough."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from facesearch.errors import PhotoError
from facesearch.names import told_apart
from facesearch.recognition.embedder import align
from facesearch.types import Face, Pixels, Quality, Reason, Rejection
from facesearch.versions import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


NO_FACE: Final = "No face was found."
DOMINANCE: Final = 2.5
"""A face whose box has at least this many times the area of the next is the subject of the photo."""


NEARLY_LARGEST: Final = 0.8
"""Boxes of at least this share of the largest one's area count as equally large: then the middle of the photo decides.
On LFW, whose subjects are centred, the largest box alone is another person's in 2 of 807 photos, at 0.87 and 0.99."""


class FacePolicy(StrEnum):
    """Which of a photo's faces are meant."""

    SINGLE = "single"
    """Exactly one, or one that dominates: any other number is an error of whoever took the photo."""
    LARGEST = "largest"
    """The one with the largest box; among boxes of nearly that size, the one nearest the middle of the photo."""
    ALL = "all"
    """Each of them, best detection score first."""


FaceChoice: TypeAlias = FacePolicy | int
"""Which faces are meant: a policy, or one face by its number: from 1 on, best detection first."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The least a face must offer; each value itself is still good enough."""

    min_size: float
    """Shorter side of the box, in pixels of the photo."""
    min_detection_score: float
    """0..1."""
    min_sharpness: float
    """Variance of the Laplacian, see `Quality`."""
    max_yaw: float
    """Magnitude, in eye distances, see `Quality`."""
    max_roll: float
    """Magnitude, in degrees; 180 turns the limit off."""


ENROLL_LIMITS: Final = Limits(min_size=40.0, min_detection_score=0.6, min_sharpness=20.0, max_yaw=1.25, max_roll=35.0)
"""For a gallery, where one bad template harms every search: what leaves a vector close to that of a good photo.

Measured on 100 mated pairs of LFW with SCRFD-500M and a MobileFace recogniser, one photo of each pair made worse. Given
are the median cosine with the same photo untouched, and the share of pairs that still reach the threshold (0.84 with
both untouched):

    size in px       64: 0.99, 0.84   48: 0.97, 0.83   40: 0.95, 0.82   32: 0.90, 0.82   24: 0.76, 0.61   16: 0.45, 0.11
    sharpness        100: 1.00, 0.84   49: 0.98, 0.82   26: 0.91, 0.82   16: 0.79, 0.65   8: 0.48, 0.15   6: 0.27, 0.00
    roll in degrees  15: 0.97, 0.86   30: 0.93, 0.81   45: 0.76, 0.60   60: 0.45, 0.26   90: 0.12, 0.12

(sharpness is the median after Gaussian blur of 0.5, 1, 1.5, 2, 3 and 4 pixels on faces 95 pixels wide). Yaw, on 535
photos as they are: pairs reach the threshold at a rate of 0.85 to 0.90 below 0.4, and 3 of 4, 1 of 3, 3 of 3 photos
do at 0.4 to 0.5, 0.5 to 0.6 and above, where the largest was 1.2: profiles are worse, not worthless, so only what is
beyond the data is refused. Detection scores were 0.74 and more upright, and fell below 0.6 with faces
tilted by 60 degrees or more. Of LFW's 807 photos these limits refuse none.
"""
PROBE_LIMITS: Final = Limits(min_size=16.0, min_detection_score=0.5, min_sharpness=5.0, max_yaw=math.inf, max_roll=75.0)
"""For a probe, where a poor face costs one search only: refused is what makes a score meaningless.

Measured as at `ENROLL_LIMITS`: at 12 pixels, at a sharpness of 6 or upside down, at most one mated pair in a hundred
still reached the threshold. Between these limits and those for enrolment faces match less often, not more wrongly.
"""

NO_LIMITS: Final = Limits(min_size=0.0, min_detection_score=0.0, min_sharpness=0.0, max_yaw=math.inf, max_roll=180.0)
"""Every face is good enough: what `verify` compares, and what an evaluation has to count."""


def measure(face: Face, crop: Pixels) -> Quality:
    """Size, sharpness and pose of a face with landmarks and its aligned crop (112, 112, 3) uint8 RGB."""
    left, right, nose = face.landmarks[:3].astype(np.float64)
    eyes = right - left
    distance = float(np.hypot(*eyes))
    yaw = float((nose - (left + right) / 2) @ eyes) / distance**2 if distance > 0 else math.inf
    require("cv2")
    import cv2

    luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    return Quality(
        size=min(face.width, face.height),
        sharpness=float(cv2.Laplacian(luma, cv2.CV_32F).var()),
        yaw=yaw,
        roll=math.degrees(math.atan2(eyes[1], eyes[0])),
    )


def choose_faces(
    faces: Sequence[Face], policy: FaceChoice, photo_size: tuple[int, int], none_found: str = NO_FACE
) -> list[Face] | Rejection:
    """The faces the policy means in a photo of (width, height) pixels.

    A Rejection where there is none, which `none_found` describes, or with `single` where it is not clear which.
    """
    if not faces:
        return Rejection(Reason.FACE_NOT_FOUND, none_found)
    if isinstance(policy, int):
        if 1 <= policy <= len(faces):
            return [faces[policy - 1]]
        return Rejection(Reason.FACE_NOT_FOUND, f"There is no face {policy}: {len(faces)} were found.")
    if policy is FacePolicy.ALL:
        return list(faces)
    by_area = sorted(faces, key=lambda face: -face.area)
    if policy is FacePolicy.SINGLE and len(faces) > 1 and by_area[0].area < DOMINANCE * by_area[1].area:
        return Rejection(Reason.MULTIPLE_FACES, f"{len(faces)} faces were found, and none of them dominates.")
    large = [face for face in by_area if face.area >= NEARLY_LARGEST * by_area[0].area]
    return [min(large, key=lambda face: _distance_to_middle(face, photo_size))]


def _distance_to_middle(face: Face, photo_size: tuple[int, int]) -> float:
    x1, y1, x2, y2 = face.box.tolist()
    return math.hypot((x1 + x2 - photo_size[0]) / 2, (y1 + y2 - photo_size[1]) / 2)


def refusal(error: PhotoError) -> Rejection:
    """The rejection that says what an error says."""
    return Rejection(Reason(error.reason), error.message)


def crop_face(pixels: Pixels, face: Face, limits: Limits) -> tuple[Pixels, Quality] | Rejection:
    """The face's crop (112, 112, 3) uint8 RGB with its quality, or why it is not used."""
    try:
        crop = align(pixels, face.landmarks)
    except PhotoError as error:
        return refusal(error)
    quality = measure(face, crop)
    return judge(face, quality, limits) or (crop, quality)


def judge(face: Face, quality: Quality, limits: Limits) -> Rejection | None:
    """Why the face is not good enough, or None where it is."""
    if quality.size < limits.min_size:
        size, limit = told_apart(quality.size, limits.min_size)
        return Rejection(Reason.FACE_TOO_SMALL, f"The face is {size} pixels wide; at least {limit} are needed.")
    if face.detection_score < limits.min_detection_score:
        score, limit = told_apart(face.detection_score, limits.min_detection_score, 2)
        return Rejection(Reason.LOW_DETECTION_SCORE, f"The detection score is {score}; at least {limit} is needed.")
    if quality.sharpness < limits.min_sharpness:
        sharpness, limit = told_apart(quality.sharpness, limits.min_sharpness)
        return Rejection(Reason.BLURRED, f"The sharpness is {sharpness}; at least {limit} is needed.")
    if not abs(quality.yaw) <= limits.max_yaw:
        yaw, limit = told_apart(abs(quality.yaw), limits.max_yaw, 2)
        return Rejection(Reason.EXTREME_POSE, f"The face is turned by {yaw}; at most {limit} is allowed.")
    if abs(quality.roll) > limits.max_roll:
        roll, limit = told_apart(abs(quality.roll), limits.max_roll)
        return Rejection(Reason.EXTREME_POSE, f"The face is tilted by {roll} degrees; at most {limit} are allowed.")
    return None


Box: TypeAlias = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the upright photo."""

SAME_FACE: Final = 0.5
"""Intersection over union from which two boxes show one face: what detectors are compared by (PASCAL VOC, WIDER FACE).
Between SCRFD-500M and SCRFD-2.5G, on every eighth photo of LFW's 807, it was 0.89 or more.
"""
CLEARLY: Final = 0.2
"""How far the best overlap has to be ahead of the next, so that it is no question which face is meant: on the same
photos it was 0.55 or more."""


def overlaps(boxes: Sequence[Box], faces: Sequence[Face]) -> NDArray[np.float64]:
    """(len(boxes), len(faces)) float64: intersection over union, 0..1."""
    a = np.array(boxes, np.float64).reshape(-1, 1, 4)
    b = np.array([face.box for face in faces], np.float64).reshape(1, -1, 4)
    inside = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(inside, 0), axis=-1)
    both = np.prod(a[..., 2:] - a[..., :2], axis=-1) + np.prod(b[..., 2:] - b[..., :2], axis=-1) - shared
    ratios: NDArray[np.float64] = np.divide(shared, both, out=np.zeros_like(shared), where=both > 0)
    return ratios


def refind(boxes: Sequence[Box], faces: Sequence[Face]) -> list[int | Rejection]:
    """For each known box the position in `faces` of the face it shows, or why none is taken.

    Nothing is guessed: a face that two boxes claim is given to neither, and where two faces overlap a box about
    equally, none is taken.
    """
    if not faces:
        return [Rejection(Reason.FACE_NOT_FOUND, "No face was found.")] * len(boxes)
    found = [_choose(row) for row in overlaps(boxes, faces)]
    claimed = [each for each in found if isinstance(each, int)]
    return [
        Rejection(Reason.MULTIPLE_FACES, "Two enrolled faces overlap one that was found.")
        if isinstance(each, int) and claimed.count(each) > 1
        else each
        for each in found
    ]


def _choose(row: NDArray[np.float64]) -> int | Rejection:
    best = int(row.argmax())
    if row[best] < SAME_FACE:
        overlap, needed = told_apart(float(row[best]), SAME_FACE, 2)
        return Rejection(
            Reason.FACE_NOT_FOUND,
            f"No face was found where the enrolled one is: the best overlap is {overlap}; at least {needed} is needed.",
        )
    if len(row) > 1 and row[best] - np.delete(row, best).max() < CLEARLY:
        return Rejection(Reason.MULTIPLE_FACES, "It is not clear which of the faces found is the enrolled one.")
    return best
