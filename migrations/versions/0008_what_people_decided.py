"""What people decided: aliases, decisions about contents, the journal of corrections; what sources said.

Rows that get new columns are sealed anew. Photos with one content and one subject become one photo: the first.
"""

from __future__ import annotations

import struct
import zlib

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
STRICT_NEVER_REUSED = {"sqlite_strict": True, "sqlite_autoincrement": True}
OWNER = "(SELECT min(faces.subject_id) FROM faces WHERE faces.photo_id = photos.id)"
COPIES = "SELECT id FROM photos WHERE id NOT IN (SELECT min(id) FROM photos GROUP BY sha256, owner_id)"
"""Photos of a content that the subject has already."""
OF_COPIES = {
    "templates": f"face_id IN (SELECT id FROM faces WHERE photo_id IN ({COPIES}))",  # noqa: S608  # constants
    "faces": f"photo_id IN ({COPIES})",
    "crops": f"photo_id IN ({COPIES})",
    "photos": f"id IN ({COPIES})",
}
"""Foreign keys are not in force in a migration of SQLite: every table is emptied of them by itself."""
COLUMNS = {
    "subjects": "id, name, attributes, said, created_at",
    "photos": "id, path, sha256, size, mtime_ns, width, height, enrolled_at, owner_id, label, conflict",
    "faces": "id, photo_id, subject_id, box, landmarks, detection_score, size, sharpness, yaw, roll, origin",
}
"""In the order of the checksum."""


def upgrade() -> None:
    """Add columns and tables."""
    _add_columns()
    _own_photos()
    for table in COLUMNS:
        _seal(table)
    _create_decisions()
    _create_journal()


def _add_columns() -> None:
    op.add_column("subjects", sa.Column("said", TEXT, nullable=False, server_default=sa.text("'{}'")))
    op.add_column("photos", sa.Column("owner_id", INTEGER, nullable=False, server_default=sa.text("0")))
    op.add_column("photos", sa.Column("label", TEXT, nullable=False, server_default=sa.text("''")))
    op.add_column("photos", sa.Column("conflict", INTEGER))
    op.add_column("faces", sa.Column("origin", TEXT, nullable=False, server_default=sa.text("'enrolled'")))


def _own_photos() -> None:
    op.execute(f"UPDATE photos SET owner_id = coalesce({OWNER}, 0)")  # noqa: S608  # a constant
    for table, condition in OF_COPIES.items():
        op.execute(f"DELETE FROM {table} WHERE {condition}")  # noqa: S608  # constants
    op.drop_index("ix_photos_sha256", "photos")
    op.create_index("ix_photos_size", "photos", ["size"])
    op.create_index("uq_photos_content_owner", "photos", ["sha256", "owner_id"], unique=True)


def _create_decisions() -> None:
    op.create_table(
        "aliases",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("subject_id", INTEGER, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("created_at", TEXT, nullable=False),
        sa.Column("crc", INTEGER, nullable=False, server_default=sa.text("0")),
        sa.CheckConstraint("length(name) > 0", name="name_present"),
        sa.ForeignKeyConstraint(["subject_id"], ["subjects.id"], name="fk_aliases_subject_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_aliases"),
        sa.UniqueConstraint("name", name="uq_aliases_name"),
        **STRICT_NEVER_REUSED,
    )
    op.create_index("ix_aliases_subject_id", "aliases", ["subject_id"])
    op.create_table(
        "decisions",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("label", TEXT, nullable=False),
        sa.Column("subject_id", INTEGER),
        sa.Column("crc", INTEGER, nullable=False, server_default=sa.text("0")),
        sa.CheckConstraint("length(sha256) = 32", name="sha256_length"),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
        **STRICT_NEVER_REUSED,
    )
    op.create_index("ix_decisions_subject_id", "decisions", ["subject_id"])
    op.create_index("uq_decisions_content_label", "decisions", ["sha256", "label"], unique=True)


def _create_journal() -> None:
    op.create_table(
        "journal",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("action", TEXT, nullable=False),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("undone_by", INTEGER),
        sa.Column("crc", INTEGER, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("id", name="pk_journal"),
        **STRICT_NEVER_REUSED,
    )
    op.create_table(
        "journal_rows",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("entry_id", INTEGER, nullable=False),
        sa.Column("table_name", TEXT, nullable=False),
        sa.Column("row_id", INTEGER, nullable=False),
        sa.Column("before", sa.LargeBinary()),
        sa.Column("after", sa.LargeBinary()),
        sa.Column("subject_id", INTEGER, nullable=False),
        sa.Column("other_id", INTEGER),
        sa.Column("crc", INTEGER, nullable=False, server_default=sa.text("0")),
        sa.ForeignKeyConstraint(["entry_id"], ["journal.id"], name="fk_journal_rows_entry_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_journal_rows"),
        **STRICT_NEVER_REUSED,
    )
    for column in ("entry_id", "subject_id", "other_id"):
        op.create_index(f"ix_journal_rows_{column}", "journal_rows", [column])


def _seal(table: str) -> None:
    connection = op.get_bind()
    rows = connection.exec_driver_sql(f"SELECT {COLUMNS[table]} FROM {table}").fetchall()  # noqa: S608  # constants
    seals = [{"seal": zlib.crc32(b"".join(map(_encode, row))), "key": row[0]} for row in rows]
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
