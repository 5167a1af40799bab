"""Who is let in, what is refused, and that nothing a client sends takes the server down."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from facesearch import ConfigError, FaceSearch
from facesearch.search.gallery import Gallery
from facesearch.server.app import create_app
from facesearch.server.options import MAX_PHOTOS, ServerOptions
from facesearch.store.keys import create_key, hash_key, revoke_key
from facesearch.store.schema import ApiKeyRow, AuditRow
from tests.server.conftest import serve_here, serve_on_socket
from tests.server.test_probes import photos

PROBLEM = "application/problem+json"


def refusal(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["status"] == answer.status_code
    return answer.status_code, answer.json()["reason"]


def with_key(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def keys(engine: FaceSearch) -> Gallery:
    return engine.gallery


def test_a_key_does_what_its_scopes_say(engine: FaceSearch, keys: Gallery, people_folder: Path) -> None:
    reader, enroller = keys.write(create_key, "reader", ["read"]), keys.write(create_key, "enroller", ["enroll"])
    photo = photos(people_folder / "Mira Quill" / "1.jpg")
    with serve_here(engine) as api:
        assert refusal(api.get("/v1/info")) == (401, "unauthorized")
        assert refusal(api.get("/v1/info", headers=with_key("fsk_wrong"))) == (401, "unauthorized")
        assert api.get("/v1/info").headers["www-authenticate"] == "Bearer"
        assert api.get("/v1/info", headers=with_key(reader)).json()["scopes"] == ["read"]
        assert api.post("/v1/identify", files=photo, headers=with_key(reader)).status_code == 200
        assert refusal(api.post("/v1/identify", files=photo, headers=with_key(enroller))) == (403, "missing_scope")
        body = {"subject": "X"}
        assert refusal(api.patch("/v1/subjects/1", json=body, headers=with_key(reader))) == (403, "missing_scope")
        assert api.patch("/v1/subjects/1", json=body, headers=with_key(enroller)).status_code == 200
        for key in (reader, enroller):
            assert refusal(api.delete("/v1/subjects/1", headers=with_key(key))) == (403, "missing_scope")
        for open_to_all in ("/v1/health/live", "/v1/health/ready"):
            assert api.get(open_to_all).status_code == 200
    with engine.gallery.database.read() as connection:
        actors = connection.scalars(sa.select(AuditRow.actor).where(AuditRow.action == "people.rename")).all()
    assert actors == ["key:enroller"]


def test_undoing_takes_the_scope_of_what_is_undone(engine: FaceSearch, keys: Gallery, people_folder: Path) -> None:
    reader, enroller = (
        keys.write(create_key, "reader", ["read"]),
        keys.write(create_key, "enroller", ["read", "enroll"]),
    )
    remover = keys.write(create_key, "remover", ["read", "enroll", "delete"])
    ask, change, remove = with_key(reader), with_key(enroller), with_key(remover)
    photo = photos(people_folder / "Mira Quill" / "1.jpg")
    with serve_here(engine) as api:
        assert refusal(api.get("/v1/history", headers=ask)) == (403, "missing_scope")
        api.patch("/v1/subjects/1", json={"subject": "X"}, headers=change)
        assert refusal(api.post("/v1/undo", json={}, headers=ask)) == (403, "missing_scope")
        assert api.post("/v1/undo", json={}, headers=change).json()["action"] == "rename"
        api.post("/v1/subjects/1/merge", json={"into": 2}, headers=remove)
        (merged, *_) = api.get("/v1/history", headers=change).json()["entries"]
        assert refusal(api.post("/v1/undo", json={"entry": merged["id"]}, headers=change)) == (403, "missing_scope")
        undone = api.post("/v1/undo", json={"entry": merged["id"]}, headers=remove).json()
        again = api.post("/v1/undo", json={"entry": undone["undone_by"]}, headers=change)
        assert refusal(again) == (403, "missing_scope"), "undoing the undo merges again"
        fields = {"subject": "X", "bring_back_erased": "true"}
        asked = api.post("/v1/subjects", data=fields, files=photo, headers=change)
        assert refusal(asked) == (403, "missing_scope")
    (entry,) = (each for each in engine.history() if each.action == "rename")
    assert entry.actor == "key:enroller"


def test_a_revoked_key_stops_working_and_the_server_does_not_open_up(
    engine: FaceSearch, keys: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facesearch.server.security.SECONDS", 0.0)
    key = keys.write(create_key, "only", ["read"])
    with serve_here(engine) as api:
        assert api.get("/v1/info", headers=with_key(key)).status_code == 200
        keys.write(revoke_key, "only")
        assert refusal(api.get("/v1/info", headers=with_key(key))) == (401, "unauthorized")
        assert refusal(api.get("/v1/info")) == (401, "unauthorized")


def test_the_first_key_closes_a_server_that_runs(
    engine: FaceSearch, keys: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facesearch.server.security.SECONDS", 0.0)
    with serve_here(engine) as api:
        assert api.get("/v1/info").status_code == 200
        keys.write(create_key, "first", ["read"])
        assert refusal(api.get("/v1/info")) == (401, "unauthorized")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_an_address_others_reach_needs_a_key(engine: FaceSearch, keys: Gallery, host: str) -> None:
    with pytest.raises(ConfigError, match="without a key") as caught:
        create_app(engine, ServerOptions(host=host))
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("facesearch keys create")
    keys.write(create_key, "one", ["read"])
    create_app(engine, ServerOptions(host=host)).state.facesearch.batcher.close()


def test_a_key_is_random_and_only_its_hash_is_kept(engine: FaceSearch, keys: Gallery) -> None:
    key, other = keys.write(create_key, "a", ["read"]), keys.write(create_key, "b", ["read"])
    assert key != other
    assert len(key) >= 4 + 43  # 256 bits in base64
    with engine.gallery.database.read() as connection:
        assert set(connection.scalars(sa.select(ApiKeyRow.digest))) == {hash_key(key), hash_key(other)}
    folder = engine.gallery.folder
    engine.close()
    assert key.encode() not in b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.mark.parametrize(("name", "scopes"), [("a b", ["read"]), ("", ["read"]), ("a", []), ("a", ["root"])])
def test_a_key_needs_a_plain_name_and_known_scopes(keys: Gallery, name: str, scopes: list[str]) -> None:
    with pytest.raises(ConfigError):
        keys.write(create_key, name, scopes)


def test_every_answer_carries_the_headers_that_keep_browsers_safe(read_only: httpx.Client) -> None:
    for answer in (read_only.get("/v1/info"), read_only.get("/v1/nothing"), read_only.get("/v1/photos/999/thumbnail")):
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers


def test_pages_of_other_sites_cannot_use_the_visitors_browser(read_only: httpx.Client, people_folder: Path) -> None:
    photo = photos(people_folder / "Mira Quill" / "1.jpg")
    rebound = read_only.get("/v1/subjects", headers={"Host": "evil.example"})
    assert refusal(rebound) == (421, "wrong_host")
    for origin in ("https://evil.example", "null"):
        foreign = read_only.post("/v1/identify", files=photo, headers={"Origin": origin})
        assert refusal(foreign) == (403, "cross_origin")
    own = str(read_only.base_url).rstrip("/")
    assert read_only.post("/v1/identify", files=photo, headers={"Origin": own}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fapp.py",
        "/app.py",
        "/v1/photos/../../gallery.db",
        "/v1/photos/..%2f..%2fgallery.db/thumbnail",
        "/v1/photos/99999999999999999999999/thumbnail",
        "/v1/subjects/0",
        "/v1/subjects/9223372036854775808",
        "/v1/subjects/abc",
        "/v1/nothing",
    ],
)
def test_there_is_nothing_but_the_endpoints(read_only: httpx.Client, path: str) -> None:
    with socket.create_connection((str(read_only.base_url.host), int(read_only.base_url.port or 0))) as connection:
        # By hand: a client would tidy the path up.
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert int(answer.split()[1]) in {404, 422}
    assert PROBLEM in answer
    assert "root:" not in answer


def test_what_is_too_large_is_refused_while_it_arrives(engine: FaceSearch, people_folder: Path) -> None:
    bounds = ServerOptions(max_body=200_000)
    with serve_here(engine, bounds) as api:
        kind = {"Content-Type": "image/jpeg"}
        assert refusal(api.post("/v1/identify", content=b"x" * 300_000, headers=kind)) == (413, "too_large")
        streamed = (b"x" * 100_000 for _ in range(200))  # 20 MB, without saying so first
        assert refusal(api.post("/v1/identify", content=streamed, headers=kind)) == (413, "too_large")
        assert api.post("/v1/identify", files=photos(people_folder / "Mira Quill" / "1.jpg")).status_code == 200


def test_forms_that_make_no_sense_are_refused(read_only: httpx.Client, people_folder: Path) -> None:
    photo = (people_folder / "Mira Quill" / "1.jpg").read_bytes()
    kind = {"Content-Type": "multipart/form-data; boundary=xyz"}
    for answer in (
        read_only.post("/v1/identify", content=b"", headers={"Content-Type": "image/jpeg"}),
        read_only.post("/v1/identify", data={"photo": "text"}, files={}),
        read_only.post("/v1/identify", content=b"--xyz\r\nnonsense", headers=kind),
        read_only.post("/v1/identify", content=b"", headers={"Content-Type": "multipart/form-data"}),
        read_only.post("/v1/identify", files=[("photo", ("a.jpg", photo))] * (MAX_PHOTOS + 1)),
        read_only.post("/v1/identify", files=[("photo", ("a.jpg", photo))], params={"k": 0}),
        read_only.post("/v1/subjects", files=[("photo", ("a.jpg", photo))]),
        read_only.post("/v1/subjects", files=[("photo", ("a.jpg", photo))], data={"subject": "\u202eevil"}),
        read_only.post("/v1/subjects", files=[("photo", ("a.jpg", photo))], data={"subject": "A", "attributes": "[1]"}),
        read_only.post("/v1/subjects", files=[("photo", ("a.jpg", photo))], data={"subject": "A", "faces": "most"}),
        read_only.post("/v1/subjects", files=[("photo", ("a.jpg", photo))], data={"subject": "A", "strict": "maybe"}),
        read_only.post("/v1/subjects", files=[("photo", ("a.jpg", photo))], data={"subject": "A", "stirct": "true"}),
        read_only.post("/v1/identify", files=[("foto", ("a.jpg", photo))]),
        read_only.post("/v1/verify", files=[("a", ("a.jpg", photo)), ("c", ("a.jpg", photo))]),
        read_only.patch("/v1/subjects/1", content=b'{"subject": "\\ud800"}'),
        read_only.patch("/v1/subjects/1", content=b"{"),
        read_only.patch("/v1/subjects/1", json={"subject": 7}),
        read_only.patch("/v1/subjects/1/attributes", json={"attributes": {"1 bad key": "x"}}),
        read_only.post("/v1/subjects/1/merge", json={"into": 1}),
    ):
        assert refusal(answer)[0] in {415, 422}, answer.text


def test_a_slow_body_is_cut_off(engine: FaceSearch) -> None:
    bounds = ServerOptions(idle_seconds=0.2, body_seconds=0.6)
    with serve_on_socket(engine, bounds) as url:
        port = int(url.rpartition(":")[2])
        head = (
            b"POST /v1/identify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 999\r\n\r\n"
        )
        for pause, pieces in ((1.0, 1), (0.1, 30)):  # one that stops, one that drips
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(head)
                answer = b""
                for _ in range(pieces):
                    connection.sendall(b"x")
                    connection.settimeout(pause)
                    try:
                        answer = connection.recv(65536)
                    except TimeoutError:
                        continue
                    break
                assert answer.startswith(b"HTTP/1.1 408")
                assert b"slow_body" in answer


def test_a_flood_is_told_to_come_back(engine: FaceSearch, people_folder: Path) -> None:
    photo = photos(people_folder / "Mira Quill" / "1.jpg")
    answers: list[httpx.Response] = []
    with serve_on_socket(engine, ServerOptions(capacity=2, workers=1)) as url:
        engine.identify(people_folder / "Mira Quill" / "1.jpg")  # the models are open

        def ask() -> None:
            with httpx.Client(base_url=url, timeout=60) as client:
                answers.extend(client.post("/v1/identify", files=photo) for _ in range(3))

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert httpx.post(f"{url}/v1/identify", files=photo).status_code == 200, "afterwards all is well"
    counts = Counter(answer.status_code for answer in answers)
    assert set(counts) == {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert refusal(answer) == (429, "busy")
            assert int(answer.headers["retry-after"]) >= 1


def test_enrolments_queue_up_and_the_rest_is_told_to_come_back(
    engine: FaceSearch, people_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facesearch.server.state.ENROLMENTS", 2)
    photo = photos(people_folder / "Mira Quill" / "1.jpg")
    answers: dict[str, httpx.Response] = {}
    with serve_on_socket(engine) as url:

        def enroll(name: str) -> None:
            answers[name] = httpx.post(f"{url}/v1/subjects", data={"subject": name}, files=photo, timeout=60)

        threads = [threading.Thread(target=enroll, args=(f"Guest {number}",)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {answer.status_code for answer in answers.values()} == {201, 429}
        listed = httpx.get(f"{url}/v1/subjects", params={"search": "guest"}).json()["subjects"]
    assert {each["subject"] for each in listed} == {name for name, each in answers.items() if each.status_code == 201}


def test_all_bodies_together_are_bounded(engine: FaceSearch, people_folder: Path) -> None:
    data = (people_folder / "Mira Quill" / "1.jpg").read_bytes()
    half = len(data) // 2
    kind = {"Content-Type": "image/jpeg"}
    with serve_on_socket(engine, ServerOptions(body_memory=len(data) + half)) as url:
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as waiting:
            head = "POST /v1/identify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: "
            waiting.sendall(f"{head}{len(data)}\r\n\r\n".encode() + data[: half + 10])
            deadline = time.monotonic() + 30
            while httpx.post(f"{url}/v1/identify", content=data, headers=kind).status_code != 429:
                assert time.monotonic() < deadline
        while httpx.post(f"{url}/v1/identify", content=data, headers=kind).status_code != 200:
            assert time.monotonic() < deadline, "what a client held that went away is given back"


def test_metrics_count_by_endpoint_and_never_name_anybody(read_only: httpx.Client) -> None:
    read_only.get("/v1/subjects", params={"search": "Mira"})
    read_only.get("/v1/subjects/1")
    text = read_only.get("/v1/metrics").text
    assert 'facesearch_request_seconds_count{endpoint="/v1/subjects/{id}",method="GET",status="200"}' in text
    assert "facesearch_templates 48.0\n" in text
    assert sys.platform != "linux" or "process_resident_memory_bytes" in text
    assert "Mira" not in text
    values = [line.rsplit(" ", 1)[1] for line in text.splitlines() if not line.startswith("#")]
    assert all(float(value) >= 0 for value in values)
