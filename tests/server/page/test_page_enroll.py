"""Enroll: a folder in, progress, and what was refused mended by a person."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from facesearch import FaceSearch
from facesearch.store import templates
from facesearch.store.keys import create_key
from facesearch.store.photos import details_of_subject
from tests.server.page.conftest import Open, Tab, serving


@pytest.fixture
def new_tab(tmp_path: Path, standin_pack: Path, open_tab: Open) -> Iterator[tuple[Tab, FaceSearch]]:
    """A tab over an empty gallery."""
    with FaceSearch.open(tmp_path / "new", pack=standin_pack, provider="cpu") as engine, serving(engine) as url:
        yield open_tab(url), engine


@pytest.fixture
def folder(tmp_path: Path, people_folder: Path, scenes_folder: Path) -> Path:
    """Two people, one of them with photos that need a decision."""
    made = tmp_path / "people"
    shutil.copytree(people_folder / "Mira Quill", made / "Mira Quill")
    troubled = made / "Kofi Ember"
    troubled.mkdir()
    shutil.copy(people_folder / "Kofi Ember" / "1.jpg", troubled / "good.jpg")
    shutil.copy(scenes_folder / "group.jpg", troubled)
    shutil.copy(scenes_folder / "landscape.jpg", troubled)
    with Image.open(people_folder / "Kofi Ember" / "2.jpg") as large:
        large.resize((large.width // 3, large.height // 3), Image.Resampling.LANCZOS).save(troubled / "small.png")
    (troubled / "notes.txt").write_text("no photo")
    (made / "Kofi Ember" / ".hidden.jpg").write_text("no photo")
    return made


def figures(tab: Tab) -> dict[str, int]:
    rows = tab.page.locator(".run .figures div").all()
    return {row.locator("dt").inner_text(): int(row.locator("dd").inner_text()) for row in rows}


def start(tab: Tab, folder: Path) -> None:
    page = tab.go("/enroll")
    page.locator("input[webkitdirectory]").set_input_files(folder)
    page.locator(".plan button[type=submit]").click()
    page.get_by_role("heading", name="Done").wait_for()


def test_a_folder_is_planned_enrolled_and_its_refusals_mended(
    new_tab: tuple[Tab, FaceSearch], folder: Path, people_folder: Path
) -> None:
    tab, engine = new_tab
    page = tab.go("/enroll")
    page.locator("input[webkitdirectory]").set_input_files(folder)
    assert page.locator(".plan h2").inner_text() == "2 people, 8 photos, 2 other files passed over"
    page.get_by_role("button", name="Enroll 8 photos").click()
    page.get_by_role("heading", name="Done").wait_for()
    assert figures(tab) == {"enrolled": 5, "there already": 0, "not enrolled": 3}

    group = page.locator(".refusal", has_text="group.jpg")
    group.get_by_role("button", name="Choose the face").click()
    assert group.get_by_role("button", name="This is Kofi Ember").is_disabled()
    group.get_by_role("button", name="Face 5 of 5").click()
    group.get_by_role("button", name="This is Kofi Ember").click()
    group.get_by_text("Enrolled.").wait_for()

    small = page.locator(".refusal", has_text="small.png")
    assert "The face is too small" in small.inner_text()
    small.get_by_role("button", name="Accept anyway").click()
    small.get_by_text("Enrolled.").wait_for()

    landscape = page.locator(".refusal", has_text="landscape.jpg")
    assert "No face was found" in landscape.inner_text()
    landscape.locator("input[type=file]").set_input_files(people_folder / "Kofi Ember" / "3.jpg")
    page.locator(".refusal.settled", has_text="3.jpg").wait_for()

    assert figures(tab) == {"enrolled": 8, "there already": 0, "not enrolled": 0}
    assert engine.gallery.read(templates.counts) == {
        **engine.gallery.read(templates.counts),
        "subjects": 2,
        "photos": 8,
        "templates": 8,
    }
    photos = engine.gallery.read(details_of_subject, "Kofi Ember")
    (of_group,) = [each for each in photos if each.width > each.height]
    left, _, right, _ = of_group.faces[0].box
    assert (left + right) / 2 > 0.8 * of_group.width, "not the face on the right, which was chosen"
    kofi = engine.identify(people_folder / "Kofi Ember" / "4.jpg")[0]
    assert kofi.decision == "match"
    assert kofi.best is not None
    assert kofi.best.subject == "Kofi Ember"


def test_a_folder_is_dropped(new_tab: tuple[Tab, FaceSearch], folder: Path) -> None:
    tab, _ = new_tab
    page = tab.go("/enroll")
    zone = page.locator(".intake").bounding_box()
    assert zone is not None
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
        place = {"x": zone["x"] + zone["width"] / 2, "y": zone["y"] + zone["height"] / 2}
        session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})
    page.locator(".plan").wait_for()
    assert page.locator(".plan h2").inner_text() == "2 people, 8 photos, 2 other files passed over"
    assert page.locator(".plan-people b").all_inner_texts() == ["Kofi Ember", "Mira Quill"]


def test_enrolling_twice_changes_nothing(tab: Tab, people_folder: Path) -> None:
    start(tab, people_folder)
    assert figures(tab) == {"enrolled": 0, "there already": 48, "not enrolled": 0}


def test_loose_photos_are_asked_a_name_and_the_largest_face_may_be_taken(tab: Tab, scenes_folder: Path) -> None:
    page = tab.go("/enroll")
    page.locator(".intake input:not([webkitdirectory])").set_input_files(scenes_folder / "group.jpg")
    page.get_by_label("Who is in the 1 photo without a folder?").fill("Somebody in front")
    page.locator(".plan button[type=submit]").click()
    page.get_by_role("button", name="Take the largest").click()
    page.locator(".refusal.settled").wait_for()
    assert "Enrolled. But look: It matches" in page.locator(".refusal.settled").inner_text()


def test_a_photo_that_matches_somebody_else_is_told_or_with_strict_refused(
    tab: Tab, tmp_path: Path, people_folder: Path
) -> None:
    other = tmp_path / "wrong" / "Somebody Else"
    other.mkdir(parents=True)
    with Image.open(people_folder / "Mira Quill" / "1.jpg") as opened:
        image = opened.convert("RGB")
    image.rotate(2).save(other / "1.jpg")
    page = tab.go("/enroll")
    page.locator("input[webkitdirectory]").set_input_files(other.parent)
    page.get_by_label("Reject photos that match somebody else").check()
    page.locator(".plan button[type=submit]").click()
    refusal = page.locator(".refusal")
    refusal.get_by_text("It matches somebody else").wait_for()
    assert "Mira Quill" in refusal.inner_text()
    refusal.get_by_role("button", name="Enroll all the same").click()
    page.locator(".refusal.settled").wait_for()
    image.rotate(3).save(other / "1.jpg")
    start(tab, other.parent)
    page.get_by_role("heading", name="Enrolled, but look at these").wait_for()
    page.get_by_role("link", name="Open Somebody Else").click()
    page.get_by_text("2 photos, 2 templates").wait_for()
    page.get_by_text("Somebody reaches the threshold").wait_for()


def test_what_is_left_out_goes_and_a_run_that_breaks_goes_on(tab: Tab, scenes_folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "people"
    for name in ("A", "B"):
        (made / name).mkdir(parents=True)
        shutil.copy(scenes_folder / "landscape.jpg", made / name)
    page = tab.go("/enroll")
    page.locator("input[webkitdirectory]").set_input_files(made)
    page.route("**/v1/subjects", lambda route: route.abort())
    page.locator(".plan button[type=submit]").click()
    page.get_by_text("The server cannot be reached.").wait_for()
    page.unroute("**/v1/subjects")
    page.get_by_role("button", name="Continue with 2 photos").click()
    page.get_by_role("heading", name="Done").wait_for()
    assert page.locator(".refusal").count() == 2
    page.get_by_role("button", name="Leave out").first.click()
    page.get_by_role("button", name="Leave out").first.click()
    assert page.locator(".refusal").count() == 0
    assert page.evaluate("document.activeElement.textContent") == "Done"


def test_the_faces_of_a_group_are_named_one_by_one(new_tab: tuple[Tab, FaceSearch], scenes_folder: Path) -> None:
    tab, _ = new_tab
    page = tab.search(scenes_folder / "group.jpg")
    labels = page.locator(".facebox .tag span")
    assert set(labels.all_inner_texts()) == {"no match"}
    page.get_by_label("Enroll this face as").fill("Ada")
    page.get_by_role("button", name="Enroll", exact=True).click()
    page.locator(".facebox .tag span", has_text="Ada").wait_for()
    assert page.locator(".verdict h2").inner_text() == "Ada"
    page.locator(".outcome", has_text="Ada is enrolled with this face.").wait_for()
    assert page.locator(".summary").inner_text() == "5 faces: Ada; 4 without a match"
    page.get_by_role("button", name="Next").click()
    assert "The closest is Ada" in page.locator(".verdict").inner_text(), "the gallery is not empty any more"


def test_what_cannot_be_used_is_refused_and_the_rest_goes_on(new_tab: tuple[Tab, FaceSearch], folder: Path) -> None:
    tab, _ = new_tab
    (folder / "Kofi Ember" / "empty.jpg").write_bytes(b"")
    (folder / "\u00ad").mkdir()
    shutil.copy(folder / "Mira Quill" / "1.jpg", folder / "\u00ad" / "nobody.jpg")
    start(tab, folder)
    assert figures(tab) == {"enrolled": 5, "there already": 0, "not enrolled": 5}
    tab.page.locator(".refusal", has_text="empty.jpg").get_by_text("cannot be read as a photo").wait_for()
    tab.page.locator(".refusal", has_text="nobody.jpg").get_by_text("needs a character that can be seen").wait_for()


def test_added_photos_are_shown_while_another_is_refused(tab: Tab, people_folder: Path, scenes_folder: Path) -> None:
    page = tab.go("/people/1")
    before = page.locator(".photo-card").count()
    added = [scenes_folder / "landscape.jpg", scenes_folder / "stranger.jpg"]
    page.locator(".heading input[type=file]").set_input_files(added)
    page.locator(".refusal", has_text="landscape.jpg").wait_for()
    page.locator(".photo-card").nth(before).wait_for()
    page.get_by_role("button", name="Leave out").click()
    page.locator(".refusal").wait_for(state="detached")
    page.locator(".photo-card").nth(before).wait_for()
    assert page.locator(".photo-card").count() == before + 1


def test_a_key_that_only_enrolls_finds_its_way(engine: FaceSearch, open_tab: Open, scenes_folder: Path) -> None:
    key = engine.gallery.write(create_key, "door", ["enroll"])
    with serving(engine) as url:
        tab = open_tab(url)
        page = tab.page
        page.goto(f"{url}/#/")
        page.get_by_label("Key", exact=True).fill(key)
        page.keyboard.press("Enter")
        page.get_by_text("The key in use may not search or list people.").wait_for()
        page.get_by_role("link", name="Enroll people").click()
        page.locator(".intake input:not([webkitdirectory])").set_input_files(
            [scenes_folder / "stranger.jpg", scenes_folder / "group.jpg"]
        )
        page.get_by_label("Who is in the 2 photos").fill("Visitor")
        page.locator(".plan button[type=submit]").click()
        page.get_by_role("heading", name="Done").wait_for()
        assert figures(tab) == {"enrolled": 1, "there already": 0, "not enrolled": 1}
        assert page.get_by_role("button", name="Choose the face").count() == 0
        assert page.get_by_role("link", name="See the people").count() == 0
