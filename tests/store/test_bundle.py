"""Bundles: what comes out of a gallery goes into another as it was, or by the stated rule, or not at all."""

from __future__ import annotations

import os
import random
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from facesearch.errors import (
    ConfigError,
    CorruptGalleryError,
    FaceSearchError,
    GalleryError,
    ModelMismatchError,
)
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery, new_gallery
from facesearch.store import audit, erasure, models, reembedding, subjects
from facesearch.store import decisions as stored_decisions
from facesearch.store import people as stored_people
from facesearch.store import photos as stored_photos
from facesearch.store import templates as stored_templates
from facesearch.store.bundle.file import ERASED, MANIFEST, SIGNATURE, BundleReader, BundleWriter
from facesearch.store.bundle.reading import read_bundle
from facesearch.store.bundle.tables import BY_NAME, TABLES, template_columns, to_arrow
from facesearch.store.bundle.writing import write_bundle
from facesearch.store.changes import NewPhoto
from facesearch.store.erasure_list import ERASURE_LIST_NAME
from facesearch.store.location import DatabaseUrl, Location
from facesearch.store.opening import has_gallery
from facesearch.store.postgres import PostgresDatabase
from facesearch.store.schema import TemplateRow
from facesearch.store.templates import checksum
from facesearch.types import Candidate
from tests.store.makers import (
    DIMENSION,
    MODEL,
    OTHER_MODEL,
    ROOT,
    commit,
    enroll,
    found_subject,
    make_gallery,
    moved_photo,
    new_photo,
    photo_file,
    photo_of_other_model,
    refused_photo,
    unit,
    units,
)
from tests.store.test_reembedding import embed_all


def contents(gallery: Gallery) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables that a bundle holds."""
    tables = [table.row.__table__ for table in TABLES] + [TemplateRow.__table__]
    with gallery.database.read() as connection:
        return {
            str(table): [tuple(row) for row in connection.execute(sa.select(table).order_by(table.c.id))]
            for table in tables
        }


def answers(gallery: Gallery) -> list[tuple[Candidate, ...]]:
    return gallery.search(units(1, 20), 5) + gallery.search(units(2, 20), 3, {"team": "a"})


@pytest.fixture
def people(gallery: Gallery) -> Gallery:
    """Three people with everything that a bundle can hold."""
    fill(gallery)
    return gallery


def fill(gallery: Gallery) -> None:
    odd = Path(os.fsdecode(b"/photos/\xff.jpg"))
    enroll(gallery, "Removed", 90, 91)
    gallery.remove(stored_people.remove, "Removed")  # so that ids have gaps
    enroll(gallery, "Ada", 1, 2, attributes={"team": "a", "é": "ü"})
    enroll(gallery, "Ben", 3)
    commit(gallery, [new_photo("Cleo", "4.jpg", [unit(4), unit(5)], {"team": "a"}, content=4)])
    commit(gallery, [moved_photo(gallery, "3.jpg", odd, "Ben"), refused_photo("blurred.jpg")])
    gallery.write(models.put_calibration, {"threshold": 0.5}, MODEL)
    (photo, *_) = gallery.read(stored_photos.photos_of_subject, "Ada")
    gallery.write(stored_photos.keep_crop, photo.photo_id, b"\xff\xd8a picture")
    gallery.remove(
        erasure.erase_subjects,
        gallery.erasure_list,
        [gallery.read(stored_people.find, enroll_one(gallery, "Erased")).subject_id],
    )


def enroll_one(gallery: Gallery, name: str) -> str:
    enroll(gallery, name, 80)
    return name


@pytest.fixture
def bundle(people: Gallery, tmp_path: Path) -> Path:
    write_bundle(people, tmp_path / "people.bundle", crops=True)
    return tmp_path / "people.bundle"


@pytest.fixture
def other(tmp_path: Path) -> Gallery:
    return Gallery.open(tmp_path / "other", create=True)


def test_an_empty_gallery_takes_everything_over_as_it_was(people: Gallery, other: Gallery, tmp_path: Path) -> None:
    people.write(reembedding.add_model, OTHER_MODEL)
    (photo, *_) = people.read(reembedding.lacking_photos, "model-b", after=0, limit=1)
    people.change(reembedding.add_templates, "model-b", [(photo.faces[0].face_id, unit(40))])
    counts = write_bundle(people, tmp_path / "b", crops=True)
    assert (counts["subjects"], counts["photos"], counts["templates"]) == (3, 4, 6)
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600
    with other:
        done = read_bundle(other, tmp_path / "b")
        assert (done.subjects, done.photos, done.faces, done.templates) == (3, 4, 5, 5)
        assert contents(other) == contents(people)
        assert answers(other) == answers(people)
        assert other.read(models.calibration) == {"threshold": 0.5}
        assert other.read(stored_decisions.find_rejections, [ROOT / "blurred.jpg"])
        assert all(finding.ok for finding in check_gallery(other))
        taken = {row[0] for row in contents(people)[str(TemplateRow.__table__)]}
        assert max(taken) < min(enroll(other, "Dan", 6))
        assert [event.action for event in other.read(audit.events)] == ["import"]
    assert people.read(audit.events)[-1].action == "export"


def test_a_file_that_is_there_is_replaced_only_by_force_and_when_the_new_one_is_whole(
    people: Gallery, other: Gallery, tmp_path: Path
) -> None:
    file = tmp_path / "b"
    file.write_bytes(b"precious")
    with pytest.raises(ConfigError, match="there already") as caught:
        write_bundle(people, file)
    assert "--force" in (caught.value.hint or "")
    with other, pytest.raises(GalleryError, match="empty"):
        write_bundle(other, file, force=True)
    assert file.read_bytes() == b"precious"
    assert write_bundle(people, file, force=True)["subjects"] > 0
    assert file.read_bytes() != b"precious"


@pytest.mark.both_databases
def test_a_gallery_moves_between_a_folder_and_a_server(place: Location, tmp_path: Path) -> None:
    with make_gallery(tmp_path / "folder") as source, Gallery.open(place, create=True) as target:
        fill(source)
        write_bundle(source, tmp_path / "there", crops=True)
        read_bundle(target, tmp_path / "there")
        assert contents(target) == contents(source)
        assert answers(target) == answers(source)
        assert target.read(models.calibration) == source.read(models.calibration)
        assert all(finding.ok for finding in check_gallery(target))
        write_bundle(target, tmp_path / "back", crops=True)
        with Gallery.open(tmp_path / "again", create=True) as again:
            read_bundle(again, tmp_path / "back")
            assert contents(again) == contents(source)
        taken = {row[0] for row in contents(source)["templates"]}
        assert max(taken) < min(enroll(target, "Dan", 6))


@pytest.mark.parametrize("written", [False, True], ids=["unused", "somebody's"])
def test_a_failed_import_leaves_no_tables_on_a_server_unless_somebody_wrote_into_them(
    new_postgres: Callable[[Path], DatabaseUrl], bundle: Path, tmp_path: Path, written: bool
) -> None:
    place = new_postgres(tmp_path / "cache")
    broken = tmp_path / "broken"
    broken.write_bytes(bundle.read_bytes()[:-100])

    def import_bundle(file: Path) -> None:
        with new_gallery(place) as gallery:
            if written:
                with Gallery.open(place) as other:
                    other.write(audit.record, "init", {})
            read_bundle(gallery, file)

    with pytest.raises(CorruptGalleryError):
        import_bundle(broken)
    assert has_gallery(place) == written
    if not written:
        database = PostgresDatabase(place)
        with database.read() as connection:
            assert sa.inspect(connection).get_table_names() == []
            left = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            assert connection.exec_driver_sql(left).scalar_one() == 0
        database.close()
        import_bundle(bundle)
        assert has_gallery(place)


def test_pandas_reads_a_bundle_in_two_lines(people: Gallery, bundle: Path) -> None:
    archive = zipfile.ZipFile(bundle)
    templates = pd.read_parquet(archive.open("templates-1.parquet"))
    assert templates.face_id.tolist() == [row[1] for row in contents(people)["templates"]]
    assert templates.vector[0].tolist() == unit(1).tolist()
    faces = pd.read_parquet(archive.open("faces.parquet"))
    named = faces.merge(pd.read_parquet(archive.open("subjects.parquet")), left_on="subject_id", right_on="id")
    assert named.name.tolist() == ["Ada", "Ada", "Ben", "Cleo", "Cleo"]
    archive.close()


def test_a_bundle_of_other_people_is_added_to_those_there_are(people: Gallery, other: Gallery, bundle: Path) -> None:
    with other:
        other.adopt(MODEL)
        enroll(other, "Dan", 6, 7)
        other.write(models.put_calibration, {"threshold": 0.7}, MODEL)
        expected = [sorted(map(named, a + b)) for a, b in zip(every(people), every(other), strict=True)]
        done = read_bundle(other, bundle)
        assert (done.subjects, done.merged, done.templates) == (3, 0, 5)
        assert [sorted(map(named, found)) for found in every(other)] == expected
        assert other.read(models.calibration) == {"threshold": 0.7}
        assert other.read(stored_people.find, "Ada").attributes == {"team": "a", "é": "ü"}
        assert other.read(stored_decisions.find_rejections, [ROOT / "blurred.jpg"]) == {}
        assert (
            other.read(stored_photos.find_crop, other.read(stored_photos.photos_of_subject, "Ada")[0].photo_id)
            == b"\xff\xd8a picture"
        )
        assert all(finding.ok for finding in check_gallery(other))


def every(gallery: Gallery) -> list[tuple[Candidate, ...]]:
    return gallery.search(units(3, 10), 100)


def named(candidate: Candidate) -> tuple[str, float, str]:
    return candidate.subject, round(candidate.score, 5), candidate.photo


def test_who_is_in_both_is_refused_or_merged(people: Gallery, other: Gallery, bundle: Path) -> None:
    with other:
        other.adopt(MODEL)
        commit(other, [new_photo("Ada", "else.jpg", [unit(20)], {"team": "z"}, content=20)])
        before = contents(other)
        with pytest.raises(GalleryError, match="1 people of the bundle") as error:
            read_bundle(other, bundle)
        assert "--merge" in (error.value.hint or "")
        assert contents(other) == before
        done = read_bundle(other, bundle, merge=True)
        assert (done.subjects, done.merged, done.photos, done.photos_known) == (2, 1, 4, 0)
        assert other.read(stored_people.find, "Ada").attributes == {"team": "z", "é": "ü"}  # what was there stays
        assert other.read(stored_people.find, "Ada").photos == 3
        after = contents(other)
        again = read_bundle(other, bundle, merge=True)
        assert (again.subjects, again.photos, again.templates, again.photos_known) == (0, 0, 0, 4)
        assert contents(other) == after
        assert all(finding.ok for finding in check_gallery(other))


def test_photos_in_both_stay_the_gallerys(people: Gallery, other: Gallery, bundle: Path) -> None:
    with other:
        other.adopt(MODEL)
        enroll(other, "Somebody else", 1)  # at the path of a photo of Ada, with its bytes
        commit(other, [new_photo("Ada", "copy.jpg", [unit(2)], content=2)])  # the bytes of another one
        commit(other, [new_photo("Dan", "same.jpg", [unit(9)], content=4)])  # the bytes of a photo of Cleo
        with pytest.raises(GalleryError):
            read_bundle(other, bundle)
        done = read_bundle(other, bundle, merge=True)
        assert (done.photos, done.photos_known) == (2, 2)
        photos = {
            name: [photo.photo.name for photo in other.read(stored_photos.photos_of_subject, name)]
            for name in ("Ada", "Cleo", "Dan")
        }
        assert photos == {"Ada": ["copy.jpg"], "Cleo": ["4.jpg"], "Dan": ["same.jpg"]}
        assert all(finding.ok for finding in check_gallery(other))


def test_a_bundle_of_another_model_is_refused(people: Gallery, other: Gallery, bundle: Path) -> None:
    with other:
        other.adopt(OTHER_MODEL)
        commit(other, [photo_of_other_model("Zoe", "z.jpg", 9)])
        with pytest.raises(ModelMismatchError, match="model-a") as error:
            read_bundle(other, bundle, merge=True)
        assert "reembed" in (error.value.hint or "")
        assert other.read(stored_templates.counts)["subjects"] == 1


def test_a_gallery_that_lost_everybody_takes_a_bundle_of_another_model(other: Gallery, bundle: Path) -> None:
    with other:
        other.adopt(OTHER_MODEL)
        commit(other, [photo_of_other_model("Zoe", "z.jpg", 9)])
        other.remove(stored_people.remove, "Zoe")
        read_bundle(other, bundle)
        assert other.model() == MODEL
        assert found_subject(other, 4) == "Cleo"
        assert all(finding.ok for finding in check_gallery(other))


def test_templates_of_the_model_before_come_along(people: Gallery, other: Gallery, tmp_path: Path) -> None:
    embed_all_wide(people)
    write_bundle(people, tmp_path / "b")
    with other:
        other.adopt(MODEL)
        enroll(other, "Dan", 6)
        read_bundle(other, tmp_path / "b")
        found = {each.info.model_id: (each.active, each.templates) for each in other.read(reembedding.gallery_models)}
        assert found == {"model-a": (True, 6), "model-w": (False, 5)}
        assert all(finding.ok for finding in check_gallery(other))


def embed_all_wide(gallery: Gallery) -> None:
    commit(gallery, [moved_photo(gallery, Path(os.fsdecode(b"/photos/\xff.jpg")), "3.jpg", "Ben")])
    embed_all(gallery)


@pytest.mark.parametrize("fresh", [True, False])
def test_whoever_was_erased_stays_out_unless_told_otherwise(
    people: Gallery, other: Gallery, bundle: Path, fresh: bool
) -> None:
    with other:
        if not fresh:  # the bundle's people get other ids
            other.adopt(MODEL)
            enroll(other, "Dan", 6, 7, 8)
            enroll(other, "Dora", 9)
        read_bundle(other, bundle)
        other.remove(erasure.erase_subjects, other.erasure_list, ["Ada"])
        other.change(stored_people.merge, "Cleo", "Ben")
        other.remove(erasure.erase_subjects, other.erasure_list, ["Ben"])
        done = read_bundle(other, bundle, merge=True)
        assert (done.subjects, done.templates) == (0, 0)
        assert done.erased == 5
        assert [subject.name for subject in other.read(subjects.list_subjects)] == ([] if fresh else ["Dan", "Dora"])
        done = read_bundle(other, bundle, merge=True, bring_back_erased=True)
        assert (done.subjects, done.templates, done.erased) == (3, 5, 0)
        assert all(finding.ok for finding in check_gallery(other))


@pytest.fixture
def decided(people: Gallery) -> Gallery:
    """The same people, after somebody corrected them."""
    commit(
        people, [said_photo("Mira", "m1.jpg", 30), said_photo("Mira", "m2.jpg", 31), said_photo("Ada", "m3.jpg", 32)]
    )
    people.write(stored_people.rename, "Mira", "M. Q.")
    people.write(stored_people.add_alias, "M. Q.", "Quill")
    people.change(stored_people.move_photos, [ROOT / "m3.jpg"], "M. Q.")
    people.write(stored_people.confirm_photos, [ROOT / "m1.jpg"])
    people.remove(stored_people.remove_photos, [ROOT / "m2.jpg"])
    (template_id, *_) = people.read(stored_photos.find_photos, [ROOT / "1.jpg"])[ROOT / "1.jpg"].template_ids
    commit(people, [replace(said_photo("Ben", "m4.jpg", 33, {"team": "b"}), conflict=template_id)])
    return people


def said_photo(subject: str, path: str, seed: int, attributes: Mapping[str, str] | None = None) -> NewPhoto:
    return replace(new_photo(subject, path, [unit(seed)], attributes, content=seed), label=subject)


def decisions(gallery: Gallery) -> dict[tuple[str, str], str | None]:
    return gallery.read(stored_decisions.name_decisions, [photo_file("", seed).sha256 for seed in range(40)])


def test_what_people_decided_comes_along(decided: Gallery, other: Gallery, tmp_path: Path) -> None:
    write_bundle(decided, tmp_path / "b", crops=True)
    with other:
        read_bundle(other, tmp_path / "b")
        assert contents(other) == contents(decided)
        assert other.read(stored_people.find, "Mira").aliases == ("Mira", "Quill")
        assert other.read(stored_people.history) == [], "corrections can be undone where they were made"
    with make_gallery(tmp_path / "third") as third:
        enroll(third, "Dan", 6, 7)
        read_bundle(third, tmp_path / "b")
        assert decisions(third) == decisions(decided)
        assert set(decisions(third).values()) == {"M. Q.", None}
        for name in ("M. Q.", "Ben"):
            expected, found = (
                decided.read(stored_photos.photos_of_subject, name),
                third.read(stored_photos.photos_of_subject, name),
            )
            assert [(each.photo, each.origin) for each in found] == [(each.photo, each.origin) for each in expected]
        assert third.read(stored_people.find, "Quill").name == "M. Q."
        (odd,) = third.read(stored_photos.find_photos, [ROOT / "m4.jpg"]).values()
        assert (odd.label, odd.conflict) == (
            "Ben",
            third.read(stored_photos.find_photos, [ROOT / "1.jpg"])[ROOT / "1.jpg"].template_ids[0],
        )
        assert third.read(subjects.known_subjects, ["Ben"])["Ben"].said == {"team": "b"}
        assert all(finding.ok for finding in check_gallery(third))


@pytest.mark.parametrize("renamed_here", [True, False])
def test_a_merge_finds_people_by_their_other_names(
    people: Gallery, other: Gallery, tmp_path: Path, renamed_here: bool
) -> None:
    with other:
        other.adopt(MODEL)
        enroll(other, "Ada", 20)
        enroll(other, "Benjamin", 21)
        (other if renamed_here else people).write(stored_people.rename, "Ada", "A. L.")
        people.write(stored_people.add_alias, "Ben", "Benjamin")
        people.write(stored_people.add_alias, "Ben", "Benny")
        write_bundle(people, tmp_path / "b")
        with pytest.raises(GalleryError, match="2 people of the bundle"):
            read_bundle(other, tmp_path / "b")
        done = read_bundle(other, tmp_path / "b", merge=True)
        assert (done.merged, done.subjects) == (2, 1)
        ada = other.read(stored_people.find, "Ada")
        assert (ada.name, *ada.aliases) == (("A. L.", "Ada") if renamed_here else ("Ada", "A. L."))
        assert (ada.photos, other.read(stored_people.find, "Ben").aliases) == (3, ("Ben", "Benny"))
        before = contents(other)
        assert read_bundle(other, tmp_path / "b", merge=True).subjects == 0
        assert contents(other) == before
        assert all(finding.ok for finding in check_gallery(other))


def test_people_whom_the_gallery_made_one_have_a_photo_once(people: Gallery, other: Gallery, tmp_path: Path) -> None:
    commit(people, [new_photo("Ben", "copy.jpg", [unit(2)], content=2)])
    write_bundle(people, tmp_path / "b")
    with other:
        other.adopt(MODEL)
        enroll(other, "Ada", 20)
        other.write(stored_people.add_alias, "Ada", "Ben")
        done = read_bundle(other, tmp_path / "b", merge=True)
        assert (done.photos, done.photos_known) == (4, 1)
        assert other.read(stored_people.find, "Ada").photos == 4
        assert all(finding.ok for finding in check_gallery(other))


def test_what_the_gallery_decided_about_a_photo_stays(decided: Gallery, other: Gallery, tmp_path: Path) -> None:
    write_bundle(decided, tmp_path / "b")
    with other:
        other.adopt(MODEL)
        commit(other, [said_photo("Mira", "m2.jpg", 31), said_photo("Ada", "m3.jpg", 32)])
        other.change(stored_people.move_photos, [ROOT / "m3.jpg"], "Zoe", create=True)
        read_bundle(other, tmp_path / "b", merge=True)
        assert decisions(other) == {(photo_file("", 32).sha256, "Ada"): "Zoe"}
        assert [each.photo.name for each in other.read(stored_photos.photos_of_subject, "Mira")] == ["m2.jpg", "m1.jpg"]


@pytest.mark.parametrize(
    ("called", "seed", "content"),
    [("Ada", 50, 50), ("Ada", 1, 1), ("Somebody", 50, 1), ("Somebody", 1, 50)],
    ids=["name", "everything", "content", "vector"],
)
def test_nothing_that_was_erased_comes_in(other: Gallery, tmp_path: Path, called: str, seed: int, content: int) -> None:
    attributes = {"team": "a"}
    with make_gallery(tmp_path / "source") as source:
        commit(source, [new_photo(called, "x.jpg", [unit(seed)], attributes, content=content)])
        source.write(stored_people.add_alias, called, "Somebody else")
        enroll(source, "Ben", 3)
        write_bundle(source, tmp_path / "b")
    with other:
        other.adopt(MODEL)
        enroll(other, "Zoe", 40)
        enroll(other, "Ada", 1)
        other.remove(erasure.erase_subjects, other.erasure_list, ["Ada"])
        done = read_bundle(other, tmp_path / "b")
        assert (done.subjects, done.photos, done.faces, done.templates, done.erased) == (1, 1, 1, 1, 1)
        assert done.erased_subjects == (called == "Ada")
        assert [(each.name, each.aliases) for each in other.read(subjects.list_subjects)] == [("Ben", ()), ("Zoe", ())]
        other.remove(stored_people.remove, "Ben")
        done = read_bundle(other, tmp_path / "b", bring_back_erased=True)
        assert (done.subjects, done.erased, done.erased_subjects) == (2, 0, 0)
        assert other.read(audit.events, action="people.bring_back")[-1].detail["entries"] != 0
        other.remove(stored_people.remove, called)
        other.remove(stored_people.remove, "Ben")
        assert read_bundle(other, tmp_path / "b").erased == 0, "the list names them no more"
        assert all(finding.ok for finding in check_gallery(other))


def test_somebody_who_was_enrolled_again_is_not_kept_out_by_the_name(
    people: Gallery, other: Gallery, bundle: Path
) -> None:
    with other:
        other.adopt(MODEL)
        enroll(other, "Ada", 50)
        other.remove(erasure.erase_subjects, other.erasure_list, ["Ada"])
        enroll(other, "Ada", 51)
        done = read_bundle(other, bundle, merge=True)
        assert (done.merged, done.erased, done.erased_subjects) == (1, 0, 0)
        assert other.read(stored_people.find, "Ada").photos == 3


def test_an_older_list_in_the_folder_holds_for_an_empty_gallery(people: Gallery, bundle: Path, tmp_path: Path) -> None:
    people.remove(erasure.erase_subjects, people.erasure_list, ["Ada"])
    for folder in ("kept", "back"):
        (tmp_path / folder).mkdir()
        shutil.copy(people.folder / ERASURE_LIST_NAME, tmp_path / folder)
    with Gallery.open(tmp_path / "kept", create=True) as kept:
        done = read_bundle(kept, bundle)
        assert (done.erased, done.erased_subjects, kept.read(stored_templates.counts)["subjects"]) == (2, 1, 2)
        assert all(finding.ok for finding in check_gallery(kept))
    with Gallery.open(tmp_path / "back", create=True) as back:
        assert read_bundle(back, bundle, bring_back_erased=True).subjects == 3
        assert all(finding.ok for finding in check_gallery(back)), "nobody is to be erased again"


def test_damage_anywhere_is_noticed_and_changes_nothing(people: Gallery, bundle: Path, tmp_path: Path) -> None:
    whole, expected = bundle.read_bytes(), contents(people)
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    chance = random.Random(seed)
    noticed = 0
    broken = tmp_path / "broken"
    with Gallery.open(tmp_path / "g", create=True) as gallery:
        for _ in range(60):
            at = chance.randrange(len(whole))
            flipped = bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :]
            broken.write_bytes(whole[:at] + (flipped if chance.random() < 0.9 else b""))
            try:
                with BundleReader.open(broken):
                    pass
            except CorruptGalleryError:
                noticed += 1
            else:  # a date, or a version number, which says nothing
                with Gallery.open(tmp_path / str(at), create=True) as another:
                    try:
                        read_bundle(another, broken)
                    except CorruptGalleryError:
                        noticed += 1
                        assert another.model() is None
                    else:
                        assert contents(another) == expected, at
        assert gallery.model() is None
    assert noticed >= 50


PHOTO = [1, b"/a.jpg", bytes(32), 1, 1, 9, 9, "2026-01-01", 1, "Ada", None]
FACE = [1, 1, 1, bytes(16), bytes(40), 0.9, 50.0, 9.0, 0.0, 0.0, "enrolled"]


def write_raw(file: Path, changes: dict[str, list[list[Any]]], *, vectors: list[list[Any]] | None = None) -> None:
    """A bundle with one person, but for the tables in `changes`."""
    vector = unit(1).tobytes()
    tables: dict[str, list[list[Any]]] = {
        "models": [[1, MODEL.model_id, "p", DIMENSION, "d", "e", "{}", 0.4, "b", True, "2026-01-01"]],
        "subjects": [[1, "Ada", "{}", "{}", "2026-01-01"]],
        "aliases": [],
        "decisions": [],
        "photos": [PHOTO],
        "faces": [FACE],
        "calibrations": [],
        "rejections": [],
    } | changes
    with file.open("wb") as out, BundleWriter(out) as writer:
        for name, rows in tables.items():
            with writer.table(BY_NAME[name].file, BY_NAME[name].columns) as put:
                if rows:
                    put(to_arrow(BY_NAME[name].columns, rows))
        columns = template_columns(DIMENSION)
        with writer.table("templates-1.parquet", columns) as put:
            put(to_arrow(columns, vectors or [[1, 1, checksum(1, 1, vector), vector]]))
        writer.text(ERASED, "")
        writer.finish({"model": MODEL.model_id}, None)


def test_a_bundle_made_by_hand_is_as_good_as_any(tmp_path: Path) -> None:
    write_raw(tmp_path / "b", {})
    with Gallery.open(tmp_path / "g", create=True) as gallery:
        assert read_bundle(gallery, tmp_path / "b").templates == 1
        assert all(finding.ok for finding in check_gallery(gallery))


LONG = (2 * unit(1)).tobytes()


@pytest.mark.parametrize(
    ("changes", "vectors"),
    [
        ({"subjects": [[1, "A\nda", "{}", "{}", ""]]}, None),
        ({"subjects": [[1, "Ada", '{"a b": "c"}', "{}", ""]]}, None),
        ({"subjects": [[1, "Ada", "[]", "{}", ""]]}, None),
        ({"subjects": [[1, "Ada", '{"a": 1}', "{}", ""]]}, None),
        ({"subjects": [[1, "Ada", "{}", '{"a": 1}', ""]]}, None),
        ({"subjects": [[2, "Ada", "{}", "{}", ""], [1, "Ben", "{}", "{}", ""]]}, None),
        ({"subjects": [[1, "Ada", "{}", "{}", ""], [2, "Ada", "{}", "{}", ""]]}, None),
        ({"subjects": [[2**62, "Ada", "{}", "{}", ""]]}, None),
        ({"aliases": [[1, 1, "A\nda", ""]]}, None),
        ({"aliases": [[1, 1, "Ada", ""]]}, None),
        ({"aliases": [[1, 1, "A.", ""], [2, 1, "A.", ""]]}, None),
        ({"aliases": [[1, 7, "A.", ""]]}, None),
        ({"decisions": [[1, bytes(32), "A\nda", None]]}, None),
        ({"photos": [[*PHOTO[:8], 7, "Ada", None]]}, None),
        ({"photos": [[*PHOTO[:9], "A\nda", None]]}, None),
        ({"photos": [PHOTO, [2, b"/b.jpg", *PHOTO[2:]]]}, None),
        ({"faces": [[*FACE[:-1], "guessed"]]}, None),
        (
            {
                "subjects": [[1, "Ada", "{}", "{}", ""], [2, "Ben", "{}", "{}", ""]],
                "faces": [[1, 1, 2, *FACE[3:]]],
            },
            None,
        ),
        ({"models": [[1, "m", "p", 9, "d", "e", "{}", 0.4, "b", True, ""]]}, None),
        ({"models": [[1, "m", "p", DIMENSION, "d", "e", "{}", 0.4, "b", False, ""]]}, None),
        ({"rejections": [[1, b"/x", None, 1, 1, "p", "no_reason", "d", ""]]}, None),
        ({"calibrations": [[1, 7, "{}", ""]]}, None),
        ({}, [[1, 1, 5, unit(1).tobytes()]]),
        ({}, [[1, 1, checksum(1, 1, LONG), LONG]]),
    ],
)
def test_what_no_export_wrote_is_refused(
    tmp_path: Path, changes: dict[str, list[list[Any]]], vectors: list[list[Any]] | None
) -> None:
    write_raw(tmp_path / "b", changes, vectors=vectors)
    with Gallery.open(tmp_path / "g", create=True) as gallery:
        with pytest.raises(FaceSearchError):
            read_bundle(gallery, tmp_path / "b")
        assert (gallery.model(), gallery.read(subjects.list_subjects)) == (None, [])


def test_members_that_no_manifest_lists_are_refused(bundle: Path, other: Gallery) -> None:
    with zipfile.ZipFile(bundle, "a") as archive:
        archive.writestr("more.parquet", b"x")
    with other, pytest.raises(CorruptGalleryError, match="other files"):
        read_bundle(other, bundle)


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """Files with a private key and its public one."""
    key = Ed25519PrivateKey.generate()
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def test_a_signature_proves_who_wrote_a_bundle(
    people: Gallery, bundle: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    private, public = keys
    write_bundle(people, tmp_path / "signed", key=private)
    with Gallery.open(tmp_path / "g", create=True) as gallery:
        with pytest.raises(CorruptGalleryError, match="not signed"):
            read_bundle(gallery, bundle, key=public)
        forged = tmp_path / "forged"
        with zipfile.ZipFile(tmp_path / "signed") as source, zipfile.ZipFile(bundle, "a") as target:
            target.writestr(SIGNATURE, source.read(SIGNATURE))  # of another manifest
            assert source.read(MANIFEST) != target.read(MANIFEST)
        bundle.rename(forged)
        with pytest.raises(CorruptGalleryError, match="is not signed with the key"):
            read_bundle(gallery, forged, key=public)
        assert read_bundle(gallery, tmp_path / "signed", key=public).verified
    for wrong in (private, tmp_path / "no"):
        with pytest.raises(ConfigError), BundleReader.open(tmp_path / "signed", wrong):
            pass
    for wrong in (public, tmp_path / "no"):
        with pytest.raises(ConfigError):
            write_bundle(people, tmp_path / "c", key=wrong)
    assert not (tmp_path / "c").exists()


def test_an_encrypted_gallery_is_not_exported_by_accident(tmp_path: Path) -> None:
    pytest.importorskip("sqlcipher3", reason="SQLCipher is not installed: pip install 'facesearch[encrypted]'")
    with Gallery.open(tmp_path / "g", create=True, passphrase="x", encrypted=True) as gallery:
        gallery.adopt(MODEL)
        enroll(gallery, "Ada", 1)
        with pytest.raises(GalleryError, match="not encrypted") as error:
            write_bundle(gallery, tmp_path / "b")
        assert "--unencrypted" in (error.value.hint or "")
        assert write_bundle(gallery, tmp_path / "b", unencrypted=True)["templates"] == 1


def test_nothing_is_exported_of_an_empty_or_damaged_gallery(people: Gallery, other: Gallery, tmp_path: Path) -> None:
    with other, pytest.raises(GalleryError, match="empty"):
        write_bundle(other, tmp_path / "b")
    with people.database.write() as connection:
        connection.exec_driver_sql("UPDATE subjects SET name = 'Eve' WHERE name = 'Ada'")
    with pytest.raises(CorruptGalleryError):
        write_bundle(people, tmp_path / "b")
    with pytest.raises(ConfigError):
        write_bundle(make_gallery(tmp_path / "new"), tmp_path / "no folder" / "b")
    assert not (tmp_path / "b").exists()
