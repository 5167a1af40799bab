"""As many photos of made-up people as one likes: drawn portraits, each in another light and cut differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from facesearch.demo.portraits import PEOPLE, draw_portrait

if TYPE_CHECKING:
    from pathlib import Path

EACH: Final = 5
"""Photos of a person."""
_VARIATIONS: Final = 4


def write_many(folder: Path, count: int) -> Path:
    """`count` JPEGs of 232 x 272 pixels, no two alike, in folders of `EACH`; returns `folder`.

    People of one drawing differ in light alone: they look alike, as people do in a large gallery.
    """
    rng = np.random.default_rng(0)
    drawn = [
        Image.fromarray(draw_portrait(person, variation))
        for person in range(len(PEOPLE))
        for variation in range(_VARIATIONS)
    ]
    for number in range(count):
        person, photo = divmod(number, EACH)
        path = folder / f"Person {person:06}" / f"{photo}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        left, top = int(rng.integers(8)), int(rng.integers(9))
        image = drawn[int(rng.integers(len(drawn)))].crop((left, top, left + 232, top + 272))
        light = rng.uniform(0.96, 1.04) * rng.uniform(0.99, 1.01, 3)
        pixels = np.clip(np.asarray(image, np.float32) * light, 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(path, quality=90)
    return folder
