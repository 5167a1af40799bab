"""`facesearch serve` as a process: several on one gallery, killed, and told to stop."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from facesearch import FaceSearch
from facesearch.client import Client
from facesearch.errors import ConfigError
from facesearch.server.app import _listen
from facesearch.server.options import ServerOptions
from facesearch.store import audit, subjects
from tests.capabilities import require
from tests.server.conftest import Process, serve_process

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL and no SIGTERM to catch.")


@pytest.fixture(scope="module")
def unknown(scenes_folder: Path) -> bytes:
    return (scenes_folder / "stranger.jpg").read_bytes()


def name_of(client: Client, photo: bytes) -> str | None:
    best = client.identify(photo)[0]
    return best.candidates[0].subject if best.decision == "match" else None


def test_two_servers_on_one_gallery_stay_right(gallery: Path, unknown: bytes, people_folder: Path) -> None:
    faces = [path.read_bytes() for path in sorted(people_folder.glob("*/1.jpg"))[:8]]
    enrolled: list[str] = []

    def enroll(client: Client, prefix: str) -> None:
        for number, face in enumerate(faces):
            # The same bytes for several people: each is a photo of its own.
            for outcome in client.enroll(face, subject=f"{prefix} {number}"):
                assert outcome.status == "enrolled"
                enrolled.append(outcome.subject)

    with (
        serve_process(gallery) as first,
        serve_process(gallery) as second,
        Client(first.url) as one,
        Client(second.url) as other,
    ):
        assert name_of(other, unknown) is None
        assert [outcome.status for outcome in one.enroll(unknown, subject="New")] == ["enrolled"]
        assert name_of(other, unknown) == "New", "what one writes the other sees at once"
        other.rename_subject("New", "Renamed")
        assert name_of(one, unknown) == "Renamed"
        other.forget(["Renamed"])
        assert name_of(one, unknown) is None
        threads = [threading.Thread(target=enroll, args=(one, "A")), threading.Thread(target=enroll, args=(other, "B"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(enrolled) == 2 * len(faces)
        assert set(enrolled) <= {subject.name for subject in one.subjects()}
        assert [finding for finding in other.check() if not finding.ok] == []
        stop_while_it_works(first, sorted(people_folder.glob("*/*.jpg"))[:40])
        assert other.describe()["subjects"] == 12 + len(enrolled)
        with FaceSearch.open(gallery) as engine:
            (queries,) = engine.gallery.read(audit.events, action="query", last=1)
        assert int(queries.detail["photos"]) >= 40, "what the server that ended was asked, in counts"


def stop_while_it_works(server: Process, paths: list[Path]) -> None:
    """SIGTERM in the middle of a request: it is answered, and the process ends well."""
    photos = [("photo", (path.name, path.read_bytes())) for path in paths]
    answers: list[httpx.Response] = []
    thread = threading.Thread(
        target=lambda: answers.append(httpx.post(f"{server.url}/v1/identify", files=photos, timeout=60))
    )
    thread.start()
    wait_for_work(server)
    server.process.send_signal(signal.SIGTERM)
    thread.join()
    assert server.process.wait(30) == 0
    assert [answer.status_code for answer in answers] == [200]
    assert len(answers[0].json()["results"]) == len(paths)


def test_a_server_killed_under_load_loses_nothing_it_acknowledged(gallery: Path, people_folder: Path) -> None:
    faces = [path.read_bytes() for path in sorted(people_folder.glob("*/2.jpg"))]
    acknowledged: list[tuple[str, int]] = []
    removed: list[str] = []

    def load(url: str, worker: int) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            for number in range(10_000):
                name = f"{worker}-{number}"
                try:
                    files = {"photo": faces[number % len(faces)]}
                    answer = client.post("/v1/subjects", data={"subject": name}, files=files)
                    if answer.status_code == 429:
                        continue
                    assert answer.status_code == 201, answer.text
                    subject = answer.json()["subject"]["id"]
                    if number % 3 == 2:
                        assert client.delete(f"/v1/subjects/{subject}").status_code == 200
                        removed.append(name)
                    else:
                        acknowledged.append((name, subject))
                except httpx.HTTPError:
                    return

    with serve_process(gallery) as server:
        threads = [threading.Thread(target=load, args=(server.url, each)) for each in range(3)]
        for thread in threads:
            thread.start()
        while len(acknowledged) < 15:
            time.sleep(0.02)
        server.process.kill()
        for thread in threads:
            thread.join()
    with FaceSearch.open(gallery, provider="cpu") as engine:
        names = {subject.subject_id: subject.name for subject in engine.gallery.read(subjects.list_subjects)}
        assert [pair for pair in acknowledged if names.get(pair[1]) != pair[0]] == []
        assert not set(removed) & set(names.values())
        assert [finding for finding in engine.check() if not finding.ok] == []
    assert removed


def wait_for_work(server: Process) -> None:
    deadline = time.monotonic() + 30
    while "facesearch_waiting_photos 0.0\n" in httpx.get(f"{server.url}/v1/metrics").text:
        assert time.monotonic() < deadline


@pytest.mark.needs("loopback")  # a machine without any address refuses none
@pytest.mark.parametrize(
    ("host", "place", "hint"),
    [("192.0.2.1", "192.0.2.1:0", "--host"), ("2001:db8::1", r"\[2001:db8::1\]:0", "--host")],  # for documentation
)
def test_an_address_of_another_machine_is_refused_with_what_to_choose(host: str, place: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"^{place} cannot be used") as caught:
        _listen(ServerOptions(host=host, port=0))
    assert hint in (caught.value.hint or "")


def test_a_server_on_an_ipv6_address_tells_its_url_and_answers(gallery: Path, unknown: bytes) -> None:
    with serve_process(gallery, "--host", "::1") as server, Client(server.url) as client:
        assert server.url.startswith("http://[::1]:")
        assert name_of(client, unknown) is None


def test_a_port_in_use_is_refused_with_what_to_choose() -> None:
    require("loopback")
    with (
        _listen(ServerOptions(port=0)) as listener,
        pytest.raises(ConfigError, match=r"^127\.0\.0\.1:\d+ cannot be used") as caught,
    ):
        _listen(ServerOptions(port=listener.getsockname()[1]))
    assert "--port" in (caught.value.hint or "")
