"""Vectors and names that no gallery may take, on every way in."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from facesearch.errors import ConfigError, CorruptGalleryError, GalleryError
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import erasure, people, subjects
from facesearch.store.backups import restore_backup, write_backup
from facesearch.store.subjects import clean_name
from facesearch.store.templates import checksum
from facesearch.types import Fusion
from tests.hostile_names import hostile_names, visible
from tests.store.makers import DIMENSION, commit, enroll, found_subject, make_gallery, new_photo, unit, units

if TYPE_CHECKING:
    from pathlib import Path

    from facesearch.types import Vector


def poisoned(kind: str) -> Vector:
    vector = unit(7).copy()
    match kind:
        case "nan" | "inf" | "-inf":
            vector[3] = float(kind)
        case "zero":
            vector[:] = 0
        case "x100":
            vector *= 100
        case "tiny":
            vector *= np.float32(1e-30)
        case "huge":
            vector[:] = 3e38
        case "short":
            vector = unit(7, DIMENSION - 1)
        case "long":
            vector = unit(7, 2 * DIMENSION)
    return vector


KINDS = ("nan", "inf", "-inf", "zero", "x100", "tiny", "huge", "short", "long")


@pytest.mark.parametrize("kind", KINDS)
def test_no_way_in_takes_a_poisoned_vector(gallery: Gallery, tmp_path: Path, kind: str) -> None:
    enroll(gallery, "anna", 1)
    good, bad = unit(2), poisoned(kind)
    with pytest.raises(GalleryError):
        commit(gallery, [new_photo("bob", "bob.jpg", [good]), new_photo("mallory", "m.jpg", [bad])])
    with pytest.raises(GalleryError):
        gallery.search(bad[None], 1)
    with pytest.raises(GalleryError):
        gallery.search(bad, 1)
    assert [subject.name for subject in gallery.read(subjects.list_subjects)] == ["anna"]
    assert found_subject(gallery, 1) == "anna"
    raw = bad.tobytes()
    with gallery.database.write() as connection:  # as somebody could who writes into the file, checksum and all
        connection.exec_driver_sql(
            "UPDATE templates SET vector = ?, dimension = ?, crc = ?", (raw, len(bad), checksum(1, 1, raw))
        )
    assert [finding.subject for finding in check_gallery(gallery) if not finding.ok][:1] == ["templates"]
    with pytest.raises(CorruptGalleryError):
        write_backup(gallery, tmp_path / "b")
    with pytest.raises(GalleryError):
        gallery.search(good[None], 1)


def test_a_restored_backup_of_a_poisoned_gallery_is_refused(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enroll(gallery, "anna", 1)
    raw = poisoned("x100").tobytes()
    with gallery.database.write() as connection:
        connection.exec_driver_sql("UPDATE templates SET vector = ?, crc = ?", (raw, checksum(1, 1, raw)))
    with monkeypatch.context() as patch:
        patch.setattr("facesearch.store.backups._require_sound", lambda *_: None)
        write_backup(gallery, tmp_path / "b")
    with pytest.raises(CorruptGalleryError, match="not of unit length"):
        restore_backup(tmp_path / "b", tmp_path / "again")


def test_a_thousand_hostile_names_come_back_as_they_are_or_are_refused(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)  # noqa: T201
    names = hostile_names(seed, 1000)
    vectors = units(3, len(names), 64)[:, :DIMENSION]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kept: dict[str, int] = {}
    refused = 0
    with make_gallery(tmp_path / "gallery", Fusion.MAX) as gallery:  # names that become equal share a person
        for number, name in enumerate(names):
            photo = new_photo(name, f"{number}.jpg", [vectors[number]], content=number)
            try:
                commit(gallery, [photo])
            except ConfigError as error:
                assert error.hint  # noqa: PT017  # both ways are right
                refused += 1
                continue
            kept.setdefault(visible(name), number)
        print("kept", len(kept), "refused", refused)  # noqa: T201
        assert len(kept) > 200
        assert refused > 200
        assert [subject.name for subject in gallery.read(subjects.list_subjects)] == sorted(kept)
        for name, number in list(kept.items())[::10]:
            (candidates,) = gallery.search(vectors[number][None], 1)
            assert candidates[0].subject == name
            assert gallery.read(people.find, name).name == name
            gallery.write(people.set_attributes, name, {"purpose": name})
            assert gallery.read(subjects.list_subjects, {"purpose": name})[0].name == name
        first = list(kept)[:20]
        assert set(gallery.remove(erasure.erase_subjects, gallery.erasure_list, first).subjects) == set(first)
        assert [subject.name for subject in gallery.read(subjects.list_subjects)] == sorted(set(kept) - set(first))
    with Gallery.open(tmp_path / "gallery") as reopened:
        assert all(finding.ok for finding in check_gallery(reopened) if finding.subject != "photos")


def test_every_hostile_name_that_is_kept_is_stable() -> None:
    for name in hostile_names(1, 3000):
        try:
            cleaned = clean_name(name)
        except ConfigError:
            continue
        assert clean_name(cleaned) == cleaned
        assert "\0" not in cleaned
        assert len(cleaned.splitlines()) == 1
