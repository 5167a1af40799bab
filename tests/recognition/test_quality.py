from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from facesearch.recognition.embedder import ARCFACE_TEMPLATE
from facesearch.recognition.quality import ENROLL_LIMITS, PROBE_LIMITS, FacePolicy, Limits, choose_faces, judge, measure
from facesearch.types import Face, Quality, Reason, Rejection
from tests.recognition.sessions import floats

GREY = np.full((112, 112, 3), 128, np.uint8)
LIMITS = Limits(min_size=40, min_detection_score=0.6, min_sharpness=20, max_yaw=0.6, max_roll=35)


def face(width: float = 100, height: float = 120, score: float = 0.9, turn: float = 0.0) -> Face:
    """A face whose landmarks are those of the template, rotated by `turn` degrees."""
    angle = math.radians(turn)
    rotation = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return Face(floats([10, 20, 10 + width, 20 + height]), (ARCFACE_TEMPLATE @ rotation).astype(np.float32), score)


def test_size_is_the_shorter_side() -> None:
    assert measure(face(50, 70), GREY).size == 50
    assert measure(face(70, 50), GREY).size == 50


@pytest.mark.parametrize("turn", [-170, -90, -30, 0, 12, 90, 179])
def test_roll_is_the_tilt_and_leaves_yaw_alone(turn: float) -> None:
    quality = measure(face(turn=turn), GREY)
    assert quality.roll == pytest.approx(turn, abs=0.5)
    assert quality.yaw == pytest.approx(0.0, abs=0.01)


def test_yaw_is_the_noses_way_from_the_middle_in_eye_distances() -> None:
    points = ARCFACE_TEMPLATE.copy()
    points[2, 0] = points[1, 0]  # the nose under the right eye
    turned = Face(floats([0, 0, 100, 100]), points, 0.9)
    assert measure(turned, GREY).yaw == pytest.approx(0.5, abs=0.01)
    points[:2] = points[0]
    assert measure(Face(turned.box, points, 0.9), GREY).yaw == math.inf


def test_sharpness_falls_with_blur_and_is_zero_without_structure() -> None:
    sharp = np.random.default_rng(3).integers(0, 256, (112, 112, 3), np.uint8)
    values = [
        measure(face(), cv2.GaussianBlur(sharp, (0, 0), sigma).astype(np.uint8)).sharpness for sigma in (0.5, 1, 3)
    ]
    assert values == sorted(values, reverse=True)
    assert measure(face(), GREY).sharpness == 0


@pytest.mark.parametrize(
    ("quality", "score", "words"),
    [
        (Quality(12, 20, 0, 0), 0.9, "12 pixels wide; at least 40 are needed"),
        (Quality(39.96, 20, 0, 0), 0.9, "39.96 pixels wide; at least 40.00 are needed"),
        (Quality(40, 20, 0, 0), 0.31, "score is 0.31; at least 0.60 is needed"),
        (Quality(40, 20, 0, 0), 0.5996, "score is 0.5996; at least 0.6000 is needed"),
        (Quality(40, 4.6, 0, 0), 0.9, "sharpness is 5; at least 20 is needed"),
        (Quality(40, 19.6, 0, 0), 0.9, "sharpness is 19.6; at least 20.0 is needed"),
        (Quality(40, math.nextafter(20, 0), 0, 0), 0.9, "sharpness is 19.999999999999996; at least 20.00"),
        (Quality(40, 20, -0.9, 0), 0.9, "turned by 0.90; at most 0.60 is allowed"),
        (Quality(40, 20, 0.6004, 0), 0.9, "turned by 0.6004; at most 0.6000 is allowed"),
        (Quality(40, 20, math.inf, 0), 0.9, "turned by inf; at most 0.60 is allowed"),
        (Quality(40, 20, 0, -35.02), 0.9, "tilted by 35.02 degrees; at most 35.00 are allowed"),
    ],
)
def test_a_message_shows_the_digit_that_decided(quality: Quality, score: float, words: str) -> None:
    rejection = judge(face(score=score), quality, LIMITS)
    assert rejection is not None
    assert words in rejection.detail


def test_each_limit_holds_at_its_value_and_not_beyond() -> None:
    good = Quality(size=40, sharpness=20, yaw=-0.6, roll=-35)
    assert judge(face(score=0.6), good, LIMITS) is None
    cases = [
        (Quality(39.9, 20, 0, 0), 0.6, Reason.FACE_TOO_SMALL),
        (Quality(40, 20, 0, 0), 0.59, Reason.LOW_DETECTION_SCORE),
        (Quality(40, 19.9, 0, 0), 0.6, Reason.BLURRED),
        (Quality(40, 20, -0.61, 0), 0.6, Reason.EXTREME_POSE),
        (Quality(40, 20, math.inf, 0), 0.6, Reason.EXTREME_POSE),
        (Quality(40, 20, 0, 36), 0.6, Reason.EXTREME_POSE),
        (Quality(40, 20, 0, -36), 0.6, Reason.EXTREME_POSE),
    ]
    for quality, score, reason in cases:
        rejection = judge(face(score=score), quality, LIMITS)
        assert rejection is not None
        assert rejection.reason is reason
        assert rejection.detail


def test_whatever_may_be_enrolled_may_be_searched() -> None:
    for name in ("min_size", "min_detection_score", "min_sharpness"):
        assert getattr(PROBE_LIMITS, name) <= getattr(ENROLL_LIMITS, name)
    for name in ("max_yaw", "max_roll"):
        assert getattr(PROBE_LIMITS, name) >= getattr(ENROLL_LIMITS, name)


SIZE = (250, 250)


def chosen(faces: list[Face], policy: FacePolicy) -> list[Face]:
    result = choose_faces(faces, policy, SIZE)
    assert not isinstance(result, Rejection), result
    return result


@pytest.mark.parametrize("policy", FacePolicy)
def test_a_photo_without_faces_is_rejected(policy: FacePolicy) -> None:
    result = choose_faces([], policy, SIZE)
    assert isinstance(result, Rejection)
    assert result.reason is Reason.FACE_NOT_FOUND


@pytest.mark.parametrize("policy", FacePolicy)
def test_a_single_face_is_taken_under_every_policy(policy: FacePolicy) -> None:
    only = face()
    assert chosen([only], policy) == [only]


def test_single_takes_a_face_that_dominates_and_no_other() -> None:
    small, large = face(10, 10), face(25, 10)
    assert chosen([small, large], FacePolicy.SINGLE) == [large]
    assert chosen([small, large, small], FacePolicy.SINGLE) == [large]
    result = choose_faces([small, face(24, 10)], FacePolicy.SINGLE, SIZE)
    assert isinstance(result, Rejection)
    assert result.reason is Reason.MULTIPLE_FACES


def test_of_boxes_of_nearly_the_same_size_the_one_in_the_middle_is_meant() -> None:
    def at(x: float, y: float, width: float) -> Face:
        return Face(floats([x, y, x + width, y + 100]), ARCFACE_TEMPLATE.astype(np.float32), 0.9)

    centred, aside = at(80, 80, 81), at(0, 0, 100)
    assert chosen([aside, centred], FacePolicy.LARGEST) == [centred]
    assert chosen([aside, at(80, 80, 79)], FacePolicy.LARGEST) == [aside]


def test_largest_takes_one_and_all_takes_each_in_its_order() -> None:
    small, large = face(10, 10), face(13, 10)
    assert chosen([small, large], FacePolicy.LARGEST) == [large]
    assert chosen([small, large], FacePolicy.ALL) == [small, large]
