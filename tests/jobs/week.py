"""An ordinary week: a tree of photos that changes, a person who corrects, and a model that knows only these two.

The model knows which file holds which content, and what the person did and said. It knows nothing of labels, owners,
journals or decisions as the gallery keeps them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

FOLDERS = ("Ada", "Ben", "Cleo")
NAMES = ("A. L.", "Benno", "Nora", *FOLDERS)
FILES = tuple(f"{folder}/{number}.jpg" for folder in FOLDERS for number in (1, 2, 3))
CONTENTS = 6


@dataclass(eq=False)
class Person:
    """Somebody, by what the person who keeps the gallery calls them."""

    key: int
    name: str
    others: set[str] = field(default_factory=set)
    attributes: dict[str, str] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    """Contents of photos that were removed and can be brought back: they are forgotten with the person."""


@dataclass(eq=False)
class Photo:
    """A content enrolled for a person."""

    key: int
    content: int
    person: Person
    path: str
    folder: str
    """Whom its source said last that it shows; empty once that name is forgotten."""


def folder_of(path: str) -> str:
    return path.partition("/")[0]


class Known:
    """What the person did and said, and what follows from it."""

    def __init__(self) -> None:
        self.people: list[Person] = []
        self.photos: list[Photo] = []
        self.decided: dict[tuple[int, str], Person | None] = {}
        """By content and folder whose it is, where the person decided otherwise; None is nobody's."""
        self.erased_names: set[str] = set()
        self.erased: dict[int, set[str]] = {}
        """Contents of the forgotten: under which names they stay out, or under any where that is empty."""
        self.gone: list[Person] = []
        """People who were removed, or of whom nothing was left: they can be brought back."""
        self.forgotten: set[int] = set()
        """Keys of the forgotten and of their photos."""
        self._keys = itertools.count(1)

    # -- whose a photo is

    def called(self, name: str) -> Person | None:
        return next((each for each in self.people if name == each.name or name in each.others), None)

    def meant(self, folder: str) -> object:
        """Whom a folder's name means: another name of a person means the same."""
        person = self.called(folder)
        return person.key if person else folder

    def decision(self, content: int, folder: str) -> Person | str | None:
        """Whose a content is by decision, None for nobody's; a word where nothing was decided."""
        if (content, folder) in self.decided:
            return self.decided[content, folder]
        found = [who for (c, f), who in self.decided.items() if c == content and self.meant(f) == self.meant(folder)]
        return found[-1] if found else "nothing"

    def is_forgotten(self, folder: str) -> bool:
        return folder in self.erased_names and self.called(folder) is None

    def stays_out(self, content: int, folder: str) -> bool:
        if self.is_forgotten(folder):
            return True
        if content in self.erased and (not self.erased[content] or folder in self.erased[content]):
            return True
        return self.decision(content, folder) is None

    def whose(self, content: int, folder: str) -> Person:
        decided = self.decision(content, folder)
        found = decided if isinstance(decided, Person) else self.called(folder)
        if found is None:
            found = Person(next(self._keys), folder)
            self.people.append(found)
        return found

    def is_news(self, folder: str, photo: Photo) -> bool:
        """Whether a folder says of a photo what its source did not say before."""
        if folder == photo.folder or self.is_forgotten(folder):
            return False
        return not photo.folder or self.meant(folder) != self.meant(photo.folder)

    def held(self, content: int, person: Person) -> Photo | None:
        return next((each for each in self.photos if each.content == content and each.person is person), None)

    def at(self, path: str) -> Photo | None:
        return next((each for each in self.photos if each.path == path), None)

    def tidy(self) -> None:
        """People of whom nothing is left go."""
        kept = {each.person.key for each in self.photos} | {each.key for each in self.decided.values() if each}
        bare = [each for each in self.people if not (each.key in kept or each.attributes or each.others)]
        self.people = [each for each in self.people if each not in bare]
        self.gone += bare

    # -- what a run does

    def enroll(self, files: dict[str, int], *, sync: bool) -> None:
        """What a run over these files (content by path) has to lead to."""
        self._listen(files)
        claims, new = self._plan(files)
        for photo in self.photos:
            if photo.key in claims:
                photo.path = claims[photo.key]
                photo.folder = self.said_by(photo)
        self.photos = [each for each in self.photos if files.get(each.path, each.content) == each.content]
        if sync:
            for photo in self.photos:
                if photo.path not in files:
                    photo.person.lost.add(photo.content)
            self.photos = [each for each in self.photos if each.path in files]
        for path, content in new:
            folder = folder_of(path)
            self.photos.append(Photo(next(self._keys), content, self.whose(content, folder), path, folder))
        self.tidy()

    def said_by(self, photo: Photo) -> str:
        """What is remembered of what a photo's folder says."""
        folder = folder_of(photo.path)
        return photo.folder if self.is_forgotten(folder) else folder

    def _listen(self, files: dict[str, int]) -> None:
        """Photos that are in their places may be said to be somebody else's."""
        for photo in [each for each in self.photos if files.get(each.path) == each.content]:
            folder = folder_of(photo.path)
            if self.is_news(folder, photo):
                decided = self.decision(photo.content, folder)
                target = photo.person if decided is None else self.whose(photo.content, folder)
                if target is not photo.person and self.held(photo.content, target):
                    self.photos.remove(photo)
                    photo.person.lost.add(photo.content)
                    target.lost.add(photo.content)
                photo.person = target
            photo.folder = self.said_by(photo)

    def _plan(self, files: dict[str, int]) -> tuple[dict[int, str], list[tuple[str, int]]]:
        """Which photos get which other paths, by their keys, and which files are new photos."""
        in_place = {photo.path for photo in self.photos if files.get(photo.path) == photo.content}
        new: list[tuple[str, int]] = []
        taken: set[tuple[int, int]] = set()
        claims: dict[int, str] = {}
        for path in sorted(files.keys() - in_place):
            content, folder = files[path], folder_of(path)
            free = [each for each in self._left(files, content) if each.key not in claims]
            again = [each for each in free if not self.is_news(folder, each)]
            again = [each for each in again if (content, each.person.key) not in taken]
            if again:
                photo = min(again, key=lambda each: each.key)
                claims[photo.key] = path
                taken.add((content, photo.person.key))
                continue
            if self.stays_out(content, folder):
                continue
            person = self.whose(content, folder)
            mine = self.held(content, person)
            if (mine is not None and mine not in free) or (content, person.key) in taken:
                continue  # a duplicate
            if free:
                photo = mine or min(free, key=lambda each: each.key)
                claims[photo.key] = path
                photo.person = person
                taken.add((content, photo.person.key))
            else:
                new.append((path, content))
                taken.add((content, person.key))
        return claims, new

    def _left(self, files: dict[str, int], content: int) -> list[Photo]:
        """The photos of a content whose file is gone, or holds another content by now."""
        return [each for each in self.photos if each.content == content and files.get(each.path) != content]

    # -- what a person does

    def rename(self, person: Person, name: str) -> None:
        if name != person.name:
            person.others = (person.others | {person.name}) - {name}
            person.name = name

    def merge(self, source: Person, target: Person) -> None:
        for photo in [each for each in self.photos if each.person is source]:
            if self.held(photo.content, target):
                self.decided[photo.content, photo.folder] = target
                self.photos.remove(photo)
                target.lost.add(photo.content)
            photo.person = target
        for key, person in self.decided.items():
            if person is source:
                self.decided[key] = target
        target.others |= {source.name} | source.others
        target.attributes = {**source.attributes, **target.attributes}
        target.lost |= source.lost
        self.people.remove(source)

    def move(self, photo: Photo, target: Person) -> None:
        if photo.person is target:
            return
        self.decided[photo.content, photo.folder] = target
        if self.held(photo.content, target):
            self.photos.remove(photo)
            photo.person.lost.add(photo.content)
            target.lost.add(photo.content)
        photo.person = target
        self.tidy()

    def remove_photo(self, photo: Photo) -> None:
        self.photos.remove(photo)
        photo.person.lost.add(photo.content)
        self.decided[photo.content, photo.folder] = None
        self.tidy()

    def remove(self, person: Person) -> None:
        for key in [key for key, owner in self.decided.items() if owner is person]:
            self.decided[key] = None
        for photo in [each for each in self.photos if each.person is person]:
            self.photos.remove(photo)
            self.decided[photo.content, photo.folder] = None
            person.lost.add(photo.content)
        self.people.remove(person)
        self.gone.append(person)

    def forget(self, person: Person) -> None:
        mine = [each for each in self.photos if each.person is person]
        names = {person.name, *person.others}
        lost = {each.content for each in mine} | person.lost
        while same := [each for each in self.gone if each.name in names]:  # people of one name are taken for one
            for each in same:
                names |= {each.name, *each.others}
                lost |= each.lost
                self.forgotten.add(each.key)
                self.gone.remove(each)
        self.forgotten |= {person.key, *(each.key for each in mine)}
        self.photos = [each for each in self.photos if each.person is not person]
        self.people.remove(person)
        for content in lost:
            only = names if any(each.content == content for each in self.photos) else set()
            before = self.erased.get(content)
            self.erased[content] = only if before is None else (before | only if before and only else set())
        self.erased_names |= names
        for photo in self.photos:
            photo.folder = "" if photo.folder in names else photo.folder
        self.decided = {
            key: owner for key, owner in self.decided.items() if owner is not person and key[1] not in names
        }

    def restored(self, now: Known) -> None:
        """This state was brought back from a backup: who was forgotten since stays so."""
        self.erased_names, self.erased, self.forgotten = now.erased_names, now.erased, now.forgotten
        self.gone = [each for each in self.gone if each.key not in self.forgotten]
        gone = [each for each in self.people if each.key in self.forgotten]
        names = {name for each in gone for name in (each.name, *each.others)}
        self.people = [each for each in self.people if each not in gone]
        self.photos = [
            each for each in self.photos if each.key not in self.forgotten and each.person.key not in self.forgotten
        ]
        self.decided = {k: who for k, who in self.decided.items() if who not in gone and k[1] not in names}
        self._keys = now._keys
        self.tidy()
