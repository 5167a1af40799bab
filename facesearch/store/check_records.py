"""The part of `facesearch check` about what is no template: every sealed row."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from facesearch.store.rows import column_names, is_whole
from facesearch.store.schema import Base, FaceRow, PhotoRow, Sealed, SubjectRow
from facesearch.types import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import Connection


RESTORE: Final = "bring back a backup with `facesearch restore FILE --force`"
"""What mends a damaged database. Removing the person or enrolling again reads the damaged row, and fails."""


def check_records(connection: Connection) -> Iterator[Finding]:
    """Look at the checksum of every row but the templates'."""
    damaged = 0
    counts: dict[str, int] = {}
    for row in sorted(_sealed_rows(), key=lambda each: each.__tablename__):
        count = 0
        query = f"SELECT {column_names(row)} FROM {row.__tablename__}"  # noqa: S608  # names of columns
        for values in connection.exec_driver_sql(query, execution_options={"yield_per": 4096}):
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
        return f"{os.fsdecode(values[1])} does not match its checksum: {RESTORE}"
    if row is SubjectRow:
        return f"{values[1]} does not match its checksum: {RESTORE}"
    if row is FaceRow:
        return f"{text}: the face of photo {values[1]} may be another person's; {RESTORE}"
    return f"{text}: {RESTORE}"
