"""Who is this? A person with a photo, at the page."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image

from facesearch import FaceSearch
from tests.server.conftest import serve_here
from tests.server.page.conftest import Open, Tab, serving
from tests.server.test_probes import photos

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FROM_THE_LEFT = ["Mira Quill", "Tobi Lantern", "Felix Thistle", "Lotte Applegarth", "Kofi Ember"]
"""In the group photo."""


def test_every_face_has_its_box_where_the_api_says_it_is(still: Tab, scenes_folder: Path) -> None:
    records = httpx.post(f"{still.url}/v1/identify", files=photos(scenes_folder / "group.jpg"), timeout=60).json()
    found = sorted(records["results"], key=lambda each: each["box"][0] + each["box"][2])
    assert [each["subject"] for each in found] == FROM_THE_LEFT
    page = still.search(scenes_folder / "group.jpg")
    boxes = page.locator(".facebox")
    assert boxes.count() == 5
    frame = page.locator(".frame img").bounding_box()
    assert frame is not None
    with Image.open(scenes_folder / "group.jpg") as image:
        scale = frame["width"] / image.width
    for index, record in enumerate(found):
        box = boxes.nth(index)
        spot = box.bounding_box()
        assert spot is not None
        x1, y1, x2, y2 = (value * scale for value in record["box"])
        assert spot["x"] - frame["x"] == pytest.approx(x1, abs=1)
        assert spot["y"] - frame["y"] == pytest.approx(y1, abs=1)
        assert (spot["width"], spot["height"]) == pytest.approx((x2 - x1, y2 - y1), abs=1)
        label = box.get_attribute("aria-label") or ""
        assert label.startswith(f"Face {index + 1}: {record['subject']}. Match. Score {record['score']:.3f}")
        assert f"{record['margin']:.3f} ahead of {record['candidates'][1]['subject']}" in label


def test_faces_are_chosen_by_click_and_by_arrow_key(still: Tab, scenes_folder: Path) -> None:
    page = still.search(scenes_folder / "group.jpg")
    heading = page.locator(".verdict h2")
    page.locator(".facebox").nth(1).click()
    assert heading.inner_text() == "Tobi Lantern"
    for key, expected in [("ArrowRight", "Felix Thistle"), ("ArrowLeft", "Tobi Lantern"), ("ArrowLeft", "Mira Quill")]:
        page.keyboard.press(key)
        assert heading.inner_text() == expected
        assert page.locator('.facebox[aria-pressed="true"]').count() == 1
    page.get_by_role("button", name="Previous").click()
    assert heading.inner_text() == "Kofi Ember"


def test_candidates_stand_on_a_scale_with_the_threshold(still: Tab, scenes_folder: Path) -> None:
    page = still.search(scenes_folder / "group.jpg")
    record = httpx.post(f"{still.url}/v1/identify", files=photos(scenes_folder / "group.jpg"), timeout=60).json()
    page.locator(".facebox").nth(0).click()
    (mira,) = [each for each in record["results"] if each["subject"] == "Mira Quill"]
    rows = page.locator(".candidates li")
    assert rows.count() == 5
    shown = [each["score"] for each in mira["candidates"]]
    low = min(0, *shown)
    assert low == 0, "the test counts from zero"
    for index, candidate in enumerate(mira["candidates"]):
        row = rows.nth(index)
        assert row.locator("b").inner_text() == candidate["subject"]
        assert row.locator(".number").inner_text() == f"{candidate['score']:.3f}"
        line, dot, mark = (row.locator(each).bounding_box() for each in (".track", ".dot", ".mark"))
        assert line is not None
        assert dot is not None
        assert mark is not None
        at = (dot["x"] + dot["width"] / 2 - line["x"]) / line["width"]
        assert at == pytest.approx(min(1, candidate["score"]), abs=0.01)
        assert (mark["x"] - line["x"]) / line["width"] == pytest.approx(mira["threshold"], abs=0.01)
    page.locator(".pair .portrait img").nth(1).wait_for()  # the face of the photo, and one of the gallery
    rows.nth(1).locator(".pick").click()
    caption = page.locator(".theirs figcaption").inner_text()
    assert caption == f"{mira['candidates'][1]['subject']}: below the threshold"


def test_that_is_not_them_sets_somebody_aside_on_the_page_alone(still: Tab, people_folder: Path) -> None:
    page = still.search(people_folder / "Mira Quill" / "2.jpg")
    heading = page.locator(".verdict h2")
    assert heading.inner_text() == "Mira Quill"
    page.get_by_role("button", name="That is not them").click()
    assert heading.inner_text() == "Nobody else matches"
    note = page.locator(".face-panel .notice")
    assert "gallery has not changed" in note.inner_text()
    assert note.get_by_role("link").all_inner_texts() == ["Mira Quill"]
    assert page.locator(".summary").inner_text() == "1 face: no match"
    assert page.locator(".candidates b").first.inner_text() != "Mira Quill"
    assert "no match" in page.locator(".facebox .tag").inner_text()
    page.get_by_role("button", name="Bring back").click()
    assert heading.inner_text() == "Mira Quill"


def test_a_stranger_is_enrolled_right_there_and_found_at_once(tab: Tab, scenes_folder: Path) -> None:
    page = tab.search(scenes_folder / "stranger.jpg")
    assert page.locator(".verdict h2").inner_text() == "No match"
    assert "below the threshold" in page.locator(".verdict p").inner_text()
    name = '<img src=x onerror="alert(1)"> O\'Neil'
    page.get_by_label("Enroll this face as").fill(name)
    page.get_by_text("A new person.").wait_for()
    page.get_by_role("button", name="Enroll", exact=True).click()
    page.locator(".outcome", has_text=f"{name} is enrolled with this face.").wait_for()
    page.locator(".verdict.match").wait_for()
    assert page.locator(".verdict h2").inner_text() == name
    page.get_by_role("link", name=name).first.click()
    page.locator(".person-head").wait_for()
    assert page.locator("h1").inner_text() == name
    page.locator(".photo-card .portrait img").wait_for()  # cut from the upload, since this server shows faces


def test_a_photo_too_poor_for_the_gallery_is_enrolled_when_a_person_says_so(
    tab: Tab, tmp_path: Path, scenes_folder: Path
) -> None:
    small = tmp_path / "small.png"
    with Image.open(scenes_folder / "stranger.jpg") as image:
        image.resize((image.width // 3, image.height // 3), Image.Resampling.LANCZOS).save(small)
    page = tab.search(small)
    page.get_by_label("Enroll this face as").fill("Distant Person")
    page.get_by_role("button", name="Enroll", exact=True).click()
    page.get_by_text("Not enrolled. The face is too small.").wait_for()
    page.get_by_role("button", name="Accept anyway").click()
    page.locator(".outcome", has_text="Distant Person is enrolled with this face.").wait_for()


def test_a_result_is_still_there_after_looking_at_people(still: Tab, scenes_folder: Path) -> None:
    page = still.search(scenes_folder / "group.jpg")
    page.locator(".facebox").nth(2).click()
    page.get_by_role("link", name="People", exact=True).click()
    page.locator(".person-card").first.wait_for()
    page.get_by_role("link", name="Who is this?", exact=True).click()
    page.locator(".verdict").wait_for()
    assert page.locator(".verdict h2").inner_text() == "Felix Thistle"
    assert page.locator(".frame.ready .facebox").count() == 5


def test_two_who_look_alike_are_too_close_to_call(engine: FaceSearch, open_tab: Open, people_folder: Path) -> None:
    photo = people_folder / "Mira Quill" / "2.jpg"
    engine.enroll_uploads([photo.read_bytes()], "Mira's Twin")
    with serving(engine) as url:
        page = open_tab(url).search(photo)
    assert page.locator(".verdict").get_attribute("class") == "verdict ambiguous"
    title = page.locator(".verdict h2").inner_text()
    assert sorted(title.rstrip("?").split(" or ")) == ["Mira Quill", "Mira's Twin"]
    assert "Too close to call" in page.locator(".verdict p").inner_text()


def test_photos_are_dropped_and_pasted(still: Tab, scenes_folder: Path) -> None:
    page = still.go()
    photo = base64.b64encode((scenes_folder / "group.jpg").read_bytes()).decode()
    transfer = """([text, name]) => {
        const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], name, { type: "image/jpeg" }));
        return data;
    }"""
    data = page.evaluate_handle(transfer, [photo, "dropped.jpg"])
    page.dispatch_event("main", "dragenter", {"dataTransfer": data})
    assert "over" in (page.locator(".intake").get_attribute("class") or "")
    page.dispatch_event("main", "drop", {"dataTransfer": data})
    page.get_by_alt_text("Photo dropped.jpg").wait_for()
    data = page.evaluate_handle(transfer, [photo, "pasted.jpg"])
    page.evaluate("data => window.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}))", data)
    page.get_by_alt_text("Photo pasted.jpg").wait_for()
    assert page.locator(".facebox").count() == 5


def test_several_photos_are_searched_and_walked_through_by_keyboard(still: Tab, scenes_folder: Path) -> None:
    names = ("group.jpg", "landscape.jpg", "stranger.jpg")
    page = still.go()
    page.locator(".intake input").first.set_input_files([scenes_folder / name for name in names])
    strip = page.get_by_role("group", name="3 photos").get_by_role("button")
    page.get_by_role("button", name="Photo 3 of 3, stranger.jpg: 1 face: no match").wait_for()
    page.get_by_role("button", name="Photo 2 of 3, landscape.jpg: No face was found").wait_for()
    assert strip.all_inner_texts() == ["5/5", "\N{EN DASH}", "0/1"]
    page.get_by_alt_text("Photo group.jpg").wait_for()
    strip.first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".result h2").inner_text() == "No face was found"
    page.keyboard.press("ArrowRight")
    assert page.locator(".verdict h2").inner_text() == "No match"
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.keyboard.press("Home")
    page.locator(".frame.ready .facebox").nth(4).wait_for()
    assert [each.get_attribute("tabindex") for each in strip.all()] == ["0", "-1", "-1"], "one stop for the Tab key"
    page.get_by_role("link", name="People", exact=True).click()
    page.locator(".person-card").first.wait_for()
    page.get_by_role("link", name="Who is this?", exact=True).click()
    assert strip.all_inner_texts() == ["5/5", "\N{EN DASH}", "0/1"]
    still.page.locator(".intake input").first.set_input_files(scenes_folder / "stranger.jpg")
    page.get_by_alt_text("Photo stranger.jpg").wait_for()
    assert strip.count() == 0


def test_one_photo_that_fails_leaves_the_others(still: Tab, scenes_folder: Path) -> None:
    page = still.go()
    page.route("**/v1/identify*", lambda route: route.abort(), times=1)
    page.locator(".intake input").first.set_input_files([scenes_folder / "group.jpg", scenes_folder / "stranger.jpg"])
    page.locator(".strip-photo.failed").wait_for()
    page.locator(".strip-photo.match, .strip-photo.unknown").wait_for()
    page.locator(".strip-photo.failed").click()
    page.get_by_role("button", name="Try again").click()
    page.locator(".facebox").first.wait_for()
    assert page.locator(".strip-photo.failed").count() == 0


def test_a_photo_that_the_browser_cannot_show_is_shown_by_the_server(
    still: Tab, tmp_path: Path, scenes_folder: Path
) -> None:
    large = tmp_path / "group.tif"
    with Image.open(scenes_folder / "group.jpg") as image:
        image.resize((image.width * 3, image.height * 3)).save(large)
    page = still.search(large)
    page.locator(".frame.ready").wait_for()
    (record, *_) = httpx.post(f"{still.url}/v1/identify", files=photos(large), timeout=60).json()["results"]
    boxes = [box for each in page.locator(".facebox").all() if (box := each.bounding_box())]
    frame = page.locator(".frame img").bounding_box()
    assert frame is not None
    with Image.open(large) as image:
        scale = frame["width"] / image.width
    assert any(box["x"] - frame["x"] == pytest.approx(record["box"][0] * scale, abs=1.5) for box in boxes)
    page.locator(".pair .portrait img").first.wait_for()
    page.route("**/v1/preview", lambda route: route.fulfill(status=503, body="{}"))
    page = still.search(large)
    page.get_by_text("This photo cannot be shown here. Its faces are listed.").wait_for()
    assert page.locator(".verdict").count() == 1


def test_without_a_camera_for_pages_the_phones_own_takes_the_photo(
    browser: Browser, unchanged: str, scenes_folder: Path
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    context.add_init_script("Object.defineProperty(Navigator.prototype, 'mediaDevices', { value: undefined })")
    page = context.new_page()
    page.goto(f"{unchanged}/#/")
    field = page.locator("input[capture]")
    field.wait_for(state="attached")
    assert (field.get_attribute("capture"), field.get_attribute("accept")) == ("environment", "image/*")
    assert page.get_by_role("button", name="Use the camera").count() == 0
    with page.expect_file_chooser() as choosing:
        page.get_by_role("button", name="Take a photo").tap()
    choosing.value.set_files(scenes_folder / "stranger.jpg")
    page.get_by_alt_text("Photo stranger.jpg").wait_for()
    context.close()


def test_the_camera_takes_a_photo(still: Tab) -> None:
    page = still.go()
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_text("The photo is searched and not kept.").wait_for()
    page.get_by_role("button", name="Take photo").click()
    page.get_by_alt_text("Photo camera.jpg").wait_for()
    assert page.locator("dialog").count() == 0
    assert "Lotte Applegarth" in page.locator(".summary").inner_text()


def test_what_cannot_be_searched_says_why(still: Tab, tmp_path: Path, scenes_folder: Path) -> None:
    page = still.search(scenes_folder / "landscape.jpg")
    assert page.locator(".result h2").inner_text() == "No face was found"
    text = tmp_path / "notes.jpg"
    text.write_text("no photo")
    page = still.search(text)
    assert page.locator(".result h2").inner_text() == "This kind of file is not supported"


def test_a_server_that_is_gone_is_told_and_can_be_asked_again(still: Tab, scenes_folder: Path) -> None:
    page = still.go()
    page.route("**/v1/identify*", lambda route: route.abort())
    page.locator(".intake input").first.set_input_files(scenes_folder / "stranger.jpg")
    page.get_by_role("alert").get_by_text("The server cannot be reached.").wait_for()
    page.unroute("**/v1/identify*")
    page.get_by_role("button", name="Try again").click()
    page.locator(".verdict").wait_for()


def test_a_busy_server_is_asked_again_after_the_time_it_names(still: Tab, scenes_folder: Path) -> None:
    page = still.go()
    busy = {"status": 429, "headers": {"Retry-After": "1"}, "body": '{"detail": "busy"}'}
    page.route("**/v1/identify*", lambda route: route.fulfill(**busy), times=1)
    page.locator(".intake input").first.set_input_files(scenes_folder / "stranger.jpg")
    page.locator(".verdict").wait_for()
    assert len(still.refusals) == 1


def test_real_photos_are_found(open_tab: Open, assets: Path, testpack_dir: Path, tmp_path: Path) -> None:
    people = sorted(folder for folder in (assets / "faces" / "lfw").iterdir() if len(list(folder.iterdir())) > 1)[:3]
    with FaceSearch.open(tmp_path / "gallery", pack=testpack_dir, provider="cpu") as engine:
        for folder in people:
            assert all(
                each.status == "enrolled" for each in engine.enroll(sorted(folder.iterdir())[1], subject=folder.name)
            )
        with serve_here(engine) as api:
            answer = api.post("/v1/identify", files=photos(sorted(people[0].iterdir())[0])).json()["results"]
        with serving(engine) as url:
            tab = open_tab(url)
            page = tab.search(sorted(people[0].iterdir())[0])
            assert page.locator(".candidates b").all_inner_texts() == [
                each["subject"] for each in answer[0]["candidates"]
            ]
            page = tab.search(assets / "faces" / "group" / "t1.jpg")
            assert page.locator(".facebox").count() == 6


def test_a_search_without_the_engine_is_offered_and_says_what_it_is(
    open_tab: Open, bereft: FaceSearch, people_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facesearch.search.exact.LOCAL", 4)
    with serving(bereft) as url:
        tab = open_tab(url)
        page = tab.go()
        page.locator(".intake input").first.set_input_files(people_folder / "Mira Quill" / "1.jpg")
        page.get_by_role("button", name="Search the newest people only").click()
        page.locator(".face-panel").wait_for()
        assert "not everybody was searched" in page.locator(".summary.warn").inner_text()
        assert len(tab.refusals) == 1
