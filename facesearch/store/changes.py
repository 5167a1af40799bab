"""What an enrolment changes: carrying changes out in the database, and noting their effect on templates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import numpy as np

from facesearch.arguments import require_unit_vectors
from facesearch.errors import GalleryError, ModelMismatchError
from facesearch.store import decisions, photos, subjects
from facesearch.store.decisions import RefusedPhoto
from facesearch.store.photos import MovedPhoto, NewPhoto, StoredPhoto
from facesearch.types import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import Connection

    from facesearch.store.journal import Entry
    from facesearch.types import ModelInfo, Vector

_SAYS_NOTHING: Final = {Reason.UNREADABLE, Reason.INACCESSIBLE, Reason.MODEL_FAILURE}
"""Refusals that do not tell what a file holds."""

Change: TypeAlias = NewPhoto | MovedPhoto | RefusedPhoto


class Effect:
    """What a transaction did to the templates, for an index to take over."""

    def __init__(self) -> None:
        self.removed: list[int] = []
        """Template ids."""
        self.added: list[tuple[int, int, Vector]] = []
        """(template id, checksum, vector)."""
        self.model_row: int | None = None
        """Whose templates were added."""
        self.is_known = True
        """Whether `removed` and `added` are all."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one change."""

    template_ids: tuple[int, ...] = ()
    """Of the photo that the change concerns."""
    twin: StoredPhoto | None = None
    """Where a new photo's content is enrolled for the same subject already: that photo. Nothing was changed then."""
    kept_attributes: tuple[str, ...] = ()
    """Attributes whose value stays as a person set it, although the source says another."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What one transaction of an enrolment did."""

    applied: list[Applied]
    """What became of each change."""
    run: int | None
    """The journal's entry of the run, where anything can be undone."""


def apply_changes(
    connection: Connection,
    changes: Sequence[Change],
    active: tuple[int, ModelInfo] | None,
    effect: Effect,
    entry: Entry,
) -> list[Applied]:
    """Carry out changes in their order; returns what became of each.

    `active` is the model with its row id; `entry` notes what can be undone. Raises `GalleryError` for templates that
    cannot be kept.
    """
    photos.vacate(connection, [change for change in changes if isinstance(change, MovedPhoto)])
    applied: list[Applied] = []
    for run in _runs(changes):
        match run[0]:
            case NewPhoto():
                applied += _enroll(connection, cast("Sequence[NewPhoto]", run), active, effect, entry)
            case RefusedPhoto():
                applied += _refuse(connection, cast("Sequence[RefusedPhoto]", run), effect)
            case MovedPhoto():
                applied += [_move(connection, each, effect, entry) for each in cast("Sequence[MovedPhoto]", run)]
    return applied


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


def _refuse(connection: Connection, refused: Sequence[RefusedPhoto], effect: Effect) -> list[Applied]:
    """Remember refusals. A photo that was enrolled from the same path goes where the file has another content now.

    It stays where the file cannot be read: it may be half written.
    """
    decisions.remember_rejections(connection, [each for each in refused if each.remembered])
    contents = {
        each.path: each.rejection.sha256
        for each in refused
        if each.rejection.sha256 is not None and each.rejection.rejection.reason not in _SAYS_NOTHING
    }
    enrolled = photos.find_photos(connection, list(contents)).values() if contents else ()
    replaced = [each.file.path for each in enrolled if each.file.sha256 != contents[each.file.path]]
    effect.removed += photos.remove_photos(connection, replaced)
    return [Applied()] * len(refused)


def _move(connection: Connection, moved: MovedPhoto, effect: Effect, entry: Entry) -> Applied:
    (subject_id,) = subjects.ensure_subjects(connection, [moved.subject])
    kept = subjects.say_attributes(connection, subject_id, moved.attributes, entry) if moved.attributes else []
    twin = photos.find_copies(connection, [(moved.stored.file.sha256, subject_id)]).get(
        (moved.stored.file.sha256, subject_id)
    )
    if twin is not None and twin.photo_id != moved.stored.photo_id:  # that person has the photo already
        effect.removed += photos.drop_copy(connection, moved, subject_id, entry)
        return Applied(twin.template_ids, twin, tuple(kept))
    effect.removed += photos.move_photo(connection, moved, subject_id, entry)
    return Applied(moved.stored.template_ids, kept_attributes=tuple(kept))


def _enroll(
    connection: Connection,
    new: Sequence[NewPhoto],
    active: tuple[int, ModelInfo] | None,
    effect: Effect,
    entry: Entry,
) -> list[Applied]:
    if active is None:
        raise GalleryError("Templates arrived before a model was adopted.", "Adopt the model first.")
    vectors = {photo: _storable_vectors(photo, active[1]) for photo in new}
    require_unit_vectors(np.array([v for each in vectors.values() for v in each], np.float32), active[1].dimension)
    owners = subjects.ensure_subjects(connection, [photo.subject for photo in new])
    contents = [(photo.file.sha256, owner) for photo, owner in zip(new, owners, strict=True)]
    # Another process may have enrolled the same photo meanwhile, or this transaction has it twice.
    twins = photos.find_copies(connection, contents)
    fresh: dict[tuple[str, int], NewPhoto] = {}
    for content, photo in zip(contents, new, strict=True):
        if content not in twins:
            fresh.setdefault(content, photo)
    effect.removed += photos.remove_photos(connection, [photo.file.path for photo in fresh.values()])
    effect.removed += photos.remove_copies(connection, fresh)
    keys = photos.insert_photos(connection, list(fresh.values()), [owner for _, owner in fresh], active[0])
    effect.model_row = active[0]
    ids: dict[NewPhoto, tuple[int, ...]] = {}
    for photo, of_photo in zip(fresh.values(), keys, strict=True):
        effect.added += [(*key, vector) for key, vector in zip(of_photo, vectors[photo], strict=True)]
        ids[photo] = tuple(template_id for template_id, _ in of_photo)
    by_path = {photo.file.path: keys[0] for photo, keys in ids.items()}
    for photo in ids:
        if isinstance(photo.conflict, Path) and photo.conflict in by_path:
            photos.note_conflict(connection, photo.file.path, by_path[photo.conflict])
    copies = [c for c, photo in zip(contents, new, strict=True) if photo not in ids and c not in twins]
    twins |= photos.find_copies(connection, copies) if copies else {}
    said = _say(connection, new, owners, entry)
    return [
        Applied(ids[photo], None, said.get(owner, ()))
        if photo in ids
        else Applied(twins[content].template_ids, twins[content], said.get(owner, ()))
        for content, photo, owner in zip(contents, new, owners, strict=True)
    ]


def _say(
    connection: Connection, new: Sequence[NewPhoto], owners: Sequence[int], entry: Entry
) -> dict[int, tuple[str, ...]]:
    """Take what the sources say of their subjects; by subject id the attributes that stay as a person set them."""
    given: dict[int, dict[str, str]] = {}
    for photo, owner in zip(new, owners, strict=True):
        if photo.attributes:
            given.setdefault(owner, {}).update(photo.attributes)
    return {owner: tuple(subjects.say_attributes(connection, owner, each, entry)) for owner, each in given.items()}


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
