"""A photo as a detector's input: scaled into the top left of a black square, float32, channels first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.versions import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facesearch.types import Pixels

_MEAN: Final = np.float32(127.5)
_SCALE: Final = np.float32(1 / 128)
"""(pixel - mean) * scale: SCRFD's normalisation, as InsightFace trains and runs it."""


class Letterbox:
    """A model input that one photo after the other is put into. Used by one thread at a time.

    At 640 it has 4.9 MB: making a new one for each photo was measured to cost as much as filling it, as the system
    hands out zeroed pages.
    """

    def __init__(self, size: int) -> None:
        """`size` is the square's side in pixels."""
        self._size = size
        self._blob = np.empty((1, 3, size, size), np.float32)
        self._filled: tuple[int, int] | None = None
        """Height and width of what the last photo covered; the rest is black."""

    def put(self, pixels: Pixels) -> tuple[NDArray[np.float32], float]:
        """The photo as (1, 3, size, size), good until the next call, and the scale from photo to input.

        Sizes are rounded down and the scale is that of the height, as InsightFace does; a side never falls to zero.
        """
        height, width = pixels.shape[:2]
        new_height, new_width = self._fit(height, width)
        if self._filled != (new_height, new_width):
            self._blob.fill(-_MEAN * _SCALE)
            self._filled = new_height, new_width
        require("cv2")
        import cv2

        planes = cv2.split(cv2.resize(pixels, (new_width, new_height)))  # converting whole planes is what is fast
        area = self._blob[0, :, :new_height, :new_width]
        for plane, target in zip(planes, area, strict=True):
            np.subtract(plane, _MEAN, out=target)
        area *= _SCALE
        return self._blob, new_height / height

    def _fit(self, height: int, width: int) -> tuple[int, int]:
        ratio = height / width  # divided first, as the reference does: 290 x 400 at 640 becomes 463 wide, not 464
        if ratio > 1:
            return self._size, max(1, int(self._size / ratio))
        return max(1, int(self._size * ratio)), self._size
