"""The detector's input: where the photo lies in it, what it is scaled to, and that nothing of the last one stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesearch.recognition.detector import Letterbox, fit
from facesearch.recognition.networks import YUNET_OUTPUTS, Network, Scrfd, Yunet

if TYPE_CHECKING:
    from facesearch.types import Pixels
    from tests.recognition.sessions import Floats

SIZES = st.tuples(st.integers(1, 90), st.integers(1, 90))


def put(photo: Pixels, side: int = 64, network: Network | None = None) -> Floats:
    """Into a square."""
    return Letterbox(network or Scrfd(9)).put(photo, fit(photo, side), (side, side))


@pytest.mark.parametrize(("height", "width"), [(1, 30_000), (30_000, 1), (1, 1), (3, 5000)])
def test_extreme_aspect_ratios_keep_a_pixel(height: int, width: int) -> None:
    photo = np.full((height, width, 3), 255, np.uint8)
    blob = put(photo)
    assert blob.shape == (1, 3, 64, 64)
    assert min(fit(photo, 64)) > 0
    assert blob[0, 0, 0, 0] == pytest.approx(127.5 / 128)


def test_the_letterbox_is_top_left_in_rgb_and_rounds_down() -> None:
    photo = np.zeros((100, 150, 3), np.uint8)
    photo[:, :, 0] = 255
    blob = put(photo)
    assert fit(photo, 64) == (42, 64)  # 64 * 100 / 150 = 42.67
    assert (blob[0, 0, :42] == np.float32(127.5 / 128)).all()
    assert (blob[0, 0, 42:] == np.float32(-127.5 / 128)).all()
    assert (blob[0, 1:] == np.float32(-127.5 / 128)).all()


def test_a_side_is_rounded_as_the_reference_rounds_it() -> None:
    """640 / (400 / 290) is 463.99999999999994 in double precision, and InsightFace divides in that order."""
    blob = put(np.full((400, 290, 3), 255, np.uint8), 640)
    assert (blob[0, 0] > 0.9).any(axis=0).sum() == 463


def test_a_yunet_takes_blue_first_and_plain_values() -> None:
    photo = np.zeros((64, 32, 3), np.uint8)
    photo[:, :, 0], photo[:, :, 2] = 200, 7
    blob = put(photo, network=Yunet(sorted(YUNET_OUTPUTS)))
    assert blob[0, :, 0, 0].tolist() == [7, 0, 200]
    assert (blob[..., 32:] == 0).all()


@given(st.lists(SIZES, min_size=2, max_size=4), st.integers(0, 2**32 - 1))
def test_a_used_one_gives_what_a_new_one_gives(sizes: list[tuple[int, int]], seed: int) -> None:
    rng, used = np.random.default_rng(seed), Letterbox(Scrfd(9))
    for height, width in sizes:
        photo = rng.integers(0, 256, (height, width, 3), np.uint8)
        np.testing.assert_array_equal(used.put(photo, fit(photo, 64), (64, 96)), put_wide(photo))


def put_wide(photo: Pixels) -> Floats:
    return Letterbox(Scrfd(9)).put(photo, fit(photo, 64), (64, 96))
