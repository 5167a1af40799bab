"""Frozen dataclasses to plain JSON values and back, by their type hints.

JSON has no infinities and no NaN: they are written as the strings "inf", "-inf" and "nan".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum, StrEnum
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

_T = TypeVar("_T")
_NON_FINITE = ("inf", "-inf", "nan")


def to_json(value: object) -> Any:
    """Return lists, dicts, strings, numbers, booleans and None."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, np.ndarray | np.generic):
        return to_json(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def from_json(kind: type[_T], values: Any) -> _T:
    """Return the dataclass `kind` that `to_json` made `values` of.

    Raises ValueError: a key is missing, unknown or of another type; the message names it.
    """
    hints = get_type_hints(kind)
    found = values if isinstance(values, dict) else {}
    if wrong := sorted(set(found) ^ set(hints)):
        raise ValueError(f"{wrong[0]} is {'not known' if wrong[0] in found else 'missing'}")
    return kind(**{name: _value(hints[name], value, name) for name, value in found.items()})


def _value(hint: Any, value: Any, name: str) -> Any:
    if isinstance(hint, UnionType):
        return None if value is None else _value(get_args(hint)[0], value, name)
    if is_dataclass(hint):
        return from_json(hint, value)  # type: ignore[arg-type]  # a class, not an instance
    if isinstance(value, list | dict):
        return _items(hint, value, name)
    if hint is Any or type(value) is hint:
        if hint is not float or math.isfinite(value):
            return value
    elif hint is float and (type(value) is int or value in _NON_FINITE):
        return float(value)
    elif isinstance(hint, type) and issubclass(hint, StrEnum) and value in list(hint):
        return hint(value)
    raise ValueError(f"{name} cannot be {value!r:.80}")


def _items(hint: Any, value: list[Any] | dict[str, Any], name: str) -> Any:
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    if kind is Any:
        return value
    if kind is Mapping and isinstance(value, dict):
        return {arguments[0](key): _value(arguments[1], item, name) for key, item in value.items()}
    if kind is tuple and isinstance(value, list):
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_value(one, item, name) for one, item in zip(kinds, value, strict=True))
    if kind is np.ndarray and isinstance(value, list):
        scalar = get_args(arguments[1])[0]
        return np.array([_value(float if scalar is np.float64 else int, item, name) for item in value], dtype=scalar)
    raise ValueError(f"{name} cannot be a {type(value).__name__}")
