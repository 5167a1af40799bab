"""SQLite notes which templates changes touched. PostgreSQL does since the first schema: nothing is to be done there.

Each change of a template adds a row to `revision` instead of updating the only one. The newest token is the database's.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Twice: it has no checksum, and a template that an index does not look at again would be missed without a sign.
NOTE = (
    "INSERT INTO revision (token, touched) "
    "VALUES (randomblob(16), CAST(printf('%016x%016x', {row}.id, {row}.id) AS BLOB));"
)
ROWS = {"insert": ("NEW",), "update": ("OLD", "NEW"), "delete": ("OLD",)}


def upgrade() -> None:
    """Make the table anew; the token stays, and with it what indexes know."""
    if op.get_bind().dialect.name == "postgresql":
        return
    for event in ROWS:
        op.execute(f"DROP TRIGGER templates_token_{event}")
    op.rename_table("revision", "one_revision")
    op.create_table(
        "revision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("touched", sa.LargeBinary()),
        sa.CheckConstraint("length(token) = 16", name="token_length"),
        sa.CheckConstraint("substr(touched, 1, 16) = substr(touched, 17)", name="touched_twice"),
        sa.PrimaryKeyConstraint("id", name="pk_revision"),
        sqlite_strict=True,
    )
    op.execute("INSERT INTO revision (token) SELECT token FROM one_revision")
    op.drop_table("one_revision")
    for event, rows in ROWS.items():
        notes = " ".join(NOTE.format(row=row) for row in rows)
        op.execute(f"CREATE TRIGGER templates_token_{event} AFTER {event} ON templates BEGIN {notes} END")
    op.execute(
        "CREATE TRIGGER revision_prune AFTER INSERT ON revision WHEN NEW.id % 1024 = 0 "
        "BEGIN DELETE FROM revision WHERE id <= NEW.id - 4096; END"
    )
