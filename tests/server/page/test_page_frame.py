"""What holds for every view: the key, colours, widths, accessibility, words, and that nothing comes from elsewhere."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from facesearch import FaceSearch, errors
from facesearch.errors import FaceSearchError, PhotoError
from facesearch.server.app import PAGE
from facesearch.server.options import ServerOptions
from facesearch.store import people as stored_people
from facesearch.store.keys import create_key
from facesearch.types import Reason
from tests.server.page.conftest import Open, Tab, serving
from tests.server.test_report import evaluate_something, put_calibration_in_force

SCRIPTS = sorted(PAGE.glob("*.js"))
SEVERE = {"serious", "critical"}


def show_everything(tab: Tab, people: Path, scenes: Path) -> Any:
    """Every view with something in it, one after the other: yields its name."""
    page = tab.go()
    yield "start"
    tab.search(scenes / "group.jpg")
    yield "faces"
    page.locator(".intake input").first.set_input_files([scenes / "group.jpg", scenes / "landscape.jpg"])
    page.locator(".strip-photo.unusable").wait_for()
    yield "several"
    tab.search(scenes / "landscape.jpg")
    yield "no face"
    page.goto(f"{tab.url}/#/people")
    page.locator(".person-card").last.wait_for()
    yield "people"
    page.goto(f"{tab.url}/#/people/1")
    page.locator(".candidates").wait_for()
    yield "person"
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("button", name="Erase").click()
    yield "dialog"
    page.keyboard.press("Escape")
    page.goto(f"{tab.url}/#/enroll")
    page.locator("input[webkitdirectory]").set_input_files(people)
    page.locator(".plan").wait_for()
    yield "plan"
    page.locator(".intake input:not([webkitdirectory])").set_input_files(
        [scenes / "group.jpg", scenes / "landscape.jpg"]
    )
    page.get_by_label("Who is in the 2 photos").fill("Newcomer")
    page.locator(".plan button[type=submit]").click()
    page.get_by_role("heading", name="Done").wait_for()
    page.get_by_role("button", name="Choose the face").click()
    page.locator(".frame.ready").wait_for()
    yield "refused"
    page.goto(f"{tab.url}/#/report")
    page.locator(".roc").wait_for()
    page.locator(".corrections button").first.wait_for()
    page.get_by_role("button", name="Run the check").click()
    page.locator(".found", has_text="The gallery is sound.").wait_for()
    page.get_by_role("button", name="Run the audit").click()
    page.locator(".audit-pairs").wait_for()
    yield "report"


@pytest.mark.slow
def test_no_view_has_a_serious_barrier_or_is_wider_than_a_phone(
    engine: FaceSearch, changing: str, open_tab: Open, people_folder: Path, scenes_folder: Path
) -> None:
    evaluate_something(engine, "/reports/pairs/report.html")
    engine.gallery.write(stored_people.set_attributes, 1, {"team": "design"})
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python").Axe()
    tab = open_tab(changing)

    def barriers(**options: Any) -> dict[str, str]:
        violations = axe.run(tab.page, options={"resultTypes": ["violations"], **options}).response["violations"]
        return {each["id"]: each["nodes"][0]["html"] for each in violations if each["impact"] in SEVERE}

    for view in show_everything(tab, people_folder, scenes_folder):
        assert barriers() == {}, view
        tab.page.emulate_media(color_scheme="dark")
        assert barriers(runOnly=["color-contrast"]) == {}, f"{view} in the dark"
        tab.page.set_viewport_size({"width": 320, "height": 740})
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= 320, f"{view} on a phone"
        tab.page.emulate_media(color_scheme="light")
        tab.page.set_viewport_size({"width": 1280, "height": 900})


def test_the_report_tells_threshold_health_and_audit(tab: Tab) -> None:
    page = tab.go("/report")
    server = httpx.get(f"{tab.url}/v1/info").json()
    page.get_by_role("button", name="Run the check").wait_for()
    text = page.locator("main").inner_text()
    for part in (f"{server['threshold']:.3f}", server["threshold_basis"], server["model"], "no calibration"):
        assert part in text
    assert page.locator(".figures dd").all_inner_texts() == ["12", "48", "48"]
    page.get_by_role("button", name="Run the check").click()
    page.locator(".found", has_text="The gallery is sound.").wait_for()
    page.get_by_role("button", name="Run the audit").click()
    page.get_by_text("48 templates of 12 people were compared").wait_for()


def test_the_history_tells_what_was_corrected_and_undoes_it(tab: Tab, engine: FaceSearch) -> None:
    page = tab.go("/report")
    page.get_by_text("Nothing was corrected yet.").wait_for()
    engine.gallery.write(stored_people.rename, "Mira Quill", "<b>M.</b> Q.")
    for number in range(20):
        engine.gallery.write(stored_people.set_attributes, "Otto Bramble", {"team": str(number)})
    page.reload()
    lines = page.locator(".corrections li")
    page.get_by_role("button", name="Show more").click()
    page.get_by_role("button", name="Undo: renamed Mira Quill to <b>M.</b> Q.").click()
    lines.first.get_by_text("undid 1: renamed Mira Quill to <b>M.</b> Q.").wait_for()
    assert engine.gallery.read(stored_people.find, "Mira Quill").aliases == ()
    engine.gallery.write(stored_people.set_attributes, "Otto Bramble", {"team": None})
    lines.nth(1).get_by_role("button").click()
    page.get_by_role("dialog", name="Nothing was undone").get_by_text("was changed again since").wait_for()
    assert any("409" in refusal for refusal in tab.refusals)


def test_a_calibration_is_told_with_what_it_rests_on(engine: FaceSearch, open_tab: Open) -> None:
    put_calibration_in_force(engine)
    with serving(engine) as url:
        page = open_tab(url).go("/report")
        page.get_by_text("calibrated for", exact=True).wait_for()
        text = page.locator("main").inner_text()
    for part in (
        "0.512",
        "FPIR 0.01",
        "of 1,000 strangers searched, 10 match somebody",
        "7 in 1,234 searches",
        "20 people",
    ):
        assert part in text
    assert "no calibration" not in text


def test_an_evaluation_is_drawn_with_its_points_and_told_in_a_table(
    tab: Tab, engine: FaceSearch, unchanged: str, open_tab: Open
) -> None:
    page = open_tab(unchanged).go("/report")
    page.get_by_text("This gallery's model was not evaluated yet").wait_for()
    assert page.locator(".roc").count() == 0
    made = evaluate_something(engine, "/reports/report.html")
    page = tab.go("/report")
    page.locator(".roc .curve").wait_for()
    rows = page.locator(".evaluation tbody tr")
    assert rows.count() == len(made["points"]) == 3
    for row, point in zip(rows.all()[:2], made["points"], strict=False):
        cells = row.locator("td").all_inner_texts()
        assert float(cells[0]) == pytest.approx(point["rate"], abs=6e-4)
        assert cells[2].startswith(f"{point['errors']} of 3,000")
    assert "more trials are needed" in rows.nth(2).inner_text()
    assert page.locator(".roc .point").count() == 2
    first, curve = page.locator(".roc .point").first.bounding_box(), page.locator(".roc .curve").bounding_box()
    assert first is not None
    assert curve is not None
    share = (first["x"] + first["width"] / 2 - curve["x"]) / curve["width"]
    least = math.log10(made["curve"][-1][0])
    assert share == pytest.approx((math.log10(made["points"][0]["errors"] / 3000) - least) / -least, abs=0.02)
    assert "/reports/report.html" in page.locator(".evaluation").inner_text()


def test_an_evaluation_that_cannot_be_read_leaves_the_rest_of_the_report(still: Tab) -> None:
    page = still.page
    page.route(
        "**/v1/evaluation", lambda route: route.fulfill(status=503, body='{"detail": "The gallery is damaged."}')
    )
    page.goto(f"{still.url}/#/report")
    page.get_by_role("alert").get_by_text("The gallery is damaged.").wait_for()
    page.get_by_role("button", name="Run the check").wait_for()
    page.unroute("**/v1/evaluation")
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("was not evaluated yet").wait_for()


def test_a_key_is_asked_for_only_where_the_server_wants_one(engine: FaceSearch, open_tab: Open) -> None:
    reader = engine.gallery.write(create_key, "reader", ["read"])
    with serving(engine, ServerOptions(thumbnails=True, require_key=True)) as url:
        tab = open_tab(url)
        page = tab.page
        page.goto(f"{url}/#/people/1")
        dialog = page.get_by_role("dialog", name="This server asks for a key")
        for key in ("fsk_wrong", reader):
            dialog.get_by_label("Key", exact=True).fill(key)
            dialog.get_by_role("button", name="Continue").click()
            if key != reader:
                page.get_by_text("That key is not valid").wait_for()
        page.locator(".photo-card .portrait img").first.wait_for()
        assert dialog.count() == 0
        for action in ("Rename", "Erase", "Merge", "Edit", "Add photos"):
            assert page.get_by_role("button", name=action).count() == 0
        page.goto(f"{url}/#/report")
        page.get_by_role("button", name="Run the check").wait_for()
        assert page.get_by_role("heading", name="History").count() == 0
        page.goto(f"{url}/#/enroll")
        page.get_by_text("The key in use may not enroll.").wait_for()
        page.reload()
        page.get_by_text("The key in use may not enroll.").wait_for()
        assert page.evaluate("sessionStorage['facesearch.key']") == reader
        assert page.evaluate("localStorage['facesearch.key']") is None
        assert all("401" in each for each in tab.refusals)


def test_a_dismissed_key_leaves_an_error_that_can_be_retried(engine: FaceSearch, open_tab: Open) -> None:
    key = engine.gallery.write(create_key, "reader", ["read"])
    with serving(engine) as url:
        page = open_tab(url).page
        page.goto(f"{url}/#/report")
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("A valid key is needed.").wait_for()
        page.get_by_role("button", name="Try again").click()
        page.get_by_label("Key", exact=True).fill(key)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Run the check").wait_for()


def test_no_key_is_asked_for_where_none_is_needed(still: Tab) -> None:
    page = still.go("/people")
    page.locator(".person-card").first.wait_for()
    assert page.get_by_role("dialog").count() == 0


def test_colours_follow_the_system_until_somebody_chooses(open_tab: Open, unchanged: str) -> None:
    page = open_tab(unchanged, scheme="dark").go()

    def is_dark() -> bool:
        colour = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        return max(int(part) for part in re.findall(r"\d+", colour)[:3]) < 60

    button = page.locator("#theme")
    assert is_dark()
    button.click()
    assert (is_dark(), button.get_attribute("aria-label")) == (False, "Colours: light")
    page.reload()
    assert not is_dark()
    button.click()
    assert (is_dark(), button.get_attribute("aria-label")) == (True, "Colours: dark")
    button.click()
    assert button.get_attribute("aria-label") == "Colours: as the system"


def test_everything_can_be_reached_by_keyboard(still: Tab) -> None:
    page = still.go()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("link", name="People").focus()
    page.keyboard.press("Enter")
    page.locator(".person-card").first.wait_for()
    assert page.evaluate("document.activeElement.tagName") == "H1"
    assert page.title() == "People · facesearch"
    assert page.get_by_role("link", name="People").get_attribute("aria-current") == "page"


def test_an_address_of_nobody_says_so(still: Tab) -> None:
    page = still.page
    page.goto(f"{still.url}/#/people/999")
    page.get_by_role("alert").wait_for()
    assert len(still.refusals) >= 1


def test_answers_of_the_page_are_guarded(unchanged: str) -> None:
    for path in ("/", "/app.js", "/style.css", "/icon.svg"):
        answer = httpx.get(f"{unchanged}{path}")
        assert answer.status_code == 200
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert httpx.get(f"{unchanged}/app.js").headers["content-type"].startswith("text/javascript")


def test_every_reason_and_error_code_has_words() -> None:
    """Both ways: a code that nobody sends any more has none."""
    text = (PAGE / "words.js").read_text(encoding="utf-8")

    def worded(name: str) -> set[str]:
        body = re.search(rf"const {name} = \{{(.*?)\n\}};", text, re.DOTALL)
        assert body is not None
        return set(re.findall(r"^  (\w+): ", body[1], re.MULTILINE))

    sources = "".join(path.read_text(encoding="utf-8") for path in PAGE.parent.glob("*.py"))
    sent = set(re.findall(r'Problem\(\s*HTTPStatus\.\w+,\s*"(\w+)"', sources)) | {"method_not_allowed"}
    kinds = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, FaceSearchError)}
    assert worded("REASONS") == {each.value for each in Reason}
    assert worded("PROBLEMS") == sent | {kind.reason for kind in kinds - {PhotoError}}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_make_no_html_of_text_load_what_is_there_and_name_scores_rightly(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    assert not re.search(r"confiden|per ?cent|accura|probab|similarity of \$\{.*%", text, re.IGNORECASE)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    for module in re.findall(r'from "\./([^"]+)"', text):
        assert (PAGE / module).is_file()


def test_the_document_loads_only_what_is_beside_it() -> None:
    text = (PAGE / "index.html").read_text()
    for name in re.findall(r'(?:src|href)="([^"#]+)"', text):
        assert (PAGE / name).is_file()
    assert not re.search(r"<script>|<style|\son\w+=|\sstyle=", text)
