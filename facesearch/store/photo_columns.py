"""What enrolled and refused photos have in common in the database: where the file was, and when it was changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.orm import InstrumentedAttribute


def below(column: InstrumentedAttribute[bytes], folder: Path) -> sa.ColumnElement[bool]:
    """That a path is in `folder` or anywhere below it."""
    prefix = os.fsencode(folder).rstrip(os.fsencode(os.sep)) + os.fsencode(os.sep)
    return sa.func.substr(column, 1, len(prefix)) == prefix


def storable(value: int) -> int:
    """`value` as a database can hold it: some file systems let anyone set a file's time to the year 30,000."""
    return max(-(2**63), min(value, 2**63 - 1))
