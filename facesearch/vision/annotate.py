"""Draws what was found onto a photo."""

from __future__ import annotations

from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facesearch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facesearch.types import Face, Pixels

_Colour = tuple[int, int, int]

_MATCHED: Final[tuple[_Colour, _Colour]] = ((0, 114, 178), (255, 255, 255))
_UNMATCHED: Final[tuple[_Colour, _Colour]] = ((230, 159, 0), (0, 0, 0))
"""Box and text: blue and orange of Okabe and Ito's palette, apart for every kind of colour vision."""
_CASING: Final[_Colour] = (255, 255, 255)
"""Around the boxes, so that they show on dark and on bright photos."""
_TEXT_SHARE: Final = 1 / 55
"""Text height in parts of the photo's longer side."""
_MIN_TEXT: Final = 11
_JPEG_QUALITY: Final = 92
_FORMATS: Final = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}


def annotate(pixels: Pixels, boxes: Sequence[tuple[Face, str, bool]]) -> Pixels:
    """A copy of the photo with each face's box and label; blue where the flag says matched, orange elsewhere.

    A label may be any text; characters the font lacks (such as Chinese) show as empty boxes. An empty label draws the
    box alone.
    """
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    text_size = max(_MIN_TEXT, round(max(image.size) * _TEXT_SHARE))
    font = _font(text_size)
    line = max(1, text_size // 8)
    for face, _, matched in boxes:
        left, top, right, bottom = (round(float(side)) for side in face.box)
        right, bottom = max(left, right), max(top, bottom)
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_CASING, width=line + 2)
        draw.rectangle((left, top, right, bottom), outline=(_MATCHED if matched else _UNMATCHED)[0], width=line)
    for face, text, matched in boxes:  # after all boxes, so that none crosses a label
        if label := _printable(text):
            _draw_label(draw, image.size, face, label, font, _MATCHED if matched else _UNMATCHED)
    return np.array(image)


def encode_jpeg(pixels: Pixels) -> bytes:
    """The photo as a JPEG file's bytes, without metadata."""
    return _encode(pixels, "JPEG")


def can_draw_as(suffix: str) -> bool:
    """Whether `encode_photo` knows the format of a name that ends in `suffix`."""
    return suffix.lower() in _FORMATS


def encode_photo(pixels: Pixels, suffix: str) -> bytes:
    """The photo as a file's bytes, without metadata, in the format of a name that ends in `suffix`.

    Raises `ConfigError` unless that is JPEG, PNG or WebP.
    """
    if not can_draw_as(suffix):
        raise ConfigError(
            f"A photo cannot be written as {suffix or 'a file without suffix'}.", "Use .jpg, .png or .webp."
        )
    return _encode(pixels, _FORMATS[suffix.lower()])


def _encode(pixels: Pixels, photo_format: str) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, photo_format, quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _draw_label(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    face: Face,
    text: str,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    colours: tuple[_Colour, _Colour],
) -> None:
    """Above the box, or inside it at the photo's upper edge; moved to the left where it would leave the photo."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    _, usual_top, _, usual_bottom = draw.textbbox((0, 0), "Ag", font=font)
    top, bottom = min(top, usual_top), max(bottom, usual_bottom)  # so that labels are of one height
    padding = max(2, round((bottom - top) / 4))
    width, height = right - left + 2 * padding, bottom - top + 2 * padding
    x = max(0, min(round(float(face.box[0])), size[0] - int(width)))
    above = round(float(face.box[1])) - int(height)
    y = above if above >= 0 else max(0, round(float(face.box[1])))
    draw.rectangle((x, y, x + width, y + height), fill=colours[0])
    draw.text((x + padding - left, y + padding - top), text, font=font, fill=colours[1])


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """DejaVu Sans as it comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew; Pillow's own has ASCII only."""
    package = find_spec("matplotlib")  # found, not imported: only its folder is needed
    folders = package.submodule_search_locations if package else None
    for folder in folders or ():
        path = Path(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf")
        if path.is_file():  # distributions may keep the fonts elsewhere
            return ImageFont.truetype(BytesIO(path.read_bytes()), size)
    return ImageFont.load_default(size)


def _printable(text: str) -> str:
    """One line of characters a font can be asked for: no line breaks, control characters or lone surrogates."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(shown.split())
