"""Power cuts: thousands of states of the disk that a power cut may leave of a real enrolment, each opened and checked.

What was acknowledged on standard output before the cut is there; what was removed is nowhere; the gallery is sound.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from facesearch.errors import FaceSearchError, GalleryNotFoundError
from facesearch.files import INDEX_CACHE_NAME, INDEX_VECTORS_NAME
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import photos as stored_photos
from facesearch.store import subjects, templates
from facesearch.types import Fusion
from tests.durability.crash_images import Chance, Disk
from tests.durability.recorded import SPOILED, WAYS, use_two_stages
from tests.durability.recording import Operation, Said, Sync, record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHILD = (sys.executable, "-m", "tests.durability.recorded")
SECONDS = 240
"""A soak run makes as many images as it can in this time, up to its count."""


@dataclass
class Acknowledged:
    """What was said so far."""

    photos: dict[str, set[str]] = field(default_factory=dict)
    """By subject."""
    removing: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)

    def hear(self, text: str) -> None:
        for line in text.splitlines():
            said = json.loads(line) if line[:1] in ("[", "{") else None
            if isinstance(said, dict):  # of `enroll --json`
                said = [said["status"], said["subject"], said["photo"]]
            match said:
                case ["enrolled", subject, photo]:
                    self.photos.setdefault(subject, set()).add(photo)
                case ["removing", subject]:
                    self.removing.add(subject)
                case ["removed", subject]:
                    self.removed.add(subject)


def judge(folder: Path, said: Acknowledged) -> set[str]:
    """What a power cut broke, in words; empty where every promise was kept."""
    broken = cached_people(folder, said)
    try:
        gallery = Gallery.open(folder, fusion=Fusion.MAX)  # whose own template then scores 1
    except GalleryNotFoundError:
        return broken | ({"the gallery is gone"} if said.photos else set())
    except FaceSearchError as error:
        return broken | {f"it does not open: {type(error).__name__}"} if said.photos else broken
    with gallery:
        for name, photos in said.photos.items():
            if name not in said.removing and not photos <= photos_of(gallery, name):
                broken.add("acknowledged photos are lost")
        names = {subject.name for subject in gallery.read(subjects.list_subjects)}
        if names & said.removed:
            broken.add("somebody removed is back")
        if list(folder.glob("*.tmp")):
            broken.add("a temporary file stays")
        broken |= {f"check: {finding.subject}" for finding in check_gallery(gallery) if not finding.ok}
        ids, vectors = gallery.read(templates.all_templates) if gallery.model() else ((), None)
        if vectors is not None and len(ids):
            (found,) = gallery.search(vectors[-1:], len(names))
            if {candidate.subject for candidate in found} != names or found[0].score < 0.999:
                broken.add("a search misses people")
    return broken


def photos_of(gallery: Gallery, name: str) -> set[str]:
    try:
        return {str(photo.photo) for photo in gallery.read(stored_photos.photos_of_subject, name)}
    except FaceSearchError:
        return set()


def cached_people(folder: Path, said: Acknowledged) -> set[str]:
    """Whether the cache on disk holds vectors that were removed: nobody may find them in any file."""
    files = [folder / name for name in (INDEX_CACHE_NAME, INDEX_VECTORS_NAME)]
    cached = [file.read_bytes() for file in files if file.is_file()]
    gone = [vector for name in said.removed for vector in VECTORS.get(name, ())]
    found = any(vector in content for vector in gone for content in cached)
    return {"removed vectors are in the cache"} if found else set()


VECTORS: dict[str, set[bytes]] = {}
"""By subject, while one recording is looked at: the vectors that its people had."""


def cuts(operations: Sequence[Operation], count: int, rng: random.Random) -> dict[int, list[str]]:
    """After how many operations the power is cut, and what is kept of what was not safe.

    Every moment at which a promise begins is among them: after each sync and each acknowledgement.
    """
    found: dict[int, list[str]] = {}
    for place, operation in enumerate(operations, 1):
        if isinstance(operation, Said):
            found.setdefault(place, []).append("nothing")
        elif isinstance(operation, Sync):
            found.setdefault(place, []).append("nothing")
            found.setdefault(place - 1, []).append("all")
    moments = [(place, kept) for place, kinds in found.items() for kept in kinds]
    if len(moments) > count * 2 // 3:
        moments = rng.sample(moments, count * 2 // 3)
    moments += [(rng.randint(0, len(operations)), "some") for _ in range(count - len(moments))]
    chosen: dict[int, list[str]] = {}
    for place, kept in moments:
        chosen.setdefault(place, []).append(kept)
    return chosen


def images(
    operations: Sequence[Operation], root: Path, to: Path, chosen: dict[int, list[str]], rng: random.Random
) -> Iterator[Acknowledged]:
    """Make one image after the other in `to`; gives what had been acknowledged."""
    disk, said = Disk(os.fspath(root)), Acknowledged()
    for place in range(len(operations) + 1):
        for kept in chosen.get(place, ()):
            shutil.rmtree(to, ignore_errors=True)
            to.mkdir()
            disk.leave(to, os.fspath(root), Chance(kept, rng))
            yield said
        if place < len(operations):
            operation = operations[place]
            disk.do(operation)
            if isinstance(operation, Said):
                said.hear(operation.text)


def outcome(
    operations: Sequence[Operation], root: Path, to: Path, count: int, seed: int, enough: frozenset[str] = frozenset()
) -> tuple[Counter[str], int]:
    """How often which promise was broken, and in how many images.

    Ends early when the time is over, or when every promise of `enough` was seen broken.
    """
    rng = random.Random(seed)
    broken: Counter[str] = Counter()
    made = 0
    until = time.monotonic() + SECONDS
    chosen = cuts(operations, count, rng)
    learn_vectors(operations, root, to)
    for said in images(operations, root, to, chosen, rng):
        made += 1
        broken.update(judge(to / "gallery", said))
        if time.monotonic() > until or (enough and enough <= broken.keys()):
            break
    return broken, made


def learn_vectors(operations: Sequence[Operation], root: Path, to: Path) -> None:
    """Look into the gallery before each removal for the vectors of the people in it."""
    VECTORS.clear()
    moments = [place for place, each in enumerate(operations) if isinstance(each, Said) and "removing" in each.text]
    for _ in images(operations, root, to, {place: ["all"] for place in moments}, random.Random(0)):
        with Gallery.open(to / "gallery") as gallery:
            found, rows = gallery.read(templates.all_templates)
            vectors = dict(zip(found.tolist(), rows, strict=True))
            for subject in gallery.read(subjects.list_subjects):
                ids = [
                    each
                    for photo in gallery.read(stored_photos.photos_of_subject, subject.name)
                    for each in photo.template_ids
                ]
                VECTORS.setdefault(subject.name, set()).update(vectors[each].tobytes() for each in ids)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The recorded file system; the gallery is a folder in it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("count", [120, pytest.param(5000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
def test_a_power_cut_loses_nothing_acknowledged_and_revives_nobody(
    root: Path, people_folder: Path, standin_pack: Path, tmp_path: Path, scratch: Path, count: int
) -> None:
    people = tmp_path / "people"
    for position, person in enumerate(sorted(people_folder.iterdir())):
        shutil.copytree(person, people / str(position // 6) / person.name)
    operations = record([*CHILD, "commands", *map(os.fspath, (root / "gallery", people, standin_pack))], root)
    shutil.rmtree(people)  # check would hash them for every image
    seed = random.randrange(2**32)
    broken, made = outcome(operations, root, scratch / "image", count, seed)
    print(f"seed {seed}: {made} crash images of {len(operations)} operations, broken: {dict(broken)}")  # noqa: T201
    assert not broken
    assert made > count / 10


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
@pytest.mark.parametrize("way", WAYS)
def test_a_power_cut_is_survived_with_an_older_sqlite_and_with_two_stages(
    root: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, way: str, count: int
) -> None:
    if way == "two stages":
        use_two_stages(monkeypatch)
    operations = record([*CHILD, "gallery", os.fspath(root / "gallery"), way], root)
    seed = random.randrange(2**32)
    broken, made = outcome(operations, root, scratch / "image", count, seed)
    print(f"seed {seed}: {made} crash images of {len(operations)} operations, broken: {dict(broken)}")  # noqa: T201
    assert not broken
    assert made > count / 10


EXPECTED = {
    "synchronous=NORMAL": {"acknowledged photos are lost", "somebody removed is back"},
    "no folder sync": {"the gallery is gone"},
    "no sync for blanked rows": {"removed vectors are in the cache"},
    "token in a second transaction": {"check: index"},
}


@pytest.mark.parametrize("spoiled", SPOILED)
def test_the_simulation_sees_each_promise_that_is_broken_on_purpose(root: Path, scratch: Path, spoiled: str) -> None:
    operations = record([*CHILD, "gallery", os.fspath(root / "gallery"), spoiled], root)
    broken, made = outcome(operations, root, scratch / "image", 150, 1, frozenset(EXPECTED[spoiled]))
    print(f"{spoiled}: {made} crash images of {len(operations)} operations, broken: {dict(broken)}")  # noqa: T201
    assert set(broken) >= EXPECTED[spoiled]
