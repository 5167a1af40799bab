"""What an enrolment changes: carrying a change out in the database, and what that does to the index."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from facesearch.errors import GalleryError, ModelMismatchError
from facesearch.gallery import photos, subjects
from facesearch.gallery.index.base import require_unit_vectors
from facesearch.gallery.photos import MovedPhoto, NewPhoto, RefusedPhoto

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from facesearch.gallery.live_index import LiveIndex
    from facesearch.types import ModelInfo, Vector

Change: TypeAlias = NewPhoto | MovedPhoto | RefusedPhoto


class Effect:
    """What a transaction did to the templates, for the index to take over."""

    def __init__(self) -> None:
        self.removed: list[int] = []
        """Template ids."""
        self.added: list[tuple[int, int, Vector]] = []
        """(template id, checksum, vector)."""

    def take_over(self, live: LiveIndex, token: bytes) -> None:
        """Bring an index, which equals the database before the transaction, to the state after it."""
        live.forget(np.array(self.removed, np.int64))
        removed = set(self.removed)
        added = [row for row in self.added if row[0] not in removed]  # one commit may name a path twice
        if added:
            ids = np.array([row[0] for row in added], np.int64)
            checksums = np.array([row[1] for row in added], np.uint32)
            live.add(ids, checksums, np.array([row[2] for row in added], np.float32))
        live.token = token


def apply_change(
    connection: Connection, change: Change, active: tuple[int, ModelInfo] | None, effect: Effect
) -> tuple[int, ...]:
    """Carry out one change; returns the template ids it concerns. `active` is the model with its row id.

    Raises `GalleryError` for templates that cannot be kept.
    """
    if isinstance(change, RefusedPhoto):
        photos.remember_rejection(connection, change)
        return ()
    subject_id = subjects.ensure_subject(connection, change.subject, change.attributes)
    if isinstance(change, MovedPhoto):
        effect.removed += photos.move_photo(connection, change, subject_id)
        return change.stored.template_ids
    if active is None:
        raise GalleryError("Templates arrived before a model was adopted.", "Adopt the model first.")
    vectors = _storable_vectors(change, active[1])
    effect.removed += photos.remove_photos(connection, [change.file.path])
    keys = photos.insert_photo(connection, change, subject_id, active[0])
    effect.added += [(*key, vector) for key, vector in zip(keys, vectors, strict=True)]
    return tuple(template_id for template_id, _ in keys)


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
        require_unit_vectors(template.vector[None], model.dimension)
    return [template.vector for template in photo.templates]
