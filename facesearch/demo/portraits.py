"""Portraits of people who do not exist, drawn on the spot: what the demo and the tests enroll and search for.

Everything is deterministic: the same person and variation give the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image

from facesearch.demo.drawing import Brush, Colour, Expression, Traits, draw_head, shade

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from facesearch.types import Pixels

PEOPLE: tuple[str, ...] = (
    "Mira Quill", "Otto Bramble", "Juno Wren", "Tobi Lantern", "Sana Willowby", "Felix Thistle", "Ines Marrow",
    "Kofi Ember", "Lotte Applegarth", "Ravi Moonstone", "Yuki Fernley", "Bram Oakhollow",
)  # fmt: skip
"""Made-up names; the position in this tuple is the person's number.

Numbers beyond it are people without a name, drawn at random: some of them look like one of these.
"""
STRANGER = len(PEOPLE)
"""The number of someone who is in no gallery and looks like nobody in it."""

_SUPERSAMPLING = 2
_EYE_DISTANCE = 0.19
"""Of a portrait, as a share of its width."""
_JPEG_QUALITY = 92

_SKINS: tuple[Colour, ...] = (
    (250, 220, 196), (241, 200, 168), (228, 180, 142), (205, 152, 112), (172, 118, 82), (134, 88, 60), (104, 68, 48),
)  # fmt: skip
_HAIRS: tuple[Colour, ...] = (
    (38, 30, 34), (74, 48, 36), (122, 82, 52), (214, 176, 104), (176, 104, 64), (172, 166, 158), (96, 60, 84),
)  # fmt: skip
_IRISES: tuple[Colour, ...] = ((88, 56, 34), (60, 104, 150), (74, 126, 84), (120, 92, 44), (92, 104, 116))
_PALETTES = {"skin": _SKINS, "hair": _HAIRS, "iris": _IRISES}
_SPANS = {
    "width": (0.96, 1.07), "jaw": (0.93, 1.07), "brow": (0.06, 0.15), "brow_tilt": (-0.04, 0.04), "nose": (0.18, 0.3),
    "mouth": (0.38, 0.48),
}  # fmt: skip
"""Between which lengths the faces of people without a name are drawn."""
_SHIRTS: tuple[Colour, ...] = (
    (74, 98, 138), (196, 92, 76), (92, 138, 108), (226, 178, 82), (130, 96, 146), (70, 74, 84), (206, 132, 150),
)  # fmt: skip
_BACKDROPS: tuple[Colour, ...] = (
    (238, 222, 196), (206, 222, 196), (240, 208, 190), (222, 214, 222), (232, 230, 210), (208, 216, 206),
)  # fmt: skip

_Cast: TypeAlias = dict[str, str | float | bool | int]
_UNBEARDED = ("short", "swept", "fringe", "bob", "long", "curly", "bun")
"""Styles of hair that are drawn at random for somebody without a beard."""
_CAST: tuple[_Cast, ...] = (
    {"skin": 1, "hair": 1, "iris": 2, "style": "bob", "glasses": "round", "mouth": 0.4},
    {"skin": 0, "hair": 4, "iris": 1, "style": "short", "beard": "full", "width": 1.05, "brow": 0.13},
    {"skin": 4, "hair": 0, "iris": 0, "style": "curly", "earrings": True, "nose": 0.27, "mouth": 0.47},
    {"skin": 6, "hair": 0, "iris": 0, "style": "short", "beard": "goatee", "nose": 0.29, "mouth": 0.48},
    {"skin": 3, "hair": 0, "iris": 3, "style": "long", "brow": 0.12, "mouth": 0.44, "jaw": 0.94},
    {"skin": 1, "hair": 2, "iris": 1, "style": "swept", "beard": "goatee", "jaw": 1.06, "brow": 0.09,
     "brow_tilt": 0.03},
    {"skin": 2, "hair": 3, "iris": 2, "style": "long", "freckles": True, "earrings": True, "jaw": 0.95},
    {"skin": 5, "hair": 0, "iris": 0, "style": "bald", "glasses": "square", "beard": "full", "brow": 0.12},
    {"skin": 0, "hair": 5, "iris": 4, "style": "bun", "glasses": "round", "brow": 0.07, "nose": 0.24},
    {"skin": 4, "hair": 0, "iris": 3, "style": "swept", "beard": "moustache", "brow": 0.15, "nose": 0.26},
    {"skin": 1, "hair": 0, "iris": 0, "style": "fringe", "width": 0.98, "brow": 0.08, "nose": 0.19},
    {"skin": 3, "hair": 5, "iris": 1, "style": "bald", "beard": "full", "brow": 0.14, "width": 1.06},
)  # fmt: skip
"""The people of the demo: numbers point into the palettes above."""


@dataclass(frozen=True, slots=True)
class _Pose:
    """How one photo was taken."""

    expression: Expression
    tilt: float
    """Degrees."""
    scale: float
    shift: tuple[float, float]
    """Of the head, as shares of the photo's width."""
    gain: float
    slope: float
    """Of the light, across the photo: brighter on one side by this share."""


def draw_portrait(person: int, variation: int, size: tuple[int, int] = (240, 280)) -> Pixels:
    """One photo of one person.

    Args:
        person: position in `PEOPLE`, or any larger number for someone else.
        variation: 0 is frontal and evenly lit; every other number moves, tilts, scales, lights and changes the
            expression mildly.
        size: (width, height) in pixels.
    """
    traits = _traits(person)
    pose = _pose(person, variation)
    width, height = (side * _SUPERSAMPLING for side in size)
    image = _backdrop((width, height), traits.backdrop)
    _place(image, traits, pose, (0.5 * width, 0.42 * height), _EYE_DISTANCE * width)
    return _light(image.reduce(_SUPERSAMPLING), pose)


def draw_group(people: Sequence[int], variation: int = 1, size: tuple[int, int] = (900, 420)) -> Pixels:
    """A photo of several people side by side, in that order, at alternating heights."""
    width, height = (side * _SUPERSAMPLING for side in size)
    image = _backdrop((width, height), (222, 226, 204))
    spacing = width / len(people)
    unit = min(spacing / 4.6, height / 8)
    for index, person in enumerate(people):
        centre = (spacing * (index + 0.5), height * (0.46 if index % 2 else 0.38))
        _place(image, _traits(person), _pose(person, variation), centre, unit)
    return np.asarray(image.reduce(_SUPERSAMPLING))


def draw_landscape(size: tuple[int, int] = (480, 320)) -> Pixels:
    """Hills, a sun and a hut under a blue sky: nobody is in it."""
    width, height = (side * _SUPERSAMPLING for side in size)
    image = _backdrop((width, height), (186, 214, 240))
    brush = Brush(image, (width / 2, height / 2), height / 4)
    brush.disc(1.9, -1.2, 0.34, 0.34, (250, 214, 120))
    clouds = ((-1.9, -1.3, 0.22), (-1.6, -1.35, 0.3), (-1.25, -1.28, 0.22), (0.3, -1.55, 0.2), (0.55, -1.5, 0.16))
    for x, y, r in clouds:
        brush.disc(x, y, r, r * 0.6, (250, 250, 252))
    brush.blob(
        [(-3.4, 2.4), (-3.2, 0.3), (-1.8, -0.6), (-0.4, 0.2), (1.2, -0.3), (3.2, 0.4), (3.4, 2.4)], (128, 164, 128)
    )
    brush.blob([(-3.4, 2.6), (-3.2, 0.9), (-1.0, 0.5), (1.2, 1.1), (3.2, 0.7), (3.4, 2.6)], (98, 142, 92))
    brush.blob([(-0.5, 0.35), (0.3, 0.35), (0.32, 1.0), (-0.52, 1.0)], (176, 128, 92))
    brush.blob([(-0.62, 0.38), (-0.1, -0.12), (0.42, 0.38), (-0.1, 0.42)], (160, 74, 60))
    return np.asarray(image.reduce(_SUPERSAMPLING))


def write_people(folder: Path, people: Sequence[str] = PEOPLE, photos_each: int = 4) -> list[Path]:
    """Write `folder/<name>/<n>.jpg` for n from 1, and return the paths, person by person.

    `people` are names of `PEOPLE`, or a ValueError is raised; photo n shows variation n - 1.
    """
    photos = {
        folder / name / f"{variation + 1}.jpg": (PEOPLE.index(name), variation)
        for name in people
        for variation in range(photos_each)
    }
    for path, (person, variation) in photos.items():
        write_photo(path, draw_portrait(person, variation))
    return list(photos)


def write_photo(path: Path, pixels: Pixels) -> None:
    """Save as a JPEG, making the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)


def _traits(person: int) -> Traits:
    rng = np.random.default_rng([person, 0x5EED])
    cast: _Cast = dict(_CAST[person]) if person < len(_CAST) else _random_cast(rng)
    colours = {name: palette[int(cast.pop(name))] for name, palette in _PALETTES.items()}
    return Traits(
        **{**colours, **cast},  # type: ignore[arg-type]  # the tables above name Traits' own fields
        lips=_lips(colours["skin"]),
        shirt=_SHIRTS[person % len(_SHIRTS)],
        backdrop=_BACKDROPS[person % len(_BACKDROPS)],
    )


def _random_cast(rng: np.random.Generator) -> _Cast:
    beard = str(rng.choice(["", "", "", "full", "goatee", "moustache"]))
    styles = ("short", "swept", "curly", "bald") if beard else _UNBEARDED
    drawn: _Cast = {name: int(rng.integers(len(each))) for name, each in _PALETTES.items()}
    drawn |= {"style": str(rng.choice(styles)), "glasses": str(rng.choice(["", "", "round", "square"])), "beard": beard}
    drawn |= {name: float(rng.uniform(*span)) for name, span in _SPANS.items()}
    return {**drawn, "freckles": bool(rng.random() < 0.15), "earrings": bool(rng.random() < 0.2)}


def _lips(skin: Colour) -> Colour:
    """Redder than any skin, hair or beard: less than half as much green as red."""
    r = round(90 + 0.48 * skin[0])
    return r, round(r * 0.36), round(r * 0.38)


def _pose(person: int, variation: int) -> _Pose:
    if variation == 0:
        return _Pose(Expression(), 0.0, 1.0, (0.0, 0.0), 1.0, 0.0)
    rng = np.random.default_rng([person, variation])
    expression = Expression(
        smile=float(rng.uniform(0.2, 1)), lids=float(rng.uniform(0, 0.2)), turn=float(rng.uniform(-0.07, 0.07))
    )
    return _Pose(
        expression,
        tilt=float(rng.uniform(-9, 9)),
        scale=float(rng.uniform(0.88, 1.1)),
        shift=(float(rng.uniform(-0.05, 0.05)), float(rng.uniform(-0.04, 0.04))),
        gain=float(rng.uniform(0.84, 0.99)),
        slope=float(rng.uniform(-0.1, 0.1)),
    )


def _backdrop(size: tuple[int, int], colour: Colour) -> Image.Image:
    """A soft vertical gradient."""
    image = Image.new("RGB", (1, 2))
    image.putdata([shade(colour, 1.03), shade(colour, 0.88)])
    return image.resize(size, Image.Resampling.BILINEAR)


def _place(image: Image.Image, traits: Traits, pose: _Pose, centre: tuple[float, float], unit: float) -> None:
    """Draw one head with the middle of its eyes near `centre`."""
    origin = (centre[0] + pose.shift[0] * unit * 5, centre[1] + pose.shift[1] * unit * 5)
    draw_head(Brush(image, origin, unit * pose.scale, pose.tilt), traits, pose.expression)


def _light(image: Image.Image, pose: _Pose) -> Pixels:
    across = pose.gain * (1 + pose.slope * np.linspace(-1, 1, image.width, dtype=np.float32))
    lit = np.asarray(image, dtype=np.float32) * across[None, :, None]
    return np.clip(lit + 0.5, 0, 255).astype(np.uint8)
