"""The tables of a gallery. Migrations under `migrations/` create them; `alembic check`
proves that the two agree.

    subjects --< faces >-- photos          a face belongs to one photo and to one subject
                   |
                   `--< templates >-- models   one vector per face and model
    aliases         other names by which folders, manifests and people call a subject
    decisions       whose a photo's content is, where a person said otherwise than its source
    journal         corrections, oldest first; each can be undone
    journal_rows    what a correction changed, row by row, as it was before
    rejections      photos that were looked at and refused, so that they are not looked at again
    calibrations    thresholds with a stated error rate, bound to a model
    evaluations     figures of the newest evaluation of each kind, bound to a model
    revision        a random token for every change of templates, and what it touched; triggers write it
    audit_events    who did what and when; never a vector, never a name
    api_keys        what programs identify themselves with to a server, hashed
    crops           small pictures of uploaded faces, where a server was told to keep them
    vector_databases  the one that is searched, and one that is being filled
    backlog         templates that came or went and of which a vector database has not been told yet
    erased          who was erased, as keyed hashes that name nobody

Every row that says something carries a checksum: templates over their vector and what it belongs to, all others
(`Sealed`) over all of their columns. The revision has none, which triggers could not compute: a damaged token equals no
other, and what was touched is there twice, so the index compares itself with the database template by template. Nor has
the backlog: whoever reads it looks the template up.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, LargeBinary, text

from facesearch.store.rows import (
    STRICT_NEVER_REUSED,
    Base,
    BigInt,
    JsonText,
    Real,
    Sealed,
    Words,
    column,
    optional,
    reference,
)

COLLECTION_PREFIX = "facesearch_"
"""What the tables and collections in vector databases begin with."""


class RevisionRow(Base):
    """A change of templates, in the same transaction: random bytes, and the ids that it touched. See `database`.

    In SQLite a row is the change of one template and all before it: the newest token is the database's. On PostgreSQL
    it is a transaction, and all rows that a transaction sees are the token (`postgres.py`).
    """

    __tablename__ = "revision"
    token = column(LargeBinary())
    touched = optional(LargeBinary())
    """SQLite: the id as 16 hexadecimal digits, twice. PostgreSQL: ids as int64, big-endian. None: any may be."""
    __table_args__ = (
        CheckConstraint("length(token) = 16", name="token_length"),
        CheckConstraint("substr(touched, 1, 16) = substr(touched, 17)", name="touched_twice").ddl_if(dialect="sqlite"),
        {"sqlite_strict": True},
    )


_ACTIVE = text("active = 1")
"""Of PostgreSQL's indexes the migrations tell: naming its dialect here would import it with every gallery in SQLite."""


class ModelRow(Sealed):
    """A recogniser with its preprocessing; templates compare within one model only."""

    __tablename__ = "models"
    model_id = column(Words, unique=True)
    pack = column(Words)
    dimension = column(BigInt)
    detector_sha256 = column(Words)
    recognizer_sha256 = column(Words)
    settings = column(JsonText())
    threshold = column(Real)
    threshold_basis = column(Words)
    active = column(BigInt)
    created_at = column(Words)
    __table_args__ = (
        CheckConstraint("dimension > 0", name="dimension_positive"),
        CheckConstraint("active in (0, 1)", name="active_boolean"),
        Index("uq_models_one_active", "active", unique=True, sqlite_where=_ACTIVE),
        STRICT_NEVER_REUSED,
    )


class SubjectRow(Sealed):
    """A person."""

    __tablename__ = "subjects"
    name = column(Words, unique=True)
    attributes = column(JsonText())
    said = column(JsonText(), server_default=text("'{}'"))
    """Attributes as sources said them last: a manifest's value counts when it changes, not each time it is read."""
    created_at = column(Words)
    __table_args__ = (CheckConstraint("length(name) > 0", name="name_present"), STRICT_NEVER_REUSED)


class AliasRow(Sealed):
    """Another name of a subject. No subject has it as its own name."""

    __tablename__ = "aliases"
    subject_id = reference("subjects.id", index=True)
    name = column(Words, unique=True)
    created_at = column(Words)
    __table_args__ = (CheckConstraint("length(name) > 0", name="name_present"), STRICT_NEVER_REUSED)


class PhotoRow(Sealed):
    """A photo file that faces were enrolled from. `path` is `os.fsencode`d: file names need not be Unicode."""

    __tablename__ = "photos"
    path = column(LargeBinary(), unique=True)
    sha256 = column(LargeBinary())
    size = column(BigInt, index=True)
    mtime_ns = column(BigInt)
    width = column(BigInt)
    height = column(BigInt)
    enrolled_at = column(Words)
    owner_id = column(BigInt, server_default=text("0"))
    """The subject whose photo it is. One content is one photo of a person: the index below says so."""
    label = column(Words, server_default=text("''"))
    """Whom the photo's source said last that it shows; empty where nobody said."""
    conflict = optional(BigInt)
    """A template of another subject that the photo matched when it was enrolled."""
    __table_args__ = (
        CheckConstraint("length(sha256) = 32", name="sha256_length"),
        Index("uq_photos_content_owner", "sha256", "owner_id", unique=True),
        STRICT_NEVER_REUSED,
    )


class FaceRow(Sealed):
    """A face found in a photo, enrolled as a subject. Box and landmarks in pixels of the upright photo."""

    __tablename__ = "faces"
    photo_id = reference("photos.id", index=True)
    subject_id = reference("subjects.id", index=True)
    box = column(LargeBinary())
    landmarks = column(LargeBinary())
    detection_score = column(Real)
    size = column(Real)
    sharpness = column(Real)
    yaw = column(Real)
    roll = column(Real)
    origin = column(Words, server_default=text("'enrolled'"))
    """Who said whose face it is: a source (`enrolled`), or a person who `confirmed` or `moved` it."""
    __table_args__ = (
        CheckConstraint("length(box) = 16", name="box_length"),
        CheckConstraint("length(landmarks) = 40", name="landmarks_length"),
        STRICT_NEVER_REUSED,
    )


class TemplateRow(Base):
    """One face's vector by one model: float32, little-endian, with a checksum over the vector and what owns it."""

    __tablename__ = "templates"
    face_id = reference("faces.id")
    model_id = reference("models.id", index=True)
    dimension = column(BigInt)
    vector = column(LargeBinary())
    crc = column(BigInt)
    __table_args__ = (
        CheckConstraint("length(vector) = 4 * dimension", name="vector_length"),
        # Of both: by the model alone SQLite would look at all of its templates for each face.
        Index("ix_templates_face_model", "face_id", "model_id"),
        STRICT_NEVER_REUSED,
    )


class RejectionRow(Sealed):
    """A photo that was looked at and refused under a policy; looked at again only when file or policy change."""

    __tablename__ = "rejections"
    path = column(LargeBinary(), unique=True)
    sha256 = optional(LargeBinary())
    size = column(BigInt)
    mtime_ns = column(BigInt)
    policy = column(Words)
    reason = column(Words)
    detail = column(Words)
    rejected_at = column(Words)


class DecisionRow(Sealed):
    """Whose photo a content is, of which a source says `label`, since a person said otherwise."""

    __tablename__ = "decisions"
    sha256 = column(LargeBinary())
    label = column(Words)
    subject_id = optional(BigInt, index=True)
    """None: nobody's, since a person removed it."""
    __table_args__ = (
        CheckConstraint("length(sha256) = 32", name="sha256_length"),
        Index("uq_decisions_content_label", "sha256", "label", unique=True),
        STRICT_NEVER_REUSED,
    )


class JournalRow(Sealed):
    """A correction: what a person did to the gallery, in words and numbers. It may hold names."""

    __tablename__ = "journal"
    at = column(Words)
    actor = column(Words)
    action = column(Words)
    detail = column(JsonText())
    undone_by = optional(BigInt)


class JournalChangeRow(Sealed):
    """One row that a correction changed. See `journal`."""

    __tablename__ = "journal_rows"
    entry_id = reference("journal.id", index=True)
    table_name = column(Words)
    row_id = column(BigInt)
    before = optional(LargeBinary())
    """Columns as they were; None where the row was added."""
    after = optional(LargeBinary())
    """The same columns as they became; None where the row was removed."""
    subject_id = column(BigInt, index=True)
    other_id = optional(BigInt, index=True)
    """Subjects that the row belongs to: before, and after where that is another."""


class CalibrationRow(Sealed):
    """A calibrated threshold: the whole `calibration.json`, bound to a model."""

    __tablename__ = "calibrations"
    model_id = reference("models.id", index=True)
    document = column(JsonText())
    created_at = column(Words)


class EvaluationRow(Sealed):
    """Figures of an evaluation with a model, and the scores that the gallery was measured by: no names, no photos."""

    __tablename__ = "evaluations"
    model_id = reference("models.id", index=True)
    kind = column(Words)
    document = column(JsonText())
    created_at = column(Words)


class AuditRow(Sealed):
    """Who did what and when, in counts; never a vector, a face or a name."""

    __tablename__ = "audit_events"
    at = column(Words)
    actor = column(Words)
    action = column(Words)
    detail = column(JsonText())


class ApiKeyRow(Sealed):
    """A key to the server: its hash, and what it may do. The key itself is nowhere."""

    __tablename__ = "api_keys"
    name = column(Words, unique=True)
    digest = column(LargeBinary())
    scopes = column(JsonText())
    created_at = column(Words)
    __table_args__ = (CheckConstraint("length(digest) = 32", name="digest_length"), STRICT_NEVER_REUSED)


class CropRow(Sealed):
    """A small JPEG of the first face of a photo, for servers that show faces; it goes with the photo."""

    __tablename__ = "crops"
    photo_id = reference("photos.id", unique=True)
    jpeg = column(LargeBinary())


class ErasedRow(Sealed):
    """Entries of the erasure list, those of one erasure: see `erasure_list`."""

    __tablename__ = "erased"
    at = column(Words)
    salt = column(LargeBinary())
    digests = column(LargeBinary())
    """32 bytes each, one after the other."""
    of_others = column(BigInt)
    """Whether they came with people of another gallery, whose ids mean others here: only vectors count."""
    __table_args__ = (
        CheckConstraint("length(salt) = 32", name="salt_length"),
        CheckConstraint("length(digests) % 32 = 0", name="digests_length"),
        CheckConstraint("of_others in (0, 1)", name="of_others_boolean"),
        STRICT_NEVER_REUSED,
    )


class VectorDatabaseRow(Sealed):
    """A vector database; a gallery without an active one is searched in its mirror."""

    __tablename__ = "vector_databases"
    kind = column(Words)
    name = column(Words, unique=True)
    active = column(BigInt)
    filled_to = column(BigInt)
    position = column(BigInt)
    created_at = column(Words)
    __table_args__ = (
        CheckConstraint("active in (0, 1)", name="active_boolean"),
        Index("uq_vector_databases_one_active", "active", unique=True, sqlite_where=_ACTIVE),
        STRICT_NEVER_REUSED,
    )


class BacklogRow(Base):
    """A template that came or went, for one vector database. Triggers write it, in the transaction of the change."""

    __tablename__ = "backlog"
    vector_database_id = column(BigInt, index=True)
    template_id = column(BigInt)
    model_id = column(BigInt)
