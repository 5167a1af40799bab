"""Figures of evaluations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "evaluations",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("model_id", INTEGER, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("crc", INTEGER, nullable=False, server_default=sa.text("0")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_evaluations_model_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_evaluations"),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
    op.create_index("ix_evaluations_model_id", "evaluations", ["model_id"])
