"""Keys to the server, and small pictures of uploaded faces."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STRICT_NEVER_REUSED = {"sqlite_strict": True, "sqlite_autoincrement": True}


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        _crc(),
        sa.CheckConstraint("length(digest) = 32", name="digest_length"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("name", name="uq_api_keys_name"),
        **STRICT_NEVER_REUSED,
    )
    op.create_table(
        "crops",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("photo_id", sa.Integer(), nullable=False),
        sa.Column("jpeg", sa.LargeBinary(), nullable=False),
        _crc(),
        sa.ForeignKeyConstraint(["photo_id"], ["photos.id"], name="fk_crops_photo_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_crops"),
        # Also the index without which a cascading delete would scan the table once per photo.
        sa.UniqueConstraint("photo_id", name="uq_crops_photo_id"),
        **STRICT_NEVER_REUSED,
    )


def _crc() -> sa.Column[int]:
    return sa.Column("crc", sa.Integer(), nullable=False, server_default=sa.text("0"))
