"""Draws smooth shapes on an image in units of a face: moved, scaled and turned by the brush, not by the caller."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import ImageDraw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

Colour: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]


class Brush:
    """Draws in face units on an image: `unit` pixels to the eye distance, turned by `tilt` degrees, clockwise."""

    def __init__(self, image: Image.Image, origin: Point, unit: float, tilt: float = 0.0) -> None:
        self.image, self.origin, self.unit, self.tilt = image, origin, unit, tilt
        self._cos, self._sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
        self._draw = ImageDraw.Draw(image)

    def moved(self, dx: float, dy: float = 0.0) -> Brush:
        """The same brush with its origin moved by (dx, dy) face units."""
        return Brush(self.image, self.pixels([(dx, dy)])[0], self.unit, self.tilt)

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
    c, s = np.cos(turns), np.sin(turns)
    return list(
        zip(
            (x + rx * np.sign(c) * np.abs(c) ** power).tolist(),
            (y + ry * np.sign(s) * np.abs(s) ** power).tolist(),
            strict=True,
        )
    )
