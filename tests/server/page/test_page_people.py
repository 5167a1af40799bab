"""People: found, renamed, described, merged, erased."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from facesearch import FaceSearch
from facesearch.store import templates
from facesearch.store.changes import NewPhoto
from tests.server.page.conftest import Open, Tab, serving
from tests.store.makers import commit, photo_file, template, units


def open_person(tab: Tab, name: str) -> None:
    page = tab.go("/people")
    page.locator(".person-card", has_text=name).click()
    page.locator(".person-head h1", has_text=name).wait_for()
    page.locator("#alike-title").wait_for()


def test_people_are_searched_by_part_of_their_name(still: Tab) -> None:
    page = still.go("/people")
    cards = page.locator(".person-card")
    cards.last.wait_for()
    assert cards.count() == 12
    assert page.locator(".count").inner_text() == "12 people"
    page.locator(".person-card .portrait img").first.wait_for()
    page.get_by_label("Search people").fill("MOON")
    page.get_by_text("1 person found").wait_for()
    assert cards.locator("b").all_inner_texts() == ["Ravi Moonstone"]
    page.get_by_label("Search people").fill("zzz")
    page.get_by_role("heading", name="Nobody found").wait_for()
    assert page.url.endswith("search=zzz")


def test_many_people_come_page_by_page(engine: FaceSearch, open_tab: Open) -> None:
    model = engine.extractor.info
    commit(
        engine.gallery,
        [
            NewPhoto(
                photo_file(f"{name}.jpg", name), f"Person {name}", {}, 640, 480, (template(vector, model.model_id),)
            )
            for name, vector in enumerate(units(1, 44, model.dimension), 10)
        ],
    )
    with serving(engine) as url:
        page = open_tab(url).go("/people")
        more = page.get_by_role("button", name="Show more (8 left)")
        more.click()
        page.locator(".person-card").nth(55).wait_for()
        assert more.count() == 0
        names = page.locator(".person-card b").all_inner_texts()
        assert len(set(names)) == 56
        assert names[48] in page.evaluate("document.activeElement.textContent")


def test_an_empty_gallery_says_how_to_begin(tmp_path: Path, standin_pack: Path, open_tab: Open) -> None:
    with FaceSearch.open(tmp_path / "new", pack=standin_pack, provider="cpu") as engine, serving(engine) as url:
        page = open_tab(url).go("/people")
        page.get_by_role("link", name="Enroll people").click()
        page.get_by_text("Drop a folder with one folder per person").wait_for()


def test_a_person_is_shown_with_photos_quality_and_look_alikes(still: Tab) -> None:
    open_person(still, "Mira Quill")
    page = still.page
    cards = page.locator(".photo-card")
    assert cards.count() == 4
    assert cards.first.locator("dt").all_inner_texts() == ["detection", "face", "sharpness", "turned", "tilted"]
    cards.first.locator(".portrait img").wait_for()
    alike = page.locator(".candidates .pick")
    assert alike.count() == 5
    scores = [
        float(text.replace("\N{MINUS SIGN}", "-")) for text in page.locator(".candidates .number").all_inner_texts()
    ]
    assert scores == sorted(scores, reverse=True)
    assert "Mira Quill" not in alike.locator("b").all_inner_texts()


def test_a_person_is_renamed_and_a_name_that_is_taken_is_refused(tab: Tab) -> None:
    open_person(tab, "Mira Quill")
    page = tab.page
    for name, answer in [("Otto Bramble", "taken"), ("Mira Quill-Émard", "free")]:
        page.get_by_role("button", name="Rename").click()
        page.get_by_label("New name").fill(name)
        page.get_by_role("dialog").get_by_role("button", name="Rename").click()
        if answer == "taken":
            page.get_by_role("dialog").get_by_role("alert").wait_for()
            page.get_by_role("button", name="Close").click()
            assert page.locator("h1").inner_text() == "Mira Quill"
    page.locator("h1", has_text="Mira Quill-Émard").wait_for()
    assert any("409" in refusal for refusal in tab.refusals)


def test_attributes_are_set_searched_by_and_removed(tab: Tab) -> None:
    open_person(tab, "Mira Quill")
    page = tab.page
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Attribute", exact=True).fill("team")
    page.get_by_label("Value", exact=True).fill("<b>design</b>")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("link", name="<b>design</b>").click()
    page.get_by_text("1 person found").wait_for()
    assert page.locator(".person-card b").all_inner_texts() == ["Mira Quill"]
    page.get_by_role("link", name="Remove the filter team: <b>design</b>").click()
    page.get_by_text("12 people").wait_for()
    open_person(tab, "Mira Quill")
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("button", name="Remove team").click()
    page.get_by_role("button", name="Save").click()
    page.get_by_text("None. Useful ones").wait_for()


def test_merging_says_what_goes_and_moves_the_photos(tab: Tab, engine: FaceSearch) -> None:
    open_person(tab, "Mira Quill")
    page = tab.page
    page.get_by_role("button", name="Merge").click()
    page.get_by_label("Person who stays").fill("Otto Bramble")
    page.get_by_text("Otto Bramble has 4 photos so far.").wait_for()
    page.get_by_role("button", name="Continue").click()
    dialog = page.get_by_role("dialog", name="Merge Mira Quill into Otto Bramble?")
    assert "All photos of Mira Quill (4) become photos of Otto Bramble." in dialog.inner_text()
    assert (
        "Mira Quill becomes another name of Otto Bramble. The history in the report can undo it." in dialog.inner_text()
    )
    dialog.get_by_role("button", name="Merge").click()
    page.locator("h1", has_text="Otto Bramble").wait_for()
    page.get_by_text("8 photos, 8 templates").wait_for()
    page.get_by_text("Also called Mira Quill").wait_for()
    assert engine.gallery.read(templates.counts)["subjects"] == 11


def test_erasing_says_what_will_be_gone_and_begins_with_keeping(tab: Tab, engine: FaceSearch) -> None:
    open_person(tab, "Mira Quill")
    page = tab.page
    page.get_by_role("button", name="Erase").click()
    dialog = page.get_by_role("dialog", name="Erase Mira Quill?")
    assert "4 templates of 4 photos" in dialog.inner_text()
    page.keyboard.press("Enter")  # the focus is on Keep
    dialog.wait_for(state="detached")
    assert engine.gallery.read(templates.counts)["subjects"] == 12
    assert page.evaluate("document.activeElement.textContent") == "Erase"
    page.get_by_role("button", name="Erase").click()
    page.get_by_role("button", name="Erase for good").click()
    receipt = page.get_by_role("dialog", name="Erased")
    receipt.get_by_text("nothing is left").wait_for()
    with page.expect_download() as saving:
        receipt.get_by_role("button", name="Save the receipt").click()
    assert json.loads(saving.value.path().read_text())["subjects"] == ["Mira Quill"]
    receipt.get_by_role("button", name="Close").click()
    page.get_by_text("11 people").wait_for()
    assert page.locator(".person-card", has_text="Mira Quill").count() == 0
    assert engine.gallery.read(templates.counts) == {
        **engine.gallery.read(templates.counts),
        "subjects": 11,
        "templates": 44,
    }


def test_photos_are_removed_and_added(tab: Tab, people_folder: Path, scenes_folder: Path) -> None:
    open_person(tab, "Mira Quill")
    page = tab.page
    page.get_by_role("button", name="Remove 2.jpg").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    page.get_by_text("3 photos, 3 templates").wait_for()
    adding = page.locator("section[aria-labelledby=photos-title] input[type=file]")
    adding.set_input_files(people_folder / "Mira Quill" / "2.jpg")
    page.get_by_text("4 photos, 4 templates").wait_for()
    adding.set_input_files(scenes_folder / "group.jpg")
    page.get_by_text("Several faces, and it is not clear which one is meant").wait_for()
    page.get_by_role("button", name="Choose the face").click()
    page.get_by_role("button", name="Face 1 of 5").click()
    page.get_by_role("button", name="This is Mira Quill").click()
    page.get_by_text("5 photos, 5 templates").wait_for()


def test_a_photo_whose_name_is_no_text_is_shown_and_searched(
    engine: FaceSearch, open_tab: Open, people_folder: Path, tmp_path: Path
) -> None:
    name = "Q\udcffQ\n\u202e<b>.jpg"
    photo = tmp_path / "new" / "Ada" / name
    photo.parent.mkdir(parents=True)
    try:
        shutil.copy(people_folder / "Mira Quill" / "1.jpg", photo)
    except OSError:
        pytest.skip("this file system has names in Unicode alone")
    list(engine.enroll(tmp_path / "new"))
    shown = r"Q\xffQ\x0a\xe2\x80\xae<b>.jpg"
    with serving(engine) as url:
        tab = open_tab(url)
        open_person(tab, "Ada")
        assert tab.page.locator(".photo-card b").first.inner_text() == shown
        assert tab.page.get_by_role("button", name=f"Remove {shown}").count() == 1
        page = tab.search(people_folder / "Mira Quill" / "1.jpg")
        page.locator(".face-panel small", has_text=shown).first.wait_for()
