"""Column types and operators that SQLite and PostgreSQL spell differently.

Text compares and sorts by its bytes on both: PostgreSQL's own collations depend on the machine. JSON is kept as text on
both, as it was written, because the checksum of its row is over that text.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from sqlalchemy import REAL, BigInteger, ColumnElement, Double, Integer, Text, literal
from sqlalchemy import types as sa_types
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from facesearch.errors import CorruptGalleryError

# Escapes in keys would hide them from the JSON functions of older SQLites.
to_json = partial(json.dumps, ensure_ascii=False)

BigInt = BigInteger().with_variant(Integer(), "sqlite")
Real: sa_types.TypeEngine[float] = Double().with_variant(REAL(), "sqlite")
Words = Text().with_variant(Text(collation="C"), "postgresql")


class JsonText(sa_types.TypeDecorator[Any]):
    """JSON kept in a column of text; `CorruptGalleryError` where a value read is none."""

    impl = Words
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: object) -> str:  # noqa: ARG002
        """As it is stored."""
        return to_json(value)

    def process_result_value(self, value: Any, dialect: object) -> Any:  # noqa: ARG002
        """As it was given."""
        try:
            return json.loads(value)
        except (ValueError, TypeError) as error:
            raise CorruptGalleryError("A JSON value of the gallery is damaged.", "Run `facesearch check`.") from error


class _Member(FunctionElement[str]):
    """`member(column, key)`: a string in a JSON object, NULL where there is none."""

    type = Text()
    inherit_cache = True


@compiles(_Member, "sqlite")
def _member_sqlite(element: _Member, compiler: Any, **options: Any) -> str:
    column, key = element.clauses
    return f"json_extract({compiler.process(column, **options)}, '$.\"' || {compiler.process(key, **options)} || '\"')"


@compiles(_Member, "postgresql")
def _member_postgresql(element: _Member, compiler: Any, **options: Any) -> str:
    column, key = element.clauses
    return f"(CAST({compiler.process(column, **options)} AS JSON) ->> {compiler.process(key, **options)})"


def member(column: Any, key: str) -> ColumnElement[str]:
    """The string under `key` of a `JsonText` column's object. `key` has no quotes in it."""
    return _Member(column, literal(key, Text()))


class _Contains(FunctionElement[int]):
    """`contains(column, part)`."""

    type = Integer()
    inherit_cache = True


@compiles(_Contains, "sqlite")
def _contains_sqlite(element: _Contains, compiler: Any, **options: Any) -> str:
    column, part = element.clauses
    return f"instr({compiler.process(column, **options)}, {compiler.process(part, **options)})"


@compiles(_Contains, "postgresql")
def _contains_postgresql(element: _Contains, compiler: Any, **options: Any) -> str:
    column, part = element.clauses
    return f"position({compiler.process(part, **options)} in {compiler.process(column, **options)})"


def contains(column: Any, part: str | bytes) -> ColumnElement[bool]:
    """Whether a column of text holds a piece of text, or one of bytes a piece of bytes."""
    return _Contains(column, literal(part)) > 0
