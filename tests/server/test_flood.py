"""A minute of attacks by clients without a key: what one with a key waits, and what the server holds."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.synchronize
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from facesearch import FaceSearch
from facesearch.store.keys import create_key
from tests.server.conftest import serve_process
from tests.server.test_security import with_key

SECONDS = 60
QUIET_SECONDS = 20
RATIO = 3.0
GROWTH = 100 * 2**20
CONNECTIONS = 1000

Attack = Callable[[int], None]


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def large_json(port: int) -> None:
    """48 MB of objects for an endpoint that takes JSON."""
    body = b"[" + b"{}," * (16 * 2**20) + b"{}]"
    head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with _connect(port) as connection:
        connection.sendall(b"PATCH /v1/subjects/1 HTTP/1.1\r\n" + head.encode() + body)
        connection.recv(1000)


def unfinished_bodies(port: int) -> None:
    """Seven of 37 MB whose last byte does not come."""
    connections = [_connect(port) for _ in range(7)]
    for connection in connections:
        with suppress(OSError):
            connection.sendall(b"POST /v1/identify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 38000000\r\n\r\n")
            connection.sendall(b"x" * 37_000_000)
    time.sleep(1)
    for connection in connections:
        connection.close()


def large_headers(port: int) -> None:
    """384 MB of header lines."""
    line = b"X-Header: " + b"x" * 8000 + b"\r\n"
    with _connect(port) as connection:
        connection.sendall(b"GET /v1/info HTTP/1.1\r\nHost: localhost\r\n")
        for _ in range(48_000):
            connection.sendall(line)


def slow_headers_and_bodies(port: int) -> None:
    """A thousand connections that send a byte a second, of a header or of a body."""
    connections = []
    for number in range(CONNECTIONS):
        with suppress(OSError):
            connection = _connect(port)
            connections.append(connection)
            connection.sendall(b"POST /v1/identify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n")
            connection.sendall(b"\r\n" * (number % 2))
    for _ in range(10):
        for connection in connections:
            with suppress(OSError):
                connection.sendall(b"x")
        time.sleep(1)
    for connection in connections:
        connection.close()


def deep_json(port: int) -> None:
    """30,000 brackets."""
    body = b'{"attributes":' * 30_000
    url = f"http://127.0.0.1:{port}/v1/subjects/1/attributes"
    httpx.patch(url, content=body, headers={"Content-Type": "application/json"})


ATTACKS: tuple[Attack, ...] = (large_json, unfinished_bodies, large_headers, slow_headers_and_bodies, deep_json)


def attack(kind: Attack, port: int, stop: multiprocessing.synchronize.Event) -> None:
    """One attack, again and again."""
    while not stop.is_set():
        with suppress(OSError, httpx.HTTPError):
            kind(port)


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * 4096


def latencies(url: str, key: str, photo: bytes, seconds: float, watch: Callable[[], None]) -> list[float]:
    found = []
    with httpx.Client(base_url=url, timeout=60, headers=with_key(key)) as client:
        end = time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            answer = client.post("/v1/identify", files={"photo": photo})
            assert answer.status_code == 200, answer.text
            found.append(time.perf_counter() - started)
            watch()
    return found


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="Reads /proc.")
def test_a_flood_without_a_key_leaves_others_their_answers_and_the_server_its_memory(
    gallery: Path, people_folder: Path
) -> None:
    with FaceSearch.open(gallery, provider="cpu") as engine:
        key = engine.gallery.write(create_key, "client", ["read"])
    photo = (people_folder / "Mira Quill" / "1.jpg").read_bytes()
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with serve_process(gallery) as server:
        port, pid = int(server.url.rpartition(":")[2]), server.process.pid
        latencies(server.url, key, photo, 5, lambda: None)
        quiet = latencies(server.url, key, photo, QUIET_SECONDS, lambda: None)
        before = resident(pid)
        peak = [before]
        attackers = [context.Process(target=attack, args=(kind, port, stop)) for kind in ATTACKS]
        for attacker in attackers:
            attacker.start()
        try:
            time.sleep(3)
            flooded = latencies(server.url, key, photo, SECONDS, lambda: peak.append(resident(pid)))
        finally:
            stop.set()
            for attacker in attackers:
                attacker.terminate()
                attacker.join(20)
    p99 = [float(np.quantile(each, 0.99)) for each in (quiet, flooded)]
    told = {
        "quiet_p99_ms": round(p99[0] * 1e3, 1),
        "flooded_p99_ms": round(p99[1] * 1e3, 1),
        "ratio": round(p99[1] / p99[0], 2),
        "answers": [len(quiet), len(flooded)],
        "grown_mb": round((max(peak) - before) / 2**20, 1),
    }
    sys.stdout.write(json.dumps(told) + "\n")
    assert p99[1] < RATIO * p99[0], told
    assert max(peak) - before < GROWTH, told
