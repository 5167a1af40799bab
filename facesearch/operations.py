"""What one can do with a gallery, here or behind a server: the base of `FaceSearch` and `Client`.

People are named by name, alias or id. Every operation raises a `FaceSearchError`; the ones that say more are named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from PIL.Image import Image as PillowImage

    from facesearch.corrections import JournalEntry
    from facesearch.evaluation.calibration import Calibration
    from facesearch.types import (
        Comparison,
        EnrolledPhoto,
        EnrollOutcome,
        Face,
        Finding,
        Pixels,
        SearchResult,
        Subject,
        Threshold,
    )

Image: TypeAlias = "Path | str | bytes | Pixels | PillowImage"
"""A photo: a path, the bytes of a file, pixels (height, width, 3) uint8, RGB and upright, or an image of Pillow, whose
EXIF orientation is applied."""


class Operations(Protocol):
    """Operations on one gallery. As a context manager it is closed at the end."""

    def __enter__(self) -> Self:
        self.require_open()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def require_open(self) -> None:
        """Raise `ConfigError` once this is closed."""

    def close(self) -> None:
        """Close what is open. Closing again does nothing; any other use raises `ConfigError` from then on."""

    # -- probes

    def detect(self, image: Image) -> list[Face]:
        """Return all faces of a photo, best detection first. Raises `PhotoError`."""

    def identify(
        self,
        image: Image,
        *,
        k: int = 5,
        where: Mapping[str, str] | None = None,
        margin: float | None = None,
        degraded: bool = False,
        threshold: float | None = None,
    ) -> list[SearchResult]:
        """Search every face of a photo among everybody enrolled.

        There is one result per face, best detection first, or one `unusable` result for a photo without any. `k` people
        at most come back per face; `where` limits the search to people with these attributes. A runner-up closer than
        `margin` (cosine) makes a match ambiguous. `threshold` replaces the one in force. With `degraded`, the newest
        templates are searched while the vector database is down, and results say whether they are `complete`.
        """

    def verify(self, a: Image, b: Image, *, faces: str = "single", threshold: float | None = None) -> Comparison:
        """Compare the faces of two photos 1:1.

        `faces`: `single` (one face, or one that dominates) or `largest`. Raises `PhotoError`, `NoFaceError` or
        `MultipleFacesError`.
        """

    # -- enrolment

    def enroll(
        self,
        photos: Sequence[Path | str] | Path | str,
        *,
        subject: str,
        faces: str = "single",
        strict: bool = False,
        bring_back_erased: bool = False,
    ) -> Iterator[EnrollOutcome]:
        """Enroll photo files as one person; an outcome is yielded when it is on disk.

        `faces`: `single`, `largest` or `all`. `strict` rejects photos that match another person.
        `bring_back_erased` also enrolls people who were forgotten.
        """

    # -- people

    def subjects(self, where: Mapping[str, str] | None = None, *, search: str | None = None) -> list[Subject]:
        """Return everybody by name, or those with these attributes, or with this part of a name or alias."""

    def subject(self, who: str | int) -> Subject:
        """Return one person. Raises `UnknownSubjectError`."""

    def photos_of_subject(self, who: str | int) -> list[EnrolledPhoto]:
        """Return the enrolled photos of a person."""

    def rename_subject(self, who: str | int, new: str) -> Subject:
        """Give a person another name; the old one stays as an alias. Raises `SubjectExistsError`."""

    def merge_subjects(self, source: str | int, target: str | int) -> Subject:
        """Make `source`'s photos `target`'s, and `source`'s names its aliases."""

    def set_attributes(self, who: str | int, changes: Mapping[str, str | None]) -> Subject:
        """Change a person's attributes; None removes one."""

    def add_alias(self, who: str | int, name: str) -> Subject:
        """Let folders, manifests and people find a person by another name. Raises `SubjectExistsError`."""

    def remove_alias(self, who: str | int, name: str) -> Subject:
        """Take another name from a person. Raises `ConfigError` where it is none."""

    def move_photo(self, photo_id: int, who: str | int, *, create: bool = False) -> Subject:
        """Say that an enrolled photo shows this person; `create` makes one of that name where there is none."""

    def confirm_photo(self, photo_id: int) -> None:
        """Say that an enrolled photo shows the person it is enrolled as."""

    def remove_photo(self, who: str | int, photo_id: int) -> int:
        """Remove a person's photo; returns how many templates went. `undo` brings it back."""

    def remove_subject(self, who: str | int) -> Subject:
        """Remove a person with all photos; returns the person as it was. `undo` brings it back for 30 days."""

    def forget(self, who: Sequence[str | int]) -> dict[str, Any]:
        """Erase people from gallery, caches and restored backups; returns the receipt, as JSON values.

        Raises `UnknownSubjectError` before anything is changed. The receipt holds names, no biometric data; `clean`
        says whether the scan of all files found nothing.
        """

    # -- corrections

    def history(self, *, last: int | None = None, who: str | int | None = None) -> list[JournalEntry]:
        """Return corrections, newest first: the last n, or those that concern a person, who may have been removed."""

    def undo(self, entry_id: int | None = None) -> JournalEntry:
        """Put back exactly what a correction changed, by default the newest; returns it. Raises `UndoError`.

        Faces that come back with templates of another model are found once `enroll` or `reembed` has made new ones.
        """

    # -- the gallery

    @property
    def threshold(self) -> Threshold:
        """The similarity threshold in force and where it comes from."""

    @property
    def threshold_warning(self) -> str | None:
        """Why the threshold in force no longer holds what it promises, or None."""

    @property
    def calibration(self) -> Calibration | None:
        """The gallery's calibration, or None."""

    @property
    def evaluations(self) -> dict[str, dict[str, Any]]:
        """The newest evaluations with the gallery's model by kind, as `evaluation.report.digest` makes them."""

    def counts(self) -> dict[str, int]:
        """Return how many subjects, photos, faces, templates of the model in use and refused photos there are."""

    def describe(self) -> dict[str, Any]:
        """Return what `facesearch info` prints: gallery, counts, model, threshold and index, as JSON values."""

    def check(self) -> Iterator[Finding]:
        """Prove that database, templates, index, photos and models agree."""
