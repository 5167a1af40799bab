"""One flipped bit in a gallery's database: what a reader would see, and whether `check` notices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from facesearch.errors import FaceSearchError
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import models, subjects
from facesearch.store import photos as stored_photos
from facesearch.store.sqlite import DATABASE_NAME
from tests.store.makers import MODEL, enroll, make_gallery, units

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PEOPLE = 12


@dataclass(frozen=True)
class View:
    """What a gallery says; None where it refuses with an error."""

    search: object
    where: object
    subjects: object
    photos: object
    model: object
    calibration: object

    def differs(self, truth: View) -> set[str]:
        """The parts in which it says something else than the truth, without an error."""
        names = ("search", "where", "subjects", "photos", "model", "calibration")
        return {name for name in names if getattr(self, name) not in (None, getattr(truth, name))}


def sound_database(folder: Path) -> bytes:
    """The bytes of the database of a small gallery."""
    with make_gallery(folder) as gallery:
        for person in range(PEOPLE):
            seeds = range(person * 5, person * 5 + 5)
            enroll(gallery, f"person {person}", *seeds, attributes={"team": "red" if person % 2 else "blue"})
        gallery.write(models.put_calibration, {"threshold": 0.5, "basis": "measured"}, MODEL)
    return (folder / DATABASE_NAME).read_bytes()


def look(gallery: Gallery) -> View:
    queries = units(77, 6)
    names = [f"person {person}" for person in range(0, PEOPLE, 4)]
    return View(
        search=_said(lambda: gallery.search(queries, 3)),
        where=_said(lambda: gallery.search(queries, 3, {"team": "red"})),
        subjects=_said(lambda: gallery.read(subjects.list_subjects)),
        photos=_said(lambda: [gallery.read(stored_photos.photos_of_subject, name) for name in names]),
        model=_said(gallery.model),
        calibration=_said(lambda: gallery.read(models.calibration)),
    )


def _said(question: Callable[[], object]) -> object:
    try:
        return question()
    except FaceSearchError:
        return None


@dataclass(frozen=True)
class Verdict:
    opened: bool
    altered: set[str]
    noticed: bool


def judge(folder: Path, database: bytes, truth: View) -> Verdict:
    """Put the bytes in place, without a cache, and look. Whatever is raised but `FaceSearchError` is a crash."""
    for path in folder.iterdir():
        path.unlink()
    (folder / DATABASE_NAME).write_bytes(database)
    try:
        gallery = Gallery.open(folder)
    except FaceSearchError:
        return Verdict(opened=False, altered=set(), noticed=True)
    with gallery:
        altered = look(gallery).differs(truth)
        noticed = not all(finding.ok for finding in check_gallery(gallery))
    return Verdict(opened=True, altered=altered, noticed=noticed)
