"""Small pictures of faces for reports, and of photos that browsers cannot show."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from facesearch.recognition.decoding import decode_guarded

if TYPE_CHECKING:
    from facesearch.types import Pixels

SIDE: Final = 112
"""Pixels; two of them fit side by side on a card of a report, and a page of 50 stays below 300 kB."""
PREVIEW_SIDE: Final = 1600
"""Pixels: as large as the page shows a photo."""
_JPEG_QUALITY: Final = 80
_MARGIN: Final = 0.3
"""Shown around the box of a face, in parts of its longer side: hair and chin help a person to tell who it is."""


def thumbnail(data: bytes, box: tuple[float, float, float, float] | None = None) -> bytes:
    """The encoded photo `data` as a square JPEG of at most `SIDE` pixels, without any metadata.

    `box` is x1, y1, x2, y2 of a face in pixels of the upright photo: it is shown with a margin; None shows the whole
    photo. Raises `PhotoError`.
    """
    image = Image.fromarray(_square(decode_guarded(data), box))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return _as_jpeg(image)


def preview(data: bytes) -> tuple[bytes, int, int]:
    """The encoded photo `data` as a JPEG of at most `PREVIEW_SIDE` pixels, without metadata; its own width and height.

    Raises `PhotoError`.
    """
    image = Image.fromarray(decode_guarded(data))
    width, height = image.size
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.LANCZOS)
    return _as_jpeg(image), width, height


def _as_jpeg(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", quality=_JPEG_QUALITY)
    return out.getvalue()


def box_in_thumbnail(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Where a face, whose box was given to `thumbnail`, is on the thumbnail: x1, y1, x2, y2 in its pixels."""
    side, left, top = _place(box, _MARGIN)
    scale = min(1.0, SIDE / side)
    x1, y1, x2, y2 = box
    return (x1 - left) * scale, (y1 - top) * scale, (x2 - left) * scale, (y2 - top) * scale


def _place(box: tuple[float, float, float, float], margin: float) -> tuple[int, int, int]:
    """Side, left and top of the square around a box."""
    x1, y1, x2, y2 = box
    side = max(1, round(max(x2 - x1, y2 - y1) * (1 + 2 * margin)))
    return side, round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)


def _square(pixels: Pixels, box: tuple[float, float, float, float] | None) -> Pixels:
    """The part around the box, or all of it, on a grey square."""
    height, width = pixels.shape[:2]
    side, left, top = _place(box or (0.0, 0.0, float(width), float(height)), _MARGIN if box else 0.0)
    square = np.full((side, side, 3), 127, np.uint8)
    inside = pixels[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
    down, right = max(-top, 0), max(-left, 0)
    square[down : down + inside.shape[0], right : right + inside.shape[1]] = inside
    return square
