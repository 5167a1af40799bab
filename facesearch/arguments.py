"""Arguments of the Python API: checked where they come in, so that a wrong type is a `ConfigError` that names it."""

from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facesearch.errors import ConfigError
from facesearch.names import path_text

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
        raise ConfigError(f"{name} is {shown(value)}, which is no path.", "Give a path (str or pathlib.Path).")
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
        raise ConfigError(f"{name} is {shown(value)}, which names nobody.", hint) from None


def photo(value: Any) -> None:
    """Raise `ConfigError` for what cannot be a photo, whatever it holds."""
    if isinstance(value, (str, Path)):
        path("The photo", value)
    elif isinstance(value, bytes):
        if not value:
            raise ConfigError("The photo is empty: it has 0 bytes.", "Give the whole content of a photo file.")
    elif isinstance(value, np.ndarray):
        pixels(value)
    elif not is_pillow(value):
        raise ConfigError(
            f"The photo is {shown(value)}.",
            "Give a path, the bytes of a file, an array (height, width, 3) uint8 in RGB, or an image of Pillow.",
        )


def pixels(array: NDArray[Any]) -> None:
    """Raise `ConfigError` unless an array is (height, width, 3) uint8."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ConfigError(
            f"An array of shape {array.shape} and type {array.dtype} is no photo.",
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
