"""`facesearch check`: proving that database, templates and photos agree."""

from __future__ import annotations

import hashlib
import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import sqlalchemy as sa

from facesearch.arguments import UNIT_TOLERANCE
from facesearch.errors import CorruptGalleryError, FaceSearchError
from facesearch.names import is_file
from facesearch.store import models, photos, templates
from facesearch.store.database import read_revision
from facesearch.store.erasure import count_back, enforce
from facesearch.store.photos import is_upload
from facesearch.store.rows import Sealed, column_names, is_whole
from facesearch.store.schema import FaceRow, ModelRow, PhotoRow, SubjectRow, TemplateRow
from facesearch.types import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy.engine import Connection, Row

    from facesearch.store.database import Database
    from facesearch.store.opening import Store
    from facesearch.store.photos import StoredPhoto

DAMAGED = (FaceSearchError, TypeError, ValueError, AttributeError, LookupError)
"""What reading a damaged row raises: tables are STRICT, but a damaged file can hold any type anywhere."""
FEW = 20
"""The database's problems are listed up to this many: one damaged page can have thousands."""


def check_erased(store: Store, *, fix: bool) -> Iterator[Finding]:
    """Whether anybody is back who was erased: a database may have been restored from an older copy."""
    try:
        with store.database.read() as connection:
            listed = store.erasure_list.read(connection)
            people, faces = count_back(connection, store.erasure_list)
        if not store.database.owns_folder:
            store.erasure_list.keep_copy(listed)
    except CorruptGalleryError as error:
        yield Finding(ok=False, subject="erased", detail=f"{error.message} {error.hint}")
        return
    if people or faces:
        back = f"{people} people and {faces} templates that were erased are back: the database was restored"
        if not fix:
            yield Finding(ok=False, subject="erased", detail=f"{back}; `facesearch check --fix` erases them again")
            return
        detail = f"{back}; {len(store.remove(enforce, store.erasure_list))} templates were erased again"
        store.database.checkpoint()
        yield Finding(ok=True, subject="erased", detail=detail, fixed=True)
    elif len(listed):
        detail = f"{len(listed)} rows of erased people stay out of restored backups"
        yield Finding(ok=True, subject="erased", detail=detail)


def check_database(database: Database) -> Iterator[Finding]:
    """Look at the database, its schema and every row; damage is a finding, never an error."""
    for look in (_check_database, _check_schema):
        yield from _findings(database, partial(look, database))
    for look_at_rows in (check_records, _check_templates, _check_models):
        yield from _findings(database, look_at_rows)


def _findings(database: Database, look: Callable[[Connection], Iterator[Finding]]) -> list[Finding]:
    """All findings of one part, each part in a transaction of its own."""
    found: list[Finding] = []
    try:
        with database.read() as connection:
            for finding in look(connection):
                found.append(finding)  # noqa: PERF402  # what was found before an error counts
    except DAMAGED as error:
        found.append(Finding(ok=False, subject="database", detail=f"a part of it cannot be read ({error}): {RESTORE}"))
    return found


def _check_database(database: Database, connection: Connection) -> Iterator[Finding]:
    problems = list(database.faults(connection, FEW))
    for problem in problems:
        yield Finding(ok=False, subject="database", detail=f"{problem}: {RESTORE}")
    read_revision(connection)
    if not problems:
        yield Finding(ok=True, subject="database", detail=database.sound(connection))


def _check_schema(database: Database, connection: Connection) -> Iterator[Finding]:
    damaged = list(database.schema_faults(connection))
    for name in damaged:
        yield Finding(ok=False, subject="schema", detail=f"{name} is not as facesearch made it: {RESTORE}")
    if not damaged:
        yield Finding(ok=True, subject="schema", detail="tables, indexes and triggers are as made")


def _check_templates(connection: Connection) -> Iterator[Finding]:
    dimensions = {row.id: row.dimension for row in connection.execute(sa.select(ModelRow.id, ModelRow.dimension))}
    query = sa.select(TemplateRow.__table__).order_by(TemplateRow.id).execution_options(yield_per=4096)
    count = 0
    damaged: dict[int, str] = {}
    for rows in connection.execute(query).partitions():
        for row in rows:
            count += 1
            problem = _template_problem(row, dimensions.get(row.model_id))
            if problem:
                damaged[row.id] = problem
    described = templates.describe_templates(connection, damaged, proven=False)
    for template_id, problem in damaged.items():
        subject, photo, *_ = described.get(template_id, ("nobody", "no photo"))
        detail = f"template {template_id} of {subject} ({photo}) {problem}: {RESTORE}"
        yield Finding(ok=False, subject="templates", detail=detail)
    if not damaged:
        yield Finding(ok=True, subject="templates", detail=f"{count} templates match their checksums")


def _template_problem(row: Row[*tuple[Any, ...]], dimension: int | None) -> str | None:
    if not templates.is_whole(row, row.model_id):
        return "does not match its checksum"
    if len(row.vector) != 4 * (dimension or 0):
        return f"has {len(row.vector) // 4} dimensions where its model has {dimension}"
    length = float(np.linalg.norm(np.frombuffer(row.vector, "<f4").astype(np.float64)))
    if not abs(length - 1) <= UNIT_TOLERANCE:  # NaN compares false
        return f"is not of unit length (length {length:g})"
    return None


def _check_models(connection: Connection) -> Iterator[Finding]:
    active = models.active_model(connection)
    others = connection.scalar(sa.select(sa.func.count()).select_from(ModelRow).where(ModelRow.active == 0)) or 0
    count = connection.scalar(sa.select(sa.func.count()).select_from(TemplateRow)) or 0
    if active is None and count:
        yield Finding(ok=False, subject="models", detail=f"{count} templates, but no active model: {RESTORE}")
        return
    name = active[1].model_id if active else "none yet"
    yield Finding(ok=True, subject="models", detail=f"active model: {name}" + (f", {others} others" if others else ""))
    covered = sa.exists().where(TemplateRow.face_id == FaceRow.id, models.of_active_model())
    missing = connection.scalar(sa.select(sa.func.count()).select_from(FaceRow).where(~covered)) if active else 0
    if missing:
        # Not a fault where there are others: whoever activated the model was told, and allowed it.
        detail = f"{missing} faces have no template of it, so that no search finds them: facesearch reembed"
        yield Finding(ok=others > 0, subject="models", detail=detail)


def check_photos(database: Database, *, listed: bool) -> Iterator[Finding]:
    """Look at the photo files; `listed` says that damage of their records has been reported already."""
    stored: list[StoredPhoto] = []
    try:
        with database.read() as connection:
            stored += photos.all_photos(connection)
    except DAMAGED as error:
        if not listed:
            yield Finding(ok=False, subject="photos", detail=f"they cannot be listed: {error}")
        return
    uploaded = sum(is_upload(photo.file.path) for photo in stored)
    stored = [photo for photo in stored if not is_upload(photo.file.path)]
    missing = whole = 0
    for photo in stored:  # outside the transaction: reading thousands of files takes its time
        problem = _photo_problem(photo)
        if problem is not None:
            yield Finding(ok=False, subject="photos", detail=f"{photo.file.path} {problem}")
        elif is_file(photo.file.path):
            whole += 1
        else:
            missing += 1
    if uploaded:
        detail = f"{uploaded} photos were uploaded: there is no file to compare (re-embedding needs them again)"
        yield Finding(ok=True, subject="photos", detail=detail)
    if missing:
        # Not a fault: many people enroll from a card or delete the photos on purpose. Search does not need them.
        detail = f"{missing} of {len(stored)} photos are no longer where they were "
        detail += "(search works; re-embedding needs them)"
        yield Finding(ok=True, subject="photos", detail=detail)
    if whole == len(stored) - missing and whole:
        yield Finding(ok=True, subject="photos", detail=f"{whole} photos are the ones that were enrolled")


def _photo_problem(photo: StoredPhoto) -> str | None:
    """What is wrong with the file; a photo that is not there is not wrong."""
    path = photo.file.path
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if digest == photo.file.sha256 else "is not the photo that was enrolled: enroll its folder again"


RESTORE: Final = "bring back a backup with `facesearch restore FILE --force`"
"""What mends a damaged database. Removing the person or enrolling again reads the damaged row, and fails."""


def check_records(connection: Connection) -> Iterator[Finding]:
    """Look at the checksum of every row but the templates'."""
    damaged = 0
    counts: dict[str, int] = {}
    for row in sorted(Sealed.__subclasses__(), key=lambda each: each.__tablename__):
        count = 0
        query = f"SELECT {column_names(row)} FROM {row.__tablename__}"  # noqa: S608  # names of columns
        for values in connection.exec_driver_sql(query, execution_options={"yield_per": 4096}):
            count += 1
            if not _is_whole(values):
                damaged += 1
                yield Finding(ok=False, subject=row.__tablename__, detail=_describe(row, values))
        counts[row.__tablename__] = count
    if not damaged:
        detail = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
        yield Finding(ok=True, subject="records", detail=f"all match their checksums: {detail}")


def _is_whole(values: Sequence[object]) -> bool:
    try:
        return is_whole(values)
    except (TypeError, ValueError):  # a damaged file can hold any type anywhere
        return False


def _describe(row: type[Sealed], values: Sequence[object]) -> str:
    text = f"row {values[0]} ({values[1]!r}) does not match its checksum"
    if row is PhotoRow and isinstance(values[1], bytes):
        return f"{os.fsdecode(values[1])} does not match its checksum: {RESTORE}"
    if row is SubjectRow:
        return f"{values[1]} does not match its checksum: {RESTORE}"
    if row is FaceRow:
        return f"{text}: the face of photo {values[1]} may be another person's; {RESTORE}"
    return f"{text}: {RESTORE}"
