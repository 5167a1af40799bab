"""Which faces of a photo are used, and why a face is not good enough."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from facesearch.types import Face, Pixels, Quality, Reason, Rejection

if TYPE_CHECKING:
    from collections.abc import Sequence

DOMINANCE: Final = 2.5
"""A face whose box has at least this many times the area of the next is the subject of the photo."""


class FacePolicy(StrEnum):
    """Which of a photo's faces are meant."""

    SINGLE = "single"
    """Exactly one, or one that dominates: any other number is an error of whoever took the photo."""
    LARGEST = "largest"
    """The one with the largest box."""
    ALL = "all"
    """Each of them, best detection score first."""


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


ENROLL_LIMITS: Final = Limits(min_size=40.0, min_detection_score=0.6, min_sharpness=30.0, max_yaw=0.6, max_roll=60.0)
PROBE_LIMITS: Final = Limits(
    min_size=16.0, min_detection_score=0.5, min_sharpness=0.0, max_yaw=math.inf, max_roll=180.0
)


def measure(face: Face, crop: Pixels) -> Quality:
    """Size, sharpness and pose of a face with landmarks and its aligned crop (112, 112, 3) uint8 RGB."""
    left, right, nose = face.landmarks[:3].astype(np.float64)
    eyes = right - left
    distance = float(np.hypot(*eyes))
    yaw = float((nose - (left + right) / 2) @ eyes) / distance**2 if distance > 0 else math.inf
    luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    return Quality(
        size=min(face.width, face.height),
        sharpness=float(cv2.Laplacian(luma, cv2.CV_32F).var()),
        yaw=yaw,
        roll=math.degrees(math.atan2(eyes[1], eyes[0])),
    )


def choose_faces(faces: Sequence[Face], policy: FacePolicy, dominance: float = DOMINANCE) -> list[Face] | Rejection:
    """The faces the policy means; a Rejection where there is none, or with `single` where it is not clear which."""
    if not faces:
        return Rejection(Reason.FACE_NOT_FOUND, "No face was found.")
    if policy is FacePolicy.ALL:
        return list(faces)
    by_area = sorted(faces, key=lambda face: -face.area)
    if policy is FacePolicy.SINGLE and len(faces) > 1 and by_area[0].area < dominance * by_area[1].area:
        return Rejection(Reason.MULTIPLE_FACES, f"{len(faces)} faces were found, and none of them dominates.")
    return by_area[:1]


def judge(face: Face, quality: Quality, limits: Limits) -> Rejection | None:
    """Why the face is not good enough, or None where it is."""
    if quality.size < limits.min_size:
        return Rejection(
            Reason.FACE_TOO_SMALL, f"The face is {quality.size:.0f} pixels wide; {limits.min_size:g} are needed."
        )
    if face.detection_score < limits.min_detection_score:
        return Rejection(
            Reason.LOW_DETECTION_SCORE,
            f"The detection score is {face.detection_score:.2f}; {limits.min_detection_score:g} is needed.",
        )
    if quality.sharpness < limits.min_sharpness:
        return Rejection(
            Reason.BLURRED, f"The sharpness is {quality.sharpness:.0f}; {limits.min_sharpness:g} is needed."
        )
    if not abs(quality.yaw) <= limits.max_yaw:
        return Rejection(
            Reason.EXTREME_POSE, f"The face is turned by {abs(quality.yaw):.2f}; at most {limits.max_yaw:g} is allowed."
        )
    if abs(quality.roll) > limits.max_roll:
        return Rejection(
            Reason.EXTREME_POSE,
            f"The face is tilted by {abs(quality.roll):.0f} degrees; at most {limits.max_roll:g} are allowed.",
        )
    return None
