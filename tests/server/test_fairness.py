"""Clients share a server: one with much to do does not keep others waiting, and one that left is not worked for."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from facesearch import FaceSearch
from facesearch.server import enrolment
from facesearch.server.app import create_app
from facesearch.server.fairness import FairPool, Room
from facesearch.server.options import ServerOptions
from facesearch.server.problems import Problem
from facesearch.server.state import State
from facesearch.store.keys import create_key
from tests.server.conftest import serve_app, serve_on_socket


def test_a_client_with_one_small_job_does_not_wait_for_the_many_large_ones_of_another() -> None:
    pool, done = FairPool(1), list[str]()
    begun = threading.Event()

    def large() -> None:
        begun.set()
        time.sleep(0.02)
        done.append("large")

    for _ in range(20):
        pool.submit("busy", large)
    begun.wait(10)
    pool.submit("small", lambda: done.append("small"))
    pool.close()
    assert len(done) == 21
    assert done.index("small") <= 1, "after the one that ran"


def test_clients_get_the_same_time_whatever_their_jobs_take() -> None:
    pool, done = FairPool(1), list[str]()
    started = threading.Event()

    def hold() -> None:
        started.wait(10)

    pool.submit("first", hold)

    def work(name: str, seconds: float) -> None:
        time.sleep(seconds)
        done.append(name)

    for _ in range(5):
        pool.submit("large", lambda: work("large", 0.05))
    for _ in range(25):
        pool.submit("small", lambda: work("small", 0.01))
    started.set()
    pool.close()
    before = done.index("large", done.index("large") + 1)
    assert 2 <= done[:before].count("small") <= 8, "about five small ones for each large one"


def test_one_client_gets_half_of_the_room() -> None:
    room = Room(4, 2, "It is full.")
    room.take("a", 2)
    with pytest.raises(Problem, match="full"):
        room.take("a", 1)
    room.take("b", 1)
    with pytest.raises(Problem), room.place("a"):
        pytest.fail("there is no place")
    with room.place("b"):
        assert room.held == 4
        with pytest.raises(Problem):
            room.require("c")
    room.give_back("a", 2)
    assert room.held == 1


def test_what_a_client_asked_for_is_dropped_when_it_leaves(engine: FaceSearch, people_folder: Path) -> None:
    photo = (people_folder / "Mira Quill" / "1.jpg").read_bytes()
    part = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="1.jpg"\r\n\r\n' + photo + b"\r\n"
    body = part * 60 + b"--x--\r\n"
    head = (
        "POST /v1/identify HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with serve_on_socket(engine, ServerOptions(workers=1)) as url:

        def waiting() -> float:
            lines = httpx.get(f"{url}/v1/metrics").text.splitlines()
            (line,) = (each for each in lines if each.startswith("facesearch_waiting_photos "))
            return float(line.split()[1])

        httpx.post(f"{url}/v1/identify", files={"photo": photo}, timeout=60)
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as leaving:
            leaving.sendall(head.encode() + body)
            deadline = time.monotonic() + 30
            while waiting() < 30:
                assert time.monotonic() < deadline
        started = time.monotonic()
        while waiting() > 0:
            assert time.monotonic() < deadline
        assert time.monotonic() - started < 2, "sixty photos take longer"


def test_an_enrolment_whose_client_left_meanwhile_enrolls_nothing(
    engine: FaceSearch, people_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = (people_folder / "Mira Quill" / "1.jpg").read_bytes()
    left = threading.Event()
    monkeypatch.setattr(enrolment, "Event", lambda: left)
    app = create_app(engine)
    state: State = app.state.facesearch
    with serve_app(app) as url:
        with state.enrolling:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{url}/v1/subjects", data={"subject": "Left"}, files={"photo": photo}, timeout=(5, 1, 5, 5))
            assert left.wait(30)
        deadline = time.monotonic() + 30
        while state.enrolments.held:
            assert time.monotonic() < deadline
        assert httpx.get(f"{url}/v1/subjects", params={"search": "Left"}).json()["total"] == 0


def test_keys_share_and_the_address_does_where_there_are_none(engine: FaceSearch, people_folder: Path) -> None:
    one, other = (engine.gallery.write(create_key, name, ["read"]) for name in ("one", "other"))
    photo = (people_folder / "Mira Quill" / "1.jpg").read_bytes()
    answers: dict[str, set[int]] = {"one": set(), "other": set()}
    stop = threading.Event()
    with serve_on_socket(engine, ServerOptions(capacity=4, workers=1)) as url:

        def ask(name: str, key: str, times: int) -> None:
            with httpx.Client(base_url=url, timeout=60, headers={"Authorization": f"Bearer {key}"}) as client:
                for _ in range(times):
                    answers[name].add(client.post("/v1/identify", files={"photo": photo}).status_code)
                    if stop.is_set():
                        return

        flood = [threading.Thread(target=ask, args=("one", one, 1000)) for _ in range(8)]
        for thread in flood:
            thread.start()
        while 429 not in answers["one"]:
            time.sleep(0.01)
        ask("other", other, 10)
        stop.set()
        for thread in flood:
            thread.join()
    assert answers["other"] == {200}, "half of the room is left to others"
