"""What becomes of photos before any model runs: what is known already, and what has moved.

A photo is its content; where its file is may change. So a run first looks at all of its files, and then decides: a
photo whose file was renamed, swapped or shifted keeps its template, a second file of the same content is a duplicate,
and only contents that are new go through the models.

Whose photo it is: a source (a folder, a manifest, `--as`) says a label. It is stored with the photo. Said again, it
changes nothing, whatever a person corrected since; said anew, it is followed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeVar

from facesearch.errors import FaceSearchError, PhotoError
from facesearch.jobs.knowledge import Knowledge, Todo
from facesearch.names import path_text, printable
from facesearch.store import decisions, photos, templates
from facesearch.store.changes import MovedPhoto
from facesearch.store.decisions import RefusedPhoto, StoredRejection
from facesearch.store.erasure_list import name_key
from facesearch.store.photos import PhotoFile, StoredPhoto, is_upload
from facesearch.store.subjects import clean_name
from facesearch.types import EnrollOutcome, EnrollStatus, Reason, Rejection
from facesearch.walking import cause_of, is_gone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from facesearch.jobs.sources import Source
    from facesearch.search.gallery import Gallery
    from facesearch.store.changes import Change

Item = TypeVar("Item")

LOOKUP: Final = 64
"""Photos looked up in the database at a time."""
RESTING: Final = {Reason.DUPLICATE, Reason.ERASED, Reason.REMOVED}
"""Refusals that rest on what else is in the gallery: decided anew each time, without the models."""


NOT_REMEMBERED: Final = {Reason.ERASED, Reason.INACCESSIBLE, Reason.MODEL_FAILURE}
"""Refusals that the gallery does not keep: of people who were forgotten it keeps no path, and a file that could not be
read, or that a model failed on, may be sound the next time with the same size and time of change."""


@dataclass(slots=True)
class Batch:
    """What to report, each with the change that has to be committed before, if any."""

    entries: list[tuple[Change | None, EnrollOutcome]] = field(default_factory=list)
    lift: list[str] = field(default_factory=list)
    """Rows to take off the list of the erased in the same transaction."""

    def add(self, outcome: EnrollOutcome, change: Change | None = None) -> None:
        """Report `outcome` once `change` is committed."""
        self.entries.append((change, outcome))


class Planner:
    """Plans one run of `enroll` over one gallery."""

    def __init__(self, gallery: Gallery, knowledge: Knowledge, policy: str, *, strict: bool) -> None:
        """`policy` names what refusals rest on; `strict` repeats conflicts of photos that are enrolled already."""
        self._gallery = gallery
        self._knows = knowledge
        self._policy = policy
        self._strict = strict
        self._found: list[Todo] = []
        self._holders: dict[tuple[str, str], str] = {}
        """Which photo has a content, by subject and SHA-256, as this run knows it."""
        self._holds: dict[int, bool] = {}
        """Whether a file still has the content that was enrolled from it, by photo."""

    # -- first: look at all files

    def look(self, sources: Sequence[Source]) -> Iterator[Batch]:
        """Settle photos whose files have not changed, and keep the others for `settle`."""
        self._knows.gather_attributes(sources)
        for group in groups_of(sources, LOOKUP):
            batch = Batch()
            self._look_up(group, batch)
            yield batch
        self._hash_found()

    def _look_up(self, sources: Sequence[Source], batch: Batch) -> None:
        paths = [source.path for source in sources]
        enrolled = self._gallery.read(photos.find_photos, paths)
        refused = self._gallery.read(decisions.find_rejections, paths)
        self._knows.learn_sources(sources, enrolled)
        for source in sources:
            try:
                todo = self._todo(source, enrolled.get(source.path), refused.get(source.path))
            except FaceSearchError as error:
                batch.add(_rejected(source, Rejection(Reason.UNUSABLE_NAME, error.message)))
                continue
            except OSError as error:
                text = f"The photo cannot be read: {cause_of(error)}."
                batch.add(_rejected(source, Rejection(Reason.INACCESSIBLE, text)))
                continue
            if not self._settle_unchanged(todo, batch):
                self._found.append(todo)

    def _todo(self, source: Source, enrolled: StoredPhoto | None, refused: StoredRejection | None) -> Todo:
        subject = clean_name(source.subject)
        size, mtime_ns = source.status()
        if refused is not None and refused.policy != self._policy:
            refused = None
        label = subject if source.said else ""
        return Todo(source, label, self._knows.person_of(subject), size, mtime_ns, None, enrolled, refused)

    def _settle_unchanged(self, todo: Todo, batch: Batch) -> bool:
        """Whether a photo is done with, by size and time of its file alone."""
        stat, enrolled, refused = (todo.size, todo.mtime_ns), todo.enrolled, todo.refused
        if enrolled is not None and stat == (enrolled.file.size, enrolled.file.mtime_ns):
            self._holds[enrolled.photo_id] = True
            self._keep(enrolled, enrolled.file, todo, batch)
            return True
        unchanged = refused is not None and enrolled is None and stat == (refused.size, refused.mtime_ns)
        if unchanged and refused is not None and refused.rejection.reason not in RESTING:
            batch.add(_rejected(todo.source, refused.rejection))
            return True
        return False

    def _hash_found(self) -> None:
        """Read those contents that may be known. The others are read once, by the models' pipeline."""
        sizes = Counter(todo.size for todo in self._found)
        known = self._gallery.read(photos.known_sizes, sizes)
        for index, todo in enumerate(self._found):
            wanted = todo.enrolled or todo.refused or self._knows.is_any or todo.source.data is not None
            if wanted or todo.size in known or sizes[todo.size] > 1:
                self._found[index] = replace(todo, sha256=self._read_hash(todo))

    def _read_hash(self, todo: Todo) -> str | None:
        refused = todo.refused
        if refused is not None and (todo.size, todo.mtime_ns) == (refused.size, refused.mtime_ns) and refused.sha256:
            return refused.sha256
        try:
            return hashlib.sha256(todo.source.read()).hexdigest()
        except PhotoError:  # the pipeline reads it again and says why it cannot be used
            return None

    # -- then: decide by content

    def settle(self) -> Iterator[Batch]:
        """Settle what needs no model. Photos that change places do so in one batch: they may need each other's."""
        hashes = {todo.sha256 for todo in self._found if todo.sha256 is not None}
        copies = self._gallery.read(photos.photos_of_contents, hashes)
        self._knows.decide(hashes)
        self._notice_replaced()
        moves, rest, left = Batch(), Batch(), list[Todo]()
        for todo in sorted(self._found, key=_is_elsewhere):
            settled = todo.sha256 is not None and self._settle(
                todo, todo.sha256, copies.get(todo.sha256, []), moves, rest
            )
            if not settled:
                left.append(todo)
        order = {todo.source.path: at for at, todo in enumerate(self._found)}
        self._found = sorted(left, key=lambda todo: order[todo.source.path])
        yield moves
        for group in groups_of(rest.entries, LOOKUP):
            yield Batch(list(group))

    def _notice_replaced(self) -> None:
        for todo in self._found:
            if todo.enrolled is not None and todo.sha256 is not None:
                self._holds[todo.enrolled.photo_id] = todo.sha256 == todo.enrolled.file.sha256

    def _settle(
        self,
        todo: Todo,
        sha256: str,
        copies: list[StoredPhoto],
        moves: Batch,
        rest: Batch,
    ) -> bool:
        enrolled, file = todo.enrolled, todo.file(sha256)
        if enrolled is not None and enrolled.file.sha256 == sha256:
            self._keep(enrolled, file, todo, rest)
            return True
        if self._settle_renamed(todo, file, copies, moves):
            return True
        refusal, name = self._knows.standing_of(todo, sha256)
        if refusal is not None:
            self._refuse(todo, refusal, rest, sha256)
            return True
        if self._settle_by_copies(todo, name, file, copies, moves, rest):
            return True
        if todo.refused is not None and todo.refused.sha256 == sha256 and todo.refused.rejection.reason not in RESTING:
            self._refuse(todo, todo.refused.rejection, rest, sha256)
            return True
        self._holders.setdefault((name, sha256), path_text(todo.source.path))
        return False

    def _settle_by_copies(
        self, todo: Todo, name: str, file: PhotoFile, copies: list[StoredPhoto], moves: Batch, rest: Batch
    ) -> bool:
        """Whether the content is enrolled for that person already, or is that of a photo that has left its place."""
        uploaded = todo.source.data is not None
        for copy in copies:
            if uploaded and name in copy.subjects:
                self._keep(copy, copy.file, todo, rest)
                return True
        held = None if uploaded else self._held_by(todo, name, copies)
        held = held or self._holders.get((name, file.sha256))
        if held is not None:
            self._refuse(todo, Rejection(Reason.DUPLICATE, f"It is the same photo as {held}."), rest, file.sha256)
            return True
        free = [] if uploaded else [copy for copy in copies if self._is_free(copy, name)]
        if not free:
            return False
        taken = next((copy for copy in free if name in copy.subjects), free[0])
        copies.remove(taken)
        self._keep(taken, file, todo, moves, name=name)
        return True

    def _held_by(self, todo: Todo, name: str, copies: Sequence[StoredPhoto]) -> str | None:
        """The path of the enrolled file that has the content for the same person."""
        for copy in copies:
            same = name in copy.subjects or not todo.source.said
            if same and not is_upload(copy.file.path) and self._still_holds(copy):
                return path_text(copy.file.path)
        return None

    def _is_free(self, copy: StoredPhoto, name: str) -> bool:
        """Whether a file may take the place of an enrolled photo: of an upload, for the same person only."""
        return name in copy.subjects if is_upload(copy.file.path) else not self._still_holds(copy)

    def _settle_renamed(self, todo: Todo, file: PhotoFile, copies: list[StoredPhoto], moves: Batch) -> bool:
        """Whether the file is that of an enrolled photo, in another place, of which its source says nothing new."""
        for copy in copies:
            same = not self._knows.says_something(todo, copy)
            if same and todo.source.data is None and not is_upload(copy.file.path) and not self._still_holds(copy):
                held = self._held_by(todo, copy.subjects[0], copies)
                if held is None and (copy.subjects[0], file.sha256) not in self._holders:
                    copies.remove(copy)
                    self._keep(copy, file, todo, moves)
                    return True
        return False

    def _still_holds(self, photo: StoredPhoto) -> bool:
        """Whether the file at an enrolled photo's path has the photo's content."""
        if photo.photo_id not in self._holds:
            self._holds[photo.photo_id] = _has_content(photo.file)
        return self._holds[photo.photo_id]

    def _keep(self, stored: StoredPhoto, file: PhotoFile, todo: Todo, batch: Batch, *, name: str | None = None) -> None:
        """The templates are there already; take over a new place, time or statement where there is one."""
        self._holds[stored.photo_id] = True
        owner, label = stored.subjects[0], todo.label or stored.label
        if self._knows.says_something(todo, stored):
            # A person may have said nobody of what is said now: then it says nothing of a photo that is somebody's.
            owner = name or self._knows.decision(stored.file.sha256, todo.label, todo.name) or owner
        elif todo.source.data is not None or name_key(todo.label) in self._knows.erased_entries(todo, None):
            label = stored.label
        self._holders[owner, file.sha256] = path_text(file.path)
        attributes = self._knows.attributes_of(todo)
        status = EnrollStatus.UNCHANGED if owner in stored.subjects else EnrollStatus.MOVED
        note = f"It moved from {stored.subjects[0]} to {owner}." if status is EnrollStatus.MOVED else None
        outcome = stored_outcome(stored, owner, status, photo=path_text(todo.source.path))
        outcome = replace(outcome, note=note, rejection=self._known_conflict(stored, owner))
        if (stored.file, stored.subjects, stored.label) == (file, (owner,), label) and not attributes:
            batch.add(outcome)
        else:
            batch.add(outcome, MovedPhoto(stored, file, owner, attributes, label))

    def _known_conflict(self, stored: StoredPhoto, owner: str) -> Rejection | None:
        """The conflict with which a photo was enrolled, where it still stands and is asked for."""
        if not self._strict or stored.conflict is None:
            return None
        found = self._gallery.read(templates.describe_templates, [stored.conflict]).get(stored.conflict)
        if found is None or found[0] == owner:
            return None
        text = f"It matches {found[0]}, and was enrolled all the same. `facesearch audit` says what can be done."
        return Rejection(Reason.IDENTITY_CONFLICT, text)

    def _refuse(self, todo: Todo, rejection: Rejection, batch: Batch, sha256: str | None) -> None:
        outcome = _rejected(todo.source, rejection)
        before = todo.refused.rejection.reason if todo.refused and todo.refused.sha256 == sha256 else None
        if before is rejection.reason is Reason.DUPLICATE:
            outcome = replace(outcome, status=EnrollStatus.UNCHANGED)  # an earlier run told of it
        batch.add(outcome, self.refusal(todo, rejection, sha256))

    def refusal(self, todo: Todo, rejection: Rejection, sha256: str | None) -> RefusedPhoto | None:
        """The change that the refusal makes; None where it makes none."""
        remembered = rejection.reason not in NOT_REMEMBERED
        if todo.source.data is not None or not (remembered or todo.enrolled):
            return None  # an upload is never asked for by this name again
        stored = StoredRejection(sha256 or None, todo.size, todo.mtime_ns, self._policy, rejection)
        return RefusedPhoto(todo.source.path, stored, remembered)

    @property
    def left(self) -> Sequence[Todo]:
        """What has to go through the models, in the order of the sources."""
        return self._found


def groups_of(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """`items` in consecutive groups of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def stored_outcome(
    stored: StoredPhoto, subject: str, status: EnrollStatus, *, photo: str | None = None
) -> EnrollOutcome:
    """The outcome of a photo whose templates are there already."""
    return EnrollOutcome(
        photo=photo or path_text(stored.file.path),
        subject=subject,
        status=status,
        faces=len(stored.template_ids),
        template_ids=stored.template_ids,
        detection_score=stored.detection_score,
    )


def _is_elsewhere(todo: Todo) -> bool:
    """Photos that are where they were come first: they keep their templates, and copies do not get them."""
    return todo.enrolled is None or todo.enrolled.file.sha256 != todo.sha256


def _rejected(source: Source, rejection: Rejection) -> EnrollOutcome:
    return EnrollOutcome(path_text(source.path), printable(source.subject), EnrollStatus.REJECTED, rejection)


def _has_content(file: PhotoFile) -> bool:
    """Whether a file is there with this content; one that cannot be read is taken to be as it was."""
    if is_gone(file.path):
        return False
    try:
        status = file.path.stat()
        if (status.st_size, status.st_mtime_ns) == (file.size, file.mtime_ns):
            return True
        with file.path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256
    except OSError:
        return True
