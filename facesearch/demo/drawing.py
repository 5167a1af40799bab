"""Draws one made-up head as a flat illustration, in units of its own eye distance.

The origin is the middle between the eyes, y points down, the eyes stand at (-0.5, 0) and (0.5, 0), the nose tip at
(0, 0.57) and the mouth at (0, 1.16): the proportions of the five-point template that faces are aligned to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Sequence

Colour: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]

NOSE_TIP = 0.57
MOUTH = 1.16
SCLERA: Colour = (216, 233, 252)
"""The white of the eye, faintly blue: nothing else inside a face is brighter in blue than in red."""
PUPIL: Colour = (24, 20, 24)
FRAME: Colour = (52, 44, 52)


@dataclass(frozen=True, slots=True)
class Traits:
    """What makes a head this person's and no other's. Lengths in eye distances."""

    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    shirt: Colour
    backdrop: Colour
    style: str
    """Of the hair: short, swept, fringe, bob, long, curly, bun or bald."""
    glasses: str = ""
    """Empty, round or square."""
    beard: str = ""
    """Empty, full, goatee or moustache."""
    width: float = 1.0
    jaw: float = 1.0
    brow: float = 0.10
    brow_tilt: float = 0.0
    nose: float = 0.22
    mouth: float = 0.42
    freckles: bool = False
    earrings: bool = False


@dataclass(frozen=True, slots=True)
class Expression:
    """How the face looks in one photo. 0 is neutral."""

    smile: float = 0.6
    """0 to 1."""
    lids: float = 0.0
    """How far the eyes are narrowed, 0 to 0.3."""
    turn: float = 0.0
    """How far eyes, nose and mouth have moved across the head, in eye distances."""


def draw_head(brush: Brush, traits: Traits, expression: Expression) -> None:
    """Shoulders, head, hair and face, back to front."""
    features = brush.moved(expression.turn)
    _hair_behind(brush, traits)
    _body(brush, traits)
    _head(brush, traits)
    _beard(features, traits)
    _cheeks(features, traits)
    _nose(features, traits)
    _mouth(features, traits, expression)
    for side in (-1, 1):
        _eye(features.moved(0.5 * side), traits, expression)
        _eyebrow(features, traits, side)
    _hair_in_front(brush, traits)
    if traits.glasses:
        _glasses(features, traits)


def _body(brush: Brush, traits: Traits) -> None:
    neck = shade(traits.skin, 0.86)
    brush.halves([(0, 2.25), (1.1, 2.35), (2.0, 2.75), (2.35, 3.9), (2.4, 7), (2.4, 12), (0, 12)], traits.shirt)
    brush.halves([(0, 1.0), (0.5, 1.2), (0.5, 2.2), (0.62, 2.5), (0, 2.95)], neck)
    brush.stroke([(-0.72, 2.44), (0, 3.0), (0.72, 2.44)], 0.12, shade(traits.shirt, 0.85))


def _head(brush: Brush, traits: Traits) -> None:
    for side in (-1, 1):
        brush.disc(1.1 * traits.width * side, 0.28, 0.17, 0.3, shade(traits.skin, 0.93))
        brush.disc(1.1 * traits.width * side, 0.3, 0.08, 0.17, shade(traits.skin, 0.82))
        if traits.earrings:
            brush.disc(1.14 * traits.width * side, 0.68, 0.09, 0.09, (236, 196, 84))
    w, j = traits.width, traits.width * traits.jaw
    crown = [(0, -1.42), (0.72 * w, -1.2), (1.06 * w, -0.55), (1.09 * w, 0.2)]
    brush.halves([*crown, (0.97 * j, 0.95), (0.58 * j, 1.62), (0, 1.9)], traits.skin)


def _cheeks(brush: Brush, traits: Traits) -> None:
    r, g, b = traits.skin
    blush = (min(255, r + 8), round(g * 0.93), round(b * 0.93))
    for side in (-1, 1):
        if traits.beard != "full":
            brush.disc(0.68 * side, 0.72, 0.24, 0.16, blush)
        if traits.freckles:
            for x, y in ((0.42, 0.52), (0.58, 0.44), (0.72, 0.56), (0.54, 0.64), (0.82, 0.42)):
                brush.disc(x * side, y, 0.032, 0.032, shade(traits.skin, 0.72))


def _nose(brush: Brush, traits: Traits) -> None:
    n = traits.nose
    shadow = shade(traits.skin, 0.84)
    brush.blob(
        [(0, 0.02), (0.07, 0.3), (n, NOSE_TIP + 0.05), (0, NOSE_TIP + 0.17), (-n, NOSE_TIP + 0.05), (-0.07, 0.3)],
        shade(traits.skin, 0.94),
    )
    brush.stroke([(-n * 0.75, NOSE_TIP + 0.1), (0, NOSE_TIP + 0.16), (n * 0.75, NOSE_TIP + 0.1)], 0.05, shadow)
    brush.disc(0, NOSE_TIP - 0.04, 0.07, 0.06, shade(traits.skin, 1.07))


def _mouth(brush: Brush, traits: Traits, expression: Expression) -> None:
    w, lift = traits.mouth, 0.16 * expression.smile
    corner = MOUTH - lift * 0.6
    low = MOUTH + lift * 0.6
    brush.blob(
        [(-w, corner), (-0.16, low - 0.12), (0, low - 0.08), (0.16, low - 0.12), (w, corner), (0, low + 0.19)],
        traits.lips,
    )
    left = [(-w * 0.9, corner + 0.01), (-w * 0.45, low - 0.01)]
    right = [(w * 0.45, low - 0.01), (w * 0.9, corner + 0.01)]
    brush.stroke([*left, (0, low + 0.03), *right], 0.035, shade(traits.lips, 0.62))


def _eye(brush: Brush, traits: Traits, expression: Expression) -> None:
    """Around the brush's origin: the white, an iris that the lids cut off, the upper lid."""
    opening = 0.145 * (1 - expression.lids)
    lid: list[Point] = [(-0.1, -opening), (0.1, -opening)]
    almond = [(-0.27, 0.02), *lid, (0.27, 0.02), (0.1, opening * 0.9), (-0.1, opening * 0.9)]
    half = math.ceil(0.34 * brush.unit)
    corner = (math.floor(brush.origin[0]) - half, math.floor(brush.origin[1]) - half)
    centre = (brush.origin[0] - corner[0], brush.origin[1] - corner[1])
    patch = Image.new("RGB", (2 * half, 2 * half), SCLERA)
    iris = Brush(patch, centre, brush.unit, brush.tilt)
    iris.disc(0, 0, 0.125, 0.125, traits.iris)
    iris.disc(0, 0, 0.065, 0.065, PUPIL)
    iris.disc(0.045, -0.05, 0.032, 0.032, (255, 255, 255))
    mask = Image.new("L", patch.size, 0)
    ImageDraw.Draw(mask).polygon(iris.pixels(smooth(almond)), fill=255)
    brush.image.paste(patch, corner, mask)
    brush.stroke([(-0.29, 0.02), (-0.11, -opening), (0.11, -opening), (0.29, 0.02)], 0.045, shade(traits.hair, 0.4))


def _eyebrow(brush: Brush, traits: Traits, side: int) -> None:
    tilt = traits.brow_tilt
    arc = [(0.2, -0.37 + tilt), (0.5, -0.45), (0.82, -0.32 - tilt)]
    brush.stroke([(x * side, y) for x, y in arc], traits.brow, shade(traits.hair, 0.72))


def _glasses(brush: Brush, traits: Traits) -> None:
    square = traits.glasses == "square"
    for side in (-1, 1):
        brush.ring(0.5 * side, 0.03, 0.4, 0.055, FRAME, square=square)
        brush.stroke([(0.9 * side, -0.02), (1.08 * traits.width * side, -0.08)], 0.055, FRAME)
    brush.stroke([(-0.1, 0), (0, -0.04), (0.1, 0)], 0.055, FRAME)


def _beard(brush: Brush, traits: Traits) -> None:
    w, j = traits.width, traits.width * traits.jaw
    colour = shade(traits.hair, 0.92)
    if traits.beard == "full":
        cheek = [(0, 0.84), (0.5, 0.86), (0.85 * w, 0.72), (1.06 * w, 0.2)]
        brush.halves([*cheek, (1.0 * j, 1.0), (0.64 * j, 1.72), (0, 2.06)], colour)
    elif traits.beard == "goatee":
        brush.halves([(0, 0.86), (0.4, 0.9), (0.56, 1.2), (0.4, 1.75), (0, 1.98)], colour)
    elif traits.beard == "moustache":
        brush.halves([(0, 0.84), (0.3, 0.86), (0.58, 1.06), (0.3, 1.0), (0, 0.98)], colour)


def _hair_behind(brush: Brush, traits: Traits) -> None:
    dark, w = shade(traits.hair, 0.82), traits.width
    if traits.style == "long":
        brush.halves([(0, -1.75), (0.9, -1.5), (1.4 * w, -0.4), (1.5 * w, 1.2), (1.6, 2.6), (1.1, 3.0), (0, 2.9)], dark)
    elif traits.style == "bob":
        brush.halves([(0, -1.75), (0.95, -1.5), (1.45 * w, -0.3), (1.5 * w, 0.9), (1.25, 1.6), (0, 1.6)], dark)
    elif traits.style == "bun":
        brush.disc(0, -1.85, 0.52, 0.46, dark)
        brush.halves([(0, -1.6), (0.85, -1.35), (1.22 * w, -0.3), (1.1, 0.5), (0, 0.6)], dark)
    elif traits.style == "curly":
        for angle in np.linspace(0.85 * np.pi, 2.15 * np.pi, 15):
            brush.disc(1.2 * w * float(np.cos(angle)), -0.35 + 1.3 * float(np.sin(angle)), 0.42, 0.42, dark)


def _hair_in_front(brush: Brush, traits: Traits) -> None:
    w = traits.width
    caps: dict[str, list[Point]] = {
        "short": [
            (-1.12 * w, 0.0), (-1.18 * w, -0.9), (-0.7, -1.6), (0, -1.72), (0.7, -1.6), (1.18 * w, -0.9),
            (1.12 * w, 0.0), (0.95 * w, -0.6), (0.5, -0.95), (-0.5, -0.95), (-0.95 * w, -0.6),
        ],
        "swept": [
            (-1.12 * w, 0.05), (-1.2 * w, -0.9), (-0.8, -1.7), (0.1, -1.95), (0.95, -1.65), (1.2 * w, -0.9),
            (1.12 * w, 0.0), (0.95 * w, -0.55), (0.55, -0.75), (-0.2, -1.0), (-0.75, -1.2), (-0.98 * w, -0.6),
        ],
        "fringe": [
            (-1.14 * w, 0.1), (-1.2 * w, -0.9), (-0.75, -1.65), (0, -1.78), (0.75, -1.65), (1.2 * w, -0.9),
            (1.14 * w, 0.1), (0.98 * w, -0.5), (0.5, -0.6), (0, -0.56), (-0.5, -0.6), (-0.98 * w, -0.5),
        ],
        "bob": [
            (-1.2 * w, 0.6), (-1.28 * w, -0.7), (-0.8, -1.62), (0, -1.78), (0.8, -1.62), (1.28 * w, -0.7),
            (1.2 * w, 0.6), (1.0 * w, -0.35), (0.6, -0.85), (0.25, -1.15), (-0.5, -0.8), (-1.0 * w, -0.3),
        ],
        "long": [
            (-1.16 * w, 0.9), (-1.26 * w, -0.6), (-0.8, -1.6), (0, -1.76), (0.8, -1.6), (1.26 * w, -0.6),
            (1.16 * w, 0.9), (1.0 * w, -0.2), (0.6, -0.9), (0, -1.3), (-0.6, -0.9), (-1.0 * w, -0.2),
        ],
        "bun": [
            (-1.1 * w, 0.0), (-1.16 * w, -0.8), (-0.7, -1.52), (0, -1.66), (0.7, -1.52), (1.16 * w, -0.8),
            (1.1 * w, 0.0), (0.92 * w, -0.7), (0.45, -1.1), (-0.45, -1.1), (-0.92 * w, -0.7),
        ],
    }  # fmt: skip
    if traits.style == "curly":
        for angle in np.linspace(1.06 * np.pi, 1.94 * np.pi, 9):
            brush.disc(0.92 * w * float(np.cos(angle)), -0.5 + 0.95 * float(np.sin(angle)), 0.3, 0.3, traits.hair)
    elif traits.style != "bald":
        brush.blob(caps[traits.style], traits.hair)


class Brush:
    """Draws in face units on an image: `unit` pixels to the eye distance, turned by `tilt` degrees, clockwise."""

    def __init__(self, image: Image.Image, origin: Point, unit: float, tilt: float = 0.0) -> None:
        self.image, self.origin, self.unit, self.tilt = image, origin, unit, tilt
        self._cos, self._sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
        self._draw = ImageDraw.Draw(image)

    def moved(self, dx: float) -> Brush:
        """The same brush with its origin moved across the face by `dx` face units."""
        return Brush(self.image, self.pixels([(dx, 0)])[0], self.unit, self.tilt)

    def pixels(self, points: Sequence[Point]) -> list[Point]:
        """Face units to pixels of the image."""
        (x0, y0), c, s = self.origin, self._cos * self.unit, self._sin * self.unit
        return [(x0 + x * c - y * s, y0 + x * s + y * c) for x, y in points]

    def disc(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        """A filled ellipse."""
        self._draw.polygon(self.pixels(_ellipse(x, y, rx, ry)), fill=fill)

    def blob(self, points: Sequence[Point], fill: Colour) -> None:
        """A smooth closed shape through the points."""
        self._draw.polygon(self.pixels(smooth(points)), fill=fill)

    def halves(self, right: Sequence[Point], fill: Colour) -> None:
        """A smooth closed shape, symmetric about x = 0, given by its right half from top to bottom."""
        self.blob([*right, *((-x, y) for x, y in reversed(right) if x > 0)], fill)

    def stroke(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """A line with round joints and ends through the points."""
        thick = max(1, round(width * self.unit))
        self._draw.line(self.pixels(points), fill=fill, width=thick, joint="curve")
        for x, y in (points[0], points[-1]):
            self.disc(x, y, width / 2, width / 2, fill)

    def ring(self, x: float, y: float, r: float, width: float, fill: Colour, *, square: bool) -> None:
        """The outline of a circle, or of a square with round corners."""
        points = _ellipse(x, y, r, r * 0.85, power=0.45) if square else _ellipse(x, y, r, r)
        self.stroke([*points, points[0]], width, fill)


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made darker (below 1) or lighter (above 1)."""
    r, g, b = (min(255, max(0, round(channel * factor))) for channel in colour)
    return r, g, b


def smooth(points: Sequence[Point], steps: int = 10) -> list[Point]:
    """A closed Catmull-Rom spline through the points."""
    p1 = np.asarray(points, dtype=np.float64)
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    a, b, c, d = (p[:, None, :] for p in (p0, p1, p2, p3))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return [(float(x), float(y)) for x, y in curve.reshape(-1, 2)]


def _ellipse(x: float, y: float, rx: float, ry: float, power: float = 1.0) -> list[Point]:
    """Points of an ellipse; a power below 1 squares it off."""
    turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    c, s = (np.sign(each) * np.abs(each) ** power for each in (np.cos(turns), np.sin(turns)))
    return list(zip((x + rx * c).tolist(), (y + ry * s).tolist(), strict=True))
