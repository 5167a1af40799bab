"""A gallery: a database, which is the truth, and a search index kept equal to it."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import sqlalchemy as sa

from facesearch.errors import EngineUnavailableError, GalleryError, GalleryNotFoundError
from facesearch.gallery import audit, calibrations, evaluations, models, photos, recall, retention, subjects, templates
from facesearch.gallery.ballast import despite_full_disk, make_ballast
from facesearch.gallery.changes import Change, Effect, apply_changes
from facesearch.gallery.engines.keeping import AFTER, MANY_PENDING, Engines
from facesearch.gallery.engines.moving import move
from facesearch.gallery.engines.records import active_engine, has_engine
from facesearch.gallery.erasure import erase_subjects
from facesearch.gallery.files import remove_dead_work
from facesearch.gallery.index.base import ChangedRowError, require_unit_vectors
from facesearch.gallery.index.rowfiles import is_row_cache
from facesearch.gallery.index.snapshot import SNAPSHOT_NAME, VECTORS_NAME, remove_leftovers, remove_snapshot
from facesearch.gallery.live_index import LiveIndex
from facesearch.gallery.location import DatabaseUrl
from facesearch.gallery.opening import connect, is_database, open_database
from facesearch.gallery.photos import MovedPhoto
from facesearch.gallery.readers import Readers
from facesearch.gallery.recall import Recall, UnknownTemplateError
from facesearch.gallery.revisions import read_revision
from facesearch.gallery.schema import (
    HEAD_REVISION,
    FaceRow,
    PhotoRow,
    RejectionRow,
    SubjectRow,
    TemplateRow,
)
from facesearch.gallery.search import best_subjects
from facesearch.gallery.sqlite import DATABASE_NAME, SqliteDatabase
from facesearch.types import EnrolledPhoto, IndexKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from sqlalchemy.engine import Connection

    from facesearch.gallery.database import Database
    from facesearch.gallery.engines.records import EngineKind
    from facesearch.gallery.erasure import Erased
    from facesearch.gallery.location import Location, MilvusServer
    from facesearch.gallery.photos import StoredPhoto, StoredRejection
    from facesearch.gallery.revisions import Revision
    from facesearch.gallery.search import Describe, Searchable
    from facesearch.gallery.subjects import SubjectKey
    from facesearch.types import Candidate, Ids, ModelInfo, Subject, Vectors

log = logging.getLogger("facesearch.gallery")

Result = TypeVar("Result")


class Gallery:
    """Templates of subjects, searchable. Safe to use from several threads; several processes may share a gallery.

    Whatever a method that changes something returns from is committed and on disk.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        index: IndexKind = IndexKind.AUTO,
        milvus: MilvusServer | None = None,
    ) -> None:
        self.folder = folder
        """Where the index cache is, and in a gallery that is a folder, everything else."""
        self.database = database
        self.engines = Engines(database, folder, milvus)
        self._lock = threading.RLock()
        self._index = index
        self._live: LiveIndex | None = None
        self._recall = Recall()
        self._readers = Readers()
        """Who searches `_live.index`."""

    # -- opening and closing

    @classmethod
    def open(
        cls,
        location: Location,
        *,
        create: bool = False,
        passphrase: str | None = None,
        encrypted: bool = False,
        index: IndexKind = IndexKind.AUTO,
        milvus: MilvusServer | None = None,
    ) -> Self:
        """Open the gallery there; with `create`, make one where there is none, encrypted with `encrypted`.

        `passphrase` is the key of an encrypted gallery; a plain one needs none and ignores it. `index` is how this
        process searches. `milvus` is needed where the gallery's vectors are there, or are to be moved there. Raises
        `GalleryNotFoundError`, `GalleryLockedError`, `SchemaOutdatedError`, `GalleryUnavailableError` or
        `CorruptGalleryError`.
        """
        database = open_database(location, create=create, passphrase=passphrase, encrypted=encrypted)
        folder = location.folder if isinstance(location, DatabaseUrl) else location
        remove_leftovers(folder)
        remove_dead_work(folder)
        gallery = cls(folder, database, index, milvus)
        gallery._make_ballast()
        return gallery

    def close(self) -> None:
        """Write the index cache if it is behind, and close the database."""
        try:
            self.engines.close()
            self.save_cache()
        finally:
            self.database.close()
            self._make_ballast()

    def _make_ballast(self) -> None:
        if self.owns_folder:
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
        return self.database.is_encrypted

    @property
    def owns_folder(self) -> bool:
        """Whether the folder is the gallery, not only a place for the index cache of one that is on a server."""
        return isinstance(self.database, SqliteDatabase)

    @property
    def place(self) -> str:
        """Where the gallery is, for people: its folder, or its URL without a password."""
        return str(self.folder.absolute()) if self.owns_folder else self.database.place

    # -- the model

    def model(self) -> ModelInfo | None:
        """The model that made the templates; None while the gallery is empty and has adopted none."""
        with self.database.read() as connection:
            active = models.active_model(connection)
        return active[1] if active else None

    def adopt(self, info: ModelInfo) -> None:
        """Bind an empty gallery to a model; `ModelMismatchError` where it is bound to another."""
        if self.model() is None:
            self._transact(lambda connection: models.adopt_model(connection, info))
        self.require_model(info)

    def require_model(self, info: ModelInfo) -> None:
        """Raise `ModelMismatchError` unless templates of `info` compare with the gallery's."""
        active = self.model()
        if active is not None:
            models.require_model(active, info)

    # -- search

    def open_index(self) -> None:
        """Load or build the index now, not with the first search. Raises `CorruptGalleryError` as a search does."""
        with self._lock, self.database.read() as connection:
            if not has_engine(connection):
                self._refreshed(connection)

    def search(self, vectors: Vectors, k: int, where: Mapping[str, str] | None = None) -> list[tuple[Candidate, ...]]:
        """The k best subjects for each vector (n, d), best first, one candidate per subject.

        At least two subjects come back where there are two, so that a runner-up is known. `where` limits the search
        to subjects with these attributes. Raises `GalleryError` for vectors that are not finite or not unit length,
        `EngineUnavailableError` where the gallery's engine does not answer.
        """
        for attempt in range(2):
            try:
                return self._search(vectors, k, where)
            except ChangedRowError as error:
                # Another process removes somebody, and its transaction is not over, or the files are damaged.
                log.warning("%s They are read anew.", error.message)
                with self._lock:
                    self._live = None
                    if attempt:
                        remove_snapshot(self.folder)
        return self._search(vectors, k, where)

    def _search(self, vectors: Vectors, k: int, where: Mapping[str, str] | None) -> list[tuple[Candidate, ...]]:
        """The lock is held to find out what is to be searched; searches themselves go on side by side."""
        with ExitStack() as reading:
            with self._lock:
                live, known = self._live, self._recall.memory(self.database.version())
                if live is not None:
                    reading.enter_context(self._readers.enter())
            if live is not None and known is not None and not where:
                with suppress(UnknownTemplateError):
                    return _best(live.index, vectors, k, None, partial(recall.describe, known))
        found = self._search_own(vectors, k, where)
        return self._search_engine(vectors, k, where) if found is None else found

    def _search_own(
        self, vectors: Vectors, k: int, where: Mapping[str, str] | None
    ) -> list[tuple[Candidate, ...]] | None:
        """None where an engine is to be searched."""
        with ExitStack() as reading:
            with self._lock:
                version = self.database.version()
                connection = reading.enter_context(self.database.read())
                if has_engine(connection):
                    self._live = None
                    return None
                live = self._refreshed(connection)
                if live is None:
                    return [() for _ in vectors]
                known = self._recall.start(version)
                reading.enter_context(self._readers.enter())
            allowed = templates.templates_where(connection, where) if where else None
            return _best(live.index, vectors, k, allowed, partial(recall.read, known, connection))

    def _search_engine(self, vectors: Vectors, k: int, where: Mapping[str, str] | None) -> list[tuple[Candidate, ...]]:
        self.engines.catch_up(at_least=MANY_PENDING)
        try:
            found = self._search_elsewhere(vectors, k, where)
        except EngineUnavailableError:
            if not self.engines.has_changed():
                raise
            found = None
        return self.search(vectors, k, where) if found is None else found  # another took its place meanwhile

    def search_or_local(
        self, vectors: Vectors, k: int, where: Mapping[str, str] | None = None
    ) -> tuple[list[tuple[Candidate, ...]], bool]:
        """As `search`; where the engine does not answer, among the newest templates, read from the database.

        Returns whether everybody was searched, too.
        """
        try:
            return self.search(vectors, k, where), True
        except EngineUnavailableError:
            pass
        with self.database.read() as connection:
            active = models.active_model(connection)
            assert active is not None  # there was one, whose templates the engine holds
            index = self.engines.local(connection, active)
            allowed = templates.templates_where(connection, where) if where else None
            describe = partial(templates.describe_templates, connection)
            return _best(index, vectors, k, allowed, describe), index.complete

    def _search_elsewhere(
        self, vectors: Vectors, k: int, where: Mapping[str, str] | None
    ) -> list[tuple[Candidate, ...]] | None:
        """None where no engine is to be searched any more."""
        with self.database.read() as connection:
            active = models.active_model(connection)
            if active is None:
                return [() for _ in vectors]
            index = self.engines.bound(connection, active)
            if index is None:
                return None
            allowed = templates.templates_where(connection, where) if where else None
            return _best(index, vectors, k, allowed, partial(templates.describe_templates, connection))

    def _refreshed(self, connection: Connection) -> LiveIndex | None:
        """The index, equal to what `connection` sees; None while no model is adopted."""
        active = models.active_model(connection)
        if active is None:
            return None
        row, info = active
        live = self._live
        if live is None or (live.model_id, live.model_row) != (info.model_id, row):
            live = LiveIndex(info.model_id, row, info.dimension, self._index)
            live.load(self.folder)
        if live.token is None or live.token != read_revision(connection).token:
            self._readers.wait_for_none()
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
        while True:
            with self.database.read() as connection:
                live = self._refreshed(connection)
            self._readers.wait_for_none()  # rows of the file that they have mapped may be blanked
            if live is None or self.is_encrypted or live.save(self.folder, self._held_at(live.token)):
                return live
            self._live = None

    @contextmanager
    def _held_at(self, token: bytes | None) -> Iterator[bool]:
        """Hold writers off; gives whether the database is of this revision."""
        with self.database.hold_writers_off() as connection:
            yield read_revision(connection).token == token

    def move_index(self, kind: EngineKind | None, progress: Callable[[int, int], None] | None = None) -> int:
        """Have an external engine searched, or the gallery's own index where `kind` is None; returns the templates.

        Searches and changes go on meanwhile. What was interrupted goes on when it is run again. Raises as
        `engines.moving.move`.
        """
        move(self.engines, kind, progress)
        with self._lock:
            self._live = None
        return self.counts()["templates"] if kind else self.rebuild_own_index()

    def rebuild_index(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Build what is searched from the database alone; returns the number of templates."""
        with self.database.read() as connection:
            engine = active_engine(connection)
        return self.move_index(engine.kind, progress) if engine else self.rebuild_own_index()

    def rebuild_own_index(self) -> int:
        """Build the gallery's own index from the database and write its cache; returns the number of templates."""
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

    def photos_of_contents(self, hashes: Collection[str]) -> dict[str, list[StoredPhoto]]:
        """Enrolled photos with exactly these bytes, by their SHA-256 in hex."""
        return self._read(lambda connection: photos.photos_of_contents(connection, hashes))

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

        def work(connection: Connection, effect: Effect) -> list[tuple[int, ...]]:
            active = models.active_model(connection, hold=True)
            ids = apply_changes(connection, changes, active, effect)
            if effect.removed or any(isinstance(change, MovedPhoto) for change in changes):
                subjects.remove_faceless_subjects(connection)
            return ids

        return self._follow(work)

    @despite_full_disk
    def remove_photos(self, paths: Sequence[Path]) -> int:
        """Remove enrolled photos, and subjects that have no face left; returns how many templates went."""

        def work(connection: Connection, effect: Effect) -> int:
            effect.removed += photos.remove_photos(connection, paths)
            subjects.remove_faceless_subjects(connection)
            if effect.removed:
                photos.forget_comparisons(connection)
            return len(effect.removed)

        return self._follow(work, for_good=True)

    def forget_vanished_rejections(self, folder: Path) -> None:
        """Forget refusals of photos below `folder` that are no longer there."""
        known = self._read(lambda connection: photos.rejected_below(connection, folder))
        vanished = [path for path in known if not os.path.lexists(path)]  # before any lock: the disk may be slow
        self._transact(lambda connection: photos.forget_rejections(connection, vanished))

    def _transact(self, work: Callable[[Connection], Result]) -> Result:
        """A write transaction. Threads queue for the lock, which is fair; SQLite's own waiting is not."""
        with self._lock:
            return self.database.transact(work)

    def _follow(self, work: Callable[[Connection, Effect], Result], *, for_good: bool = False) -> Result:
        """A write transaction whose effect on templates the index takes over once it is committed.

        `for_good`: what it removes may be in no file any more when this returns.
        """

        def watched(connection: Connection) -> tuple[Result, Effect, Revision, Revision]:
            before, effect = read_revision(connection), Effect()
            result = work(connection, effect)
            self.engines.follow(connection)
            after = read_revision(connection)
            if for_good:  # before the commit: once the removal is acknowledged, no file may hold the vectors
                self._readers.wait_for_none()
                self._forget_in_cache(effect.removed, before.token, after.token)
            return result, effect, before, after

        with self._lock:
            result, effect, before, after = self.database.transact(watched)
            self.engines.catch_up(at_least=1 if effect.removed else AFTER)
            self._recall.start(None)  # nobody who was erased stays in memory either
            live, self._live = self._live, None  # an interruption must not leave half of the effect
            if live is not None:
                self._readers.wait_for_none()
                effect.take_over(live, before, after)
                self._live = live
            return result

    def _forget_in_cache(self, template_ids: Sequence[int], before: bytes, after: bytes) -> None:
        if not self.owns_folder or not is_row_cache(self.folder):  # writers of a server's database run side by side
            remove_snapshot(self.folder)
            return
        from facesearch.gallery.index import row_index  # FAISS

        row_index.forget(self.folder, np.array(template_ids, np.int64), before, after)

    def change(self, work: Callable[[Connection], Result]) -> Result:
        """A write transaction whose effect on templates the index finds out by itself, at the next search."""

        def watched(connection: Connection) -> Result:
            result = work(connection)
            self.engines.follow(connection)
            return result

        with self._lock:
            result = self.database.transact(watched)
            self.engines.catch_up()
            self._recall.start(None)  # nobody who was removed stays in memory
            return result

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

        def work(connection: Connection) -> None:
            subjects.rename_subject(connection, who, new)
            photos.forget_comparisons(connection)
            audit.record(connection, "people.rename", {"subjects": 1})

        self._transact(work)

    def merge_subjects(self, source: SubjectKey, target: SubjectKey) -> None:
        """Make `source`'s faces `target`'s and remove `source`."""

        def work(connection: Connection) -> None:
            subjects.merge_subjects(connection, source, target)
            photos.forget_comparisons(connection)
            audit.record(connection, "people.merge", {"subjects": 2})

        self._transact(work)

    def set_attributes(self, who: SubjectKey, changes: Mapping[str, str | None]) -> None:
        """Change a subject's attributes; None removes one."""

        def work(connection: Connection) -> None:
            subjects.set_attributes(connection, subjects.require_subject(connection, who), changes)
            audit.record(connection, "people.set", {"attributes": len(changes)})

        self._transact(work)

    @despite_full_disk
    def remove_subject(self, who: SubjectKey) -> tuple[int, int]:
        """Remove a subject for good: (photos, templates) removed. The index cache that held them goes too."""

        def work(connection: Connection, effect: Effect) -> tuple[int, int]:
            removed_photos, effect.removed = subjects.remove_subject(connection, who)
            photos.forget_comparisons(connection)
            audit.record(connection, "people.remove", {"photos": removed_photos, "templates": len(effect.removed)})
            return removed_photos, len(effect.removed)

        return self._follow(work, for_good=True)

    @despite_full_disk
    def erase(self, who: Sequence[SubjectKey]) -> Erased:
        """Remove subjects and all that names them for good, and keep backups from bringing them back.

        The last of their bytes leave the disk when the write-ahead log is emptied: `database.checkpoint()`.
        """

        def work(connection: Connection, effect: Effect) -> Erased:
            erased = erase_subjects(connection, self.folder if self.owns_folder else None, who)
            effect.removed += erased.template_ids
            return erased

        return self._follow(work, for_good=True)

    # -- records

    def record(self, action: str, detail: Mapping[str, int | str]) -> None:
        """Write an audit event: counts, never a vector, a face or a name."""
        self._transact(lambda connection: audit.record(connection, action, detail))

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

        def work(connection: Connection) -> None:
            active = models.active_model(connection)
            if active is None:
                raise GalleryError("The gallery is empty: there is nothing to calibrate.", "Enroll people first.")
            models.require_model(active[1], info)
            calibrations.store(connection, active[0], document)
            audit.record(connection, "calibrate", {"threshold": str(document.get("threshold"))})

        self._transact(work)

    def forget_calibration(self) -> int:
        """Go back to the pack's threshold; returns how many calibrations were removed."""

        def work(connection: Connection) -> int:
            active = models.active_model(connection)
            removed = calibrations.forget(connection, active[0]) if active else 0
            audit.record(connection, "calibrate.forget", {"calibrations": removed})
            return removed

        return self._transact(work)

    def store_evaluation(self, kind: str, document: Mapping[str, Any], info: ModelInfo) -> None:
        """Keep the figures of an evaluation instead of those of its kind before it.

        `ModelMismatchError` unless `info`, which was evaluated, is the gallery's model.
        """

        def work(connection: Connection) -> None:
            active = models.active_model(connection)
            if active is None:
                raise GalleryError("The gallery is empty: it has no model yet.", "Enroll people first.")
            models.require_model(active[1], info)
            evaluations.store(connection, active[0], kind, document)
            audit.record(connection, "evaluate", {"kind": kind})

        self._transact(work)

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
        engine = self.engines.describe()
        if engine is not None:
            return engine
        if self.is_encrypted:
            return "flat (exact), built on opening: an encrypted gallery has no cache"
        files = [self.folder / name for name in (SNAPSHOT_NAME, VECTORS_NAME)]
        size = sum(file.stat().st_size for file in files if file.is_file())
        kind = "two-stage" if is_row_cache(self.folder) else "flat"
        cached = f"{kind}, {size / 1e6:.1f} MB cache" if size else "no cache yet"
        return cached if self._index == IndexKind.AUTO else f"{cached}; {self._index} here"

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
    index: Searchable, vectors: Vectors, k: int, allowed: Ids | None, describe: Describe
) -> list[tuple[Candidate, ...]]:
    require_unit_vectors(vectors, index.dimension)
    found = best_subjects(describe, index, vectors, max(k, 2), allowed)
    return [candidates[: max(k, 2)] for candidates in found]


def create_gallery(location: Location, passphrase: str | None = None) -> None:
    """Make an empty gallery, encrypted where there is a passphrase; `GalleryError` where there is one already."""
    if _has_gallery(location):
        raise GalleryError(f"There is a gallery in {location} already.", "Name another place with --gallery.")
    with Gallery.open(location, create=True, passphrase=passphrase, encrypted=passphrase is not None) as gallery:
        gallery.record("init", {"encrypted": int(gallery.is_encrypted)})


def _has_gallery(location: Location) -> bool:
    if not isinstance(location, DatabaseUrl):
        return is_database(location / DATABASE_NAME)
    database = connect(location)
    try:
        return database.revision() is not None
    finally:
        database.close()


def change_passphrase(location: Location, old: str | None, new: str) -> None:
    """Encrypt the gallery there with another passphrase, in place and in one transaction.

    Raises `GalleryError` where it is not encrypted or in use, `GalleryLockedError` where `old` does not open it.
    """
    with Gallery.open(location, passphrase=old) as gallery:
        if not gallery.is_encrypted:
            raise GalleryError(
                f"The gallery in {location} is not encrypted, so it has no key to change.",
                "Make an encrypted one with `facesearch init --encrypted` and enroll the photos into it.",
            )
        gallery.record("rekey", {})
    database = connect(location, passphrase=old)
    assert isinstance(database, SqliteDatabase)  # no other is encrypted
    try:
        database.change_passphrase(new)
    finally:
        database.close()


def upgrade_gallery(location: Location, passphrase: str | None = None) -> tuple[str | None, str]:
    """Bring the database of the gallery there to the newest schema: (revision before, revision after).

    Raises `GalleryNotFoundError`, or `SchemaOutdatedError` where the database is of a newer facesearch.
    """
    database = connect(location, passphrase=passphrase)
    try:
        before = database.revision()
        if before is None and isinstance(location, DatabaseUrl):
            raise GalleryNotFoundError(f"There is no gallery in {location}.", "Name another with --gallery.")
        database.upgrade()
        return before, HEAD_REVISION
    finally:
        database.close()
