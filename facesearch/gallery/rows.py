"""What every table's code needs: inserting a row, and the time to put into it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def insert(connection: Connection, row: type, values: Mapping[str, object]) -> int:
    result = connection.execute(sa.insert(row).values(values))
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])
