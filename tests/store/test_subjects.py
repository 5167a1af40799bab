from __future__ import annotations

import sqlite3
import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facesearch.errors import ConfigError, SubjectExistsError, UnknownSubjectError
from facesearch.store import decisions, people, photos, sqlite, subjects
from facesearch.store.changes import MovedPhoto
from facesearch.store.subjects import clean_name
from facesearch.types import Reason
from tests.store.makers import ROOT, commit, enroll, found_subject, make_gallery, refused_photo, unit

if TYPE_CHECKING:
    from pathlib import Path

    from facesearch.search.gallery import Gallery

pytestmark = pytest.mark.both_databases

KEPT = [
    "Robert'); DROP TABLE subjects;--",
    '"; DELETE FROM templates; --',
    "' OR '1'='1",
    "100%",
    "a_b",
    "_",
    "%",
    "*?[a-z]",
    "../../etc/passwd",
    "..",
    "/",
    "C:\\con\\nul",
    "<script>alert(1)</script>",
    "&amp;",
    "{{7*7}} ${HOME} `id` $(id)",
    "-rf --gallery",
    "\N{GRINNING FACE}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}",
    "\u05d3\u05d5\u05d3",
    "\u0645\u062d\u0645\u062f",
    "\u674e\u5c0f\u9f99",
    "Zo\u00eb",
    "null",
    "None",
    "NaN",
    "0",
    "a" * 200,
    "private use \U0010fffd",
]
REFUSED = [
    "",
    "   ",
    "\u00a0\u2003",
    "\u200b",
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.anna",
    "anna\N{FIRST STRONG ISOLATE}",
    "a\0b",
    "a\nb",
    "a\tb",
    "a\x1b[31mb",
    "a\x7fb",
    "a\u2028b",
    "\udcff",
    "a" * 201,
]


def test_hostile_names_round_trip(gallery: Gallery) -> None:
    for number, name in enumerate(KEPT):
        enroll(gallery, name, number)
    assert [subject.name for subject in gallery.read(subjects.list_subjects)] == sorted(KEPT)
    for number, name in enumerate(KEPT):
        assert found_subject(gallery, number) == name
        assert gallery.read(people.find, name).photos == 1
        gallery.write(people.set_attributes, name, {"note": name})
        assert [subject.name for subject in gallery.read(subjects.list_subjects, {"note": name})] == [name]
        (candidates,) = gallery.search(unit(number)[None], 5, {"note": name})
        assert [each.subject for each in candidates] == [name]
    for name in KEPT:
        gallery.write(people.rename, name, f"x{name}"[:200])
        assert gallery.remove(people.remove, f"x{name}"[:200]) == (1, 1)
    assert gallery.read(subjects.list_subjects) == []


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_cannot_be_kept_are_refused(gallery: Gallery, name: str) -> None:
    enroll(gallery, "anna", 1)
    for attempt in (
        lambda: enroll(gallery, name, 2),
        lambda: gallery.write(people.rename, "anna", name),
        lambda: gallery.read(people.find, name),
        lambda: gallery.remove(people.remove, name),
    ):
        with pytest.raises(ConfigError):
            attempt()
    assert [subject.name for subject in gallery.read(subjects.list_subjects)] == ["anna"]


def test_one_name_in_two_unicode_forms_is_one_person(gallery: Gallery) -> None:
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    enroll(gallery, composed, 1)
    enroll(gallery, f" {decomposed}\n".strip("\n"), 2)
    assert [subject.name for subject in gallery.read(subjects.list_subjects)] == [composed]
    assert gallery.read(people.find, decomposed).photos == 2
    gallery.write(people.set_attributes, decomposed, {"ort\u00e9": decomposed})
    assert gallery.read(people.find, composed).attributes == {"ort\u00e9": composed}
    assert len(gallery.read(subjects.list_subjects, {"orte\u0301": composed})) == 1
    gallery.write(people.set_attributes, composed, {"orte\u0301": None})
    assert gallery.read(people.find, composed).attributes == {}


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30))
def test_a_clean_name_is_clean(name: str) -> None:
    try:
        cleaned = clean_name(name)
    except ConfigError:
        return
    assert clean_name(cleaned) == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    assert len(f"{cleaned}.".splitlines()) == 1
    cleaned.encode()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.text(max_size=40), key=st.text(min_size=1, max_size=10))
def test_attributes_round_trip_or_are_refused(gallery: Gallery, key: str, value: str) -> None:
    if not gallery.read(subjects.list_subjects):
        enroll(gallery, "anna", 1)
        enroll(gallery, "bob", 2)
    try:
        gallery.write(people.set_attributes, "anna", {key: value})
    except ConfigError:
        assert not gallery.read(people.find, "anna").attributes
        return
    normal = unicodedata.normalize("NFC", value)
    assert gallery.read(people.find, "anna").attributes == {unicodedata.normalize("NFC", key): normal}
    assert [subject.name for subject in gallery.read(subjects.list_subjects, {key: value})] == ["anna"]
    gallery.write(people.set_attributes, "anna", {key: None})


@pytest.mark.parametrize("key", ["", "1a", "a b", "a'b", 'a"b', "a$b", "$", "a[0]", "a\0", "-a", "\ud800", "a" * 201])
def test_attribute_names_that_could_mean_something_else_are_refused(gallery: Gallery, key: str) -> None:
    enroll(gallery, "anna", 1)
    with pytest.raises(ConfigError, match="cannot name an attribute"):
        gallery.write(people.set_attributes, "anna", {key: "x"})
    with pytest.raises(ConfigError):
        gallery.read(subjects.list_subjects, {key: "x"})


def test_attributes_with_dots_and_letters_of_any_script_work_on_an_older_sqlite(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "sqlite_module", lambda: sqlite3)
    with make_gallery(folder) as gallery:
        enroll(gallery, "anna", 1, attributes={"a.b": "dot", "stra\u00dfe": "\u00fc"})
        enroll(gallery, "bob", 2, attributes={"a": "b"})
        assert [subject.name for subject in gallery.read(subjects.list_subjects, {"a.b": "dot"})] == ["anna"]
        assert [subject.name for subject in gallery.read(subjects.list_subjects, {"stra\u00dfe": "\u00fc"})] == ["anna"]


def test_merging_keeps_photos_and_attributes(gallery: Gallery) -> None:
    enroll(gallery, "anna", 1, attributes={"city": "Oslo", "team": "red"})
    enroll(gallery, "ann", 2, 3, attributes={"city": "Rome", "age": "30"})
    gallery.change(people.merge, "ann", "anna")
    (subject,) = gallery.read(subjects.list_subjects)
    assert (subject.name, subject.photos, subject.templates) == ("anna", 3, 3)
    assert subject.attributes == {"city": "Oslo", "team": "red", "age": "30"}
    assert {found_subject(gallery, seed) for seed in (1, 2, 3)} == {"anna"}
    with pytest.raises(ConfigError, match="with itself"):
        gallery.change(people.merge, "anna", "anna")
    with pytest.raises(ConfigError, match="with itself"):
        gallery.change(people.merge, "ann", "anna")  # another name of hers by now
    with pytest.raises(UnknownSubjectError):
        gallery.change(people.merge, "anna", "nobody")
    assert gallery.read(people.find, "anna").photos == 3


def test_a_taken_name_is_refused_with_the_command_to_merge(gallery: Gallery) -> None:
    enroll(gallery, "anna", 1)
    enroll(gallery, "bob o'hara", 2)
    with pytest.raises(SubjectExistsError) as caught:
        gallery.write(people.rename, "anna", "bob o'hara")
    assert (caught.value.hint or "").endswith("""facesearch people merge anna 'bob o'"'"'hara'""")
    gallery.write(people.rename, "anna", "anna")
    gallery.write(people.rename, "anna", "Anna")
    assert found_subject(gallery, 1) == "Anna"


def test_an_unknown_name_proposes_names_that_look_alike(gallery: Gallery) -> None:
    enroll(gallery, "Sigourney Weaver", 1)
    with pytest.raises(UnknownSubjectError) as caught:
        gallery.read(people.find, "Sigorney Weaver")
    assert caught.value.hint == "Did you mean Sigourney Weaver?"
    with pytest.raises(UnknownSubjectError) as caught:
        gallery.read(photos.photos_of_subject, "Xu")
    assert "people list" in (caught.value.hint or "")


@pytest.mark.parametrize("reason", [Reason.DUPLICATE, Reason.IDENTITY_CONFLICT])
@pytest.mark.parametrize("how", ["remove_subject", "remove_photos", "merge", "rename"])
def test_refusals_that_rest_on_others_go_with_them(gallery: Gallery, reason: Reason, how: str) -> None:
    enroll(gallery, "anna", 1)
    enroll(gallery, "bob", 2)
    commit(gallery, [refused_photo("resting.jpg", reason, "It matches anna."), refused_photo("blurred.jpg")])
    match how:
        case "remove_subject":
            gallery.remove(people.remove, "anna")
        case "remove_photos":
            gallery.remove(people.remove_photos, [ROOT / "1.jpg"])
        case "merge":
            gallery.change(people.merge, "anna", "bob")
        case _:
            gallery.write(people.rename, "anna", "ann")
    assert list(gallery.read(decisions.find_rejections, [ROOT / "resting.jpg", ROOT / "blurred.jpg"])) == [
        ROOT / "blurred.jpg"
    ]


def test_refusals_are_found_by_folder(gallery: Gallery, tmp_path: Path) -> None:
    inside, deeper, beside = tmp_path / "in" / "a.jpg", tmp_path / "in" / "b" / "c.jpg", tmp_path / "in2" / "a.jpg"
    commit(gallery, [refused_photo(path) for path in (inside, deeper, beside)])
    assert set(gallery.read(decisions.rejected_below, tmp_path / "in")) == {inside, deeper}


def test_photos_are_found_by_folder_and_content_whatever_their_names(gallery: Gallery, tmp_path: Path) -> None:
    names = ["a/1.jpg", "a%/2.jpg", "a_/3.jpg", "ab/4.jpg", "a/deep/5.jpg", "a/\udcff.jpg"]
    for number, name in enumerate(names):
        enroll(gallery, "anna", number)
        stored = gallery.read(photos.find_photos, [ROOT / f"{number}.jpg"])[ROOT / f"{number}.jpg"]
        file = type(stored.file)(ROOT / name, stored.file.sha256, 1, 1)
        commit(gallery, [MovedPhoto(stored, file, "anna", {})])
    below = {str(photo.file.path.relative_to(ROOT)) for photo in gallery.read(photos.photos_below, ROOT / "a")}
    assert below == {"a/1.jpg", "a/deep/5.jpg", "a/\udcff.jpg"}
    assert (
        len(gallery.read(photos.photos_below, ROOT))
        == len(gallery.read(photos.photos_below, ROOT.parent))
        == len(names)
    )
    assert len(gallery.read(photos.photos_of_subject, "anna")) == len(names)
    assert set(gallery.read(photos.find_photos, [ROOT / name for name in names])) == {ROOT / name for name in names}
