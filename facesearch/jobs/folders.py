"""Photo folders without sub-folders: whether each is one person, told from its name or its photos."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.errors import ConfigError
from facesearch.jobs.sources import read_photo_bytes
from facesearch.names import person_name
from facesearch.recognition.quality import ENROLL_LIMITS, FacePolicy
from facesearch.store import subjects
from facesearch.store.subjects import clean_name
from facesearch.walking import is_system_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from facesearch.jobs.parts import Parts
    from facesearch.jobs.sources import Source, Sources

SAMPLE: Final = 12
"""Photos of a folder that are compared with each other, evenly spread over it."""


def settle_folders(sources: Sources, parts: Parts, faces: FacePolicy, threshold: Callable[[], float]) -> list[Source]:
    """Return the photos to enroll, those of each folder without sub-folders as one person, named after the folder.

    Such a folder is one person where somebody is enrolled under its name, or where its photos agree with each other: up
    to 12 of them are compared, and each matches another at the threshold in force, so that all are linked. (Of 60 LFW
    folders of one person 52 agree so, where three quarters of all pairs match in 48; of 300 mixtures of two people none
    does, where 17 do by pairs.) Where several folders beside each other are given, it is enough that half of the photos
    are linked, or that there are too few to compare. Where all folders of a parent are given, as a shell does for
    `people/*`, each is a person, as if the parent was given. Photos of which `--as`, a manifest or a parent folder says
    whom they show need no decision.

    Raises `ConfigError` for a folder of which it is unclear. Nothing is written.
    """
    _require_people_where_they_are_looked_for(sources, parts, faces, threshold)
    undecided: dict[Path, list[Path]] = {folder: [] for folder in sources.flat}
    for item in sources.items:
        if not item.said and item.path.parent in undecided:
            undecided[item.path.parent].append(item.path)
    undecided = {folder: photos for folder, photos in undecided.items() if photos}
    if not undecided:
        return sources.items
    families = _families(sources.flat)
    whole = {parent for parent, names in families.items() if _is_whole(parent, names)}
    known = _known(undecided, parts)
    for folder, photos in undecided.items():
        if not _can_be_a_person(folder):
            raise _unclear(f"The name of {folder} cannot be a person's name.")
        if folder not in known and folder.parent not in whole:
            lenient = len(families[folder.parent]) > 1
            _require_one_person(folder, photos, parts, faces, threshold, lenient=lenient)
    return [
        replace(item, subject=person_name(item.path.parent.name), said=True)
        if not item.said and item.path.parent in undecided
        else item
        for item in sources.items
    ]


def _require_people_where_they_are_looked_for(
    sources: Sources, parts: Parts, faces: FacePolicy, threshold: Callable[[], float]
) -> None:
    """Raise `ConfigError` for the folder above a folder of people: everybody would become one person.

    Its photos lie in the sub-folders of sub-folders only, and those of one sub-folder are not one person's: fewer than
    half of them are linked by matches.
    """
    people: dict[Path, list[Path]] = {}
    for folder in sources.deep:
        for item in sources.items:
            if item.path.is_relative_to(folder):
                people.setdefault(folder / item.path.relative_to(folder).parts[0], []).append(item.path)
    several = {each: photos for each, photos in people.items() if len({photo.parent for photo in photos}) > 1}
    for folder in several.keys() - _known(several, parts):
        scores = _scores_within(_sample(several[folder]), parts, faces)
        if len(scores) > 1 and 2 * max(_groups(scores >= threshold())) < len(scores):
            raise ConfigError(
                f"The folders in {folder} show several people, who would all be enrolled as {folder.name}.",
                f"Give {folder} itself, or --as NAME if they show one person.",
            )


def _known(folders: Collection[Path], parts: Parts) -> set[Path]:
    """Those of the folders under whose names people are enrolled."""
    if not parts.has_gallery:
        return set()
    names = {folder: clean_name(person_name(folder.name)) for folder in folders if _can_be_a_person(folder)}
    ids = parts.gallery.read(subjects.ids_by_name, list(names.values()))
    return {folder for folder, name in names.items() if name in ids}


def _families(folders: Collection[Path]) -> dict[Path, set[str]]:
    """The names of the folders by their parents."""
    families: defaultdict[Path, set[str]] = defaultdict(set)
    for folder in folders:
        families[folder.parent].add(folder.name)
    return families


def _is_whole(parent: Path, names: Collection[str]) -> bool:
    """Whether several folders of that parent were given, and none was left out."""
    return len(names) > 1 and _folders_in(parent) <= set(names)


def _folders_in(parent: Path) -> set[str]:
    try:
        with os.scandir(parent) as entries:
            return {entry.name for entry in entries if not is_system_name(entry.name) and entry.is_dir()}
    except OSError:
        return {""}  # nobody knows, and no folder is called so


def _can_be_a_person(folder: Path) -> bool:
    """Whether a folder's name can be a person's; hidden folders and the root of a disk are nobody."""
    try:
        clean_name(person_name(folder.name))
    except ConfigError:
        return False
    return not folder.name.startswith(".")


def _require_one_person(
    folder: Path,
    photos: Sequence[Path],
    parts: Parts,
    faces: FacePolicy,
    threshold: Callable[[], float],
    *,
    lenient: bool,
) -> None:
    """Raise `ConfigError` unless the folder is one person.

    `lenient` asks for half of the photos to agree, and for none where too few can be compared.
    """
    scores = _scores_within(_sample(photos), parts, faces)
    if len(scores) < 2:
        if lenient:
            return
        raise _unclear(f"{folder} has too few photos with a usable face to tell whether it is one person.")
    at = threshold()
    groups = _groups(scores >= at)
    if len(groups) > 1 and not (lenient and 2 * max(groups) >= len(scores)):
        raise _unclear(
            f"The photos in {folder} do not agree on one person: at {at:g} they fall into {len(groups)} groups "
            "that match among themselves."
        )


def _groups(matching: NDArray[np.bool_]) -> list[int]:
    """How many photos are in each group of linked ones, given which pairs (n, n) match."""
    from scipy.sparse.csgraph import connected_components

    _, labels = connected_components(matching, directed=False)
    return [int(count) for count in np.bincount(labels)]


def _unclear(message: str) -> ConfigError:
    return ConfigError(
        message, "Give --as NAME if they show one person, or --one-per-file if each shows the person it is named after."
    )


def _sample(photos: Sequence[Path]) -> list[Path]:
    """Up to `SAMPLE` of the photos, the first and the last among them, evenly spread."""
    if len(photos) <= SAMPLE:
        return list(photos)
    return [photos[round(position)] for position in np.linspace(0, len(photos) - 1, SAMPLE)]


def _scores_within(photos: Sequence[Path], parts: Parts, faces: FacePolicy) -> NDArray[np.float32]:
    """Cosines (n, n) between the photos that have a usable face."""
    policy = FacePolicy.LARGEST if faces is FacePolicy.ALL else faces
    many = photos if len(photos) > 1 else ()
    encoded = parts.extractor.extract_many(many, read_photo_bytes, policy=policy, limits=ENROLL_LIMITS)
    vectors = [photo.templates[0].vector for photo in encoded if photo.templates]
    stacked = np.array(vectors, np.float32).reshape(len(vectors), -1 if vectors else 1)
    return stacked @ stacked.T
