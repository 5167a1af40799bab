"""A gallery: a database, which is the truth, and a search index kept equal to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

from facesearch.errors import VectorDatabaseError
from facesearch.files import remove_dead_work
from facesearch.index.cache_file import remove_leftovers
from facesearch.names import path_text
from facesearch.search.backlog import active_vector_database
from facesearch.search.changes import Change, Commit, Effect, apply_changes
from facesearch.search.mirror import IndexMirror
from facesearch.search.moving import move
from facesearch.search.transactions import Transactions
from facesearch.search.vector_databases import VectorDatabases
from facesearch.store import (
    audit,
    decisions,
    journal,
    models,
    people,
    photos,
    subjects,
    templates,
)
from facesearch.store.decisions import name_decisions, read_standing
from facesearch.store.erasure import enforce, erase_subjects
from facesearch.store.erasure_list import ErasedList
from facesearch.store.journal import Entry
from facesearch.store.location import DatabaseUrl
from facesearch.store.opening import despite_full_disk, make_ballast, open_database
from facesearch.store.photos import MovedPhoto, NewPhoto
from facesearch.store.sqlite import SqliteDatabase
from facesearch.store.templates import counts
from facesearch.store.undo import undo
from facesearch.types import EnrolledPhoto, IndexKind
from facesearch.walking import is_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from sqlalchemy.engine import Connection

    from facesearch.corrections import JournalEntry
    from facesearch.search.backlog import VectorDatabaseKind
    from facesearch.store.database import Database
    from facesearch.store.decisions import Standing, StoredRejection
    from facesearch.store.erasure import Erased
    from facesearch.store.erasure_list import Tombstones
    from facesearch.store.location import Location, MilvusServer
    from facesearch.store.photos import StoredPhoto
    from facesearch.store.subjects import KnownSubject, SubjectKey
    from facesearch.types import Candidate, Ids, ModelInfo, Subject, Vectors

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
        self.vector_databases = VectorDatabases(database, folder, milvus)
        self.mirror = IndexMirror(database, folder, index)
        self.erased_list = ErasedList(folder, beside=isinstance(database, SqliteDatabase))
        self._transactions = Transactions(database, self.vector_databases, self.mirror)
        self._adopted: dict[str, ModelInfo] = {}
        """By its id, each model whose templates may be committed."""

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

        `passphrase` is the key of an encrypted gallery; with a plain one, there or to be made, it is a `ConfigError`.
        `index` is how this process searches. `milvus` is needed where the gallery's vectors are there, or are to be
        moved there. Raises `GalleryNotFoundError`, `GalleryLockedError`, `SchemaOutdatedError`,
        `GalleryUnavailableError` or `CorruptGalleryError`.
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
            self.vector_databases.close()
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
        return path_text(self.folder.absolute()) if self.owns_folder else self.database.place

    # -- the model

    def model(self) -> ModelInfo | None:
        """The model that made the templates; None while no face is enrolled."""
        active = self._transactions.read(models.active_model)
        return active[1] if active else None

    def last_model(self) -> ModelInfo | None:
        """The model that made the templates, or those of the last face that went; None before the first face."""
        return self._transactions.read(models.last_model)

    def adopt(self, info: ModelInfo) -> None:
        """Accept templates of a model; the first one that is committed binds an empty gallery to it.

        Raises `ModelMismatchError` where the gallery holds templates of another model.
        """
        self.require_model(info)
        self._adopted[info.model_id] = info

    def require_model(self, info: ModelInfo) -> None:
        """Raise `ModelMismatchError` unless templates of `info` compare with the gallery's."""
        active = self.model()
        if active is not None:
            models.require_model(active, info)

    def _bind(self, connection: Connection, changes: Sequence[Change]) -> tuple[int, ModelInfo] | None:
        """The active model with its row id: in a gallery without a face, that of the first template of `changes`."""
        active = models.active_model(connection, hold=True)
        made_by = (template.model_id for each in changes if isinstance(each, NewPhoto) for template in each.templates)
        info = self._adopted.get(next(made_by, "")) if active is None else None
        return (models.bind_model(self.database, connection, info), info) if info else active

    # -- search

    def open_index(self) -> None:
        """Load or build the index now, not with the first search. Raises `CorruptGalleryError` as a search does."""
        self.mirror.open()

    def search(
        self, vectors: Vectors, k: int, where: Mapping[str, str] | None = None, model_id: str | None = None
    ) -> list[tuple[Candidate, ...]]:
        """The k best subjects for each vector (n, d), best first, one candidate per subject.

        At least two subjects come back where there are two, so that a runner-up is known. `where` limits the search
        to subjects with these attributes. `model_id` says what made the vectors, where they are not the gallery's own.
        Raises `GalleryError` for vectors that are not finite or not unit length, `ModelMismatchError` where another
        model's templates are searched by now, `VectorDatabaseError` where the gallery's engine does not answer.
        """
        found = self.mirror.search(vectors, k, where, model_id)
        if found is None:
            found = self.vector_databases.search(vectors, k, where, model_id)
        if found is None:  # the engine was exchanged meanwhile
            return self.search(vectors, k, where, model_id)
        return found

    def search_or_local(
        self, vectors: Vectors, k: int, where: Mapping[str, str] | None = None, model_id: str | None = None
    ) -> tuple[list[tuple[Candidate, ...]], bool]:
        """As `search`; where the engine does not answer, among the newest templates, read from the database.

        Returns whether everybody was searched, too.
        """
        try:
            return self.search(vectors, k, where, model_id), True
        except VectorDatabaseError:
            pass
        return self.vector_databases.search_newest(vectors, k, where, model_id)

    def save_cache(self) -> None:
        """Write the index cache if this process holds a newer one; where that fails, it is a warning."""
        self.mirror.save()

    def move_index(self, kind: VectorDatabaseKind | None, progress: Callable[[int, int], None] | None = None) -> int:
        """Have an external engine searched, or the gallery's own index where `kind` is None; returns the templates.

        Searches and changes go on meanwhile. What was interrupted goes on when it is run again. Raises as
        `moving.move`.
        """
        move(self.vector_databases, kind, progress)
        self.mirror.forget()
        return self.counts()["templates"] if kind else self.rebuild_mirror()

    def rebuild_index(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Build what is searched from the database alone; returns the number of templates."""
        with self.database.read() as connection:
            engine = active_vector_database(connection)
        return self.move_index(engine.kind, progress) if engine else self.rebuild_mirror()

    def rebuild_mirror(self) -> int:
        """Build the gallery's own index from the database and write its cache; returns the number of templates."""
        return self.mirror.rebuild()

    # -- enrolment

    def find_photos(self, paths: Sequence[Path]) -> dict[Path, StoredPhoto]:
        """What is enrolled from these paths."""
        return self._transactions.read(lambda connection: photos.find_photos(connection, paths))

    def find_rejections(self, paths: Sequence[Path]) -> dict[Path, StoredRejection]:
        """What was refused at these paths."""
        return self._transactions.read(lambda connection: decisions.find_rejections(connection, paths))

    def photos_of_contents(self, hashes: Collection[str]) -> dict[str, list[StoredPhoto]]:
        """Enrolled photos with exactly these bytes, by their SHA-256 in hex."""
        return self._transactions.read(lambda connection: photos.photos_of_contents(connection, hashes))

    def subject_ids(self, names: Sequence[str]) -> dict[str, int]:
        """The ids of the people who have these names, by name; names must be as `subjects.clean_name` makes them."""
        return self._transactions.read(lambda connection: subjects.ids_by_name(connection, names))

    def photos_below(self, folder: Path) -> list[StoredPhoto]:
        """Enrolled photos in a folder or below it."""
        return self._transactions.read(lambda connection: photos.photos_below(connection, folder))

    def photo_paths(self) -> list[Path]:
        """The paths of all enrolled photos; an upload's path names no file."""
        with self.database.read() as connection:
            return photos.photo_paths(connection)

    def photos_of_subject(self, who: SubjectKey) -> list[EnrolledPhoto]:
        """Enrolled photos of a subject; `UnknownSubjectError` if there is no such."""
        with self.database.read() as connection:
            found = photos.photos_of_subject(connection, subjects.require_subject(connection, who))
        return [photo.described() for photo in found]

    def known_sizes(self, sizes: Collection[int]) -> set[int]:
        """Those of these sizes in bytes that an enrolled photo has."""
        return self._transactions.read(lambda connection: photos.known_sizes(connection, sizes))

    def standing(self) -> Standing:
        """What was decided and erased, for an enrolment to ask. Raises `CorruptGalleryError`."""
        return self._transactions.read(lambda connection: read_standing(connection, self.erased_list))

    def decisions(self, hashes: Collection[str]) -> dict[tuple[str, str], str | None]:
        """What people decided about contents, by SHA-256 in hex and label: a subject's name, or None for nobody."""
        return self._transactions.read(lambda connection: name_decisions(connection, hashes))

    def known_subjects(self, names: Collection[str]) -> dict[str, KnownSubject]:
        """The subjects that have these (clean) names or aliases, by them."""
        return self._transactions.read(lambda connection: subjects.known_subjects(connection, list(names)))

    def commit(self, changes: Sequence[Change]) -> list[tuple[int, ...]]:
        """`apply` without a run: the template ids that each change concerns."""
        return [each.template_ids for each in self.apply(changes).applied]

    def apply(self, changes: Sequence[Change], run: int | None = None, lift: Sequence[str] = ()) -> Commit:
        """Carry out all changes in one transaction; returns what became of each.

        A new photo replaces what its path held before; subjects of whom nothing is left go. When this returns, the
        changes are on disk. `run` is the journal's entry that an earlier transaction of the same run began. `lift`
        takes rows off the list of the erased. Raises `GalleryError` for templates that cannot be kept, and then
        nothing is changed.
        """

        def work(connection: Connection, effect: Effect) -> Commit:
            active = self._bind(connection, changes)
            entry = Entry(connection, journal.ENROLL, entry_id=run)
            if lift:
                self.erased_list.lift(connection, lift)
            applied = apply_changes(connection, changes, active, effect, entry)
            if effect.removed or any(isinstance(change, MovedPhoto) for change in changes):
                subjects.remove_faceless_subjects(connection, entry)
            return Commit(applied, entry.id)

        return self._transactions.write_templates(work)

    @despite_full_disk
    def remove_vanished(self, paths: Sequence[Path], run: int | None = None) -> int | None:
        """Remove photos that are no longer on disk; their people stay until `remove_faceless`. Returns the `run`."""

        def work(connection: Connection, effect: Effect) -> int | None:
            entry = Entry(connection, journal.ENROLL, entry_id=run)
            effect.removed += people.remove_vanished(entry, paths)
            return entry.id

        return self._transactions.write_templates(work, for_good=True)

    def remove_faceless(self, run: int | None = None) -> int | None:
        """Remove people without photos of whom nothing else is known. Returns the `run`."""

        def work(connection: Connection) -> int | None:
            entry = Entry(connection, journal.ENROLL, entry_id=run)
            subjects.remove_faceless_subjects(connection, entry)
            return entry.id

        return self._transactions.write(work)

    def describe_run(self, run: int, counts: Mapping[str, int]) -> None:
        """Say in the journal what a run did."""
        self._transactions.write(lambda connection: journal.describe(connection, run, counts))

    @despite_full_disk
    def remove_photos(self, paths: Sequence[Path]) -> int:
        """Remove enrolled photos as a person's decision, and subjects of whom nothing is left; how many templates went.

        Raises `GalleryError` where one is not enrolled.
        """

        def work(connection: Connection, effect: Effect) -> int:
            effect.removed += people.remove_photos(connection, paths)
            return len(effect.removed)

        return self._transactions.write_templates(work, for_good=True)

    def forget_vanished_rejections(self, folder: Path) -> None:
        """Forget refusals of photos below `folder` that are no longer there."""
        known = self._transactions.read(lambda connection: decisions.rejected_below(connection, folder))
        vanished = [path for path in known if is_gone(path)]  # before any lock: the disk may be slow
        self._transactions.write(lambda connection: decisions.forget_rejections(connection, vanished))

    def change(self, work: Callable[[Connection], Result]) -> Result:
        """A write transaction whose effect on templates the index finds out by itself, at the next search."""
        return self._transactions.write_unwatched(work)

    # -- subjects

    def subjects(self, where: Mapping[str, str] | None = None) -> list[Subject]:
        """Everybody in the gallery, or those with these attributes, by name."""
        return self._transactions.read(lambda connection: subjects.list_subjects(connection, where))

    def subject(self, who: SubjectKey, *, removed: bool = False) -> Subject:
        """One subject; `UnknownSubjectError` proposes names that look alike.

        With `removed`, also somebody who was removed and can be brought back: a subject without photos.
        """
        with self.database.read() as connection:
            if removed:
                return people.find(connection, who)
            subject_id = subjects.require_subject(connection, who)
            return subjects.list_subjects(connection, ids=[subject_id])[0]

    def rename_subject(self, who: SubjectKey, new: str) -> None:
        """Give a subject another name and keep the old one as an alias. `SubjectExistsError` when the name is taken."""
        self._transactions.write(lambda connection: people.rename(connection, who, new))

    def add_alias(self, who: SubjectKey, name: str) -> None:
        """Let folders, manifests and people find a subject by another name. `SubjectExistsError` when it is taken."""
        self._transactions.write(lambda connection: people.add_alias(connection, who, name))

    def remove_alias(self, who: SubjectKey, name: str) -> None:
        """Take another name from a subject; `ConfigError` where it has no such."""
        self._transactions.write(lambda connection: people.remove_alias(connection, who, name))

    def merge_subjects(self, source: SubjectKey, target: SubjectKey) -> None:
        """Make `source`'s photos `target`'s and remove `source`, whose names become aliases of `target`."""

        def work(connection: Connection, effect: Effect) -> None:
            effect.removed += people.merge(connection, source, target)

        self._transactions.write_templates(work)

    def set_attributes(self, who: SubjectKey, changes: Mapping[str, str | None]) -> None:
        """Change a subject's attributes; None removes one."""
        self._transactions.write(lambda connection: people.set_attributes(connection, who, changes))

    def move_photos(self, paths: Sequence[Path], who: SubjectKey, *, create: bool = False) -> None:
        """Say that enrolled photos show this subject; `create` makes one of that name where there is none.

        Raises `GalleryError` where a photo is not enrolled, `UnknownSubjectError`.
        """

        def work(connection: Connection, effect: Effect) -> None:
            effect.removed += people.move_photos(connection, paths, who, create=create)

        self._transactions.write_templates(work)

    def confirm_photos(self, paths: Sequence[Path]) -> int:
        """Say that enrolled photos show whom they are enrolled as; returns how many. Raises `GalleryError`."""
        return self._transactions.write(lambda connection: people.confirm_photos(connection, paths))

    @despite_full_disk
    def remove_subject(self, who: SubjectKey) -> tuple[int, int]:
        """Remove a subject: (photos, templates) removed. The index cache that held them goes too.

        `undo` brings the subject back for `journal.KEPT_DAYS`.
        """

        def work(connection: Connection, effect: Effect) -> tuple[int, int]:
            removed_photos, effect.removed = people.remove(connection, who)
            return removed_photos, len(effect.removed)

        return self._transactions.write_templates(work, for_good=True)

    def history(
        self, *, last: int | None = None, who: SubjectKey | None = None, before: int | None = None
    ) -> list[JournalEntry]:
        """Corrections, newest first: the last n, or those that concern a subject, who may have been removed.

        `before` is the id of an entry: only older ones.
        """

        def work(connection: Connection) -> list[JournalEntry]:
            subject_id = None if who is None else people.find(connection, who).subject_id
            return journal.entries(connection, last=last, subject_id=subject_id, before=before)

        return self._transactions.read(work)

    def correction(self, entry_id: int | None = None) -> JournalEntry:
        """A correction that `undo` would take back, by default the newest. Raises `UndoError`."""
        return self._transactions.read(lambda connection: journal.find(connection, entry_id))

    def undo(self, entry_id: int | None = None) -> JournalEntry:
        """Put back what a correction changed, by default the newest; returns it. Raises `UndoError`."""
        return self.change(lambda connection: undo(connection, entry_id))

    @despite_full_disk
    def erase(self, who: Sequence[SubjectKey]) -> Erased:
        """Remove subjects and all that names them for good, and keep backups from bringing them back.

        The last of their bytes leave the disk when the write-ahead log is emptied: `database.checkpoint()`.
        """

        def work(connection: Connection, effect: Effect) -> Erased:
            erased = erase_subjects(connection, self.erased_list, who)
            effect.removed += erased.template_ids
            return erased

        return self._transactions.write_templates(work, for_good=True)

    def erased(self) -> Tombstones:
        """The list of the erased: the database's and that of the copy in the folder. Raises `CorruptGalleryError`."""
        return self._transactions.read(self.erased_list.read)

    @despite_full_disk
    def erase_again(self) -> int:
        """Remove whoever was erased and is there all the same, from a database that was restored; returns templates."""

        def work(connection: Connection, effect: Effect) -> int:
            effect.removed += enforce(connection, self.erased_list)
            return len(effect.removed)

        return self._transactions.write_templates(work, for_good=True)

    # -- records

    def record(self, action: str, detail: Mapping[str, int | str]) -> None:
        """Write an audit event: counts, never a vector, a face or a name."""
        self._transactions.write(lambda connection: audit.record(connection, action, detail))

    def events(
        self, *, since: str | None = None, action: str | None = None, last: int | None = None
    ) -> list[audit.AuditEvent]:
        """Audit events, oldest first, as `audit.events` selects them."""
        return self._transactions.read(
            lambda connection: audit.events(connection, since=since, action=action, last=last)
        )

    def overdue(self) -> list[Subject]:
        """Subjects whose `retain_until` has passed, by name; also people who were removed and can be brought back."""
        removed = self._transactions.read(journal.removed_subjects)
        return sorted(subjects.overdue([*self.subjects(), *removed]), key=lambda each: each.name)

    def purge_removed(self) -> int:
        """Delete what the journal keeps of removals that can no longer be undone; returns how many rows."""
        purged = self._transactions.write(journal.purge_old)
        if purged:
            self.database.checkpoint()
        return purged

    def calibration(self) -> dict[str, Any] | None:
        """The calibration in force of the active model, as it was stored."""
        return self._transactions.read(models.calibration)

    def store_calibration(self, document: Mapping[str, Any], info: ModelInfo) -> None:
        """Put a calibration in force; `ModelMismatchError` unless `info`, which made it, is the gallery's model."""
        self._transactions.write(lambda connection: models.put_calibration(connection, document, info))

    def forget_calibration(self) -> int:
        """Go back to the pack's threshold; returns how many calibrations were removed."""
        return self._transactions.write(models.forget_calibrations)

    def store_evaluation(self, kind: str, document: Mapping[str, Any], info: ModelInfo) -> None:
        """Keep the figures of an evaluation instead of those of its kind before it.

        `ModelMismatchError` unless `info`, which was evaluated, is the gallery's model.
        """
        self._transactions.write(lambda connection: models.put_evaluation(connection, kind, document, info))

    def evaluations(self) -> dict[str, dict[str, Any]]:
        """The figures of the newest evaluations of the active model by kind, as they were stored."""
        return self._transactions.read(models.evaluations)

    def all_templates(self) -> tuple[Ids, Vectors]:
        """Every template of the active model in order of id: ids (n,) and vectors (n, d), their checksums proven."""
        return self._transactions.read(templates.all_templates)

    def describe_templates(self, ids: Sequence[int]) -> dict[int, templates.Described]:
        """Whose they are, by template id."""
        return self._transactions.read(lambda connection: templates.describe_templates(connection, ids))

    def faces_of_templates(self, ids: Sequence[int]) -> dict[int, tuple[float, float, float, float]]:
        """The box (x1, y1, x2, y2, in pixels) of the face behind each template, by template id."""
        return self._transactions.read(lambda connection: templates.boxes(connection, ids))

    def describe_index(self) -> str:
        """The kind of index and the state of its cache, in words."""
        return self.vector_databases.describe() or self.mirror.describe()

    def counts(self) -> dict[str, int]:
        """How many subjects, photos, faces, templates of the active model and refused photos there are."""
        return self._transactions.read(counts)
