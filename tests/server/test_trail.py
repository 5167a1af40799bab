"""Each use of the gallery is in its audit log, under the key that made it, before it is answered."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from facesearch import FaceSearch
from facesearch.server.options import ServerOptions
from facesearch.server.trail import Trail
from facesearch.store import audit
from facesearch.store.keys import create_key
from tests.server.conftest import serve_here, serve_process
from tests.server.test_probes import photos
from tests.server.test_security import with_key


def test_every_use_is_logged_at_once_under_its_key(engine: FaceSearch, people_folder: Path) -> None:
    keys = {name: engine.gallery.write(create_key, name, ["read"]) for name in ("one", "other")}
    photo, pair = photos(people_folder / "Mira Quill" / "1.jpg"), people_folder / "Mira Quill" / "2.jpg"
    ab = [*photos(pair, field="a"), *photos(pair, field="b")]
    with serve_here(engine, ServerOptions(thumbnails=True)) as api:

        def use(name: str, method: str, path: str, **content: object) -> list[tuple[str, str, dict[str, int | str]]]:
            before = len(engine.gallery.read(audit.events))
            assert api.request(method, f"/v1/{path}", headers=with_key(keys[name]), **content).status_code == 200  # type: ignore[arg-type]
            return [(each.actor, each.action, dict(each.detail)) for each in engine.gallery.read(audit.events)[before:]]

        assert use("one", "POST", "identify", files=photo * 2) == [("key:one", "query", {"match": 2, "photos": 2})]
        assert use("other", "POST", "identify", files=photo) == [("key:other", "query", {"match": 1, "photos": 1})]
        assert use("one", "POST", "verify", files=ab) == [("key:one", "verify", {"photos": 2})]
        assert use("one", "POST", "detect", files=photo) == [("key:one", "detect", {"photos": 1})]
        assert use("one", "GET", "subjects/1/lookalikes") == [("key:one", "lookalikes", {"subjects": 1})]
        assert use("one", "GET", "photos/1/thumbnail")[-1] == ("key:one", "thumbnail", {"photos": 1})
        assert use("one", "GET", "audit") == [("key:one", "audit", {"templates": 48, "pages": 0})]


def test_without_keys_uses_and_changes_are_those_of_http(
    api: httpx.Client, engine: FaceSearch, people_folder: Path
) -> None:
    api.post("/v1/identify", files=photos(people_folder / "Mira Quill" / "1.jpg"))
    api.patch("/v1/subjects/1", json={"subject": "X"})
    assert [(each.actor, each.action) for each in engine.gallery.read(audit.events)[-2:]] == [
        ("http", "query"),
        ("http", "people.rename"),
    ]


def test_uses_that_come_together_are_one_event_of_each_key(engine: FaceSearch) -> None:
    before = len(engine.gallery.read(audit.events, action="query"))
    trail = Trail(engine.gallery.database)
    with engine.gallery.database.write() as connection:  # the first waits for this one, and the others for the first
        audit.record(connection, "held", {})
        futures = []
        for number in range(30):
            with audit.acting_as(f"key:{number % 2}"):
                futures.append(trail.put("query", {"photos": 1}))
            if number == 0:
                time.sleep(0.2)
    for future in futures:
        future.result(30)
    trail.close()
    events = engine.gallery.read(audit.events, action="query")[before:]
    counted = {
        actor: sum(int(each.detail["photos"]) for each in events if each.actor == actor) for actor in ("key:0", "key:1")
    }
    assert counted == {"key:0": 15, "key:1": 15}
    assert len(events) == 3


def test_a_gallery_that_cannot_be_written_to_answers_all_the_same(
    engine: FaceSearch, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facesearch.errors import DiskFullError

    def full(*_: object) -> None:
        raise DiskFullError("The disk is full.")

    monkeypatch.setattr(engine.gallery.database, "transact", full)
    trail = Trail(engine.gallery.database)
    trail.put("query", {"photos": 1}).result(10)
    trail.close()
    assert "not in its audit log: The disk is full." in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL.")
def test_whatever_was_answered_is_in_the_log_of_a_server_that_is_killed(gallery: Path, people_folder: Path) -> None:
    data = [path.read_bytes() for path in sorted(people_folder.glob("*/1.jpg"))]
    before = searched(gallery)
    answered: list[int] = []

    def ask(url: str) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            for number in range(10_000):
                try:
                    status = client.post("/v1/identify", files={"photo": data[number % len(data)]}).status_code
                except httpx.HTTPError:
                    return
                if status == 200:
                    answered.append(number)

    with serve_process(gallery) as server:
        threads = [threading.Thread(target=ask, args=(server.url,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(answered) < 40:
            time.sleep(0.01)
        server.process.kill()
        for thread in threads:
            thread.join()
    logged = searched(gallery) - before
    assert len(answered) <= logged <= len(answered) + len(threads)


def searched(gallery: Path) -> int:
    """How many photos were searched, by the audit log."""
    with FaceSearch.open(gallery, provider="cpu") as engine:
        return sum(int(each.detail["photos"]) for each in engine.gallery.read(audit.events, action="query"))
