from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from facesearch.errors import CorruptGalleryError
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import audit, models, people
from facesearch.store.sqlite import DATABASE_NAME
from facesearch.store.templates import checksum
from tests.store import damage
from tests.store.makers import (
    MODEL,
    commit,
    enroll,
    found_subject,
    make_gallery,
    new_photo,
    photo_file,
    refused_photo,
    sqlite_of,
    unit,
)

if TYPE_CHECKING:
    from pathlib import Path


def faults(gallery: Gallery, *, fix: bool = False) -> list[tuple[str, str]]:
    return [(finding.subject, finding.detail) for finding in check_gallery(gallery, fix=fix) if not finding.ok]


def tamper(folder: Path, *statements: str) -> None:
    """Change the database behind the gallery's back, constraints off, and drop the cache."""
    with Gallery.open(folder) as gallery:
        connection = sqlite_of(gallery).module.connect(str(folder / DATABASE_NAME))
        connection.execute("PRAGMA ignore_check_constraints=ON")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()
    (folder / "index.cache").unlink(missing_ok=True)


@pytest.fixture
def enrolled(folder: Path) -> Path:
    """A gallery of two people in three photos, closed."""
    with make_gallery(folder) as gallery:
        enroll(gallery, "anna", 1, 2)
        enroll(gallery, "bob", 3)
        found_subject(gallery, 1)
    return folder


def test_a_sound_gallery_has_no_faults(enrolled: Path) -> None:
    with Gallery.open(enrolled) as gallery:
        findings = list(check_gallery(gallery))
        assert all(finding.ok for finding in findings)
        assert {finding.subject for finding in findings} == {
            "database",
            "schema",
            "records",
            "templates",
            "models",
            "index",
            "photos",
        }
        assert "3 templates match" in " ".join(finding.detail for finding in findings)
        assert "holds exactly the 3 templates" in " ".join(finding.detail for finding in findings)


def test_an_empty_gallery_is_sound(gallery: Gallery) -> None:
    assert faults(gallery) == []


# (what was done, the part it is found in, words of the finding)
DAMAGE = [
    ("UPDATE templates SET vector = zeroblob(32) WHERE id = 3", "templates", "template 3 of bob (/photos/3.jpg)"),
    ("UPDATE templates SET crc = crc + 1 WHERE id = 2", "templates", "template 2 of anna (/photos/2.jpg)"),
    ("UPDATE templates SET face_id = 3 WHERE id = 1", "templates", "template 1 of bob"),
    ("UPDATE templates SET dimension = 7, vector = zeroblob(28) WHERE id = 1", "templates", "template 1 of anna"),
    ("UPDATE faces SET subject_id = 99 WHERE id = 1", "database", "row 1 of faces refers to a missing row"),
    ("UPDATE subjects SET attributes = 'no json' WHERE id = 1", "subjects", "anna does not match its checksum"),
    ("UPDATE subjects SET name = 'bobby' WHERE id = 2", "subjects", "bobby does not match its checksum"),
    ("UPDATE faces SET subject_id = 2 WHERE id = 1", "faces", "row 1 (1) does not match its checksum"),
    ("UPDATE faces SET photo_id = 2 WHERE id = 1", "faces", "row 1 (2) does not match its checksum"),
    ("UPDATE photos SET path = x'2f' WHERE id = 1", "photos", "/ does not match its checksum"),
    ("UPDATE models SET active = 0", "models", "3 templates, but no active model"),
    ("UPDATE models SET threshold = 0.1", "models", "row 1 ('model-a') does not match its checksum"),
    ("UPDATE calibrations SET document = '{\"threshold\": 0.1}'", "calibrations", "does not match its checksum"),
    ("UPDATE audit_events SET action = 'nothing'", "audit_events", "does not match its checksum"),
    ("UPDATE rejections SET reason = 'duplicate'", "rejections", "does not match its checksum"),
    ("DROP TRIGGER templates_token_delete", "schema", "templates_token_delete is not as facesearch made it"),
    ("DELETE FROM revision", "database", "no revision token"),
]


@pytest.mark.parametrize(("statement", "subject", "words"), DAMAGE)
def test_each_kind_of_damage_is_named_and_never_mended(
    enrolled: Path, statement: str, subject: str, words: str
) -> None:
    with Gallery.open(enrolled) as gallery:
        commit(gallery, [refused_photo("refused.jpg")])
        gallery.write(audit.record, "enroll", {"photos": 3})
        gallery.write(models.put_calibration, {"threshold": 0.5}, MODEL)
        assert faults(gallery) == []
    tamper(enrolled, statement)
    with Gallery.open(enrolled) as gallery:
        for fix in (False, True):
            assert [found for found in faults(gallery, fix=fix) if found[0] == subject and words in found[1]]


def test_templates_with_a_right_checksum_that_no_search_may_meet_are_found(enrolled: Path) -> None:
    vector = (unit(1) * 100).tobytes()
    tamper(
        enrolled,
        f"UPDATE templates SET vector = x'{vector.hex()}', crc = {checksum(1, 1, vector)} WHERE id = 1",
        f"UPDATE templates SET dimension = 2, vector = zeroblob(8), crc = {checksum(2, 1, bytes(8))} WHERE id = 2",
    )
    with Gallery.open(enrolled) as gallery:
        assert [words for _, words in faults(gallery) if "is not of unit length (length 100)" in words]
        assert [words for _, words in faults(gallery) if "2 dimensions where its model has 8" in words]
        with pytest.raises(CorruptGalleryError):
            gallery.search(unit(1)[None], 1)


def test_a_damaged_template_never_answers_and_can_be_removed(enrolled: Path) -> None:
    tamper(enrolled, "UPDATE templates SET vector = zeroblob(32) WHERE id = 3")
    with Gallery.open(enrolled) as gallery:
        with pytest.raises(CorruptGalleryError, match="Template 3 is damaged"):
            gallery.search(unit(1)[None], 1)
        gallery.remove(people.remove, "bob")
        assert faults(gallery) == []
        assert found_subject(gallery, 1) == "anna"
        enroll(gallery, "bob", 3)
        assert found_subject(gallery, 3) == "bob"


def test_a_damaged_cache_is_found_and_mended(enrolled: Path) -> None:
    cache = enrolled / "index.cache"
    data = bytearray(cache.read_bytes())
    data[-100] ^= 4
    cache.write_bytes(data)
    with Gallery.open(enrolled) as gallery:
        ((subject, words),) = faults(gallery)
        assert (subject, "SHA-256" in words) == ("index", True)
        assert [finding.subject for finding in check_gallery(gallery, fix=True) if finding.fixed] == ["index"]
        assert faults(gallery) == []


def test_a_damaged_cache_is_not_mended_from_damaged_templates(enrolled: Path) -> None:
    tamper(enrolled, "UPDATE templates SET vector = zeroblob(32) WHERE id = 3")
    (enrolled / "index.cache").write_bytes(b"damaged")
    with Gallery.open(enrolled) as gallery:
        assert [subject for subject, _ in faults(gallery, fix=True)] == ["templates"]
    assert (enrolled / "index.cache").read_bytes() == b"damaged"


def test_changed_photos_are_faults_and_missing_ones_are_not(gallery: Gallery, tmp_path: Path) -> None:
    whole, changed, missing, folder = (tmp_path / name for name in ("whole", "changed", "missing", "folder"))
    for path in (whole, changed):
        path.write_bytes(b"1")
    folder.mkdir()
    photos = [new_photo(path.name, path, [unit(1)], content=1) for path in (whole, changed, missing, folder)]
    commit(gallery, photos)
    assert photo_file("x", 1).sha256 == photos[0].file.sha256
    changed.write_bytes(b"2")
    assert faults(gallery) == [("photos", f"{changed} is not the photo that was enrolled: enroll its folder again")]
    (detail,) = [finding.detail for finding in check_gallery(gallery) if finding.subject == "photos" and finding.ok]
    assert detail.startswith("2 of 4 photos are no longer where they were")


@pytest.mark.parametrize("flips", [150, pytest.param(1000, marks=pytest.mark.soak)])
def test_no_flipped_bit_changes_an_answer_unnoticed(folder: Path, flips: int) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201  # shown where the test fails
    rng = random.Random(seed)
    database = damage.sound_database(folder)
    with Gallery.open(folder) as gallery:
        truth = damage.look(gallery)
    assert damage.judge(folder, database, truth) == damage.Verdict(opened=True, altered=set(), noticed=False)
    used = [place for place, byte in enumerate(database) if byte]  # the rest is free space
    counts: Counter[str] = Counter()
    for _ in range(flips):
        flipped = bytearray(database)
        place, bit = rng.choice(used), rng.randrange(8)
        flipped[place] ^= 1 << bit
        verdict = damage.judge(folder, bytes(flipped), truth)
        counts["noticed" if verdict.noticed else "unnoticed"] += 1
        counts.update(f"{part} altered" for part in verdict.altered)
        assert verdict.noticed or not verdict.altered, (place, bit)
    print(dict(counts))  # noqa: T201
    assert counts["noticed"] > flips / 2
