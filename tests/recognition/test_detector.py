from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from facesearch.errors import ConfigError, ModelError, PhotoError
from facesearch.recognition.detector import (
    AUTO,
    FAST,
    INSIGHTFACE,
    LARGE_ENOUGH,
    MOST_SIDE,
    DetectionSizes,
    Detector,
    nms,
    parse_det_size,
)
from facesearch.recognition.networks import Batched, cells
from facesearch.recognition.runtime import Trust
from facesearch.types import Reason
from tests.recognition.sessions import Floats, NumpySession, floats, scrfd_outputs

if TYPE_CHECKING:
    from collections.abc import Callable

ONE = DetectionSizes((64,))
SIDES = floats([1, 2, 3, 4])
OFFSETS = np.arange(10, dtype=np.float32).reshape(5, 2)


def naive_nms(boxes: Floats, scores: Floats, threshold: float) -> list[int]:
    """The textbook loop, pair by pair."""
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda index: (-scores[index], index)):
        if all(overlap(boxes[i], boxes[j]) <= np.float32(threshold) for j in kept):
            kept.append(i)
    return kept


def overlap(a: Floats, b: Floats) -> np.float32:
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    shared = max(0, width) * max(0, height)
    area = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return np.float32(shared / (area[0] + area[1] - shared))


@st.composite
def detections(draw: st.DrawFn) -> tuple[Floats, Floats]:
    count = draw(st.integers(0, 25))
    corners = draw(hnp.arrays(np.float32, (count, 2), elements=st.integers(0, 30)))
    sides = draw(hnp.arrays(np.float32, (count, 2), elements=st.integers(1, 30)))
    scores = draw(hnp.arrays(np.float32, count, elements=st.sampled_from([0.5, 0.6, 0.7, 0.8, 0.9])))
    return np.concatenate([corners, corners + sides], axis=1), scores


@given(detections(), st.sampled_from([0.0, 0.25, 0.4, 0.7, 1.0]))
def test_nms_keeps_what_the_textbook_loop_keeps(found: tuple[Floats, Floats], threshold: float) -> None:
    boxes, scores = found
    assert nms(boxes, scores, threshold).tolist() == naive_nms(boxes, scores, threshold)


def test_nms_keeps_a_box_exactly_at_the_threshold_and_the_first_of_equals() -> None:
    boxes = floats([[0, 0, 9, 9], [0, 5, 9, 14], [0, 0, 9, 9]])  # the first two share 50 of 150
    scores = floats([0.9, 0.9, 0.9])
    assert nms(boxes, scores, 1 / 3 + 1e-6).tolist() == [0, 1]
    assert nms(boxes, scores, 0.33).tolist() == [0]


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("landmarks", [False, True])
def test_boxes_and_landmarks_are_decoded_in_pixels_of_the_photo(batch: bool, landmarks: bool) -> None:
    row = 2 * (64 // 16 * 2 + 1) + 1  # stride 16, third row, second column, second anchor: at (16, 32)
    outputs = scrfd_outputs(64, {(16, row): (0.9, SIDES, OFFSETS)}, landmarks=landmarks, batch=batch)
    detector = Detector(NumpySession(lambda _: outputs, len(outputs)), ONE)
    (face,) = detector.detect(np.zeros((128, 100, 3), np.uint8))  # halved by the letterbox
    assert face.detection_score == pytest.approx(0.9)
    np.testing.assert_allclose(face.box, 2 * np.array([16 - 16, 32 - 32, 16 + 48, 32 + 64]))
    assert face.box.dtype == face.landmarks.dtype == np.float32
    assert face.landmarks.shape == (5, 2)
    if landmarks:
        np.testing.assert_allclose(face.landmarks, 2 * (np.array([16, 32]) + 16 * OFFSETS))
    else:
        assert np.isnan(face.landmarks).all()


def test_faces_come_best_first_and_below_the_threshold_not_at_all() -> None:
    hits = {
        (8, 0): (0.6, SIDES, OFFSETS),
        (8, 100): (0.49999, SIDES, OFFSETS),
        (16, 31): (0.5, SIDES, OFFSETS),
        (32, 7): (0.8, SIDES, OFFSETS),
    }
    detector = Detector(NumpySession(lambda _: scrfd_outputs(64, hits), 9), ONE, nms_threshold=1.0)
    faces = detector.detect(np.zeros((64, 64, 3), np.uint8))
    assert [face.detection_score for face in faces] == pytest.approx([0.8, 0.6, 0.5])


def test_sizes_are_merged_by_one_suppression() -> None:
    def model(blob: Floats) -> list[Floats]:
        size = blob.shape[2]
        score = 0.7 if size == 64 else 0.8
        scale = size / 64  # the same box in pixels of the photo, at (32, 32)
        at = (size // 32) * (size // 64) + size // 64
        return scrfd_outputs(size, {(32, 2 * at): (score, SIDES * np.float32(scale), OFFSETS)})

    session = NumpySession(model, 9)
    faces = Detector(session, DetectionSizes((64, 128))).detect(np.zeros((64, 64, 3), np.uint8))
    assert [face.detection_score for face in faces] == pytest.approx([0.8])
    assert session.runs == [(1, 3, 64, 64), (1, 3, 128, 128)]


def test_no_face_is_an_empty_list() -> None:
    assert Detector(NumpySession(lambda _: scrfd_outputs(64, {}), 9), ONE).detect(np.zeros((9, 9, 3), np.uint8)) == []


def proven() -> Trust:
    """Of a detector that has worked elsewhere."""
    trust = Trust("The detector")
    trust.has_worked = True
    return trust


def test_cells_go_row_by_row() -> None:
    assert cells((64, 96), 32).tolist() == [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]


def test_detection_sizes_are_named_or_multiples_of_32() -> None:
    assert parse_det_size("auto") is AUTO
    assert parse_det_size("fast") is FAST
    assert parse_det_size("insightface") is INSIGHTFACE
    assert parse_det_size("320") == DetectionSizes((320,))
    assert parse_det_size("insightface:320") == DetectionSizes((320,), square=True)
    for wrong in (
        "insightface:",
        "insightface:auto",
        "0",
        "-32",
        "33",
        "16",
        "640x640",
        "",
        "Auto",
        "1e3",
        "٦٤٠",
        "99999999999",
        "4128",
        "0640",
    ):
        with pytest.raises(ConfigError):
            parse_det_size(wrong)


def test_a_model_of_fixed_size_refuses_other_sizes() -> None:
    session = NumpySession(lambda _: scrfd_outputs(64, {}), 9, (1, 3, 64, 64))
    Detector(session, ONE)
    with pytest.raises(ConfigError, match="64x64 pixels only, not 128x128"):
        Detector(session, DetectionSizes((128, 64)))


@pytest.mark.parametrize("outputs", [1, 3, 10, 15])
def test_a_model_with_other_outputs_is_no_scrfd(outputs: int) -> None:
    with pytest.raises(ModelError, match=f"{outputs} outputs"):
        Detector(NumpySession(lambda _: [], outputs), ONE)


def test_outputs_of_another_shape_are_refused() -> None:
    outputs = scrfd_outputs(64, {})
    outputs[3], outputs[6] = outputs[6], outputs[3]
    with pytest.raises(ModelError, match="shape"):
        Detector(NumpySession(lambda _: outputs, 9), ONE, trust=proven()).detect(np.zeros((64, 64, 3), np.uint8))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["scores", "boxes", "landmarks"])
def test_an_output_that_is_not_finite_is_a_failure_of_this_photo(where: str, value: float) -> None:
    score, sides, offsets = 0.9, floats([1, 1, 1, 1]), OFFSETS.copy()
    if where == "scores":
        score = value
    else:
        (sides if where == "boxes" else offsets).flat[1] = value
    outputs = scrfd_outputs(64, {(8, 5): (score, sides, offsets)})
    with pytest.raises(PhotoError, match=f"{where} that are not finite") as caught:
        Detector(NumpySession(lambda _: outputs, 9), ONE, trust=proven()).detect(np.zeros((64, 64, 3), np.uint8))
    assert caught.value.reason == Reason.MODEL_FAILURE


def test_a_run_that_fails_is_a_failure_of_this_photo() -> None:
    def model(_: Floats) -> list[Floats]:
        raise ModelError("finder.onnx does not run: out of memory")

    with pytest.raises(PhotoError, match="out of memory") as caught:
        Detector(NumpySession(model, 9), ONE, trust=proven()).detect(np.zeros((64, 64, 3), np.uint8))
    assert caught.value.reason == Reason.MODEL_FAILURE


# Coarse to fine


def found_at_320(*sides: float) -> list[int]:
    """Sizes at which `fast` looks at a photo of 640 x 480 in which 320 finds faces with these sides, in its pixels."""
    hits = {
        (32, 20 * i): (0.9, floats([0, 0, side / 32, (side + 50) / 32]), OFFSETS) for i, side in enumerate(sides)
    }  # far enough apart
    session = NumpySession(lambda blob: scrfd_outputs(blob.shape[2:], hits if blob.shape[3] == 320 else {}), 9)
    assert len(Detector(session, FAST).detect(np.zeros((480, 640, 3), np.uint8))) == len(sides)
    return [shape[3] for shape in session.runs]


def test_fast_looks_closer_where_it_found_nothing_or_small_faces_only() -> None:
    assert found_at_320() == [320, 640]
    assert found_at_320(LARGE_ENOUGH - 1, 10) == [320, 640]
    assert found_at_320(LARGE_ENOUGH) == [320]
    assert found_at_320(10, LARGE_ENOUGH + 1) == [320]


def test_other_sizes_are_all_looked_at_whatever_was_found() -> None:
    hits = {(32, 0): (0.9, floats([0, 0, 3, 3]), OFFSETS)}
    session = NumpySession(lambda blob: scrfd_outputs(blob.shape[2:], hits), 9)
    Detector(session, AUTO).detect(np.zeros((480, 640, 3), np.uint8))
    assert [shape[3] for shape in session.runs] == [128, 640]


# What the network is given


@pytest.mark.parametrize(
    ("sizes", "shapes"),
    [(AUTO, [(96, 128), (480, 640)]), (INSIGHTFACE, [(128, 128), (640, 640)]), (parse_det_size("1280"), [(960, 1280)])],
)
def test_photos_are_padded_to_their_own_shape_and_to_squares_only_as_insightface(
    sizes: DetectionSizes, shapes: list[tuple[int, int]]
) -> None:
    session = NumpySession(lambda blob: scrfd_outputs(blob.shape[2:], {}), 9)
    Detector(session, sizes).detect(np.zeros((450, 600, 3), np.uint8))
    assert [shape[2:] for shape in session.runs] == shapes


# One face of two sizes


def two_sizes(coarse: float, fine: float, side: float, shift: float) -> tuple[Floats, Floats]:
    """Box and first landmark of a face at 0, 0 with this side in a photo of 640 x 640, `shift` larger at 128.

    `coarse` and `fine` are its scores.
    """

    def model(blob: Floats) -> list[Floats]:
        at_128 = blob.shape[2] == 128
        cells_wide = (side + shift) / 5 / 32 if at_128 else side / 32
        hit = (coarse if at_128 else fine, floats([0, 0, cells_wide, cells_wide]), np.full((5, 2), cells_wide / 2))
        return scrfd_outputs(blob.shape[2:], {(32, 0): hit})

    (face,) = Detector(NumpySession(model, 9), AUTO).detect(np.zeros((640, 640, 3), np.uint8))
    assert face.detection_score == pytest.approx(max(coarse, fine))
    return face.box, face.landmarks[0]


@pytest.mark.parametrize("scores", [(0.9, 0.6), (0.6, 0.9)])
def test_a_face_of_two_sizes_is_their_mean_by_score_and_side(scores: tuple[float, float]) -> None:
    box, landmark = two_sizes(*scores, side=200, shift=40)
    weights = np.array([scores[0] * 240 / 5, scores[1] * 150])  # at 640 a side of 150 pixels counts in full
    side = weights @ [240, 200] / weights.sum()
    np.testing.assert_allclose(box, [0, 0, side, side], rtol=1e-5)
    np.testing.assert_allclose(landmark, [side / 2, side / 2], rtol=1e-5)
    assert box.dtype == landmark.dtype == np.float32


@pytest.mark.parametrize("scores", [(0.9, 0.6), (0.6, 0.9)])
def test_a_face_that_is_too_large_for_the_fine_size_is_that_of_the_coarse_one(scores: tuple[float, float]) -> None:
    box, _ = two_sizes(*scores, side=MOST_SIDE + 1, shift=30)
    np.testing.assert_allclose(box, [0, 0, MOST_SIDE + 31, MOST_SIDE + 31], rtol=1e-5)


# Several photos at once


def bright(blob: Floats) -> list[Floats]:
    """A face in each photo, the wider the brighter its first pixel is; fails on black ones."""
    outputs: list[list[Floats]] = []
    for photo in blob:
        if photo[0, 0, 0] < -0.99:
            raise ModelError("out of memory")
        side = 2 + photo[0, 0, 0]
        outputs.append(scrfd_outputs(photo.shape[1:], {(32, 0): (0.9, floats([0, 0, side, side]), OFFSETS)}))
    return [np.stack(parts) for parts in zip(*outputs, strict=True)]


class Held(NumpySession):
    """A session that waits in its first run until it is let go."""

    def __init__(self, model: Callable[[Floats], list[Floats]]) -> None:
        super().__init__(model, 9)
        self.go = threading.Event()

    def run(self, array: Floats) -> list[Floats]:
        found = super().run(array)
        assert self.go.wait(10)
        return found


def test_photos_of_one_shape_that_wait_share_runs_and_one_that_fails_costs_itself() -> None:
    session = Held(bright)
    batched = Batched(session, 3)
    shapes = [(32, 64), *[(64, 64)] * 4, (32, 64)]
    blobs = [np.full((1, 3, *shape), 0.1 * i - 0.3, np.float32) for i, shape in enumerate(shapes)]
    blobs[3][:] = -1
    with ThreadPoolExecutor(len(blobs)) as pool:
        futures = []
        for number, blob in enumerate(blobs, 1):
            futures.append(pool.submit(batched.run, blob))
            while len(session.runs) + len(batched._waiting) < number:
                time.sleep(0.001)
        session.go.set()
        for future, blob in zip(futures, blobs, strict=True):
            if (blob == -1).all():
                with pytest.raises(ModelError):
                    future.result()
                continue
            for one, other in zip(future.result(), bright(blob), strict=True):
                np.testing.assert_array_equal(one, other)
    assert session.runs[:2] == [(1, 3, 32, 64), (3, 3, 64, 64)]  # the failed group is run again one by one
    assert session.runs[2:] == [(1, 3, 64, 64)] * 4 + [(1, 3, 32, 64)]


def test_a_model_that_mixes_photos_is_run_on_one_at_a_time() -> None:
    def mixing(blob: Floats) -> list[Floats]:
        rows = scrfd_outputs(blob.shape[2:], {(32, 0): (0.9, SIDES, OFFSETS)})
        return [np.repeat(each[None], len(blob), axis=0) + blob.mean() for each in rows]

    assert not isinstance(Detector(NumpySession(mixing, 9), ONE, batch=4)._session, Batched)
    assert isinstance(Detector(NumpySession(bright, 9), ONE, batch=4)._session, Batched)
    fixed = NumpySession(bright, 9, (1, 3, None, None))
    assert not isinstance(Detector(fixed, ONE, batch=4)._session, Batched)
