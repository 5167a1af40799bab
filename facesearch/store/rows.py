"""What every table's code needs: column types, sealed rows that are written and read back proven, chunks of ids.

A sealed row has a CRC-32 over all of its other columns, its id included, as the database stores them: JSON as its text.
One flipped bit in a name, an attribute or a reference is a fault then, not another person's name.

Text compares and sorts by its bytes on SQLite and PostgreSQL: PostgreSQL's own collations depend on the machine. JSON
is kept as text on both, as it was written, because the checksum of its row is over that text.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy import (
    REAL,
    BigInteger,
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    literal,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from facesearch.errors import CorruptGalleryError
from facesearch.store.database import Database

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy.engine import Connection

Value = TypeVar("Value")

# Escapes in keys would hide them from the JSON functions of older SQLites.
to_json = partial(json.dumps, ensure_ascii=False)

BigInt = BigInteger().with_variant(Integer(), "sqlite")
Real: TypeEngine[float] = Double().with_variant(REAL(), "sqlite")
Words = Text().with_variant(Text(collation="C"), "postgresql")


class JsonText(TypeDecorator[Any]):
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


STRICT_NEVER_REUSED: Final = {"sqlite_strict": True, "sqlite_autoincrement": True}
"""AUTOINCREMENT never hands out an id again: a stale index cannot point to another person's template."""


class Base:
    """A table: columns are attributes of its class. SQLAlchemy's own classes for it cost 0.1 s at each start."""

    metadata: ClassVar = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    """Names every constraint, so that migrations can refer to them."""
    __tablename__: ClassVar[str]
    __table_args__: ClassVar[tuple[Any, ...]] = (STRICT_NEVER_REUSED,)
    """Constraints and indexes, then a dictionary of options."""
    __table__: ClassVar[Table]
    id: ClassVar[ColumnElement[int]]

    def __init_subclass__(cls) -> None:
        """Make the table of a class that names one."""
        if "__tablename__" in vars(cls):
            cls.id = Column(BigInt, primary_key=True)
            if issubclass(cls, Sealed):
                cls.crc = column(BigInt, server_default=text("0"))
            declared = {name: value for name, value in vars(cls).items() if isinstance(value, Column)}
            for name, each in declared.items():
                each.name = each.key = name
            columns = sorted(declared.values(), key=lambda each: (not each.primary_key, each.name == "crc"))
            *constraints, options = cls.__table_args__
            cls.__table__ = Table(cls.__tablename__, cls.metadata, *columns, *constraints, **options)

    @classmethod
    def __clause_element__(cls) -> Table:
        """Let statements name the class where they mean its table."""
        return cls.__table__


class Sealed(Base):
    """Rows with a CRC-32 over all their other columns, kept by `insert` and `update`."""

    crc: ClassVar[ColumnElement[int]]


def column(kind: TypeEngine[Value], **options: Any) -> ColumnElement[Value]:
    """A column with a value in each row. `options` are `Column`'s, whose type is not for attributes of a class."""
    return Column(kind, nullable=False, **options)


def optional(kind: TypeEngine[Value], **options: Any) -> ColumnElement[Value | None]:
    """A column that may be without a value."""
    return cast("ColumnElement[Value | None]", Column(kind, nullable=True, **options))


def reference(target: str, **options: Any) -> ColumnElement[int]:
    """A column that refers to another table's id; the row goes with the other."""
    return Column(ForeignKey(target, ondelete="CASCADE"), nullable=False, **options)


_pack_double = struct.Struct("<d").pack


CHUNK: Final = 500
"""Values per IN (...) list: below every SQLite's limit of 999 bound values."""


def chunks(values: Collection[Value]) -> Iterator[list[Value]]:
    """`values` in pieces that fit into one IN (...) list."""
    listed = list(values)
    for start in range(0, len(listed), CHUNK):
        yield listed[start : start + CHUNK]


def select_in(
    connection: Connection,
    query: sa.Select[*tuple[Any, ...]],
    column: sa.SQLColumnExpression[Any],
    values: Collection[object],
) -> Iterator[Any]:
    """Rows of a query whose column has one of these values, of which there may be any number."""
    for chunk in chunks(values):
        yield from connection.execute(query.where(column.in_(chunk)))


def delete_in(
    connection: Connection, row: type[Base], column: sa.SQLColumnExpression[Any], values: Collection[object]
) -> int:
    """Remove rows whose column has one of these values; returns how many."""
    return sum(connection.execute(sa.delete(row).where(column.in_(chunk))).rowcount for chunk in chunks(values))


def present(connection: Connection, column: sa.SQLColumnExpression[Any], values: Collection[Value]) -> set[Value]:
    """Those of these values that a column has."""
    return {row[0] for row in select_in(connection, sa.select(column), column, values)}


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def checksum_of(values: Iterable[object]) -> int:
    """CRC-32 of column values, each with its type and length. Never change it: it is in every gallery."""
    parts = []
    for value in values:  # in one loop: every search comes here, some hundred times
        if isinstance(value, int):
            parts.append(b"i%d;" % value)
        elif isinstance(value, bytes):
            parts.append(b"b%d;%b" % (len(value), value))
        elif isinstance(value, str):
            encoded = value.encode()
            parts.append(b"t%d;%b" % (len(encoded), encoded))
        elif isinstance(value, float):
            parts.append(b"f" + _pack_double(value + 0.0))  # SQLite keeps -0.0 as 0
        elif value is None:
            parts.append(b"n")
        else:
            raise TypeError(f"a {type(value).__name__} is no value of a column")
    return zlib.crc32(b"".join(parts))


def stored_columns(row: type[Sealed], prefix: str = "") -> list[sa.Label[Any]]:
    """The columns of a table as the database stores them, `crc` last: what `require_whole` looks at."""
    return [
        (sa.type_coerce(column, sa.Text) if isinstance(column.type, JsonText) else column).label(prefix + column.name)
        for column in row.__table__.c
    ]


def column_names(row: type[Sealed]) -> str:
    """The same columns for a statement in plain SQL."""
    return ", ".join(f"{row.__tablename__}.{column.name}" for column in row.__table__.c)


def fetch(
    connection: Connection,
    row: type[Sealed],
    *conditions: ColumnElement[bool],
    order: Any = None,
    limit: int | None = None,
    hold: bool = False,
) -> list[Any]:
    """Read rows of a sealed table, JSON parsed, by id unless in another order; `CorruptGalleryError` for a damaged one.

    `hold` lets nobody change them until the transaction ends.
    """
    query = sa.select(*stored_columns(row)).where(*conditions).limit(limit)
    query = query.order_by(row.id if order is None else order)
    found = connection.execute(query.with_for_update(read=True) if hold else query).all()
    for each in found:
        require_whole(row, each)
    texts = [column.name for column in row.__table__.c if isinstance(column.type, JsonText)]
    parsed = ({name: json.loads(each._mapping[name]) for name in texts} for each in found)
    return [SimpleNamespace(**{**each._mapping, **values}) for each, values in zip(found, parsed, strict=True)]


def is_whole(values: Sequence[object]) -> bool:
    """Whether a sealed row's values, `crc` last, are the ones that were written."""
    return bool(checksum_of(values[:-1]) == values[-1])


def require_whole(row: type[Sealed], values: Sequence[object]) -> None:
    """Raise `CorruptGalleryError` unless a sealed row's values, `crc` last, are the ones that were written."""
    if not is_whole(values):
        raise CorruptGalleryError(
            f"Row {values[0]} of {row.__tablename__} is damaged: it does not match its checksum.",
            "Run `facesearch check`: it names what is damaged.",
        )


def require_joined(values: Sequence[object], *rows: type[Sealed]) -> None:
    """`require_whole` for each of the tables whose `stored_columns` a row of a join begins with."""
    start = 0
    for row in rows:
        end = start + len(row.__table__.c)
        require_whole(row, values[start:end])
        start = end


def insert(connection: Connection, row: type[Base], values: Mapping[str, object]) -> int:
    """Add a row, sealed where its table is; returns its id."""
    return insert_all(connection, row, [values])[0]


def insert_all(connection: Connection, row: type[Base], many: Sequence[Mapping[str, object]]) -> list[int]:
    """Add rows of one table, all with the same columns and sealed where the table is; returns their ids, rising."""
    if not many:
        return []
    keys = Database.of(connection).reserve_ids(connection, row.__tablename__, len(many))
    rows = [{"id": key, **values} for key, values in zip(keys, many, strict=True)]
    _put(connection, row, rows)
    return keys


def _put(connection: Connection, row: type[Base], rows: Sequence[dict[str, object]]) -> None:
    """Add rows with their ids, sealed where the table is."""
    if issubclass(row, Sealed):
        content = _content(row)
        for values in rows:
            values["crc"] = checksum_of(_as_stored(column, values[column.name]) for column in content)
    # As parameters, not as .values(): SQLAlchemy then compiles the statement once, not once a row.
    connection.execute(sa.insert(row.__table__), rows)


def update(
    connection: Connection, row: type[Sealed], condition: sa.ColumnElement[bool], values: Mapping[str, object]
) -> int:
    """Change all rows that fulfil the condition; returns how many.

    Raises `CorruptGalleryError` for a damaged row: a new seal would make its damage the truth.
    """
    changed = [column for column in _content(row) if column.name in values]
    changes = {column.name: _as_stored(column, values[column.name]) for column in changed}
    rows = connection.execute(sa.select(*stored_columns(row)).where(condition)).all()
    for old in rows:
        require_whole(row, old)
        sealed = {**old._mapping, **changes}
        seal = checksum_of(sealed[column.name] for column in _content(row))
        connection.execute(sa.update(row).where(row.id == sealed["id"]).values({**values, "crc": seal}))
    return len(rows)


def _content(row: type[Sealed]) -> list[sa.ColumnElement[Any]]:
    return [column for column in row.__table__.c if column.name != "crc"]


def _as_stored(column: sa.ColumnElement[Any], value: object) -> object:
    """`value` as the database gives it back."""
    if isinstance(column.type, JsonText):
        return to_json(value)
    return float(value) if isinstance(column.type, sa.REAL | sa.Double) and isinstance(value, int) else value


def keep_ids(connection: Connection, row: type[Base], rows: Sequence[Mapping[str, object]]) -> list[int]:
    """Add rows to a table that had none, under the ids that they bring, which no other will be given; returns them."""
    if not rows:
        return []
    _put(connection, row, [dict(values) for values in rows])
    keys = [cast("int", values["id"]) for values in rows]
    Database.of(connection).skip_ids(connection, row.__tablename__, max(keys))
    return keys


def below(column: ColumnElement[bytes], folder: Path) -> sa.ColumnElement[bool]:
    """That a path is in `folder` or anywhere below it."""
    prefix = os.fsencode(folder).rstrip(os.fsencode(os.sep))
    return sa.and_(column > prefix + os.fsencode(os.sep), column < prefix + bytes([ord(os.sep) + 1]))


def storable(value: int) -> int:
    """`value` as a database can hold it: some file systems let anyone set a file's time to the year 30,000."""
    return max(-(2**63), min(value, 2**63 - 1))
