"""Checks of what comes in: arguments of the Python API, and vectors."""

from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facesearch.errors import ConfigError, GalleryError
from facesearch.names import path_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNIT_TOLERANCE = 1e-3
"""How far from 1 a vector's length may be. float32 rounding of a 512-d unit vector stays below 1e-6."""


def whole(name: str, value: Any, least: int) -> int:
    """Return a whole number of at least `least`; numbers of NumPy are taken, True and 1.0 are not."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise ConfigError(f"{name} is {shown(value)}.", f"Give a whole number from {least} on.")
    return number


def number(name: str, value: Any, low: float, high: float = math.inf) -> float:
    """Return a number from `low` to `high`; True, NaN and text are none."""
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        span = f"from {low:g} to {high:g}" if high < math.inf else f"from {low:g} on"
        raise ConfigError(f"{name} is {shown(value)}.", f"Give a number {span}.")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """Return a truth value; "false" and 0 are none, so that nobody's "no" is taken for a yes."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {shown(value)}.", "Give True or False.")
    return value


def flags(**values: Any) -> None:
    """Raise `ConfigError` unless every value is a truth value."""
    for name, value in values.items():
        flag(name, value)


def key_values(pairs: Iterable[str] | None, example: str) -> dict[str, str]:
    """Return `key=value` texts as a mapping; an error shows `example`."""
    found: dict[str, str] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"{pair!r} is not of the form key=value.", f"For example: {example}")
        if key in found:
            raise ConfigError(f"{key} is given twice.", f"Give each key once, for example: {example}")
        found[key] = value
    return found


def text(name: str, value: Any) -> str:
    """Return a text with something in it."""
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{name} is {shown(value)}.", "Give a text (str).")
    return value


def texts(name: str, value: Any, *, removable: bool = False) -> dict[str, Any]:
    """Return a mapping of texts to texts; with `removable`, None is a value too."""
    kinds = (str, type(None)) if removable else (str,)
    given = mapping(name, value)
    if not all(isinstance(key, str) and isinstance(each, kinds) for key, each in given.items()):
        raise ConfigError(f"{name} is {shown(value)}.", f'Give a dict of texts: {name}={{"team": "a"}}')
    return dict(given)


def mapping(name: str, value: Any) -> Mapping[Any, Any]:
    """Return a mapping."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} is {shown(value)}.", "Give a dict.")
    return value


def path(name: str, value: Any) -> Path:
    """Return a path."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value) or isinstance(os.fspath(value), bytes):
        raise ConfigError(f"{name} is {shown(value)}, which is not a path.", "Give a path (str or pathlib.Path).")
    return Path(value)


def paths(name: str, value: Any) -> list[Path]:
    """Return the paths in an iterable, or the one that is given alone."""
    if isinstance(value, (str, os.PathLike)):
        return [path(name, value)]
    if isinstance(value, (bytes, bytearray, Mapping)) or not isinstance(value, Iterable):
        raise ConfigError(f"{name} is {shown(value)}.", "Give a path (str or pathlib.Path), or a list of paths.")
    return [path(f"An item of {name}", each) for each in value]


def people(name: str, value: Any) -> list[str | int]:
    """Return the people in a list, each by name or id."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise ConfigError(f"{name} is {shown(value)}.", 'Give a list of names or ids: ["Ada Lovelace", 7]')
    return [person(f"An item of {name}", each) for each in value]


def person(name: str, value: Any) -> str | int:
    """Return a person's name or id."""
    if isinstance(value, str) and value:
        return value
    try:
        return whole(name, value, 0)
    except ConfigError:
        hint = "Give a name (str) or an id (int)."
        raise ConfigError(f"{name} is {shown(value)}, which is neither a name nor an id.", hint) from None


def search(k: Any, where: Any, margin: Any, *, degraded: Any) -> None:
    """Raise `ConfigError` for what no search can be asked for; None is allowed for `where` and `margin`."""
    whole("k", k, 1)
    if where is not None:
        texts("where", where)
    if margin is not None:
        number("margin", margin, 0)
    flag("degraded", degraded)


def photo(value: Any) -> str:
    """Return how results call a photo: its path as text, or what kind of object it is."""
    if isinstance(value, (str, Path)):
        path("The photo", value)
        return path_text(value)
    if isinstance(value, bytes):
        if not value:
            raise ConfigError("The photo is empty: it has 0 bytes.", "Give the whole content of a photo file.")
        return "<bytes>"
    if isinstance(value, np.ndarray):
        pixels(value)
        return "<array>"
    if is_pillow(value):
        return "<image>"
    raise ConfigError(
        f"The photo is {shown(value)}.",
        "Give a path, the bytes of a file, an array (height, width, 3) uint8 in RGB, or an image of Pillow.",
    )


def pixels(array: NDArray[Any]) -> None:
    """Raise `ConfigError` unless an array is (height, width, 3) uint8."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ConfigError(
            f"An array of shape {array.shape} and type {array.dtype} is not a photo.",
            "Give (height, width, 3) uint8 in RGB order; OpenCV's arrays are BGR: image[:, :, ::-1].",
        )


def is_pillow(value: object) -> bool:
    """Whether this is an image of Pillow, which is not imported for the question."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def shown(value: Any) -> str:
    """Return what a message says of a value: its type, and the value itself where it is short."""
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, (str, os.PathLike)):
        written = os.fspath(value)
        if isinstance(written, str) and len(written) <= 60:
            return f"{path_text(written)!r}"
    return f"of type {type(value).__name__}"


def require_unit_vectors(vectors: NDArray[np.float32], dimension: int) -> None:
    """Raise `GalleryError` unless `vectors` is (n, dimension), finite and of unit length.

    Every vector that enters a gallery or a search passes here. A NaN query returns nonsense. One stored vector that is
    100 times too long is the best match of every query.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise GalleryError(
            f"Vectors of shape {vectors.shape} cannot be used: this gallery needs (n, {dimension}).",
            "Use the model pack that the gallery was made with.",
        )
    if not np.isfinite(vectors).all():
        raise GalleryError("A vector has entries that are not finite.", "The model or its input is damaged.")
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    if np.any(np.abs(lengths - 1) > UNIT_TOLERANCE):
        raise GalleryError(
            "A vector is not of unit length.", "Divide each vector by its length before handing it over."
        )
