"""External vector engines, and what they have not been told yet: triggers note every change of templates for each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NEVER_REUSED = {"sqlite_strict": True, "sqlite_autoincrement": True}


def upgrade() -> None:
    """Create the tables and triggers."""
    op.create_table(
        "engines",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("active", INTEGER, nullable=False),
        sa.Column("filled_to", INTEGER, nullable=False),
        sa.Column("position", INTEGER, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("crc", INTEGER, nullable=False, server_default=sa.text("0")),
        sa.CheckConstraint("active in (0, 1)", name="active_boolean"),
        sa.PrimaryKeyConstraint("id", name="pk_engines"),
        sa.UniqueConstraint("name", name="uq_engines_name"),
        **NEVER_REUSED,
    )
    active = sa.text("active = 1")
    op.create_index(
        "uq_engines_one_active", "engines", ["active"], unique=True, sqlite_where=active, postgresql_where=active
    )
    op.create_table(
        "outbox",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("engine_id", INTEGER, nullable=False),
        sa.Column("template_id", INTEGER, nullable=False),
        sa.Column("model_id", INTEGER, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        **NEVER_REUSED,
    )
    op.create_index("ix_outbox_engine_id", "outbox", ["engine_id"])
    if op.get_bind().dialect.name == "postgresql":
        _note_by_statement()
    else:
        _note_by_row()


def _note_by_row() -> None:
    for event, row in (("insert", "NEW"), ("delete", "OLD")):
        op.execute(
            f"CREATE TRIGGER templates_outbox_{event} AFTER {event} ON templates "  # noqa: S608  # two constants
            "BEGIN INSERT INTO outbox (engine_id, template_id, model_id) "
            f"SELECT engines.id, {row}.id, {row}.model_id FROM engines; END"
        )


def _note_by_statement() -> None:
    op.execute("""
        CREATE FUNCTION templates_to_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO outbox (engine_id, template_id, model_id)
            SELECT engines.id, changed.id, changed.model_id FROM engines CROSS JOIN changed;
            RETURN NULL;
        END
        $$""")
    for event, table in (("insert", "NEW"), ("delete", "OLD")):
        op.execute(
            f"CREATE TRIGGER templates_outbox_{event} AFTER {event} ON templates REFERENCING {table} TABLE AS changed "
            "FOR EACH STATEMENT EXECUTE FUNCTION templates_to_outbox()"
        )
