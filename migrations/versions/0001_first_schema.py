"""The first schema: subjects, photos, faces, templates, models, rejections, calibrations, revision, audit events.

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
STRICT = {"sqlite_strict": True}
STRICT_NEVER_REUSED = {"sqlite_strict": True, "sqlite_autoincrement": True}


def _id() -> sa.Column[int]:
    return sa.Column("id", INTEGER, nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, TEXT, nullable=False)


def _integer(name: str) -> sa.Column[int]:
    return sa.Column(name, INTEGER, nullable=False)


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
    _create_records()
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
        _text("created_at"),
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
        sa.CheckConstraint("length(sha256) = 32", name="sha256_length"),
        sa.PrimaryKeyConstraint("id", name="pk_photos"),
        sa.UniqueConstraint("path", name="uq_photos_path"),
        **STRICT_NEVER_REUSED,
    )
    op.create_index("ix_photos_sha256", "photos", ["sha256"])


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
    op.create_index("ix_templates_face_id", "templates", ["face_id"])
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
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
        **STRICT_NEVER_REUSED,
    )


def _create_revision() -> None:
    # A random token, not a counter: a restored backup repeats a counter's value. Triggers, not code: whoever
    # writes templates changes the token in the same transaction.
    server = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "revision",
        _id(),
        _blob("token"),
        *(_server_columns() if server else [sa.CheckConstraint("id = 1", name="single_row")]),
        sa.CheckConstraint("length(token) = 16", name="token_length"),
        sa.PrimaryKeyConstraint("id", name="pk_revision"),
        **STRICT,
    )
    if server:
        _add_rows_to_revision()
    else:
        _update_revision()


def _server_columns() -> list[sa.Column[bytes]]:
    """Ids (int64, big-endian) of the templates that a transaction touched, NULL for any; tokens that it swept up."""
    return [
        sa.Column("touched", sa.LargeBinary()),
        sa.Column("swept", sa.LargeBinary(), nullable=False, server_default=sa.text("''::bytea")),
    ]


def _update_revision() -> None:
    op.execute("INSERT INTO revision (id, token) VALUES (1, randomblob(16))")
    for event in ("insert", "update", "delete"):
        op.execute(
            f"CREATE TRIGGER templates_token_{event} AFTER {event} ON templates "  # noqa: S608  # three constants
            "BEGIN UPDATE revision SET token = randomblob(16) WHERE id = 1; END"
        )


def _add_rows_to_revision() -> None:
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
