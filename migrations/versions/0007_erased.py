"""Who was erased, as keyed hashes: until now only in the file beside a gallery that is a folder."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "erased",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("digests", sa.LargeBinary(), nullable=False),
        sa.Column("of_others", INTEGER, nullable=False),
        sa.Column("crc", INTEGER, nullable=False, server_default=sa.text("0")),
        sa.CheckConstraint("length(salt) = 32", name="salt_length"),
        sa.CheckConstraint("length(digests) % 32 = 0", name="digests_length"),
        sa.CheckConstraint("of_others in (0, 1)", name="of_others_boolean"),
        sa.PrimaryKeyConstraint("id", name="pk_erased"),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
