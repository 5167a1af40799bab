"""Photos sorted into folders, or listed in 1:N manifests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.trials.table import HEADER_ROWS, encode, read_columns, refusal, repeats
from facesearch.evaluation.trials.types import PhotoSet, SearchTrials
from facesearch.names import is_folder, listed_path, path_text, person_name
from facesearch.types import is_photo_name
from facesearch.walking import is_gone, walk

UNKNOWN_SHARE = 0.5
"""The share of people that `split_people` keeps out of the gallery: as many strangers as members."""


def is_search_folder(root: Path) -> bool:
    """Whether `root` holds gallery/ and one of probe/ and unknown/ rather than people."""
    return _holds(root, "gallery") and (_holds(root, "probe") or _holds(root, "unknown"))


def _holds(root: Path, name: str) -> bool:
    return is_folder(root / name)


def read_people(root: Path) -> PhotoSet:
    """One folder per person, photos in it and below it; sorted by name.

    EvaluationError where there are none, and for folders that cannot be read: rates over the rest would be others.
    """
    return _photo_set(root, root, _photos_by_person(root))


def read_search_folders(root: Path) -> SearchTrials:
    """`gallery/<id>/`, `probe/<id>/` and `unknown/`: mated probes in probe/, people who are not enrolled in unknown/.

    unknown/ holds folders per person, or photos, each of which then counts as a person of its own. EvaluationError,
    naming the folders, for a person of probe/ who is not in gallery/ and one of unknown/ who is.
    """
    if root.is_dir() and not _holds(root, "gallery"):
        raise EvaluationError(
            f"{path_text(root)} holds no folders gallery/, probe/ and unknown/",
            "Add --split to make gallery and probes out of one folder per person, or name PROBES.",
        )
    gallery = _photo_set(root / "gallery", root, _photos_by_person(root / "gallery"))
    enrolled = set(gallery.subject_ids)
    probes = _photos_by_person(root / "probe") if _holds(root, "probe") else []
    strangers = _strangers(root / "unknown") if _holds(root, "unknown") else []
    _require_none(
        root,
        sorted({subject for subject, _ in probes} - enrolled),
        "people in probe/ who are not in gallery/",
        "Move people who are not enrolled to unknown/.",
    )
    _require_none(
        root,
        sorted({subject for subject, _ in strangers} & enrolled),
        "people in unknown/ who are in gallery/",
        "Move their photos to probe/.",
    )
    return SearchTrials(path_text(root), gallery, _photo_set(root, root, [*probes, *strangers]))


def read_strangers(root: Path) -> PhotoSet:
    """People who are not enrolled: folders per person, or photos, each of which counts as a person of its own."""
    return _photo_set(root, root, _strangers(root))


def _require_none(root: Path, people: Sequence[str], problem: str, hint: str) -> None:
    if people:
        raise refusal(str(root), problem, people, len(people), hint)


def _photos_below(root: Path) -> list[Path]:
    if is_gone(root):
        raise EvaluationError(f"{root}: is no folder", "Name a folder with photos in it.")
    found = walk(root)
    if found.unread:
        offenders = (f"{each.path}: {each.cause}" for each in found.unread)
        hint = "Give permission, or move them elsewhere."
        raise refusal(str(root), "folders that cannot be read", offenders, len(found.unread), hint)
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
    """A gallery and probes out of one folder per person, by a rule that `seed` fixes.

    The people are shuffled; the first `unknown_share` (0..1) of them stay out of the gallery, and all their photos are
    non-mated probes. Of everybody else one photo is drawn and enrolled, and the others are mated probes. Neither the
    order of the folders nor the photos of one person move what is drawn for another.
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
            f"{people.source}: {len(names):,} people with {len(people):,} photos make no gallery and probes",
            "At least two people, and some with two photos, are needed.",
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
    later, first = repeats(encode(images, {}))
    if later.size:
        offenders = (
            f"row {i + 1 + HEADER_ROWS} ({images[i]}{'' if subjects[i] == subjects[j] else ', for another person'}), "
            f"first in row {j + 1 + HEADER_ROWS}"
            for i, j in zip(later.tolist(), first.tolist(), strict=True)
        )
        raise refusal(str(path), "photos are listed twice", offenders, int(later.size), "Keep one row of each photo.")
    nameless = [i for i, subject in enumerate(subjects, 1 + HEADER_ROWS) if not subject.strip()]
    if nameless:
        raise refusal(str(path), "rows without a subject_id", (f"row {i}" for i in nameless), len(nameless))
    files = tuple(listed_path(root, image) for image in images)
    absent = [i for i, file in enumerate(files) if is_gone(file)]
    if absent:
        offenders = (f"row {i + 1 + HEADER_ROWS}: {images[i]}" for i in absent)
        hint = "Name the folder they are in with --photos DIR."
        raise refusal(str(path), "photos that are not there", offenders, len(absent), hint)
    templates, media = columns.get("template_id"), columns.get("media_id")
    return PhotoSet(
        path_text(path),
        files,
        tuple(images),
        tuple(subjects),
        tuple(templates) if templates else None,
        tuple(media) if media else None,
    )


def read_manifests(gallery: Path, probes: Path, photos: Path | None = None) -> SearchTrials:
    """A 1:N experiment of two manifests; a probe whose subject_id is not in the gallery's is a non-mated search.

    EvaluationError, by row, for a photo that is in both: it would find itself.
    """
    enrolled, searched = read_manifest(gallery, photos), read_manifest(probes, photos)
    return require_new_photos(SearchTrials(f"{enrolled.source} and {searched.source}", enrolled, searched), HEADER_ROWS)


def require_new_photos(trials: SearchTrials, header_rows: int = 0) -> SearchTrials:
    """The trials; EvaluationError, by row, where a photo is both enrolled and searched for: it would find itself."""
    row_of = {photo: i for i, photo in enumerate(trials.gallery.photos, 1 + header_rows)}
    shared = [(i, photo) for i, photo in enumerate(trials.probes.photos, 1 + header_rows) if photo in row_of]
    if shared:
        offenders = (f"row {i}, enrolled in row {row_of[photo]} ({photo.name})" for i, photo in shared)
        problem = f"probes that {Path(trials.gallery.source).name} enrolls"
        raise refusal(trials.probes.source, problem, offenders, len(shared))
    return trials
