"""The operations of `FaceSearch` on people and their photos."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facesearch import arguments
from facesearch.errors import UnknownPhotoError
from facesearch.jobs.parts import Parts
from facesearch.operations import Operations
from facesearch.store import people, photos, templates
from facesearch.store import subjects as stored_subjects
from facesearch.store import undo as stored_undo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from facesearch.corrections import JournalEntry
    from facesearch.types import EnrolledPhoto, Subject


class PeopleOperations(Parts, Operations):
    """What `Operations` says about people, over a gallery on this machine."""

    def subjects(self, where: Mapping[str, str] | None = None, *, search: str | None = None) -> list[Subject]:
        found = self.gallery.read(stored_subjects.list_subjects, where)
        if search is None:
            return found
        part = arguments.text("search", search).casefold()
        return [each for each in found if any(part in name.casefold() for name in (each.name, *each.aliases))]

    def subject(self, who: str | int) -> Subject:
        return self.gallery.read(people.find, who)

    def photos_of_subject(self, who: str | int) -> list[EnrolledPhoto]:
        return self.gallery.read(photos.photos_of_subject, who)

    def rename_subject(self, who: str | int, new: str) -> Subject:
        subject_id = self.subject(who).subject_id
        self.gallery.write(people.rename, subject_id, new)
        return self.subject(subject_id)

    def merge_subjects(self, source: str | int, target: str | int) -> Subject:
        self.gallery.change(people.merge, source, target)
        return self.subject(target)

    def set_attributes(self, who: str | int, changes: Mapping[str, str | None]) -> Subject:
        self.gallery.write(people.set_attributes, who, changes)
        return self.subject(who)

    def add_alias(self, who: str | int, name: str) -> Subject:
        self.gallery.write(people.add_alias, who, name)
        return self.subject(who)

    def remove_alias(self, who: str | int, name: str) -> Subject:
        subject_id = self.subject(who).subject_id
        self.gallery.write(people.remove_alias, subject_id, name)
        return self.subject(subject_id)

    def move_photo(self, photo_id: int, who: str | int, *, create: bool = False) -> Subject:
        self.gallery.change(people.move_photos, [self._path(photo_id)], who, create=create)
        return self.subject(who)

    def confirm_photo(self, photo_id: int) -> None:
        self.gallery.write(people.confirm_photos, [self._path(photo_id)])

    def remove_photo(self, who: str | int, photo_id: int) -> int:
        return self.gallery.remove(people.remove_photos, [self._path(photo_id, self.subject(who).subject_id)])

    def remove_subject(self, who: str | int) -> Subject:
        subject = self.subject(who)
        self.gallery.remove(people.remove, subject.subject_id)
        return subject

    def forget(self, who: Sequence[str | int]) -> dict[str, Any]:
        from facesearch.jobs.erasure import forget_people

        return forget_people(self.gallery, self.settings.cache, arguments.people("who", who))

    def history(self, *, last: int | None = None, who: str | int | None = None) -> list[JournalEntry]:
        return self.gallery.read(people.history, last=last, who=who)

    def undo(self, entry_id: int | None = None) -> JournalEntry:
        return self.gallery.change(stored_undo.undo, entry_id)

    def counts(self) -> dict[str, int]:
        return self.gallery.read(templates.counts)

    def _path(self, photo_id: int, subject_id: int | None = None) -> Path:
        """Return the path under which a photo, of this person where one is given, is enrolled."""
        photo = self.gallery.read(photos.find_detail, arguments.whole("photo_id", photo_id, 0))
        if photo is None:
            raise UnknownPhotoError(
                f"There is no photo {photo_id}.", "`facesearch people show NAME` lists a person's photos."
            )
        if subject_id is not None and all(face.subject_id != subject_id for face in photo.faces):
            raise UnknownPhotoError(f"The person {subject_id} has no photo {photo_id}.")
        return photo.path
