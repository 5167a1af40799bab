"""A browser over the page, and what it must never do: write an error to its console, or ask another host."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from PIL import Image

from facesearch import FaceSearch
from facesearch.server.options import ServerOptions
from tests.server.conftest import serve_on_socket

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 15_000
REFUSED = "Failed to load resource"
"""How Chromium tells of an answer that is no success, whether or not the page expects it."""


def _chromium() -> str:
    named = os.environ.get("FACESEARCH_TEST_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        pytest.skip("no Chromium: apt-get install chromium, or name one in FACESEARCH_TEST_CHROMIUM")
    return found


@pytest.fixture(scope="package")
def camera(tmp_path_factory: pytest.TempPathFactory, scenes_folder: Path) -> Path:
    """What the browser's camera sees: the group, 30 times over."""
    with Image.open(scenes_folder / "group.jpg") as opened:
        image = opened.convert("RGB")
    frame = io.BytesIO()
    image.resize((image.width // 2 * 2, image.height // 2 * 2)).save(frame, "JPEG", quality=92)
    path = tmp_path_factory.mktemp("camera") / "group.mjpeg"
    path.write_bytes(frame.getvalue() * 30)
    return path


# Not of the session: Playwright keeps an event loop in this thread, where other tests start their own.
@pytest.fixture(scope="package")
def browser(camera: Path) -> Iterator[Browser]:
    """Chromium with a camera."""
    api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    executable = _chromium()
    seeing = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
    )
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=[*QUIET, *seeing])
        yield started
        started.close()


class Tab:
    """A page of the browser with a server behind it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.refusals: list[str] = []
        """Answers that were no success."""
        self.errors: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._asked)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.text.startswith(REFUSED):
            self.refusals.append(message.text)
        elif message.type in {"error", "warning"}:
            self.errors.append(message.text)

    def _asked(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme in {"http", "https"} and address.netloc != urlsplit(self.url).netloc:
            self.errors.append(f"asked {request.url}")

    def go(self, view: str = "/") -> Page:
        """Open a view as if the page was loaded anew."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}/#{view}")
        self.page.locator("main h1").first.wait_for()
        return self.page

    def search(self, photo: Path) -> Page:
        """Choose a photo on the first view, and wait for the answer."""
        page = self.go()
        page.locator(".intake input").first.set_input_files(photo)
        page.locator(".face-panel, .result .empty").first.wait_for()
        return page


Open = Callable[..., Tab]


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[Open]:
    """Opens tabs on servers; the test fails if one of them had an error."""
    tabs: list[Tab] = []

    def opening(url: str, *, width: int = 1280, height: int = 900, scheme: str = "light") -> Tab:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce",
            permissions=["camera"],
        )
        tabs.append(Tab(context.new_page(), url))
        return tabs[-1]

    yield opening
    for tab in tabs:
        tab.page.context.close()
    assert [error for tab in tabs for error in tab.errors] == []


@contextmanager
def serving(engine: FaceSearch, options: ServerOptions | None = None) -> Iterator[str]:
    """A server that shows faces."""
    with serve_on_socket(engine, options or ServerOptions(thumbnails=True)) as url:
        yield url


@pytest.fixture(scope="package")
def unchanged(enrolled_gallery: Path) -> Iterator[str]:
    """A server that no test changes anything through."""
    with FaceSearch.open(enrolled_gallery, provider="cpu") as engine, serving(engine) as url:
        yield url


@pytest.fixture
def changing(engine: FaceSearch) -> Iterator[str]:
    """A server over a gallery of the test's own."""
    with serving(engine) as url:
        yield url


@pytest.fixture
def still(open_tab: Open, unchanged: str) -> Tab:
    """A tab for looking."""
    return open_tab(unchanged)


@pytest.fixture
def tab(open_tab: Open, changing: str) -> Tab:
    """A tab for changing."""
    return open_tab(changing)
