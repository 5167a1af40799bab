"""Keys to the server, and small pictures of uploaded faces."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
STRICT_NEVER_REUSED = {"sqlite_strict": True, "sqlite_autoincrement": True}


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "api_keys",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", TEXT, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        _crc(),
        sa.CheckConstraint("length(digest) = 32", name="digest_length"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("name", name="uq_api_keys_name"),
        **STRICT_NEVER_REUSED,
    )
    op.create_table(
        "crops",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("photo_id", INTEGER, nullable=False),
        sa.Column("jpeg", sa.LargeBinary(), nullable=False),
        _crc(),
        sa.ForeignKeyConstraint(["photo_id"], ["photos.id"], name="fk_crops_photo_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_crops"),
        # Also the index without which a cascading delete would scan the table once per photo.
        sa.UniqueConstraint("photo_id", name="uq_crops_photo_id"),
        **STRICT_NEVER_REUSED,
    )


def _crc() -> sa.Column[int]:
    return sa.Column("crc", INTEGER, nullable=False, server_default=sa.text("0"))
