"""The detector's input: where the photo lies in it, what it is scaled to, and that nothing of the last one stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesearch.recognition.detector import Letterbox

SIZES = st.tuples(st.integers(1, 90), st.integers(1, 90))


@pytest.mark.parametrize(("height", "width"), [(1, 30_000), (30_000, 1), (1, 1), (3, 5000)])
def test_extreme_aspect_ratios_keep_a_pixel(height: int, width: int) -> None:
    blob, scale = Letterbox(64).put(np.full((height, width, 3), 255, np.uint8))
    assert blob.shape == (1, 3, 64, 64)
    assert scale > 0
    assert blob[0, 0, 0, 0] == pytest.approx(127.5 / 128)


def test_the_letterbox_is_top_left_in_rgb_and_rounds_down() -> None:
    photo = np.zeros((100, 150, 3), np.uint8)
    photo[:, :, 0] = 255
    blob, scale = Letterbox(64).put(photo)
    assert scale == pytest.approx(42 / 100)  # 64 * 100 / 150 = 42.67
    assert (blob[0, 0, :42] == np.float32(127.5 / 128)).all()
    assert (blob[0, 0, 42:] == np.float32(-127.5 / 128)).all()
    assert (blob[0, 1:] == np.float32(-127.5 / 128)).all()


def test_a_side_is_rounded_as_the_reference_rounds_it() -> None:
    """640 / (400 / 290) is 463.99999999999994 in double precision, and InsightFace divides in that order."""
    blob, _ = Letterbox(640).put(np.full((400, 290, 3), 255, np.uint8))
    assert (blob[0, 0] > 0.9).any(axis=0).sum() == 463


@given(st.lists(SIZES, min_size=2, max_size=4), st.integers(0, 2**32 - 1))
def test_a_used_one_gives_what_a_new_one_gives(sizes: list[tuple[int, int]], seed: int) -> None:
    rng, used = np.random.default_rng(seed), Letterbox(64)
    for height, width in sizes:
        photo = rng.integers(0, 256, (height, width, 3), np.uint8)
        blob, scale = used.put(photo)
        fresh, fresh_scale = Letterbox(64).put(photo)
        assert scale == fresh_scale
        np.testing.assert_array_equal(blob, fresh)
