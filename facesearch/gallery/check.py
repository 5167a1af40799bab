"""`facesearch check`: proving that database, templates, index cache and photos agree."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from facesearch.errors import CorruptGalleryError
from facesearch.gallery import models, photos, templates
from facesearch.gallery.index.base import UNIT_TOLERANCE
from facesearch.gallery.index.snapshot import read_snapshot
from facesearch.gallery.schema import ModelRow, TemplateRow
from facesearch.types import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from facesearch.gallery.gallery import Gallery
    from facesearch.gallery.index.snapshot import Snapshot


def check_gallery(gallery: Gallery, *, fix: bool = False) -> Iterator[Finding]:
    """Look at everything a gallery holds, one finding after the other.

    `fix` rebuilds what can be rebuilt from what is proven whole: the index cache. Damaged templates and changed photos
    are named; they have to be enrolled again.
    """
    with gallery.database.read() as connection:
        yield from _check_database(connection)
        sound = True
        for finding in _check_templates(connection):
            sound = sound and finding.ok
            yield finding
        yield from _check_models(connection)
        cache = _check_cache(connection, gallery.folder)
        yield from _check_photos(connection)
    if not cache.ok and fix and sound:
        count = gallery.rebuild_index()
        cache = Finding(ok=True, subject="index", detail=f"{cache.detail}; rebuilt from {count} templates", fixed=True)
    yield cache


def _check_database(connection: Connection) -> Iterator[Finding]:
    problems = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check(20)") if row[0] != "ok"]
    problems += [
        f"row {row[1]} of {row[0]} refers to a missing row of {row[2]}"
        for row in connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(20)
    ]
    for problem in problems:
        yield Finding(ok=False, subject="database", detail=problem)
    if not problems:
        yield Finding(ok=True, subject="database", detail="every page, index and reference is sound")


def _check_templates(connection: Connection) -> Iterator[Finding]:
    query = sa.select(TemplateRow.__table__).order_by(TemplateRow.id).execution_options(yield_per=4096)
    count = 0
    damaged: dict[int, str] = {}
    for rows in connection.execute(query).partitions():
        for row in rows:
            count += 1
            problem = _template_problem(row.face_id, row.model_id, row.vector, row.crc)
            if problem:
                damaged[row.id] = problem
    described = templates.describe_templates(connection, damaged)
    for template_id, problem in damaged.items():
        subject, photo = described.get(template_id, ("nobody", "no photo"))
        detail = f"template {template_id} of {subject} ({photo}) {problem}: remove it or enroll the photo again"
        yield Finding(ok=False, subject="templates", detail=detail)
    if not damaged:
        yield Finding(ok=True, subject="templates", detail=f"{count} templates match their checksums")


def _template_problem(face_id: int, model_row: int, vector: bytes, crc: int) -> str | None:
    if templates.checksum(face_id, model_row, vector) != crc:
        return "does not match its checksum"
    length = float(np.linalg.norm(np.frombuffer(vector, "<f4")))
    if not abs(length - 1) <= UNIT_TOLERANCE:  # NaN compares false
        return f"is no unit vector (length {length:g})"
    return None


def _check_models(connection: Connection) -> Iterator[Finding]:
    active = models.active_model(connection)
    others = connection.scalar(sa.select(sa.func.count()).select_from(ModelRow).where(ModelRow.active == 0))
    count = connection.scalar(sa.select(sa.func.count()).select_from(TemplateRow)) or 0
    if active is None and count:
        yield Finding(ok=False, subject="models", detail=f"{count} templates, but no active model")
        return
    name = active[1].model_id if active else "none yet"
    yield Finding(ok=True, subject="models", detail=f"active model: {name}" + (f", {others} others" if others else ""))


def _check_cache(connection: Connection, folder: Path) -> Finding:
    try:
        snapshot = read_snapshot(folder)
    except CorruptGalleryError as error:
        return Finding(ok=False, subject="index", detail=error.message)
    active = models.active_model(connection)
    if snapshot is None or active is None:
        return Finding(ok=True, subject="index", detail="no cache yet; it is built at the next search")
    if snapshot.token != templates.token(connection) or snapshot.model_id != active[1].model_id:
        return Finding(
            ok=True, subject="index", detail="the cache is of an older state; it catches up at the next search"
        )
    if not _same_templates(connection, active[0], snapshot):
        detail = "the cache carries the database's token but not its templates"
        return Finding(ok=False, subject="index", detail=detail)
    return Finding(ok=True, subject="index", detail=f"the cache holds exactly the {len(snapshot.ids)} templates")


def _same_templates(connection: Connection, model_row: int, snapshot: Snapshot) -> bool:
    order = np.argsort(snapshot.ids)
    position = 0
    try:
        for block in templates.templates(connection, model_row):
            part = order[position : position + len(block.ids)]
            position += len(block.ids)
            if not np.array_equal(snapshot.ids[part], block.ids):
                return False
            if not np.array_equal(snapshot.vectors[part], block.vectors):
                return False
    except CorruptGalleryError:  # named one by one by the templates' own check
        return False
    return position == len(snapshot.ids)


def _check_photos(connection: Connection) -> Iterator[Finding]:
    missing = changed = count = 0
    for photo in photos.all_photos(connection):
        count += 1
        path = photo.file.path
        if not path.is_file():
            missing += 1
        elif hashlib.sha256(path.read_bytes()).hexdigest() != photo.file.sha256:
            changed += 1
            yield Finding(
                ok=False, subject="photos", detail=f"{path} is not the photo that was enrolled: enroll it again"
            )
    if missing:
        # Not a fault: many people enroll from a card or delete the photos on purpose. Search does not need them.
        detail = f"{missing} of {count} photos are no longer where they were (search works; re-embedding needs them)"
        yield Finding(ok=True, subject="photos", detail=detail)
    if not changed and count > missing:
        yield Finding(ok=True, subject="photos", detail=f"{count - missing} photos are the ones that were enrolled")
