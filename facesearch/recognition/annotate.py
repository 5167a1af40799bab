"""Draws what was found onto a photo."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from facesearch.errors import ConfigError
from facesearch.recognition.fonts import Colour, draw_text, without_unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facesearch.types import Face, Pixels

Rectangle: TypeAlias = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""

_MATCHED: Final[tuple[Colour, Colour]] = ((0, 114, 178), (255, 255, 255))
_UNMATCHED: Final[tuple[Colour, Colour]] = ((230, 159, 0), (0, 0, 0))
"""Box and text: blue and orange of Okabe and Ito's palette, apart for every kind of colour vision."""
_CASING: Final[Colour] = (255, 255, 255)
"""Around the boxes, so that they show on dark and on bright photos."""
_PAPER: Final[Colour] = (255, 255, 255)
_INK: Final[Colour] = (0, 0, 0)
"""Of the legend."""
_LEGEND_WIDTH: Final = 40
"""Text heights that a legend may be wide where the photo is narrower."""
_TEXT_SHARE: Final = 1 / 55
"""Text height in parts of the photo's longer side."""
_MIN_TEXT: Final = 11
_JOINERS: Final = "\u200c\u200d"
"""Between letters of a word, and between the parts of an emoji."""
_JPEG_QUALITY: Final = 92
_FORMATS: Final = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}


@dataclass(frozen=True, slots=True)
class _Label:
    number: int
    """From 1 in the order of the faces, as commands count them."""
    box: Rectangle
    text: str
    plate: tuple[Colour, Colour]


def annotate(pixels: Pixels, boxes: Sequence[tuple[Face, str, bool]]) -> Pixels:
    """A copy of the photo with each face's box and label; blue where the flag says matched, orange elsewhere.

    A label stands beside its face and covers neither a face nor another label. Where there is no such place, or no font
    here has its characters, the face gets its number, and a legend below the photo makes the copy higher. An empty
    label draws the box alone.
    """
    image = Image.fromarray(pixels)
    text_size = max(_MIN_TEXT, round(max(image.size) * _TEXT_SHARE))
    faces = [_rectangle(face) for face, _, _ in boxes]
    _draw_boxes(image, [(box, matched) for box, (_, _, matched) in zip(faces, boxes, strict=True)], text_size)
    labels = [
        _Label(number, box, shown, _MATCHED if matched else _UNMATCHED)
        for number, (box, (_, text, matched)) in enumerate(zip(faces, boxes, strict=True), 1)
        if (shown := _printable(text))
    ]
    taken: list[Rectangle] = []
    unplaced = [label for label in labels if not _draw_beside(image, label, faces, taken, text_size)]
    for label in unplaced:
        _draw_number(image, label, taken, text_size)
    return np.array(_with_legend(image, unplaced, text_size) if unplaced else image)


def _rectangle(face: Face) -> Rectangle:
    left, top, right, bottom = (round(float(side)) for side in face.box)
    return left, top, max(left, right), max(top, bottom)


def _draw_boxes(image: Image.Image, boxes: Sequence[tuple[Rectangle, bool]], text_size: int) -> None:
    """Before all labels, so that none is crossed."""
    draw = ImageDraw.Draw(image)
    line = max(1, text_size // 8)
    for (left, top, right, bottom), matched in boxes:
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_CASING, width=line + 2)
        draw.rectangle((left, top, right, bottom), outline=(_MATCHED if matched else _UNMATCHED)[0], width=line)


def _draw_beside(
    image: Image.Image, label: _Label, faces: Sequence[Rectangle], taken: list[Rectangle], text_size: int
) -> bool:
    """Whether the label found a place."""
    plate = _plate(label.text, label.plate, text_size)
    place = None if plate is None else free_place(plate.size, label.box, image.size, [*faces, *taken])
    if plate is None or place is None:
        return False
    image.paste(plate, place[:2])
    taken.append(place)
    return True


def _draw_number(image: Image.Image, label: _Label, taken: list[Rectangle], text_size: int) -> None:
    """In a corner of the face's box that is free."""
    plate = _plate(str(label.number), label.plate, text_size)
    assert plate is not None  # every font has digits
    left, top, right, bottom = label.box
    corners = [
        _inside((x, y, x + plate.width, y + plate.height), image.size)
        for y in (top, bottom - plate.height)
        for x in (left, right - plate.width)
    ]
    place = next((corner for corner in corners if not any(_overlap(corner, each) for each in taken)), corners[0])
    image.paste(plate, place[:2])
    taken.append(place)


def _with_legend(image: Image.Image, labels: Sequence[_Label], text_size: int) -> Image.Image:
    """The photo on a sheet of paper with a line for each label below it."""
    room = max(image.width, _LEGEND_WIDTH * text_size)
    lines: list[tuple[Image.Image, Image.Image]] = []
    for label in labels:
        plate = _plate(str(label.number), label.plate, text_size)
        assert plate is not None  # as above
        lines.append((plate, _fitting(_explained(label.text), room - plate.width - 2 * text_size, text_size)))
    gap = text_size // 2
    heights = [max(plate.height, text.height) + gap for plate, text in lines]
    width = max(image.width, *(plate.width + text.width + 2 * text_size for plate, text in lines))
    sheet = Image.new("RGB", (width, image.height + sum(heights) + gap), _PAPER)
    sheet.paste(image, (0, 0))
    top = image.height + gap
    for (plate, text), height in zip(lines, heights, strict=True):
        sheet.paste(plate, (gap, top))
        sheet.paste(text, (gap + plate.width + gap, top + max(0, plate.height - text.height) // 2), text)
        top += height
    return sheet


def _explained(text: str) -> str:
    """The text, or what can be shown of it and why no more can."""
    shown = without_unknown(text)
    return text if shown == text else f"{shown} (no font here has this name)"


def _fitting(text: str, width: int, text_size: int) -> Image.Image:
    """The line, shortened to at most `width` pixels."""
    line = draw_text(text, text_size, _INK)
    while line is not None and line.width > width and len(text) > 2:
        text = text[: max(1, min(len(text) - 2, len(text) * width // line.width))] + "…"
        line = draw_text(text, text_size, _INK)
    return line or Image.new("RGBA", (1, 1))


def free_place(
    size: tuple[int, int], box: Rectangle, photo: tuple[int, int], obstacles: Sequence[Rectangle]
) -> Rectangle | None:
    """Where a plate of `size` (width, height) beside `box` meets none of the obstacles; None where it does everywhere.

    Above the box is tried first, then below, right and left of it.
    """
    width, height = size
    if width > photo[0] or height > photo[1]:
        return None
    left, top, right, bottom = box
    across, down = (left, right - width, (left + right - width) // 2), (top, bottom - height)
    corners = [
        *((x, top - height) for x in across),
        *((x, bottom) for x in across),
        *((right, y) for y in down),
        *((left - width, y) for y in down),
    ]
    for x, y in corners:
        place = _inside((x, y, x + width, y + height), photo)
        if not any(_overlap(place, each) for each in obstacles):
            return place
    return None


def _inside(place: Rectangle, photo: tuple[int, int]) -> Rectangle:
    """The rectangle, moved into the photo."""
    x = max(0, min(place[0], photo[0] - (place[2] - place[0])))
    y = max(0, min(place[1], photo[1] - (place[3] - place[1])))
    return x, y, x + place[2] - place[0], y + place[3] - place[1]


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _plate(text: str, colours: tuple[Colour, Colour], text_size: int) -> Image.Image | None:
    """A filled rectangle with the text; None where no font here has its characters."""
    line = draw_text(text, text_size, colours[1])
    if line is None:
        return None
    padding = max(2, round(line.height / 4))
    plate = Image.new("RGB", (line.width + 2 * padding, line.height + 2 * padding), colours[0])
    plate.paste(line, (padding, padding), line)
    return plate


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
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, _FORMATS[suffix.lower()], quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _printable(text: str) -> str:
    """One line of characters a font can be asked for: no line breaks, control characters or lone surrogates.

    Joiners within emoji and names stay.
    """
    shown = "".join(each if each.isprintable() or each in _JOINERS else " " for each in text)
    return " ".join(shown.split())
