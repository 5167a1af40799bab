"""What a run knows before it decides on photos: whose a name is, what people decided, and who was forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from facesearch.errors import FaceSearchError
from facesearch.store import decisions, subjects
from facesearch.store.erasure_list import name_key
from facesearch.store.photos import PhotoFile, StoredPhoto
from facesearch.store.subjects import clean_name
from facesearch.types import Reason, Rejection

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from facesearch.jobs.sources import Source
    from facesearch.search.gallery import Gallery
    from facesearch.store.decisions import StoredRejection
    from facesearch.store.subjects import KnownSubject


@dataclass(frozen=True, slots=True)
class Todo:
    """A photo that has not been settled yet."""

    source: Source
    label: str
    """Whom its source says that it shows; empty where nobody said."""
    name: str
    """Whom it shows where nothing else is known: the name of that person, or else the label or the file's name."""
    size: int
    mtime_ns: int
    sha256: str | None = None
    """In hex; None where the content was not looked at yet, or cannot be read."""
    enrolled: StoredPhoto | None = None
    """What is enrolled from its path."""
    refused: StoredRejection | None = None
    """How its path was refused, under the same policy."""

    def file(self, sha256: str) -> PhotoFile:
        """The file with its content."""
        return PhotoFile(self.source.path, sha256, self.size, self.mtime_ns)


class Knowledge:
    """Of one run of `enroll` over one gallery. Names are looked up as sources say them."""

    def __init__(self, gallery: Gallery, *, bring_back_erased: bool, bring_back_removed: bool) -> None:
        self._gallery = gallery
        self._bring_back_erased, self._bring_back_removed = bring_back_erased, bring_back_removed
        self._standing = gallery.read(decisions.read_standing, gallery.erasure_list)
        self._known: dict[str, KnownSubject] = {}
        """Subjects by the names and aliases that sources say."""
        self._decisions: dict[tuple[str, str], str | None] = {}
        self._by_person: dict[tuple[str, str], str | None] = {}
        """Decisions by content and label, and by content and the person whom the label means."""
        self._attributes: dict[str, dict[str, str]] = {}

    @property
    def is_any(self) -> bool:
        """Whether there is anything that a photo's content has to be looked up in."""
        return self._standing.is_any

    def gather_attributes(self, sources: Sequence[Source]) -> None:
        """Take what the sources say of each subject as a whole: rows of one manifest may say it in parts."""
        for source in sources:
            if source.attributes:
                self._attributes.setdefault(source.subject, {}).update(source.attributes)

    def learn_sources(self, sources: Sequence[Source], enrolled: Mapping[Path, StoredPhoto]) -> None:
        """Look up the names that sources say, and what people decided where one says what it did not say before."""
        said = set()
        for source in sources:
            try:
                said.add(clean_name(source.subject))
            except FaceSearchError:
                continue  # told with the photo
        news = [
            stored
            for source in sources
            if (stored := enrolled.get(source.path)) and source.said and stored.label != source.subject
        ]
        self._learn(said | {stored.label for stored in news if stored.label})
        self.decide({stored.file.sha256 for stored in news})

    def _learn(self, names: Collection[str]) -> None:
        """Look up whose names these (clean) ones are."""
        self._known.update(self._gallery.read(subjects.known_subjects, set(names) - self._known.keys()))

    def decide(self, hashes: Collection[str]) -> None:
        """Look up what people decided about contents."""
        if hashes and self._standing.is_any:
            found = self._gallery.read(decisions.name_decisions, hashes)
            self._decisions.update(found)
            self._learn({label for _, label in found if label})
            for (sha256, label), name in found.items():
                self._by_person[sha256, self.person_of(label)] = name

    def person_of(self, label: str) -> str:
        """The person whom a (clean) label means, as far as it was learnt: a renamed one has several."""
        known = self._known.get(label)
        return known.name if known else label

    def decision(self, sha256: str, label: str, otherwise: str) -> str | None:
        """Whose a content of a label is by a person's decision, else `otherwise`; None for nobody's."""
        if (sha256, label) in self._decisions:
            return self._decisions[sha256, label]
        return self._by_person.get((sha256, self.person_of(label)), otherwise)

    def says_something(self, todo: Todo, stored: StoredPhoto) -> bool:
        """Whether the source says of an enrolled photo what it did not say before.

        Another name of the same person says nothing, nor does the name of somebody who was forgotten.
        """
        if not todo.label or todo.label == stored.label:
            return False
        if stored.label and self.person_of(todo.label) == self.person_of(stored.label):
            return False
        forgotten = name_key(todo.label) in self.erased_entries(todo, None)
        return not forgotten and (todo.source.data is None or not stored.label)

    def standing_of(self, todo: Todo, sha256: str | None) -> tuple[Rejection | None, str]:
        """Why a photo may not be enrolled, by what people decided and erased; and whose it is."""
        if self.erased_entries(todo, sha256) and not self._bring_back_erased:
            text = "This person was forgotten. Only `bring_back_erased` (--bring-back-erased) enrolls the photo."
            return Rejection(Reason.ERASED, text), todo.name
        name: str | None = todo.name
        if sha256 is not None and todo.source.data is None:  # an upload is a new statement each time
            name = self.decision(sha256, todo.label, todo.name)
        if name is None and not self._bring_back_removed:
            text = "It was removed from the gallery. `facesearch undo` or --bring-back-removed bring it back."
            return Rejection(Reason.REMOVED, text), todo.name
        return None, name or todo.name

    def erased_entries(self, todo: Todo, sha256: str | None) -> list[str]:
        """The entries of the list of the erased that a photo meets."""
        label = clean_name(todo.source.subject)
        found = self._standing.entries_of(label, sha256)
        # Somebody who is called so by now was enrolled, or named, after the other person was forgotten.
        return [entry for entry in found if entry != name_key(label)] if label in self._known else found

    def attributes_of(self, todo: Todo) -> Mapping[str, str]:
        """What the run's sources say that is new of the photo's subject; once, with the subject's first photo."""
        said = self._attributes.pop(todo.source.subject, {}) if self._attributes else {}
        known = self._known.get(clean_name(todo.source.subject))
        return {key: value for key, value in said.items() if known is None or known.said.get(key) != value}
