"""`audit`: what it finds in a gallery that was spoilt on purpose."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from facesearch import FaceSearch
from facesearch.demo.portraits import PEOPLE, draw_portrait, write_photo
from tests.cli.conftest import Command

MIRA, RAVI, TWIN = PEOPLE[0], PEOPLE[1], "Somebody Else"


@pytest.fixture
def spoilt(people_folder: Path, standin_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six people; one enrolled again under another name, one photo under a wrong name, one photo twice."""
    people = tmp_path / "people"
    for name in PEOPLE[:6]:
        shutil.copytree(people_folder / name, people / name)
    for shot in (10, 11):
        write_photo(people / TWIN / f"{shot}.jpg", draw_portrait(3, shot))
    write_photo(people / MIRA / "wrong.jpg", draw_portrait(1, 12))
    Image.open(people / RAVI / "1.jpg").save(people / RAVI / "copy.jpg", quality=80)
    monkeypatch.setenv("FACESEARCH_GALLERY", str(tmp_path / "gallery"))
    with FaceSearch.open(tmp_path / "gallery", pack=standin_pack, provider="cpu") as engine:
        assert all(outcome.status == "enrolled" for outcome in engine.enroll(people))
    return people


def test_everything_that_was_spoilt_is_found(command: Command, spoilt: Path) -> None:
    run = command("audit", "--json", "--duplicates", "0.995")
    assert run.code == 1
    found = {kind: [each for each in run.records if each["kind"] == kind] for kind in ("look_alike", "mislabelled")}
    assert {(each["subject_a"], each["subject_b"]) for each in found["look_alike"]} in (
        {(PEOPLE[3], TWIN), (MIRA, RAVI)},
        {(TWIN, PEOPLE[3]), (MIRA, RAVI)},
        {(PEOPLE[3], TWIN), (RAVI, MIRA)},
        {(TWIN, PEOPLE[3]), (RAVI, MIRA)},
    )
    (wrong,) = found["mislabelled"]
    assert wrong["photo_a"].endswith(f"{MIRA}/wrong.jpg")
    assert wrong["photo_b"].startswith(str(spoilt / MIRA))
    assert f"nearer: {RAVI}" in wrong["note"]
    copies = [
        {Path(each["photo_a"]).name, Path(each["photo_b"]).name} for each in run.records if each["kind"] == "duplicate"
    ]
    assert {"1.jpg", "copy.jpg"} in copies
    assert all(isinstance(each["template_id_a"], int) for each in run.records)


def test_the_table_names_people_and_photos(command: Command, spoilt: Path) -> None:
    run = command("audit")
    assert run.code == 1
    assert "photos far from their person: 1" in run.out
    assert f"{MIRA}/wrong.jpg" in run.out
    assert TWIN in run.out
    assert "synthetic portraits only" in run.err


def test_the_page_shows_faces_and_survives_photos_that_are_gone(command: Command, spoilt: Path, tmp_path: Path) -> None:
    page = tmp_path / "audit.html"
    assert command("audit", "--html", page).code == 1
    whole = page.read_text()
    assert whole.count("data:image/jpeg") >= 6
    assert "no picture" not in whole
    (spoilt / MIRA / "wrong.jpg").unlink()
    assert command("audit", "--html", page, "--force", "--limit", "1", "--duplicates", "0.5").code == 1
    cut = page.read_text()
    assert "no picture" in cut
    assert "The first 1 of" in cut
    assert command("audit", "--html", tmp_path).code == 2


def test_a_sound_gallery_has_nothing_to_look_at(command: Command, gallery: Path) -> None:
    run = command("audit", "--duplicates", "1")
    assert run.code == 0
    assert run.out.startswith("Different people at or above")
    assert command("audit", "--json", "--duplicates", "1").out == ""


def test_an_empty_gallery_and_wrong_options_are_refused(command: Command, gallery: Path, tmp_path: Path) -> None:
    assert command("audit", "--duplicates", "2").code == 2
    assert command("audit", "--gallery", tmp_path / "none").code == 4
    for name in PEOPLE:
        command("people", "remove", name, "--yes")
    assert command("audit").code == 2


def test_uploads_are_listed_beside_files(command: Command, gallery: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "new.jpg", draw_portrait(0, 10))
    with FaceSearch.open(gallery, provider="cpu") as engine:
        (outcome,) = engine.enroll_uploads([(tmp_path / "new.jpg").read_bytes()], MIRA)
        assert outcome.status == "enrolled"
    run = command("audit", "--duplicates", "0.5")
    assert run.code == 1
    assert f"{MIRA}/1.jpg" in run.out
