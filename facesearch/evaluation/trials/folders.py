"""Photos sorted into folders, or listed in 1:N manifests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.trials.table import HEADER_ROWS, read_columns, refuse, refuse_absent, repeated
from facesearch.evaluation.trials.types import PhotoSet, SearchTrials
from facesearch.names import is_folder, listed_path, path_text, person_name
from facesearch.walking import is_gone, is_photo_name, walk

UNKNOWN_SHARE = 0.5
"""The share of people that `split_people` keeps out of the gallery: as many strangers as members."""


def is_search_folder(root: Path) -> bool:
    """Whether `root` holds gallery/ and one of probe/ and unknown/ rather than people."""
    return _holds(root, "gallery") and (_holds(root, "probe") or _holds(root, "unknown"))


def _holds(root: Path, name: str) -> bool:
    return is_folder(root / name)


def read_people(root: Path) -> PhotoSet:
    """Read one folder per person, photos in it and below it; sorted by name.

    EvaluationError where there are none, and for folders that cannot be read: the rates would change without them.
    """
    return _photo_set(root, root, _photos_by_person(root))


def read_search_folders(root: Path) -> SearchTrials:
    """`gallery/<id>/`, `probe/<id>/` and `unknown/`: mated probes in probe/, people who are not enrolled in unknown/.

    unknown/ holds folders per person, or photos, each of which then counts as a person of its own. EvaluationError,
    naming the folders, for a person of probe/ who is not in gallery/ and one of unknown/ who is.
    """
    _require_there(root)
    if root.is_dir() and not _holds(root, "gallery"):
        raise EvaluationError(
            f"{path_text(root)}: found no folders gallery/, probe/ and unknown/",
            "Add --split to make gallery and probes out of one folder per person, or name PROBES.",
        )
    gallery = _photo_set(root / "gallery", root, _photos_by_person(root / "gallery"))
    enrolled = set(gallery.subject_ids)
    probes = _photos_by_person(root / "probe") if _holds(root, "probe") else []
    strangers = _strangers(root / "unknown") if _holds(root, "unknown") else []
    absent = sorted({subject for subject, _ in probes} - enrolled)
    refuse(root, "people in probe/ who are not in gallery/", absent, "Move people who are not enrolled to unknown/.")
    known = sorted({subject for subject, _ in strangers} & enrolled)
    refuse(root, "people in unknown/ who are in gallery/", known, "Move their photos to probe/.")
    return SearchTrials(path_text(root), gallery, _photo_set(root, root, [*probes, *strangers]))


def read_strangers(root: Path) -> PhotoSet:
    """People who are not enrolled: folders per person, or photos, each of which counts as a person of its own."""
    return _photo_set(root, root, _strangers(root))


def _require_there(root: Path) -> None:
    if is_gone(root):
        raise EvaluationError(f"{root}: there is no such folder", "Name a folder with photos in it.")


def _photos_below(root: Path) -> list[Path]:
    _require_there(root)
    found = walk(root)
    unread = [f"{each.path}: {each.cause}" for each in found.unread]
    refuse(root, "folders that cannot be read", unread, "Give permission, or move them elsewhere.")
    return sorted(path for path in found.files if is_photo_name(path))


def _photos_by_person(root: Path) -> list[tuple[str, Path]]:
    below = (photo for photo in _photos_below(root) if photo.parent != root)
    return [(person_name(photo.relative_to(root).parts[0]), photo) for photo in below]


def _strangers(root: Path) -> list[tuple[str, Path]]:
    loose = [(path_text(f"unknown/{photo.name}"), photo) for photo in _photos_below(root) if photo.parent == root]
    return loose + _photos_by_person(root)


def _photo_set(source: Path, root: Path, found: Sequence[tuple[str, Path]]) -> PhotoSet:
    if not found:
        raise EvaluationError(f"{source}: holds no photos", "It needs one folder per person, with photos in it.")
    return PhotoSet(
        path_text(source),
        tuple(photo for _, photo in found),
        tuple(path_text(photo.relative_to(root).as_posix()) for _, photo in found),
        tuple(subject for subject, _ in found),
    )


def split_people(people: PhotoSet, seed: int, unknown_share: float = UNKNOWN_SHARE) -> SearchTrials:
    """Make a gallery and probes out of one folder per person, by a rule that `seed` fixes.

    The people are shuffled. The first `unknown_share` (0..1) of them stay out of the gallery; all their photos are non-
    mated probes. Of everybody else one drawn photo is enrolled, and the others are mated probes. What is drawn for one
    person depends neither on the order of the folders nor on the photos of others.
    """
    photos: dict[str, list[int]] = {}
    for i, subject in enumerate(people.subject_ids):
        photos.setdefault(subject, []).append(i)
    random = np.random.default_rng(seed)
    order = random.permutation(len(photos))
    draws = random.random(len(photos))
    names = sorted(photos)
    strangers = {names[i] for i in order[: round(unknown_share * len(names))].tolist()}
    enrolled: list[int] = []
    searched: list[int] = []
    for name, draw in zip(names, draws.tolist(), strict=True):
        theirs = photos[name]
        chosen = None if name in strangers else theirs[int(draw * len(theirs))]
        enrolled.extend([] if chosen is None else [chosen])
        searched.extend(i for i in theirs if i != chosen)
    if not enrolled or not searched:
        raise EvaluationError(
            f"{people.source}: {len(names):,} people with {len(people):,} photos are too few to split",
            "Give at least two people, and two photos of some of them.",
        )
    return SearchTrials(people.source, _subset(people, enrolled), _subset(people, searched))


def _subset(people: PhotoSet, rows: Sequence[int]) -> PhotoSet:
    return PhotoSet(
        people.source,
        tuple(people.photos[i] for i in rows),
        tuple(people.names[i] for i in rows),
        tuple(people.subject_ids[i] for i in rows),
    )


def read_manifest(path: Path, photos: Path | None = None) -> PhotoSet:
    """CSV `image,subject_id[,template_id,media_id]`; paths are relative to `photos`, or to the CSV's own folder.

    EvaluationError, by row, for a photo listed twice, an empty subject id, and photos that are not there.
    """
    columns = read_columns(path, ("image", "subject_id"), ("template_id", "media_id"))
    root = path.parent if photos is None else photos
    images, subjects = columns["image"], columns["subject_id"]
    twice = [
        f"row {i + 1 + HEADER_ROWS} ({images[i]}{'' if subjects[i] == subjects[j] else ', for another person'}), "
        f"first in row {j + 1 + HEADER_ROWS}"
        for i, j in repeated(images)
    ]
    refuse(path, "photos are listed twice", twice, "Keep one row of each photo.")
    nameless = [f"row {i}" for i, subject in enumerate(subjects, 1 + HEADER_ROWS) if not subject.strip()]
    refuse(path, "rows without a subject_id", nameless)
    files = tuple(listed_path(root, image) for image in images)
    refuse_absent(path, zip(range(1 + HEADER_ROWS, len(files) + 1 + HEADER_ROWS), images, files, strict=True))
    templates, media = columns.get("template_id"), columns.get("media_id")
    groups = (tuple(column) if column else None for column in (templates, media))
    return PhotoSet(path_text(path), files, tuple(images), tuple(subjects), *groups)


def read_manifests(gallery: Path, probes: Path, photos: Path | None = None) -> SearchTrials:
    """A 1:N experiment of two manifests; a probe whose subject_id is not in the gallery's is a non-mated search.

    EvaluationError, by row, for a photo that is in both: it would find itself.
    """
    enrolled, searched = read_manifest(gallery, photos), read_manifest(probes, photos)
    return require_new_photos(SearchTrials(f"{enrolled.source} and {searched.source}", enrolled, searched), HEADER_ROWS)


def require_new_photos(trials: SearchTrials, header_rows: int = 0) -> SearchTrials:
    """The trials; EvaluationError, by row, where a photo is both enrolled and searched for: it would find itself."""
    row_of = {photo: i for i, photo in enumerate(trials.gallery.photos, 1 + header_rows)}
    shared = [
        f"row {i}, enrolled in row {row_of[photo]} ({photo.name})"
        for i, photo in enumerate(trials.probes.photos, 1 + header_rows)
        if photo in row_of
    ]
    refuse(trials.probes.source, f"probes that {Path(trials.gallery.source).name} enrolls", shared)
    return trials
