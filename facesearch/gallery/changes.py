"""What an enrolment changes: carrying a change out in the database, and what that does to the index."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

from facesearch.errors import GalleryError, ModelMismatchError
from facesearch.gallery import photos, rejections, subjects
from facesearch.gallery.index.base import require_unit_vectors
from facesearch.gallery.photos import MovedPhoto, NewPhoto
from facesearch.gallery.rejections import RefusedPhoto

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from facesearch.gallery.live_index import LiveIndex
    from facesearch.gallery.revisions import Revision
    from facesearch.types import ModelInfo, Vector

Change: TypeAlias = NewPhoto | MovedPhoto | RefusedPhoto


class Effect:
    """What a transaction did to the templates, for the index to take over."""

    def __init__(self) -> None:
        self.removed: list[int] = []
        """Template ids."""
        self.added: list[tuple[int, int, Vector]] = []
        """(template id, checksum, vector)."""
        self.model_row: int | None = None
        """Whose templates were added."""

    def take_over(self, live: LiveIndex, before: Revision, after: Revision) -> None:
        """Bring an index to its own state with this transaction, which began at `before` and ends at `after`.

        What others committed meanwhile, it lacks as before. An index that could not be told apart, or that is of
        another model than others have made the active one meanwhile, stays as it is.
        """
        revision = live.revision and live.revision.with_change(before, after)
        if revision is None or self.model_row not in {None, live.model_row}:
            return
        live.forget(np.array(self.removed, np.int64))
        removed = set(self.removed)
        added = [row for row in self.added if row[0] not in removed]  # one commit may name a path twice
        if added:
            ids = np.array([row[0] for row in added], np.int64)
            checksums = np.array([row[1] for row in added], np.uint32)
            live.add(ids, checksums, np.array([row[2] for row in added], np.float32))
        live.revision = revision


def apply_changes(
    connection: Connection, changes: Sequence[Change], active: tuple[int, ModelInfo] | None, effect: Effect
) -> list[tuple[int, ...]]:
    """Carry out changes in their order; returns the template ids that each concerns.

    `active` is the model with its row id. Raises `GalleryError` for templates that cannot be kept.
    """
    ids: list[tuple[int, ...]] = []
    for run in _runs(changes):
        match run[0]:
            case NewPhoto():
                ids += _enroll(connection, cast("Sequence[NewPhoto]", run), active, effect)
            case RefusedPhoto():
                rejections.remember_rejections(connection, cast("Sequence[RefusedPhoto]", run))
                ids += [()] * len(run)
            case MovedPhoto():
                ids += [_move(connection, each, effect) for each in cast("Sequence[MovedPhoto]", run)]
    return ids


def _runs(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    """Changes of one kind that follow each other, each at another path: what can be done at once."""
    run: list[Change] = []
    paths: set[Path] = set()
    for change in changes:
        path = change.path if isinstance(change, RefusedPhoto) else change.file.path
        if run and (type(change) is not type(run[0]) or path in paths):
            yield run
            run, paths = [], set()
        run.append(change)
        paths.add(path)
    if run:
        yield run


def _move(connection: Connection, moved: MovedPhoto, effect: Effect) -> tuple[int, ...]:
    (subject_id,) = subjects.ensure_subjects(connection, [(moved.subject, moved.attributes)])
    effect.removed += photos.move_photo(connection, moved, subject_id)
    return moved.stored.template_ids


def _enroll(
    connection: Connection, new: Sequence[NewPhoto], active: tuple[int, ModelInfo] | None, effect: Effect
) -> list[tuple[int, ...]]:
    if active is None:
        raise GalleryError("Templates arrived before a model was adopted.", "Adopt the model first.")
    vectors = [vector for photo in new for vector in _storable_vectors(photo, active[1])]
    require_unit_vectors(np.array(vectors, np.float32), active[1].dimension)
    subject_ids = subjects.ensure_subjects(connection, [(photo.subject, photo.attributes) for photo in new])
    effect.removed += photos.remove_photos(connection, [photo.file.path for photo in new])
    keys = photos.insert_photos(connection, new, subject_ids, active[0])
    together = [key for of_photo in keys for key in of_photo]
    effect.model_row = active[0]
    effect.added += [(*key, vector) for key, vector in zip(together, vectors, strict=True)]
    return [tuple(template_id for template_id, _ in of_photo) for of_photo in keys]


def _storable_vectors(photo: NewPhoto, model: ModelInfo) -> list[Vector]:
    """The vectors of a photo's templates; `GalleryError` unless there are some and all are of the gallery's model."""
    if not photo.templates:
        raise GalleryError(f"{photo.file.path} comes without a face.", "Enroll photos with at least one face.")
    for template in photo.templates:
        if template.model_id != model.model_id:
            raise ModelMismatchError(
                f"The gallery holds templates of {model.model_id}, not of {template.model_id}.",
                "Use the model pack that the gallery was made with.",
            )
        if template.vector.shape != (model.dimension,):
            require_unit_vectors(template.vector[None], model.dimension)  # says what is wrong
    return [template.vector for template in photo.templates]
