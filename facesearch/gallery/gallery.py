"""A gallery: one folder with a database, which is the truth, and a search index kept equal to it."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self, TypeAlias, TypeVar

import numpy as np
import sqlalchemy as sa

from facesearch.errors import CorruptGalleryError, GalleryNotFoundError
from facesearch.gallery import audit, models, photos, subjects, templates
from facesearch.gallery.database import DATABASE_NAME, Database, create_database_file
from facesearch.gallery.decision import best_per_subject
from facesearch.gallery.index.base import require_unit_vectors
from facesearch.gallery.index.snapshot import SNAPSHOT_NAME, remove_leftovers
from facesearch.gallery.live_index import LiveIndex
from facesearch.gallery.photos import MovedPhoto, NewPhoto, RefusedPhoto
from facesearch.gallery.schema import (
    HEAD_REVISION,
    CalibrationRow,
    FaceRow,
    PhotoRow,
    RejectionRow,
    SubjectRow,
    TemplateRow,
)
from facesearch.types import EnrolledPhoto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from sqlalchemy.engine import Connection

    from facesearch.gallery.photos import StoredPhoto, StoredRejection
    from facesearch.types import Candidate, Ids, ModelInfo, Subject, Vector, Vectors

log = logging.getLogger("facesearch.gallery")

Change: TypeAlias = NewPhoto | MovedPhoto | RefusedPhoto
Result = TypeVar("Result")


class Gallery:
    """Templates of subjects, searchable. Safe to use from several threads; several processes may share a folder.

    Whatever a method that changes something returns from is committed and on disk.
    """

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.database = database
        self._lock = threading.RLock()
        self._live: LiveIndex | None = None

    # -- opening and closing

    @classmethod
    def open(cls, folder: Path, *, create: bool = False) -> Self:
        """Open the gallery in `folder`; with `create`, make one where there is none.

        Raises `GalleryNotFoundError`, `SchemaOutdatedError` or `CorruptGalleryError`.
        """
        path = folder / DATABASE_NAME
        exists = path.is_file() and path.stat().st_size > 0
        if not exists and not create:
            raise GalleryNotFoundError(
                f"there is no gallery in {folder}",
                "make one with: facesearch enroll PEOPLE_FOLDER, or name it: --gallery",
            )
        database = Database(create_database_file(folder) if not exists else path)
        try:
            if create and database.revision() is None:
                database.upgrade()
            database.require_head()
        except BaseException:
            database.close()
            raise
        remove_leftovers(folder)
        return cls(folder, database)

    def close(self) -> None:
        """Write the index cache if it is behind, and close the database."""
        self.save_cache()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- the model

    def model(self) -> ModelInfo | None:
        """The model that made the templates; None while the gallery is empty and has adopted none."""
        with self.database.read() as connection:
            active = models.active_model(connection)
        return active[1] if active else None

    def adopt(self, info: ModelInfo) -> None:
        """Bind an empty gallery to a model; `ModelMismatchError` where it is bound to another."""
        if self.model() is None:
            with self.database.write() as connection:
                models.adopt_model(connection, info)
        self.require_model(info)

    def require_model(self, info: ModelInfo) -> None:
        """Raise `ModelMismatchError` unless templates of `info` compare with the gallery's."""
        active = self.model()
        if active is not None:
            models.require_model(active, info)

    # -- search

    def search(self, vectors: Vectors, k: int, where: Mapping[str, str] | None = None) -> list[tuple[Candidate, ...]]:
        """The k best subjects for each vector (n, d), best first, one candidate per subject.

        At least two subjects come back where there are two, so that a runner-up is known. `where` limits the search
        to subjects with these attributes. Raises `GalleryError` for vectors that are not finite or not unit length.
        """
        with self._lock, self.database.read() as connection:
            live = self._refreshed(connection)
            if live is None:
                return [() for _ in vectors]
            require_unit_vectors(vectors, live.index.dimension)
            allowed = templates.templates_where(connection, where) if where else None
            return [
                self._search_one(connection, live, vector[None], max(k, 2), allowed)[: max(k, 2)] for vector in vectors
            ]

    def _search_one(
        self, connection: Connection, live: LiveIndex, query: Vectors, k: int, allowed: Ids | None
    ) -> tuple[Candidate, ...]:
        # k templates can be fewer than k subjects: fetch more until there are enough or everything was fetched.
        fetch, everything = 4 * k, len(live.index)
        while True:
            scores, ids = live.index.search(query, min(fetch, everything), allowed)
            found = ids[0] != -1
            hits = list(zip(ids[0][found].tolist(), scores[0][found].tolist(), strict=True))
            candidates = best_per_subject(hits, templates.describe_templates(connection, [hit[0] for hit in hits]))
            if len(candidates) >= k or fetch >= everything or len(hits) < fetch:
                return candidates
            fetch *= 4

    def _refreshed(self, connection: Connection) -> LiveIndex | None:
        """The index, equal to what `connection` sees; None while no model is adopted."""
        active = models.active_model(connection)
        if active is None:
            return None
        row, info = active
        if self._live is None or self._live.model_id != info.model_id:
            self._live = LiveIndex(info.model_id, row, info.dimension)
            self._live.load(self.folder)
        self._live.refresh(connection)
        return self._live

    def save_cache(self) -> None:
        """Write the index cache if this process holds a newer one. A read-only gallery stays without."""
        with self._lock:
            if self._live is None or not os.access(self.folder, os.W_OK):
                return
            self._live.save(self.folder)

    def rebuild_index(self) -> int:
        """Build the index from the database alone and write its cache; returns the number of templates."""
        with self._lock:
            self._live = None
            (self.folder / SNAPSHOT_NAME).unlink(missing_ok=True)
            with self.database.read() as connection:
                live = self._refreshed(connection)
            self.save_cache()
            return len(live.index) if live else 0

    # -- enrolment

    def find_photos(self, paths: Sequence[Path]) -> dict[Path, StoredPhoto]:
        """What is enrolled from these paths."""
        return self._read(lambda connection: photos.find_photos(connection, paths))

    def find_rejections(self, paths: Sequence[Path]) -> dict[Path, StoredRejection]:
        """What was refused at these paths."""
        return self._read(lambda connection: photos.find_rejections(connection, paths))

    def photos_of_content(self, sha256: str) -> list[StoredPhoto]:
        """Enrolled photos with exactly these bytes (hex SHA-256)."""
        return self._read(lambda connection: photos.photos_of_content(connection, sha256))

    def photos_below(self, folder: Path) -> list[StoredPhoto]:
        """Enrolled photos in a folder or below it."""
        return self._read(lambda connection: photos.photos_below(connection, folder))

    def photos_of_subject(self, name: str) -> list[EnrolledPhoto]:
        """Enrolled photos of a subject; `UnknownSubjectError` if there is no such."""
        with self.database.read() as connection:
            found = photos.photos_of_subject(connection, subjects.require_subject(connection, name))
        return [
            EnrolledPhoto(
                photo.file.path, photo.file.sha256, len(photo.template_ids), photo.template_ids, photo.detection_score
            )
            for photo in found
        ]

    def commit(self, changes: Sequence[Change]) -> list[tuple[int, ...]]:
        """Carry out all changes in one transaction; returns the template ids that each change concerns.

        A new photo replaces what its path held before. When this returns, the changes are on disk.
        """
        with self._lock, self._followed() as (connection, effect):
            active = models.active_model(connection)
            return [self._apply(connection, change, active[0] if active else None, effect) for change in changes]

    def _apply(self, connection: Connection, change: Change, model_row: int | None, effect: _Effect) -> tuple[int, ...]:
        if isinstance(change, RefusedPhoto):
            photos.remember_rejection(connection, change)
            return ()
        subject_id = subjects.ensure_subject(connection, change.subject, change.attributes)
        if isinstance(change, MovedPhoto):
            photos.move_photo(connection, change, subject_id)
            return change.stored.template_ids
        if model_row is None:
            raise CorruptGalleryError("templates arrived before a model was adopted", "run: facesearch check")
        vectors = np.array([template.vector for template in change.templates], np.float32)
        require_unit_vectors(vectors, len(change.templates[0].vector))
        effect.removed += photos.remove_photos(connection, [change.file.path])
        keys = photos.insert_photo(connection, change, subject_id, model_row)
        effect.added += [(*key, vector) for key, vector in zip(keys, vectors, strict=True)]
        return tuple(template_id for template_id, _ in keys)

    def remove_photos(self, paths: Sequence[Path]) -> int:
        """Remove enrolled photos, and subjects that have no face left; returns how many templates went."""
        with self._lock, self._followed() as (connection, effect):
            effect.removed += photos.remove_photos(connection, paths)
            subjects.remove_faceless_subjects(connection)
            return len(effect.removed)

    def forget_vanished_rejections(self, folder: Path) -> None:
        """Forget refusals of photos below `folder` that are no longer there."""
        with self.database.write() as connection:
            photos.forget_vanished_rejections(connection, folder)

    @contextmanager
    def _followed(self) -> Iterator[tuple[Connection, _Effect]]:
        """A write transaction whose effect on templates the index takes over once it is committed."""
        effect = _Effect()
        with self.database.write() as connection:
            before = templates.token(connection)
            yield connection, effect
            after = templates.token(connection)
        if self._live is not None and self._live.token == before:
            effect.take_over(self._live, after)

    # -- subjects

    def subjects(self, where: Mapping[str, str] | None = None) -> list[Subject]:
        """Everybody in the gallery, or those with these attributes, by name."""
        return self._read(lambda connection: subjects.list_subjects(connection, where))

    def subject(self, name: str) -> Subject:
        """One subject; `UnknownSubjectError` proposes names that look alike."""
        with self.database.read() as connection:
            subject_id = subjects.require_subject(connection, name)
            return subjects.list_subjects(connection, subject_id=subject_id)[0]

    def rename_subject(self, name: str, new: str) -> None:
        """Give a subject another name; `SubjectExistsError` when it is taken."""
        with self.database.write() as connection:
            subjects.rename_subject(connection, name, new)
            audit.record(connection, "people.rename", {"subjects": 1})

    def merge_subjects(self, source: str, target: str) -> None:
        """Make `source`'s faces `target`'s and remove `source`."""
        with self.database.write() as connection:
            subjects.merge_subjects(connection, source, target)
            audit.record(connection, "people.merge", {"subjects": 2})

    def set_attributes(self, name: str, changes: Mapping[str, str | None]) -> None:
        """Change a subject's attributes; None removes one."""
        with self.database.write() as connection:
            subjects.set_attributes(connection, subjects.require_subject(connection, name), changes)
            audit.record(connection, "people.set", {"attributes": len(changes)})

    def remove_subject(self, name: str) -> tuple[int, int]:
        """Remove a subject for good: (photos, templates) removed. The index cache on disk is rewritten too."""
        with self._lock:
            with self._followed() as (connection, effect):
                removed_photos, ids = subjects.remove_subject(connection, name)
                effect.removed += ids
                audit.record(connection, "people.remove", {"photos": removed_photos, "templates": len(ids)})
            self._drop_erased_from_disk()
        return removed_photos, len(ids)

    def _drop_erased_from_disk(self) -> None:
        """Remove the cache that holds what was removed, and write it anew where this process has an index."""
        (self.folder / SNAPSHOT_NAME).unlink(missing_ok=True)
        if self._live is not None:
            with self.database.read() as connection:
                self._refreshed(connection)
            self.save_cache()

    # -- records

    def record(self, action: str, detail: Mapping[str, int | str]) -> None:
        """Write an audit event: counts, never a vector, a face or a name."""
        with self.database.write() as connection:
            audit.record(connection, action, detail)

    def calibration(self) -> Mapping[str, object] | None:
        """The newest calibration of the active model, as stored."""
        query = sa.select(CalibrationRow.document).order_by(CalibrationRow.id.desc()).limit(1)
        with self.database.read() as connection:
            active = models.active_model(connection)
            if active is None:
                return None
            return connection.scalar(query.where(CalibrationRow.model_id == active[0]))

    def describe_index(self) -> str:
        """The kind of index and the state of its cache, in words."""
        cache = self.folder / SNAPSHOT_NAME
        return f"flat (exact), {f'{cache.stat().st_size / 1e6:.1f} MB cache' if cache.is_file() else 'no cache yet'}"

    def counts(self) -> dict[str, int]:
        """How many subjects, photos, faces, templates and refused photos there are."""
        tables = {
            "subjects": SubjectRow,
            "photos": PhotoRow,
            "faces": FaceRow,
            "templates": TemplateRow,
            "rejected_photos": RejectionRow,
        }
        with self.database.read() as connection:
            return {
                name: connection.scalar(sa.select(sa.func.count()).select_from(row)) or 0
                for name, row in tables.items()
            }

    def _read(self, function: Callable[[Connection], Result]) -> Result:
        with self.database.read() as connection:
            return function(connection)


def upgrade_gallery(folder: Path) -> tuple[str | None, str]:
    """Bring the database of the gallery in `folder` to the newest schema: (revision before, revision after).

    Raises `GalleryNotFoundError`, or `SchemaOutdatedError` where the database is of a newer facesearch.
    """
    path = folder / DATABASE_NAME
    if not path.is_file():
        raise GalleryNotFoundError(f"there is no gallery in {folder}", "name another with --gallery DIR")
    database = Database(path)
    try:
        before = database.revision()
        database.upgrade()
        return before, HEAD_REVISION
    finally:
        database.close()


class _Effect:
    """What a transaction did to the templates, for the index to take over."""

    def __init__(self) -> None:
        self.removed: list[int] = []
        self.added: list[tuple[int, int, Vector]] = []

    def take_over(self, live: LiveIndex, token: bytes) -> None:
        live.forget(np.array(self.removed, np.int64))
        if self.added:
            ids = np.array([row[0] for row in self.added], np.int64)
            checksums = np.array([row[1] for row in self.added], np.uint32)
            live.add(ids, checksums, np.array([row[2] for row in self.added], np.float32))
        live.token = token
