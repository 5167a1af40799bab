"""A gallery: one folder with a database, which is the truth, and a search index kept equal to it."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import sqlalchemy as sa

from facesearch.errors import DiskFullError, GalleryError, GalleryLockedError, GalleryNotFoundError
from facesearch.gallery import audit, calibrations, evaluations, models, photos, retention, subjects, templates
from facesearch.gallery.ballast import despite_full_disk, make_ballast, shrink_ballast
from facesearch.gallery.changes import Change, Effect, apply_change
from facesearch.gallery.database import DATABASE_NAME, Database, create_database_file
from facesearch.gallery.encryption import Cipher, cipher_of
from facesearch.gallery.erasure import erase_subjects
from facesearch.gallery.files import remove_dead_work
from facesearch.gallery.index.base import require_unit_vectors
from facesearch.gallery.index.snapshot import SNAPSHOT_NAME, remove_leftovers, remove_snapshot
from facesearch.gallery.live_index import LiveIndex
from facesearch.gallery.photos import MovedPhoto
from facesearch.gallery.recall import Recall, UnknownTemplateError
from facesearch.gallery.schema import (
    HEAD_REVISION,
    FaceRow,
    PhotoRow,
    RejectionRow,
    SubjectRow,
    TemplateRow,
)
from facesearch.gallery.search import best_subjects
from facesearch.types import EnrolledPhoto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from sqlalchemy.engine import Connection

    from facesearch.gallery.erasure import Erased
    from facesearch.gallery.photos import StoredPhoto, StoredRejection
    from facesearch.gallery.search import Describe
    from facesearch.gallery.subjects import SubjectKey
    from facesearch.types import Candidate, Ids, ModelInfo, Subject, Vectors

log = logging.getLogger("facesearch.gallery")

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
        self._recall = Recall()

    # -- opening and closing

    @classmethod
    def open(
        cls, folder: Path, *, create: bool = False, passphrase: str | None = None, encrypted: bool = False
    ) -> Self:
        """Open the gallery in `folder`; with `create`, make one where there is none, encrypted with `encrypted`.

        `passphrase` is the key of an encrypted gallery; a plain one needs none and ignores it. Raises
        `GalleryNotFoundError`, `GalleryLockedError`, `SchemaOutdatedError` or `CorruptGalleryError`.
        """
        path = folder / DATABASE_NAME
        exists = _is_database(path)
        if not exists and not create:
            raise GalleryNotFoundError(
                f"There is no gallery in {folder}.",
                "Make one with `facesearch enroll PEOPLE_FOLDER`, or name another with --gallery DIR.",
            )
        if exists:
            database = Database(path, cipher_of(path, passphrase))
        else:
            if encrypted and not passphrase:
                raise GalleryLockedError("An encrypted gallery needs a key.", "Give a passphrase.")
            cipher = Cipher.new(passphrase) if encrypted and passphrase else None
            database = Database(create_database_file(folder), cipher)
        try:
            if create and database.revision() is None:
                database.upgrade()
            database.require_head()
        except DiskFullError:
            database.close()
            if not shrink_ballast(folder):
                raise
            # SQLite needs a little space even to read.
            return cls.open(folder, create=create, passphrase=passphrase, encrypted=encrypted)
        except BaseException:
            database.close()
            raise
        remove_leftovers(folder)
        remove_dead_work(folder)
        make_ballast(folder)
        return cls(folder, database)

    def close(self) -> None:
        """Write the index cache if it is behind, and close the database."""
        try:
            self.save_cache()
        finally:
            self.database.close()
            make_ballast(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_encrypted(self) -> bool:
        """Whether everything on disk is encrypted; there is no index cache then."""
        return self.database.cipher is not None

    # -- the model

    def model(self) -> ModelInfo | None:
        """The model that made the templates; None while the gallery is empty and has adopted none."""
        with self.database.read() as connection:
            active = models.active_model(connection)
        return active[1] if active else None

    def adopt(self, info: ModelInfo) -> None:
        """Bind an empty gallery to a model; `ModelMismatchError` where it is bound to another."""
        if self.model() is None:
            with self._write() as connection:
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
        with self._lock:
            version = self.database.version()
            if self._live is not None and not where and self._recall.is_of(version):
                with suppress(UnknownTemplateError):
                    return _best(self._live, vectors, k, None, self._recall.describe)
            with self.database.read() as connection:
                live = self._refreshed(connection)
                if live is None:
                    return [() for _ in vectors]
                self._recall.start(version)
                allowed = templates.templates_where(connection, where) if where else None
                return _best(live, vectors, k, allowed, partial(self._recall.read, connection))

    def _refreshed(self, connection: Connection) -> LiveIndex | None:
        """The index, equal to what `connection` sees; None while no model is adopted."""
        active = models.active_model(connection)
        if active is None:
            return None
        row, info = active
        live = self._live
        if live is None or (live.model_id, live.model_row) != (info.model_id, row):
            live = LiveIndex(info.model_id, row, info.dimension)
            live.load(self.folder)
        self._live = None  # an interrupted refresh leaves an index that equals nothing
        live.refresh(connection)
        self._live = live
        return live

    def save_cache(self) -> None:
        """Write the index cache if this process holds a newer one.

        A cache that cannot be written costs the next process some seconds, so it is a warning; a read-only gallery
        stays without.
        """
        with self._lock:
            if self._live is None or self.is_encrypted or not os.access(self.folder, os.W_OK):
                return
            try:
                self._save()
            except (OSError, GalleryError) as error:
                log.warning("The index cache was not written: %s", error)

    def _save(self) -> LiveIndex | None:
        with self.database.read() as connection:
            live = self._refreshed(connection)
        if live is not None and not self.is_encrypted:
            live.save(self.folder, self._held_at(live.token))
        return live

    @contextmanager
    def _held_at(self, token: bytes | None) -> Iterator[bool]:
        """Hold writers off; gives whether the database is of this revision."""
        with self.database.write() as connection:
            yield templates.token(connection) == token

    def rebuild_index(self) -> int:
        """Build the index from the database alone and write its cache; returns the number of templates."""
        with self._lock:
            self._live = None
            try:
                remove_snapshot(self.folder)
                live = self._save()
            except OSError as error:
                raise GalleryError(
                    f"The index cache in {self.folder} cannot be written: {error.strerror}.",
                    "Check the folder's permissions and the free space.",
                ) from error
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

    def photos_of_subject(self, who: SubjectKey) -> list[EnrolledPhoto]:
        """Enrolled photos of a subject; `UnknownSubjectError` if there is no such."""
        with self.database.read() as connection:
            found = photos.photos_of_subject(connection, subjects.require_subject(connection, who))
        return [
            EnrolledPhoto(
                photo.file.path,
                photo.file.sha256,
                len(photo.template_ids),
                photo.template_ids,
                photo.detection_score,
                photo.photo_id,
            )
            for photo in found
        ]

    def commit(self, changes: Sequence[Change]) -> list[tuple[int, ...]]:
        """Carry out all changes in one transaction; returns the template ids that each change concerns.

        A new photo replaces what its path held before; subjects that have no face left go. When this returns, the
        changes are on disk. Raises `GalleryError` for templates that cannot be kept, and then nothing is changed.
        """
        with self._lock, self._followed() as (connection, effect):
            active = models.active_model(connection)
            ids = [apply_change(connection, change, active, effect) for change in changes]
            if effect.removed or any(isinstance(change, MovedPhoto) for change in changes):
                subjects.remove_faceless_subjects(connection)
            return ids

    @despite_full_disk
    def remove_photos(self, paths: Sequence[Path]) -> int:
        """Remove enrolled photos, and subjects that have no face left; returns how many templates went."""
        with self._lock, self._followed() as (connection, effect):
            effect.removed += photos.remove_photos(connection, paths)
            subjects.remove_faceless_subjects(connection)
            if effect.removed:
                photos.forget_comparisons(connection)
                remove_snapshot(self.folder)
            return len(effect.removed)

    def forget_vanished_rejections(self, folder: Path) -> None:
        """Forget refusals of photos below `folder` that are no longer there."""
        known = self._read(lambda connection: photos.rejected_below(connection, folder))
        vanished = [path for path in known if not os.path.lexists(path)]  # before any lock: the disk may be slow
        with self._write() as connection:
            for path in vanished:
                photos.forget_rejection(connection, path)

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """A write transaction. Threads queue for the lock, which is fair; SQLite's own waiting is not."""
        with self._lock, self.database.write() as connection:
            yield connection

    @contextmanager
    def _followed(self) -> Iterator[tuple[Connection, Effect]]:
        """A write transaction whose effect on templates the index takes over once it is committed."""
        effect = Effect()
        with self.database.write() as connection:
            before = templates.token(connection)
            yield connection, effect
            after = templates.token(connection)
        self._recall.start(None)  # nobody who was erased stays in memory either
        live = self._live
        if live is not None and live.token == before:
            self._live = None  # an interruption must not leave half of the effect
            effect.take_over(live, after)
            self._live = live

    # -- subjects

    def subjects(self, where: Mapping[str, str] | None = None) -> list[Subject]:
        """Everybody in the gallery, or those with these attributes, by name."""
        return self._read(lambda connection: subjects.list_subjects(connection, where))

    def subject(self, who: SubjectKey) -> Subject:
        """One subject; `UnknownSubjectError` proposes names that look alike."""
        with self.database.read() as connection:
            subject_id = subjects.require_subject(connection, who)
            return subjects.list_subjects(connection, ids=[subject_id])[0]

    def rename_subject(self, who: SubjectKey, new: str) -> None:
        """Give a subject another name; `SubjectExistsError` when it is taken."""
        with self._write() as connection:
            subjects.rename_subject(connection, who, new)
            photos.forget_comparisons(connection)
            audit.record(connection, "people.rename", {"subjects": 1})

    def merge_subjects(self, source: SubjectKey, target: SubjectKey) -> None:
        """Make `source`'s faces `target`'s and remove `source`."""
        with self._write() as connection:
            subjects.merge_subjects(connection, source, target)
            photos.forget_comparisons(connection)
            audit.record(connection, "people.merge", {"subjects": 2})

    def set_attributes(self, who: SubjectKey, changes: Mapping[str, str | None]) -> None:
        """Change a subject's attributes; None removes one."""
        with self._write() as connection:
            subjects.set_attributes(connection, subjects.require_subject(connection, who), changes)
            audit.record(connection, "people.set", {"attributes": len(changes)})

    @despite_full_disk
    def remove_subject(self, who: SubjectKey) -> tuple[int, int]:
        """Remove a subject for good: (photos, templates) removed. The index cache that held them goes too."""
        with self._lock, self._followed() as (connection, effect):
            removed_photos, effect.removed = subjects.remove_subject(connection, who)
            photos.forget_comparisons(connection)
            audit.record(connection, "people.remove", {"photos": removed_photos, "templates": len(effect.removed)})
            # Before the commit: once the removal is acknowledged, no file may hold the vectors.
            remove_snapshot(self.folder)
            return removed_photos, len(effect.removed)

    @despite_full_disk
    def erase(self, who: Sequence[SubjectKey]) -> Erased:
        """Remove subjects and all that names them for good, and keep backups from bringing them back.

        The last of their bytes leave the disk when the write-ahead log is emptied: `database.checkpoint()`.
        """
        with self._lock, self._followed() as (connection, effect):
            erased = erase_subjects(connection, self.folder, who)
            effect.removed += erased.template_ids
            remove_snapshot(self.folder)
            return erased

    # -- records

    def record(self, action: str, detail: Mapping[str, int | str]) -> None:
        """Write an audit event: counts, never a vector, a face or a name."""
        with self._write() as connection:
            audit.record(connection, action, detail)

    def events(
        self, *, since: str | None = None, action: str | None = None, last: int | None = None
    ) -> list[audit.AuditEvent]:
        """Audit events, oldest first, as `audit.events` selects them."""
        return self._read(lambda connection: audit.events(connection, since=since, action=action, last=last))

    def overdue(self) -> list[Subject]:
        """Subjects whose `retain_until` has passed, by name."""
        return retention.overdue(self.subjects())

    def calibration(self) -> dict[str, Any] | None:
        """The calibration in force of the active model, as it was stored."""
        with self.database.read() as connection:
            active = models.active_model(connection)
            return calibrations.newest(connection, active[0]) if active else None

    def store_calibration(self, document: Mapping[str, Any], info: ModelInfo) -> None:
        """Put a calibration in force; `ModelMismatchError` unless `info`, which made it, is the gallery's model."""
        with self.database.write() as connection:
            active = models.active_model(connection)
            if active is None:
                raise GalleryError("The gallery is empty: there is nothing to calibrate.", "Enroll people first.")
            models.require_model(active[1], info)
            calibrations.store(connection, active[0], document)
            audit.record(connection, "calibrate", {"threshold": str(document.get("threshold"))})

    def forget_calibration(self) -> int:
        """Go back to the pack's threshold; returns how many calibrations were removed."""
        with self.database.write() as connection:
            active = models.active_model(connection)
            removed = calibrations.forget(connection, active[0]) if active else 0
            audit.record(connection, "calibrate.forget", {"calibrations": removed})
            return removed

    def store_evaluation(self, kind: str, document: Mapping[str, Any], info: ModelInfo) -> None:
        """Keep the figures of an evaluation instead of those of its kind before it.

        `ModelMismatchError` unless `info`, which was evaluated, is the gallery's model.
        """
        with self._write() as connection:
            active = models.active_model(connection)
            if active is None:
                raise GalleryError("The gallery is empty: it has no model yet.", "Enroll people first.")
            models.require_model(active[1], info)
            evaluations.store(connection, active[0], kind, document)
            audit.record(connection, "evaluate", {"kind": kind})

    def evaluations(self) -> dict[str, dict[str, Any]]:
        """The figures of the newest evaluations of the active model by kind, as they were stored."""
        with self.database.read() as connection:
            active = models.active_model(connection)
            return evaluations.newest(connection, active[0]) if active else {}

    def all_templates(self) -> tuple[Ids, Vectors]:
        """Every template of the active model in order of id: ids (n,) and vectors (n, d), their checksums proven."""
        with self.database.read() as connection:
            active = models.active_model(connection)
            blocks = list(templates.templates(connection, active[0], active[1].dimension)) if active else []
        if not blocks:
            return np.empty(0, np.int64), np.empty((0, active[1].dimension if active else 0), np.float32)
        return np.concatenate([each.ids for each in blocks]), np.concatenate([each.vectors for each in blocks])

    def describe_templates(self, ids: Sequence[int]) -> dict[int, templates.Described]:
        """Whose they are, by template id."""
        return self._read(lambda connection: templates.describe_templates(connection, ids))

    def faces_of_templates(self, ids: Sequence[int]) -> dict[int, tuple[float, float, float, float]]:
        """The box (x1, y1, x2, y2, in pixels) of the face behind each template, by template id."""
        return self._read(lambda connection: templates.boxes(connection, ids))

    def describe_index(self) -> str:
        """The kind of index and the state of its cache, in words."""
        if self.is_encrypted:
            return "flat (exact), built on opening: an encrypted gallery has no cache"
        cache = self.folder / SNAPSHOT_NAME
        return f"flat (exact), {f'{cache.stat().st_size / 1e6:.1f} MB cache' if cache.is_file() else 'no cache yet'}"

    def counts(self) -> dict[str, int]:
        """How many subjects, photos, faces, templates of the active model and refused photos there are."""
        tables = {
            "subjects": SubjectRow,
            "photos": PhotoRow,
            "faces": FaceRow,
            "templates": TemplateRow,
            "rejected_photos": RejectionRow,
        }
        with self.database.read() as connection:
            return {
                name: connection.scalar(
                    sa.select(sa.func.count())
                    .select_from(row)
                    .where(models.of_active_model() if row is TemplateRow else sa.true())
                )
                or 0
                for name, row in tables.items()
            }

    def _read(self, function: Callable[[Connection], Result]) -> Result:
        with self.database.read() as connection:
            return function(connection)


def _best(
    live: LiveIndex, vectors: Vectors, k: int, allowed: Ids | None, describe: Describe
) -> list[tuple[Candidate, ...]]:
    require_unit_vectors(vectors, live.index.dimension)
    found = best_subjects(describe, live.index, vectors, max(k, 2), allowed)
    return [candidates[: max(k, 2)] for candidates in found]


def create_gallery(folder: Path, passphrase: str | None = None) -> None:
    """Make an empty gallery, encrypted where there is a passphrase; `GalleryError` where there is one already."""
    if _is_database(folder / DATABASE_NAME):
        raise GalleryError(f"There is a gallery in {folder} already.", "Name another folder with --gallery DIR.")
    with Gallery.open(folder, create=True, passphrase=passphrase, encrypted=passphrase is not None) as gallery:
        gallery.record("init", {"encrypted": int(gallery.is_encrypted)})


def change_passphrase(folder: Path, old: str | None, new: str) -> None:
    """Encrypt the gallery in `folder` with another passphrase, in place and in one transaction.

    Raises `GalleryError` where it is not encrypted or in use, `GalleryLockedError` where `old` does not open it.
    """
    with Gallery.open(folder, passphrase=old) as gallery:
        if not gallery.is_encrypted:
            raise GalleryError(
                f"The gallery in {folder} is not encrypted, so it has no key to change.",
                "Make an encrypted one with `facesearch init --encrypted` and enroll the photos into it.",
            )
        gallery.record("rekey", {})
    database = Database(folder / DATABASE_NAME, cipher_of(folder / DATABASE_NAME, old))
    try:
        database.change_passphrase(new)
    finally:
        database.close()


def upgrade_gallery(folder: Path, passphrase: str | None = None) -> tuple[str | None, str]:
    """Bring the database of the gallery in `folder` to the newest schema: (revision before, revision after).

    Raises `GalleryNotFoundError`, or `SchemaOutdatedError` where the database is of a newer facesearch.
    """
    path = folder / DATABASE_NAME
    if not _is_database(path):
        raise GalleryNotFoundError(f"There is no gallery in {folder}.", "Name another with --gallery DIR.")
    database = Database(path, cipher_of(path, passphrase))
    try:
        before = database.revision()
        database.upgrade()
        return before, HEAD_REVISION
    finally:
        database.close()


def _is_database(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError as error:
        raise GalleryError(
            f"{path} cannot be looked at: {error.strerror}.", "Check the folder's permissions."
        ) from error
