"""JSON objects into dataclasses, or not at all: no key may be missing, unknown or of another type."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints


def build(kind: type[Any], values: Any) -> Any:
    """An instance of the dataclass `kind` from parsed JSON that has exactly its fields.

    Raises:
        ValueError: names what does not fit.
    """
    if not isinstance(values, dict) or set(values) != {entry.name for entry in fields(kind)}:
        raise ValueError(f"the keys of {kind.__name__} are not those that belong there")
    # Mapping is imported for the type checker only; in JSON it is a dict.
    hints = get_type_hints(kind, localns={"Mapping": dict})
    return kind(**{name: _value(hints[name], value, name) for name, value in values.items()})


def _value(kind: Any, value: Any, name: str) -> Any:
    if isinstance(kind, UnionType):
        kinds = [option for option in get_args(kind) if option is not NoneType]
        return None if value is None else _value(kinds[0], value, name)
    if is_dataclass(kind):
        assert isinstance(kind, type)
        return build(kind, value)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        if value in list(kind):
            return kind(value)
    elif kind is float:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif type(value) is (get_origin(kind) or kind):
        return value
    raise ValueError(f"{name} cannot be {value!r}")
