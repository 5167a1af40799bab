"""Text in any script as a picture: with the font that comes with matplotlib, then with fonts of this machine."""

from __future__ import annotations

import functools
import unicodedata
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from PIL import Image, ImageDraw, ImageFont, features

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Colour: TypeAlias = tuple[int, int, int]

FOLDERS: Final = (
    Path("/usr/share/fonts"),
    Path("/usr/local/share/fonts"),
    Path("~/.local/share/fonts"),
    Path("~/.fonts"),
    Path("/System/Library/Fonts"),
    Path("/Library/Fonts"),
    Path("~/Library/Fonts"),
    Path("C:/Windows/Fonts"),
    Path("~/AppData/Local/Microsoft/Windows/Fonts"),
)
"""Where Linux, macOS and Windows keep fonts."""
MOST_FONTS: Final = 2000
"""Font files that are looked at: half a millisecond each, and only for characters that no earlier one has."""
_BITMAP_SIZES: Final = (109, 160, 136, 128)
"""Of fonts that hold pictures, as those of emoji do: Google's, Apple's, and others."""
_STYLED: Final = ("bold", "italic", "oblique", "light", "thin", "black", "medium", "condensed", "mono", "serif")
_PRETENDS: Final = ("lastresort", "adobeblank")
"""Fonts that have a box or nothing for every character."""
_CHECKED: Final = 16
"""Pixels at which it is looked at what a font has."""
_NEVER: Final = "\U0010ffff"
"""A character that no font has."""
_JOINER: Final = "\u200d"


class Font:
    """A font in the sizes that are asked for."""

    def __init__(self, open_at: Callable[[int], ImageFont.FreeTypeFont]) -> None:
        self._open = functools.cache(open_at)
        self._has: dict[str, bool] = {}

    def at(self, size: int) -> ImageFont.FreeTypeFont:
        """At `size` pixels, or at the size of its pictures. Raises `OSError` for what is no font."""
        for each in (size, *_BITMAP_SIZES):
            try:
                return self._open(each)
            except OSError:
                if each == _BITMAP_SIZES[-1]:
                    raise
        raise AssertionError

    def has(self, character: str) -> bool:
        """Whether it draws the character as anything but the sign of a missing one."""
        if character not in self._has:
            try:
                masks = [self.at(_CHECKED).getmask(each, mode="RGBA") for each in (character, _NEVER)]
                self._has[character] = masks[0].size != masks[1].size or list(masks[0]) != list(masks[1])
            except (OSError, ValueError):
                self._has[character] = False
        return self._has[character]


@dataclass(frozen=True, slots=True)
class _Tile:
    """One run of text in one font."""

    picture: Image.Image
    left: float
    """From the pen's place to the picture, in pixels; `ascent` is from the picture's top down to the baseline."""
    ascent: float
    advance: float


def draw_text(text: str, size: int, colour: Colour) -> Image.Image | None:
    """One line of text on a transparent ground, `size` pixels high; None where a character has no font here."""
    runs = _runs(text)
    if runs is None:
        return None
    tiles = [_tile(each, font, size, colour) for each, font in runs]
    usual = base_font().at(size)
    _, top, _, bottom = usual.getbbox("Ag", anchor="ls")
    ascent = ceil(max([-top, *(tile.ascent for tile in tiles)]))  # so that most lines are of one height
    descent = ceil(max([bottom, *(tile.picture.height - tile.ascent for tile in tiles)]))
    width = ceil(sum(tile.advance for tile in tiles) + max((-tile.left for tile in tiles[:1]), default=0))
    line = Image.new("RGBA", (max(1, width), ascent + descent))
    pen = max((-tile.left for tile in tiles[:1]), default=0.0)
    for tile in tiles:
        line.alpha_composite(tile.picture, (max(0, round(pen + tile.left)), round(ascent - tile.ascent)))
        pen += tile.advance
    return line


def without_unknown(text: str) -> str:
    """The text with an ellipsis for what has no font here."""
    shown = ""
    for cluster in _clusters(text):
        if _font_of(cluster) is not None:
            shown += cluster
        elif not shown.endswith("…"):
            shown += "…"
    return shown


@functools.cache
def base_font() -> Font:
    """DejaVu Sans as it comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew; Pillow's own has Latin only."""
    package = find_spec("matplotlib")  # found, not imported: only its folder is needed
    folders = package.submodule_search_locations if package else None
    for folder in folders or ():
        path = Path(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf")
        if path.is_file():  # distributions may keep the fonts elsewhere
            return Font(functools.partial(_truetype, path.read_bytes()))
    return Font(_pillows)


def _truetype(data: bytes, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(BytesIO(data), size)


def _pillows(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's wheels have FreeType
    return font


@functools.cache
def system_fonts() -> Sequence[Font]:
    """The fonts of this machine, plain ones first."""
    files = sorted((path for folder in FOLDERS for path in _font_files(folder)), key=_preference)
    return [Font(functools.partial(ImageFont.truetype, str(path))) for path in files[:MOST_FONTS]]


def _font_files(folder: Path) -> Iterator[Path]:
    try:
        home = folder.expanduser()
    except RuntimeError:  # nobody's home is known
        return
    for path in home.rglob("*"):
        name = path.name.lower()
        if path.suffix.lower() in {".ttf", ".ttc", ".otf", ".otc"} and not name.startswith(_PRETENDS):
            yield path


def _preference(path: Path) -> tuple[bool, str]:
    name = path.name.lower()
    return any(style in name for style in _STYLED), name


def _runs(text: str) -> list[tuple[str, Font]] | None:
    runs: list[tuple[str, Font]] = []
    for cluster in _clusters(text):
        font = _font_of(cluster, runs[-1][1] if runs else None)
        if font is None:
            return None
        if runs and runs[-1][1] is font:
            runs[-1] = runs[-1][0] + cluster, font
        else:
            runs.append((cluster, font))
    return runs


def _clusters(text: str) -> Iterator[str]:
    """Characters with the marks and joiners that follow them: what must be of one font."""
    cluster = ""
    for character in text:
        joins = cluster and (cluster[-1] == _JOINER or _is_mark(character))
        if cluster and not joins:
            yield cluster
            cluster = ""
        cluster += character
    if cluster:
        yield cluster


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in {"Mn", "Mc", "Me", "Cf"} or "\U0001f3fb" <= character <= "\U0001f3ff"


@functools.cache
def _font_of(cluster: str, before: Font | None = None) -> Font | None:
    """The first font that has all of the cluster, beginning with that of the text `before` it."""
    if cluster == " ":  # in a font of pictures it is as wide as one of them
        return before if before is not None and before.at(_CHECKED).size == _CHECKED else base_font()
    visible = [each for each in cluster if unicodedata.category(each) not in {"Cf", "Mn"}]
    if any(map(_needs_shaping, visible)) and not features.check("raqm"):
        return None
    usual = base_font()
    first = [usual] if before is None or before is usual else [usual, before]
    for font in (*first, *(() if all(map(usual.has, visible)) else system_fonts())):
        if all(map(font.has, visible)):
            return font
    return None


def _needs_shaping(character: str) -> bool:
    """Scripts that are unreadable as a row of characters: those from the right, and the Indic ones."""
    from_the_right = unicodedata.bidirectional(character) in {"R", "AL"}
    return from_the_right or "\u0900" <= character <= "\u109f" or "\u1780" <= character <= "\u17ff"


def _tile(text: str, font: Font, size: int, colour: Colour) -> _Tile:
    opened = font.at(size)
    left, top, right, bottom = opened.getbbox(text, anchor="ls")
    picture = Image.new("RGBA", (max(1, ceil(right - left)), max(1, ceil(bottom - top))))
    draw = ImageDraw.Draw(picture)
    draw.text((-left, -top), text, font=opened, fill=colour, anchor="ls", embedded_color=True)
    scale = size / opened.size
    if scale != 1:
        picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    return _Tile(picture, left * scale, -top * scale, opened.getlength(text) * scale)
