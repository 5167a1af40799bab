"""The first schema.

Migrations are history: they spell the tables out instead of importing today's ORM classes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# As SQLite has them: 64-bit integers, and text that compares by its bytes.
INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
REAL: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
# Twice: it has no checksum, and a template that an index does not look at again would be missed without a sign.
NOTE = (
    "INSERT INTO revision (token, touched) "
    "VALUES (randomblob(16), CAST(printf('%016x%016x', {row}.id, {row}.id) AS BLOB));"
)
STRICT = {"sqlite_strict": True}
STRICT_NEVER_REUSED = {"sqlite_strict": True, "sqlite_autoincrement": True}


def _id() -> sa.Column[int]:
    return sa.Column("id", INTEGER, nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, TEXT, nullable=False)


def _integer(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, INTEGER, nullable=nullable)


def _crc() -> sa.Column[int]:
    """CRC-32 over the row's other columns."""
    return sa.Column("crc", INTEGER, nullable=False, server_default=sa.text("0"))


def _real(name: str) -> sa.Column[float]:
    return sa.Column(name, REAL, nullable=False)


def _blob(name: str, *, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=nullable)


def _reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=f"fk_{table}_{column}", ondelete="CASCADE")


def upgrade() -> None:
    """Create everything."""
    _create_models()
    _create_subjects_and_photos()
    _create_faces_and_templates()
    _create_corrections()
    _create_records()
    _create_more_records()
    _create_vector_databases()
    _create_revision()


def _create_models() -> None:
    op.create_table(
        "models",
        _id(),
        _text("model_id"),
        _text("pack"),
        _integer("dimension"),
        _text("detector_sha256"),
        _text("recognizer_sha256"),
        _text("settings"),
        _real("threshold"),
        _text("threshold_basis"),
        _integer("active"),
        _text("created_at"),
        _crc(),
        sa.CheckConstraint("dimension > 0", name="dimension_positive"),
        sa.CheckConstraint("active in (0, 1)", name="active_boolean"),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("model_id", name="uq_models_model_id"),
        **STRICT_NEVER_REUSED,
    )
    one = sa.text("active = 1")
    op.create_index("uq_models_one_active", "models", ["active"], unique=True, sqlite_where=one, postgresql_where=one)


def _create_subjects_and_photos() -> None:
    op.create_table(
        "subjects",
        _id(),
        _text("name"),
        _text("attributes"),
        sa.Column("said", TEXT, nullable=False, server_default=sa.text("'{}'")),
        _text("created_at"),
        _crc(),
        sa.CheckConstraint("length(name) > 0", name="name_present"),
        sa.PrimaryKeyConstraint("id", name="pk_subjects"),
        sa.UniqueConstraint("name", name="uq_subjects_name"),
        **STRICT_NEVER_REUSED,
    )
    op.create_table(
        "photos",
        _id(),
        _blob("path"),
        _blob("sha256"),
        _integer("size"),
        _integer("mtime_ns"),
        _integer("width"),
        _integer("height"),
        _text("enrolled_at"),
        sa.Column("owner_id", INTEGER, nullable=False, server_default=sa.text("0")),
        sa.Column("label", TEXT, nullable=False, server_default=sa.text("''")),
        _integer("conflict", nullable=True),
        _crc(),
        sa.CheckConstraint("length(sha256) = 32", name="sha256_length"),
        sa.PrimaryKeyConstraint("id", name="pk_photos"),
        sa.UniqueConstraint("path", name="uq_photos_path"),
        **STRICT_NEVER_REUSED,
    )
    op.create_index("ix_photos_size", "photos", ["size"])
    op.create_index("uq_photos_content_owner", "photos", ["sha256", "owner_id"], unique=True)


def _create_faces_and_templates() -> None:
    op.create_table(
        "faces",
        _id(),
        _integer("photo_id"),
        _integer("subject_id"),
        _blob("box"),
        _blob("landmarks"),
        _real("detection_score"),
        _real("size"),
        _real("sharpness"),
        _real("yaw"),
        _real("roll"),
        sa.Column("origin", TEXT, nullable=False, server_default=sa.text("'enrolled'")),
        _crc(),
        sa.CheckConstraint("length(box) = 16", name="box_length"),
        sa.CheckConstraint("length(landmarks) = 40", name="landmarks_length"),
        _reference("faces", "photo_id", "photos"),
        _reference("faces", "subject_id", "subjects"),
        sa.PrimaryKeyConstraint("id", name="pk_faces"),
        **STRICT_NEVER_REUSED,
    )
    # Without an index on each foreign key a cascading delete scans the child table once per row.
    op.create_index("ix_faces_photo_id", "faces", ["photo_id"])
    op.create_index("ix_faces_subject_id", "faces", ["subject_id"])
    op.create_table(
        "templates",
        _id(),
        _integer("face_id"),
        _integer("model_id"),
        _integer("dimension"),
        _blob("vector"),
        _integer("crc"),
        sa.CheckConstraint("length(vector) = 4 * dimension", name="vector_length"),
        _reference("templates", "face_id", "faces"),
        _reference("templates", "model_id", "models"),
        sa.PrimaryKeyConstraint("id", name="pk_templates"),
        **STRICT_NEVER_REUSED,
    )
    op.create_index("ix_templates_face_model", "templates", ["face_id", "model_id"])
    op.create_index("ix_templates_model_id", "templates", ["model_id"])


def _create_records() -> None:
    op.create_table(
        "rejections",
        _id(),
        _blob("path"),
        _blob("sha256", nullable=True),
        _integer("size"),
        _integer("mtime_ns"),
        _text("policy"),
        _text("reason"),
        _text("detail"),
        _text("rejected_at"),
        _crc(),
        sa.PrimaryKeyConstraint("id", name="pk_rejections"),
        sa.UniqueConstraint("path", name="uq_rejections_path"),
        **STRICT_NEVER_REUSED,
    )
    op.create_table(
        "calibrations",
        _id(),
        _integer("model_id"),
        _text("document"),
        _text("created_at"),
        _crc(),
        _reference("calibrations", "model_id", "models"),
        sa.PrimaryKeyConstraint("id", name="pk_calibrations"),
        **STRICT_NEVER_REUSED,
    )
    op.create_index("ix_calibrations_model_id", "calibrations", ["model_id"])
    op.create_table(
        "audit_events",
        _id(),
        _text("at"),
        _text("actor"),
        _text("action"),
        _text("detail"),
        _crc(),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
        **STRICT_NEVER_REUSED,
    )


def _create_more_records() -> None:
    op.create_table(
        "evaluations",
        _id(),
        _integer("model_id"),
        _text("kind"),
        _text("document"),
        _text("created_at"),
        _crc(),
        _reference("evaluations", "model_id", "models"),
        sa.PrimaryKeyConstraint("id", name="pk_evaluations"),
        **STRICT_NEVER_REUSED,
    )
    op.create_index("ix_evaluations_model_id", "evaluations", ["model_id"])
    op.create_table(
        "api_keys",
        _id(),
        _text("name"),
        _blob("digest"),
        _text("scopes"),
        _text("created_at"),
        _crc(),
        sa.CheckConstraint("length(digest) = 32", name="digest_length"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("name", name="uq_api_keys_name"),
        **STRICT_NEVER_REUSED,
    )
    op.create_table(
        "crops",
        _id(),
        _integer("photo_id"),
        _blob("jpeg"),
        _crc(),
        _reference("crops", "photo_id", "photos"),
        sa.PrimaryKeyConstraint("id", name="pk_crops"),
        # Also the index without which a cascading delete would scan the table once per photo.
        sa.UniqueConstraint("photo_id", name="uq_crops_photo_id"),
        **STRICT_NEVER_REUSED,
    )
    op.create_table(
        "erased",
        _id(),
        _text("at"),
        _blob("salt"),
        _blob("digests"),
        _integer("of_others"),
        _crc(),
        sa.CheckConstraint("length(salt) = 32", name="salt_length"),
        sa.CheckConstraint("length(digests) % 32 = 0", name="digests_length"),
        sa.CheckConstraint("of_others in (0, 1)", name="of_others_boolean"),
        sa.PrimaryKeyConstraint("id", name="pk_erased"),
        **STRICT_NEVER_REUSED,
    )


def _create_corrections() -> None:
    op.create_table(
        "aliases",
        _id(),
        _integer("subject_id"),
        _text("name"),
        _text("created_at"),
        _crc(),
        sa.CheckConstraint("length(name) > 0", name="name_present"),
        _reference("aliases", "subject_id", "subjects"),
        sa.PrimaryKeyConstraint("id", name="pk_aliases"),
        sa.UniqueConstraint("name", name="uq_aliases_name"),
        **STRICT_NEVER_REUSED,
    )
    op.create_index("ix_aliases_subject_id", "aliases", ["subject_id"])
    op.create_table(
        "decisions",
        _id(),
        _blob("sha256"),
        _text("label"),
        _integer("subject_id", nullable=True),
        _crc(),
        sa.CheckConstraint("length(sha256) = 32", name="sha256_length"),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
        **STRICT_NEVER_REUSED,
    )
    op.create_index("ix_decisions_subject_id", "decisions", ["subject_id"])
    op.create_index("uq_decisions_content_label", "decisions", ["sha256", "label"], unique=True)
    op.create_table(
        "journal",
        _id(),
        _text("at"),
        _text("actor"),
        _text("action"),
        _text("detail"),
        _integer("undone_by", nullable=True),
        _crc(),
        sa.PrimaryKeyConstraint("id", name="pk_journal"),
        **STRICT_NEVER_REUSED,
    )
    op.create_table(
        "journal_rows",
        _id(),
        _integer("entry_id"),
        _text("table_name"),
        _integer("row_id"),
        _blob("before", nullable=True),
        _blob("after", nullable=True),
        _integer("subject_id"),
        _integer("other_id", nullable=True),
        _crc(),
        _reference("journal_rows", "entry_id", "journal"),
        sa.PrimaryKeyConstraint("id", name="pk_journal_rows"),
        **STRICT_NEVER_REUSED,
    )
    for column in ("entry_id", "subject_id", "other_id"):
        op.create_index(f"ix_journal_rows_{column}", "journal_rows", [column])


def _create_vector_databases() -> None:
    op.create_table(
        "vector_databases",
        _id(),
        _text("kind"),
        _text("name"),
        _integer("active"),
        _integer("filled_to"),
        _integer("position"),
        _text("created_at"),
        _crc(),
        sa.CheckConstraint("active in (0, 1)", name="active_boolean"),
        sa.PrimaryKeyConstraint("id", name="pk_vector_databases"),
        sa.UniqueConstraint("name", name="uq_vector_databases_name"),
        **STRICT_NEVER_REUSED,
    )
    one = sa.text("active = 1")
    op.create_index(
        "uq_vector_databases_one_active",
        "vector_databases",
        ["active"],
        unique=True,
        sqlite_where=one,
        postgresql_where=one,
    )
    op.create_table(
        "backlog",
        _id(),
        _integer("vector_database_id"),
        _integer("template_id"),
        _integer("model_id"),
        sa.PrimaryKeyConstraint("id", name="pk_backlog"),
        **STRICT_NEVER_REUSED,
    )
    op.create_index("ix_backlog_vector_database_id", "backlog", ["vector_database_id"])
    if op.get_bind().dialect.name == "postgresql":
        _note_by_statement()
    else:
        _note_by_row()


def _note_by_row() -> None:
    for event, row in (("insert", "NEW"), ("delete", "OLD")):
        op.execute(
            f"CREATE TRIGGER templates_backlog_{event} AFTER {event} ON templates "  # noqa: S608  # two constants
            "BEGIN INSERT INTO backlog (vector_database_id, template_id, model_id) "
            f"SELECT vector_databases.id, {row}.id, {row}.model_id FROM vector_databases; END"
        )


def _note_by_statement() -> None:
    op.execute("""
        CREATE FUNCTION templates_to_backlog() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO backlog (vector_database_id, template_id, model_id)
            SELECT vector_databases.id, changed.id, changed.model_id FROM vector_databases CROSS JOIN changed;
            RETURN NULL;
        END
        $$""")
    for event, table in (("insert", "NEW"), ("delete", "OLD")):
        op.execute(
            f"CREATE TRIGGER templates_backlog_{event} AFTER {event} ON templates REFERENCING {table} TABLE AS changed "
            "FOR EACH STATEMENT EXECUTE FUNCTION templates_to_backlog()"
        )


def _create_revision() -> None:
    # A random token, not a counter: a restored backup repeats a counter's value. Triggers, not code: whoever
    # writes templates changes the token in the same transaction.
    server = op.get_bind().dialect.name == "postgresql"
    touched_twice = sa.CheckConstraint("substr(touched, 1, 16) = substr(touched, 17)", name="touched_twice")
    # Tokens that the transaction swept up.
    swept = sa.Column("swept", sa.LargeBinary(), nullable=False, server_default=sa.text("''::bytea"))
    op.create_table(
        "revision",
        _id(),
        _blob("token"),
        _blob("touched", nullable=True),
        swept if server else touched_twice,
        sa.CheckConstraint("length(token) = 16", name="token_length"),
        sa.PrimaryKeyConstraint("id", name="pk_revision"),
        **STRICT,
    )
    if server:
        _note_touched_by_statement()
    else:
        _note_touched_by_row()


def _note_touched_by_row() -> None:
    """A row for each changed template. The newest token is the database's; the newest 4096 rows are kept."""
    op.execute("INSERT INTO revision (token) VALUES (randomblob(16))")
    for event, rows in {"insert": ("NEW",), "update": ("OLD", "NEW"), "delete": ("OLD",)}.items():
        notes = " ".join(NOTE.format(row=row) for row in rows)
        op.execute(f"CREATE TRIGGER templates_token_{event} AFTER {event} ON templates BEGIN {notes} END")
    op.execute(
        "CREATE TRIGGER revision_prune AFTER INSERT ON revision WHEN NEW.id % 1024 = 0 "
        "BEGIN DELETE FROM revision WHERE id <= NEW.id - 4096; END"
    )


def _note_touched_by_statement() -> None:
    """A row for each transaction: on one row, writers would wait for each other. Now and then one sweeps the oldest up.

    Each notes up to 1024 templates; an index compares itself with the database after more.
    """
    op.execute("INSERT INTO revision (token) VALUES (uuid_send(gen_random_uuid()))")
    op.execute("""
        CREATE FUNCTION templates_changed() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            this text := pg_current_xact_id()::text;
            noted text := coalesce(current_setting('facesearch.changed_in', true), '');
            number bigint;
            ids bytea := '';
            more bytea;
            old_tokens bytea := '';
        BEGIN
            IF TG_OP IN ('INSERT', 'UPDATE') THEN
                SELECT string_agg(int8send(id), ''::bytea) INTO more FROM added;
                ids := coalesce(more, '');
            END IF;
            IF TG_OP IN ('DELETE', 'UPDATE') THEN
                SELECT string_agg(int8send(id), ''::bytea) INTO more FROM removed;
                ids := ids || coalesce(more, '');
            END IF;
            IF TG_OP = 'TRUNCATE' OR length(ids) > 8 * 1024 THEN
                ids := NULL;
            ELSIF ids = '' THEN
                RETURN NULL;
            END IF;
            IF split_part(noted, ':', 1) = this THEN
                UPDATE revision SET touched = CASE WHEN length(touched || ids) <= 8 * 1024 THEN touched || ids END
                WHERE id = split_part(noted, ':', 2)::bigint AND touched IS NOT NULL;
                RETURN NULL;
            END IF;
            IF (SELECT count(*) FROM revision) >= 100
               AND pg_try_advisory_xact_lock(hashtext('facesearch.revision')) THEN
                BEGIN
                    WITH gone AS (
                        DELETE FROM revision WHERE id IN (SELECT id FROM revision ORDER BY id LIMIT 50) RETURNING token
                    )
                    SELECT string_agg(token, ''::bytea) INTO old_tokens FROM gone;
                EXCEPTION WHEN serialization_failure THEN
                    NULL;  -- another transaction swept them up since this one began
                END;
            END IF;
            INSERT INTO revision (token, touched, swept) VALUES (uuid_send(gen_random_uuid()), ids, old_tokens)
            RETURNING id INTO number;
            PERFORM set_config('facesearch.changed_in', this || ':' || number, true);
            RETURN NULL;
        END
        $$""")
    tables = {
        "insert": "REFERENCING NEW TABLE AS added",
        "update": "REFERENCING OLD TABLE AS removed NEW TABLE AS added",
        "delete": "REFERENCING OLD TABLE AS removed",
        "truncate": "",
    }
    for event, names in tables.items():
        op.execute(
            f"CREATE TRIGGER templates_token_{event} AFTER {event} ON templates {names} "
            "FOR EACH STATEMENT EXECUTE FUNCTION templates_changed()"
        )
