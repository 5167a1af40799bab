"""Thumbnails for reports."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from facesearch.errors import PhotoError
from facesearch.recognition.thumbnail import SIDE, thumbnail


def encoded(width: int, height: int) -> bytes:
    """A black photo with a white square of 40 pixels at (100, 60), and a note in its metadata."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[60:100, 100:140] = 255
    out = BytesIO()
    exif = Image.Exif()
    exif[0x9286] = "secret"
    Image.fromarray(pixels).save(out, "JPEG", quality=95, exif=exif)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    assert image.format == "JPEG"
    return image


def test_the_face_is_shown_with_a_margin() -> None:
    image = opened(thumbnail(encoded(400, 300), (100, 60, 140, 100)))
    assert image.size == (64, 64)  # the box and 0.3 of it on either side
    pixels = np.asarray(image.convert("L"))
    assert pixels[32, 32] > 240
    assert pixels[3, 3] < 15


def test_a_large_face_is_made_small_and_a_photo_without_a_box_is_shown_whole() -> None:
    assert opened(thumbnail(encoded(800, 600), (100, 60, 500, 460))).size == (SIDE, SIDE)
    whole = np.asarray(opened(thumbnail(encoded(800, 400))).convert("L"))
    assert whole.shape == (SIDE, SIDE)
    assert abs(int(whole[5, 60]) - 127) < 12  # grey beside what a square leaves over


@pytest.mark.parametrize("box", [(-30, -30, 20, 20), (380, 280, 450, 360), (500, 500, 520, 520)])
def test_a_box_beyond_the_edge_is_filled_up(box: tuple[float, float, float, float]) -> None:
    image = opened(thumbnail(encoded(400, 300), box))
    assert image.size[0] == image.size[1]


def test_no_metadata_is_passed_on_and_what_is_no_photo_is_refused() -> None:
    assert b"secret" in encoded(200, 200)
    assert b"secret" not in thumbnail(encoded(200, 200))
    with pytest.raises(PhotoError):
        thumbnail(b"no photo")
