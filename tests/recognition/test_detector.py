from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from facesearch.errors import ConfigError, ModelError, PhotoError
from facesearch.recognition.detector import (
    AUTO_SIZES,
    FAST_SIZES,
    LARGE_ENOUGH,
    Detector,
    anchor_centres,
    nms,
    parse_det_size,
)
from facesearch.recognition.runtime import Trust
from facesearch.types import Reason
from tests.recognition.sessions import Floats, NumpySession, floats, scrfd_outputs

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
    detector = Detector(NumpySession(lambda _: outputs, len(outputs)), (64,))
    (face,) = detector.detect(np.zeros((128, 100, 3), np.uint8))  # halved by the letterbox
    assert face.detection_score == pytest.approx(0.9)
    np.testing.assert_allclose(face.box, 2 * np.array([16 - 16, 32 - 32, 16 + 48, 32 + 64]))
    assert face.box.dtype == face.landmarks.dtype == np.float32
    assert face.landmarks.shape == (5, 2)
    assert detector.has_landmarks is landmarks
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
    detector = Detector(NumpySession(lambda _: scrfd_outputs(64, hits), 9), (64,), nms_threshold=1.0)
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
    faces = Detector(session, (64, 128)).detect(np.zeros((64, 64, 3), np.uint8))
    assert [face.detection_score for face in faces] == pytest.approx([0.8])
    assert session.runs == [(1, 3, 64, 64), (1, 3, 128, 128)]


def test_no_face_is_an_empty_list() -> None:
    assert Detector(NumpySession(lambda _: scrfd_outputs(64, {}), 9), (64,)).detect(np.zeros((9, 9, 3), np.uint8)) == []


def proven() -> Trust:
    """Of a detector that has worked elsewhere."""
    trust = Trust("The detector")
    trust.has_worked = True
    return trust


def test_anchors_go_row_by_row_in_pairs() -> None:
    assert anchor_centres(64, 32).tolist() == [[0, 0], [0, 0], [32, 0], [32, 0], [0, 32], [0, 32], [32, 32], [32, 32]]


def test_detection_sizes_are_auto_or_multiples_of_32() -> None:
    assert parse_det_size("auto") == AUTO_SIZES == (128, 640)
    assert parse_det_size("fast") == FAST_SIZES == (320, 640)
    assert parse_det_size("320") == (320,)
    for wrong in ("0", "-32", "33", "16", "640x640", "", "Auto", "1e3", "٦٤٠", "99999999999", "4128", "0640"):
        with pytest.raises(ConfigError):
            parse_det_size(wrong)


def test_a_model_of_fixed_size_refuses_other_sizes() -> None:
    session = NumpySession(lambda _: scrfd_outputs(64, {}), 9, (1, 3, 64, 64))
    Detector(session, (64,))
    with pytest.raises(ConfigError, match="64x64 pixels only, not 128x128"):
        Detector(session, (128, 64))


@pytest.mark.parametrize("outputs", [1, 3, 10, 15])
def test_a_model_with_other_outputs_is_no_scrfd(outputs: int) -> None:
    with pytest.raises(ModelError, match=f"{outputs} outputs"):
        Detector(NumpySession(lambda _: [], outputs), (64,))


def test_outputs_of_another_shape_are_refused() -> None:
    outputs = scrfd_outputs(64, {})
    outputs[3], outputs[6] = outputs[6], outputs[3]
    with pytest.raises(ModelError, match="shape"):
        Detector(NumpySession(lambda _: outputs, 9), (64,), trust=proven()).detect(np.zeros((64, 64, 3), np.uint8))


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
        Detector(NumpySession(lambda _: outputs, 9), (64,), trust=proven()).detect(np.zeros((64, 64, 3), np.uint8))
    assert caught.value.reason == Reason.MODEL_FAILURE


def test_a_run_that_fails_is_a_failure_of_this_photo() -> None:
    def model(_: Floats) -> list[Floats]:
        raise ModelError("finder.onnx does not run: out of memory")

    with pytest.raises(PhotoError, match="out of memory") as caught:
        Detector(NumpySession(model, 9), (64,), trust=proven()).detect(np.zeros((64, 64, 3), np.uint8))
    assert caught.value.reason == Reason.MODEL_FAILURE


# Coarse to fine


def found_at_320(*sides: float) -> list[int]:
    """Sizes at which `fast` looks at a photo of 640 x 480 in which 320 finds faces with these sides, in its pixels."""
    hits = {
        (32, 20 * i): (0.9, floats([0, 0, side / 32, (side + 50) / 32]), OFFSETS) for i, side in enumerate(sides)
    }  # far enough apart
    session = NumpySession(lambda blob: scrfd_outputs(blob.shape[2], hits if blob.shape[2] == 320 else {}), 9)
    assert len(Detector(session, FAST_SIZES).detect(np.zeros((480, 640, 3), np.uint8))) == len(sides)
    return [shape[2] for shape in session.runs]


def test_fast_looks_closer_where_it_found_nothing_or_small_faces_only() -> None:
    assert found_at_320() == [320, 640]
    assert found_at_320(LARGE_ENOUGH - 1, 10) == [320, 640]
    assert found_at_320(LARGE_ENOUGH) == [320]
    assert found_at_320(10, LARGE_ENOUGH + 1) == [320]


def test_other_sizes_are_all_looked_at_whatever_was_found() -> None:
    hits = {(32, 0): (0.9, floats([0, 0, 3, 3]), OFFSETS)}
    session = NumpySession(lambda blob: scrfd_outputs(blob.shape[2], hits), 9)
    Detector(session, AUTO_SIZES).detect(np.zeros((480, 640, 3), np.uint8))
    assert [shape[2] for shape in session.runs] == [128, 640]
