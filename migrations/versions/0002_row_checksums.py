"""A checksum in every row that says something: names, attributes, references, paths, models, calibrations, records.

Rows that are there already are taken as they are and sealed; templates have had their checksum from the first schema.
"""

from __future__ import annotations

import struct
import zlib

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TABLES = ("models", "subjects", "photos", "faces", "rejections", "calibrations", "audit_events")


def upgrade() -> None:
    """Add the column and fill it."""
    for table in TABLES:
        op.add_column(table, sa.Column("crc", INTEGER, nullable=False, server_default=sa.text("0")))
        _seal(table)


def _seal(table: str) -> None:
    connection = op.get_bind()
    rows = connection.exec_driver_sql(f"SELECT * FROM {table}").fetchall()  # noqa: S608  # one of seven constants
    seals = [{"seal": zlib.crc32(b"".join(map(_encode, row[:-1]))), "key": row[0]} for row in rows]
    if seals:
        connection.execute(sa.text(f"UPDATE {table} SET crc = :seal WHERE id = :key"), seals)  # noqa: S608


def _encode(value: object) -> bytes:
    match value:
        case None:
            return b"n"
        case int():
            return b"i%d;" % value
        case float():
            return b"f" + struct.pack("<d", value + 0.0)
        case str():
            encoded = value.encode()
            return b"t%d;" % len(encoded) + encoded
        case bytes():
            return b"b%d;" % len(value) + value
    raise TypeError(f"a {type(value).__name__} is no value of a column")
