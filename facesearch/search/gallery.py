"""A gallery: a store, which is the truth, and a search index kept equal to it."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

from facesearch.errors import FaceSearchError, GalleryError, VectorDatabaseError
from facesearch.files import remove_dead_work, remove_index_cache, unfinished_gallery
from facesearch.index.cache_file import remove_leftovers
from facesearch.search import exact
from facesearch.search.matching import Asked
from facesearch.search.mirror import IndexMirror
from facesearch.search.moving import move
from facesearch.search.vector_databases import AFTER, VectorDatabases
from facesearch.store import audit, journal, models, subjects, templates
from facesearch.store.changes import Commit, Effect, MovedPhoto, NewPhoto, apply_changes
from facesearch.store.database import read_revision, touched_since
from facesearch.store.journal import Entry
from facesearch.store.location import DatabaseUrl
from facesearch.store.opening import Store, has_gallery, open_database, reserve_space, useless_key
from facesearch.types import Fusion, IndexKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from facesearch.index.services import VectorDatabaseKind, VectorServer
    from facesearch.store.changes import Change
    from facesearch.store.database import Database, Revision
    from facesearch.store.location import Location
    from facesearch.types import Candidate, ModelInfo, Vectors

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Gallery(Store, AbstractContextManager["Gallery"]):
    """A store whose templates can be searched. Safe to use from several threads; several processes may share one.

    Threads that write queue for the mirror's lock, which is fair; SQLite's waiting is not.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        index: IndexKind = IndexKind.AUTO,
        servers: Mapping[VectorDatabaseKind, VectorServer] | None = None,
        fusion: Fusion = Fusion.MEAN,
    ) -> None:
        super().__init__(database, folder)
        self.vector_databases = VectorDatabases(database, folder, servers or {})
        self.fusion = fusion
        self.mirror = IndexMirror(database, folder, index)
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
        servers: Mapping[VectorDatabaseKind, VectorServer] | None = None,
        fusion: Fusion = Fusion.MEAN,
    ) -> Self:
        """Open the gallery there; with `create`, make one where there is none, encrypted with `encrypted`.

        `passphrase` is the key of an encrypted gallery. `index` is how this process searches, and
        `fusion` how it scores people with several templates. `servers` has the one where the gallery's vectors are, or
        are to be moved. Raises as `open_database`.
        """
        database = open_database(location, create=create, passphrase=passphrase, encrypted=encrypted)
        folder = location.folder if isinstance(location, DatabaseUrl) else location
        remove_leftovers(folder)
        remove_dead_work(folder)
        if database.owns_folder:
            reserve_space(folder)
        return cls(folder, database, index, servers, fusion)

    def close(self) -> None:
        """Write the index cache if it is behind, and close the database."""
        try:
            self.vector_databases.close()
            self.mirror.save()
        finally:
            super().close()

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the model

    def model(self) -> ModelInfo | None:
        """The model that made the templates; None while no face is enrolled."""
        active = self.read(models.active_model)
        return active[1] if active else None

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
        return (models.bind_model(connection, info), info) if info else active

    def prepare_models(self) -> None:
        """Make the vector database ready for the templates of every model."""
        self.vector_databases.prepare()

    # -- writing

    def write(
        self,
        work: Callable[Concatenate[Connection, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Do work that changes no template."""
        with self.mirror.lock:
            return super().write(work, *args, **kwargs)

    def change(
        self,
        work: Callable[Concatenate[Connection, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Do work that may add or remove templates. The index finds out which at the next search."""

        def changed(connection: Connection, effect: Effect) -> Result:
            effect.is_known = False
            return work(connection, *args, **kwargs)

        return self._watched(changed)

    def _remove(self, work: Callable[[Connection], Result]) -> Result:
        def removed(connection: Connection, effect: Effect) -> Result:
            before = read_revision(connection)
            result = work(connection)
            after = read_revision(connection)
            touched = touched_since(connection, before, after)
            if touched is None:  # too many to be listed
                remove_index_cache(self.folder)
                effect.is_known = False
            else:
                effect.removed += touched.tolist()
                self.mirror.erase_on_disk(effect.removed, before, after)
            return result

        return self._watched(removed)

    def apply(self, changes: Sequence[Change], run: int | None = None, lift: Sequence[str] = ()) -> Commit:
        """Carry out all changes of an enrolment in one transaction; returns what became of each.

        A new photo replaces what its path held before; subjects of whom nothing is left go. When this returns, the
        changes are on disk. `run` is the journal's entry that an earlier transaction of the same run began. `lift`
        takes rows off the erasure list. Raises `GalleryError` for templates that cannot be kept, and then nothing is
        changed.
        """

        def work(connection: Connection, effect: Effect) -> Commit:
            active = self._bind(connection, changes)
            entry = Entry(connection, journal.ENROLL, entry_id=run)
            if lift:
                self.erasure_list.lift(connection, lift)
            applied = apply_changes(connection, changes, active, effect, entry)
            if effect.removed or any(isinstance(change, MovedPhoto) for change in changes):
                subjects.remove_faceless_subjects(connection, entry)
            return Commit(applied, entry.id)

        return self._watched(work)

    def _watched(self, work: Callable[[Connection, Effect], Result]) -> Result:
        """Do work that notes its effect on templates, which the index takes over once it is committed."""

        def watched(connection: Connection) -> tuple[Result, Effect, Revision, Revision, bool]:
            before, effect = read_revision(connection), Effect()
            result = work(connection, effect)
            is_external = self.vector_databases.follow(connection)
            return result, effect, before, read_revision(connection), is_external

        with self.mirror.lock:
            result, effect, before, after, is_external = self.database.transact(watched)
            if is_external:
                self.vector_databases.catch_up(at_least=AFTER if effect.is_known and not effect.removed else 1)
            self.mirror.take_over(effect, before, after)
            return result

    # -- search

    def search(
        self,
        vectors: Vectors,
        k: int,
        where: Mapping[str, str] | None = None,
        model_id: str | None = None,
        floor: float = -1,
    ) -> list[tuple[Candidate, ...]]:
        """The k best subjects for each vector (n, d), best first, one candidate per subject.

        At least two subjects come back where there are two, so that a runner-up is known. `where` limits the search
        to subjects with these attributes. `model_id` says what made the vectors, where they are not the gallery's own.
        Candidates that score below `floor` may be missing, which makes searches of large galleries faster.

        Raises `GalleryError` for vectors that are not finite or not unit length, `ModelMismatchError` where another
        model's templates are searched by now, `VectorDatabaseError` where the vector database does not answer.
        """
        asked = Asked(k, where, model_id, self.fusion, floor)
        while True:
            found = self.mirror.search(vectors, asked)
            if found is None:
                found = exact.search(self.vector_databases, vectors, asked)
            if found is not None:  # else the vector database was exchanged meanwhile
                return found

    def search_or_local(
        self,
        vectors: Vectors,
        k: int,
        where: Mapping[str, str] | None = None,
        model_id: str | None = None,
        floor: float = -1,
    ) -> tuple[list[tuple[Candidate, ...]], bool]:
        """As `search`; where the vector database does not answer, among the newest templates of the store.

        Returns whether everybody was searched, too.
        """
        try:
            return self.search(vectors, k, where, model_id, floor), True
        except VectorDatabaseError:
            return exact.search_newest(self.vector_databases, vectors, Asked(k, where, model_id, self.fusion))

    def move_index(self, kind: VectorDatabaseKind | None, progress: Callable[[int, int], None] | None = None) -> int:
        """Have a vector database searched, or the mirror where `kind` is None; returns the templates.

        Searches and changes go on meanwhile. What was interrupted goes on when it is run again. Raises as
        `moving.move`.
        """
        move(self.vector_databases, kind, progress)
        return self.read(templates.counts)["templates"] if kind else self.mirror.rebuild()

    def rebuild_index(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Build what is searched from the store alone; returns the number of templates."""
        searched, _ = self.vector_databases.state()
        return self.move_index(searched.kind, progress) if searched else self.mirror.rebuild()

    def describe_index(self) -> str:
        """The kind of index and the state of its cache, in words."""
        external = self.vector_databases.describe()
        if external or self.is_encrypted:
            return external or "flat (exact), built on opening: an encrypted gallery has no cache"
        head, size = self.mirror.file.head(), self.mirror.file.size()
        cached = f"{head.kind if head else IndexKind.FLAT}, {size / 1e6:.1f} MB cache" if size else "no cache yet"
        return cached if self.mirror.wanted == IndexKind.AUTO else f"{cached}; {self.mirror.wanted} here"


def create_gallery(location: Location, passphrase: str | None = None, *, encrypted: bool = False) -> None:
    """Make an empty gallery. Raises `GalleryError` where there is one, `ConfigError` for a key of a plain one."""
    if has_gallery(location):
        raise GalleryError(f"There is a gallery in {location} already.", "Name another place with --gallery.")
    with new_gallery(location, passphrase, encrypted=encrypted) as gallery:
        gallery.write(audit.record, "init", {"encrypted": int(gallery.is_encrypted)})


@contextmanager
def new_gallery(location: Location, passphrase: str | None = None, *, encrypted: bool = False) -> Iterator[Gallery]:
    """A gallery that is there when the block ends without an error.

    Nothing is left of it otherwise, unless others have written into it on a server. Raises `GalleryError` where none
    can be made, `ConfigError` for a key of a plain one.
    """
    if isinstance(location, DatabaseUrl):
        from facesearch.store.postgres import drop_unused  # here: only who has such a gallery has the driver

        was_there = has_gallery(location)
        with Gallery.open(location, create=True, passphrase=passphrase, encrypted=encrypted) as gallery:
            try:
                yield gallery
            except BaseException:
                if not was_there:
                    with suppress(FaceSearchError):  # the block's error says more
                        drop_unused(gallery.database)
                raise
        return
    if passphrase and not encrypted:
        raise useless_key(location)
    try:
        with (
            unfinished_gallery(location) as folder,
            Gallery.open(folder, create=True, passphrase=passphrase, encrypted=encrypted) as gallery,
        ):
            yield gallery
    except OSError as error:
        raise GalleryError(
            f"No gallery can be made in {location}: {error.strerror or error}.",
            "Name another folder with --gallery DIR.",
        ) from error
