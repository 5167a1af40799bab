from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesearch.errors import ModelError, PhotoError
from facesearch.recognition.embedder import ARCFACE_TEMPLATE, align, similarity_transform
from facesearch.types import Reason

finite = st.floats(-1000, 1000)
point_sets = st.lists(st.tuples(finite, finite), min_size=5, max_size=5).map(
    lambda points: np.array(points, np.float64)
)


def umeyama_by_svd(src: np.ndarray, dst: np.ndarray) -> np.ndarray:
    """The published algorithm for any number of dimensions (Umeyama, PAMI 1991, equations 40 to 42)."""
    s, d = src - src.mean(0), dst - dst.mean(0)
    u, singular, vt = np.linalg.svd(d.T @ s / len(src))
    signs = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(signs) @ vt
    scale = (singular * signs).sum() / s.var(0).sum()
    return np.column_stack([scale * rotation, dst.mean(0) - scale * rotation @ src.mean(0)])


@given(point_sets, point_sets)
def test_the_transform_is_that_of_umeyama(src: np.ndarray, dst: np.ndarray) -> None:
    spread = np.linalg.svd(src - src.mean(0), compute_uv=False)
    if spread[0] < 1:
        return
    ours, theirs = similarity_transform(src, dst), umeyama_by_svd(src, dst)
    if np.linalg.det(theirs[:, :2]) < 1e-6:  # no scale left: the rotation is arbitrary
        return
    np.testing.assert_allclose(ours @ [*src[0], 1], theirs @ [*src[0], 1], atol=1e-5)
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * max(1, np.abs(theirs).max()))


@given(st.floats(0.05, 50), st.floats(-np.pi, np.pi), finite, finite)
def test_a_similarity_is_recovered(scale: float, angle: float, x: float, y: float) -> None:
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    src = (ARCFACE_TEMPLATE.astype(np.float64) - (x, y)) @ np.linalg.inv(rotation).T
    np.testing.assert_allclose(
        similarity_transform(src, ARCFACE_TEMPLATE), np.column_stack([rotation, (x, y)]), atol=1e-6
    )


def test_landmarks_on_the_template_leave_the_photo_as_it_is() -> None:
    photo = np.random.default_rng(1).integers(0, 256, (112, 112, 3), np.uint8)
    np.testing.assert_array_equal(align(photo, ARCFACE_TEMPLATE), photo)


def test_what_lies_outside_the_photo_is_black() -> None:
    crop = align(np.full((112, 112, 3), 255, np.uint8), ARCFACE_TEMPLATE - 40)
    assert (crop[:30, :30] == 0).all()
    assert (crop[60:, 60:] == 255).all()


@pytest.mark.parametrize("at", [0.0, 1.0, 5000.0])
def test_coinciding_landmarks_are_refused(at: float) -> None:
    with pytest.raises(PhotoError) as caught:
        align(np.zeros((50, 50, 3), np.uint8), np.full((5, 2), at, np.float32))
    assert caught.value.reason == Reason.EXTREME_POSE


def test_missing_landmarks_blame_the_detector() -> None:
    with pytest.raises(ModelError, match="no landmarks") as caught:
        align(np.zeros((50, 50, 3), np.uint8), np.full((5, 2), np.nan, np.float32))
    assert caught.value.hint
