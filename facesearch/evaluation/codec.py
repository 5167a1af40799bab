"""Frozen dataclasses to plain JSON values and back, by their own type hints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

_T = TypeVar("_T")


def to_json(value: object) -> Any:
    """Lists, dicts, strings, numbers and null. JSON has no infinities: they become the strings "inf" and "-inf"."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, np.ndarray):
        return [to_json(item) for item in value.tolist()]
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, np.generic):
        return to_json(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def from_json(kind: type[_T], data: Any) -> _T:
    """The dataclass `kind` that `to_json` made `data` of.

    Raises KeyError for a missing field, ValueError or TypeError for one that does not fit.
    """
    hints = get_type_hints(kind, localns={"Mapping": Mapping})
    return kind(**{name: _value(hints[name], data[name]) for name in hints})


def _value(hint: Any, data: Any) -> Any:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        if data is None:
            return None
        return _value(next(option for option in get_args(hint) if option is not type(None)), data)
    if origin is np.ndarray:
        scalar = get_args(get_args(hint)[1])[0]
        return np.array([float(item) for item in data] if scalar is np.float64 else data, dtype=scalar)
    if origin is tuple:
        kinds = get_args(hint)
        each = [kinds[0]] * len(data) if kinds[-1] is Ellipsis else kinds
        return tuple(_value(one, item) for one, item in zip(each, data, strict=True))
    if origin is Mapping:
        key, item = get_args(hint)
        return {_value(key, name): _value(item, one) for name, one in data.items()}
    if hint is Any:
        return data
    return from_json(hint, data) if isinstance(hint, type) and is_dataclass(hint) else hint(data)
