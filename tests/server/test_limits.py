"""What a client without a key can do: little, and not for long."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from facesearch import FaceSearch
from facesearch.server import protocol
from facesearch.server.guard import MAX_HEADERS, MAX_JSON
from facesearch.server.options import ServerOptions
from facesearch.store.keys import create_key
from tests.server.conftest import serve_here, serve_on_socket
from tests.server.test_probes import photos
from tests.server.test_security import refusal

JSON = {"Content-Type": "application/json"}


def connect(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10)


def answered(connection: socket.socket) -> bytes:
    """What comes until the server closes; nothing where it closes without a word."""
    pieces = []
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def send_headers(connection: socket.socket) -> None:
    """10 MB of them."""
    for number in range(10_000):
        connection.sendall(f"X-{number}: {'x' * 1000}\r\n".encode())


@pytest.fixture
def keyed(engine: FaceSearch) -> Iterator[str]:
    """A server that asks for a key; gives its URL."""
    engine.gallery.write(create_key, "some", ["read"])
    with serve_on_socket(engine) as url:
        yield url


@pytest.mark.parametrize("path", ["/v1/subjects/1", "/v1/identify", "/v1/subjects", "/v1/nothing", "/v1/openapi.json"])
def test_without_a_key_no_byte_of_a_body_is_waited_for(keyed: str, path: str) -> None:
    head = f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50000000\r\n"
    with connect(keyed) as connection:
        started = time.monotonic()
        connection.sendall(head.encode() + b"\r\n[")
        answer = connection.recv(65536)
        assert time.monotonic() - started < 5
        assert answer.startswith(b"HTTP/1.1 401")


def test_who_sends_a_photo_without_a_key_gets_to_read_why_it_is_refused(keyed: str) -> None:
    answer = httpx.post(f"{keyed}/v1/identify", files={"photo": b"x" * 5_000_000}, timeout=30)
    assert refusal(answer) == (401, "unauthorized")


def test_the_rest_of_a_refused_body_is_read_for_a_while_only(keyed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.2)
    with connect(keyed) as connection:
        connection.sendall(b"POST /v1/identify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\nx")
        started = time.monotonic()
        assert answered(connection).startswith(b"HTTP/1.1 401")
        assert time.monotonic() - started < 5


def test_json_is_small(api: httpx.Client) -> None:
    large = json.dumps({"attributes": {"a": "x" * MAX_JSON}})
    assert refusal(api.patch("/v1/subjects/1/attributes", content=large, headers=JSON)) == (413, "too_large")
    streamed = (b" " * 1000 for _ in range(100))
    assert refusal(api.patch("/v1/subjects/1", content=streamed, headers=JSON)) == (413, "too_large")


def test_a_slow_json_body_is_cut_off(engine: FaceSearch) -> None:
    with serve_on_socket(engine, ServerOptions(idle_seconds=0.2)) as url, connect(url) as connection:
        connection.sendall(b"PATCH /v1/subjects/1 HTTP/1.1\r\nHost: localhost\r\n")
        connection.sendall(b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        assert answered(connection).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("depth", [1000, 30_000])
def test_deep_json_is_a_clear_error(api: httpx.Client, people_folder: Path, depth: int) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    fields = {"subject": "A", "attributes": deep}
    answer = api.post("/v1/subjects", data=fields, files=photos(people_folder / "Mira Quill" / "1.jpg"))
    assert refusal(answer)[0] == 422
    for body in (f'{{"attributes": {deep}}}', "[" * depth, "[" * depth + "]" * depth):
        status, _ = refusal(api.patch("/v1/subjects/1/attributes", content=body, headers=JSON))
        assert status in {400, 413, 422}


@pytest.mark.parametrize("name", ["Host", "Origin"])
@pytest.mark.parametrize("value", ["[", "http://[", "http://[::1", "http://a b:x", "\u00e9".encode().decode("latin-1")])
def test_headers_that_are_no_addresses_are_refused(api: httpx.Client, name: str, value: str) -> None:
    headers = {name.encode(): value.encode("latin-1")}
    answer = api.post("/v1/undo", json={"entry": 1}, headers=headers)
    assert refusal(answer)[0] in {400, 403, 421}


def test_large_headers_are_refused_in_words_and_larger_ones_unread(keyed: str) -> None:
    answer = httpx.get(f"{keyed}/v1/info", headers={"X": "x" * MAX_HEADERS})
    assert refusal(answer) == (431, "headers_too_large")
    with connect(keyed) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        with pytest.raises(ConnectionError):
            send_headers(connection)


def test_trailers_are_bounded(keyed: str) -> None:
    with connect(keyed) as connection:
        connection.sendall(b"POST /v1/identify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        with pytest.raises(ConnectionError):
            send_headers(connection)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: loc"])
def test_a_request_that_does_not_come_is_not_waited_for(
    keyed: str, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.2)
    with connect(keyed) as connection:
        connection.sendall(sent)
        assert answered(connection) == b""


def test_whoever_holds_connections_open_keeps_nobody_out(keyed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "CONNECTIONS", 20)
    with ExitStack() as held:
        for number in range(60):
            connection = held.enter_context(connect(keyed))
            connection.sendall((b"", b"GET / HT", b"POST /v1/identify HTTP/1.1\r\nHost: localhost\r\n")[number % 3])
        for _ in range(5):
            assert httpx.get(f"{keyed}/v1/health/live").status_code == 200


def test_several_requests_go_over_one_connection(keyed: str) -> None:
    with connect(keyed) as connection:
        for _ in range(3):
            connection.sendall(b"GET /v1/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(65536).endswith(b'{"status":"ok"}')


def test_head_answers_as_get_without_a_body(api: httpx.Client) -> None:
    for path in ("/v1/info", "/v1/subjects/1", "/v1/health/live", "/", "/app.js"):
        whole, head = api.get(path), api.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == whole.headers["content-type"]
    for path in ("/v1/info", "/v1/nothing"):
        answer = api.delete(path)
        assert refusal(answer) in {(405, "method_not_allowed"), (404, "not_found")}


def test_one_empty_photo_costs_the_others_nothing(api: httpx.Client, people_folder: Path) -> None:
    good = (people_folder / "Mira Quill" / "1.jpg").read_bytes()
    files = [("photo", ("empty.jpg", b"")), ("photo", ("good.jpg", good)), ("photo", ("text.jpg", b"text"))]
    found = api.post("/v1/identify", files=files).json()["results"]
    assert [each["reason"] for each in found] == ["unreadable", None, "unsupported_format"]
    enrolled = api.post("/v1/subjects", data={"subject": "Mira Quill"}, files=files).json()["results"]
    assert [(each["status"], each["reason"]) for each in enrolled] == [
        ("rejected", "unreadable"),
        ("unchanged", None),
        ("rejected", "unsupported_format"),
    ]


def test_refusals_and_failures_are_in_the_metrics(engine: FaceSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FaceSearch, "describe", lambda _: 1 / 0)
    with serve_here(engine) as api:
        assert refusal(api.get("/v1/info")) == (500, "internal_error")
        api.get("/v1/info", headers={"Host": "evil.example"})
        text = api.get("/v1/metrics").text
    assert 'facesearch_request_seconds_count{endpoint="/v1/info",method="GET",status="500"} 1.0' in text
    assert 'facesearch_request_seconds_count{endpoint="other",method="GET",status="421"} 1.0' in text
