"""The part of `facesearch check` about what is no template: the schema itself, and every sealed row."""

from __future__ import annotations

import os
import re
from functools import cache
from typing import TYPE_CHECKING

import sqlalchemy as sa

from facesearch.gallery.database import run_migrations, sqlite_module
from facesearch.gallery.rows import column_names, is_whole
from facesearch.gallery.schema import Base, FaceRow, PhotoRow, Sealed, SubjectRow
from facesearch.types import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import Connection

SCHEMA = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"


def check_schema(connection: Connection) -> Iterator[Finding]:
    """Compare every table, index and trigger with what the migrations make: damage can switch a trigger off."""
    expected, found = _expected_statements(), _statements(connection)
    damaged = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    for name in damaged:
        yield Finding(ok=False, subject="schema", detail=f"{name} is not as facesearch made it")
    if not damaged:
        yield Finding(ok=True, subject="schema", detail=f"{len(found)} tables, indexes and triggers are as made")


@cache
def _expected_statements() -> dict[str, str]:
    in_memory = sa.create_engine("sqlite://", module=sqlite_module())  # the disk may be full
    try:
        with in_memory.begin() as connection:
            run_migrations(connection)
            return _statements(connection)
    finally:
        in_memory.dispose()


def _statements(connection: Connection) -> dict[str, str]:
    """What everything was made with; blanks and quotes differ between an upgraded and a new gallery."""
    rows = connection.exec_driver_sql(SCHEMA)
    return {name: re.sub(r"[\s\"]+", "", sql).lower() for name, sql in rows}


def check_records(connection: Connection) -> Iterator[Finding]:
    """Look at the checksum of every row but the templates'."""
    damaged = 0
    counts: dict[str, int] = {}
    for row in sorted(_sealed_rows(), key=lambda each: each.__tablename__):
        count = 0
        for values in connection.exec_driver_sql(f"SELECT {column_names(row)} FROM {row.__tablename__}"):  # noqa: S608
            count += 1
            if not _is_whole(values):
                damaged += 1
                yield Finding(ok=False, subject=row.__tablename__, detail=_describe(row, values))
        counts[row.__tablename__] = count
    if not damaged:
        detail = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
        yield Finding(ok=True, subject="records", detail=f"all match their checksums: {detail}")


def _sealed_rows() -> list[type[Sealed]]:
    return [mapper.class_ for mapper in Base.registry.mappers if issubclass(mapper.class_, Sealed)]


def _is_whole(values: Sequence[object]) -> bool:
    try:
        return is_whole(values)
    except (TypeError, ValueError):  # a damaged file can hold any type anywhere
        return False


def _describe(row: type[Sealed], values: Sequence[object]) -> str:
    text = f"row {values[0]} ({values[1]!r}) does not match its checksum"
    if row is PhotoRow and isinstance(values[1], bytes):
        return f"{os.fsdecode(values[1])} does not match its checksum: remove the person or enroll the photo again"
    if row is SubjectRow:
        return f"{values[1]} does not match its checksum: remove this person and enroll the photos again"
    if row is FaceRow:
        return f"{text}: the face of photo {values[1]} may be another person's; remove and enroll it again"
    return text
