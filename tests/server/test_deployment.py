"""The server as an operator runs it: behind a proxy, configured by a file, watched by logs and metrics."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from facesearch import ConfigError, FaceSearch
from facesearch.server.options import AccessLog, ServerOptions
from facesearch.store.keys import create_key
from tests.server.conftest import LOCAL, serve_here, serve_on_socket, serve_process
from tests.server.test_probes import photos
from tests.server.test_security import refusal, with_key

DEPLOY = Path(__file__).parents[2] / "deploy"
PUBLIC = ServerOptions(public_url="https://faces.example.org/faces", trusted_proxies=("127.0.0.1",))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def nginx(folder: Path, upstream: str) -> Iterator[int]:
    """nginx with the configuration that is shipped, without TLS and with other places; gives its port."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("no nginx: apt-get install nginx-light")
    port = free_port()
    shipped = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    changed = re.sub(r"\n *ssl_certificate.*", "", shipped)
    changed = changed.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};").replace("127.0.0.1:8000", upstream)
    changed = changed.replace("$scheme;", "https;")
    kinds = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    http = f"http {{\naccess_log off;\n{kinds}{changed}\n}}\n"
    text = f"daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n{http}"
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    with subprocess.Popen(
        [program, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.PIPE
    ) as process:
        try:
            deadline = time.monotonic() + 20
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert process.poll() is None, process.stderr and process.stderr.read()
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait(20)


def test_behind_nginx_under_a_path_page_and_api_work(engine: FaceSearch, tmp_path: Path, people_folder: Path) -> None:
    key = engine.gallery.write(create_key, "shop", ["read", "enroll"])
    photo = photos(people_folder / "Mira Quill" / "1.jpg")
    with serve_on_socket(engine, PUBLIC) as url, nginx(tmp_path, url.removeprefix("http://")) as port:
        base = f"{LOCAL}:{port}/faces"
        shown = {"Host": "faces.example.org", **with_key(key)}
        browser = {**shown, "Origin": "https://faces.example.org", "Sec-Fetch-Site": "same-origin"}
        page = httpx.get(f"{base}/", headers=shown)
        assert "facesearch" in page.text
        for name in re.findall(r'(?:src|href)="([^"#]+)"', page.text):
            assert httpx.get(f"{base}/{name}", headers=shown).status_code == 200
        assert httpx.get(base, headers=shown).headers["location"].endswith("/faces/")
        found = httpx.post(f"{base}/v1/identify", files=photo, headers=browser)
        assert found.json()["results"][0]["subject"] == "Mira Quill"
        assert httpx.patch(f"{base}/v1/subjects/1", json={"subject": "X"}, headers=browser).status_code == 200
        assert httpx.get(f"{base}/v1/openapi.json", headers=shown).json()["servers"] == [{"url": "/faces"}]
        assert re.fullmatch(r"[0-9a-f]{32}", found.headers["x-request-id"]), "nginx's own"
        foreign = httpx.post(f"{base}/v1/identify", files=photo, headers={**shown, "Origin": "https://evil.example"})
        assert refusal(foreign) == (403, "cross_origin")
        direct = httpx.get(f"{url}/v1/health/live", headers={"Host": "evil.example"})
        assert refusal(direct) == (421, "wrong_host")
        assert httpx.get(f"{base}/v1/info", headers={"Host": "faces.example.org"}).status_code == 401


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_the_unit_of_systemd_is_one() -> None:
    told = subprocess.run(
        ["systemd-analyze", "verify", str(DEPLOY / "facesearch.service")], capture_output=True, text=True, check=False
    )
    faults = [line for line in told.stderr.splitlines() if line.startswith(("facesearch", str(DEPLOY)))]
    assert [line for line in faults if "is not executable" not in line] == [], "but for the program's place"


def test_only_a_trusted_proxy_says_where_a_request_comes_from(
    engine: FaceSearch, caplog: pytest.LogCaptureFixture
) -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.7"}
    for trusted, client in ((("127.0.0.1",), "203.0.113.7"), ((), "127.0.0.1")):
        caplog.clear()
        options = ServerOptions(trusted_proxies=trusted, access_log=AccessLog.JSON)
        with caplog.at_level("INFO", "facesearch.access"), serve_here(engine, options) as api:
            api.get("/v1/health/live", headers=forwarded)
        assert json.loads(caplog.messages[-1])["client"] == client


def test_a_server_that_a_proxy_shows_needs_a_key(engine: FaceSearch) -> None:
    with pytest.raises(ConfigError, match=r"faces\.example\.org") as caught, serve_here(engine, PUBLIC):
        pytest.fail("it started")
    assert "keys create" in str(caught.value.hint)


@pytest.mark.parametrize(
    "wrong",
    [
        {"public_url": "faces.example.org"},
        {"public_url": "https://faces.example.org/a b"},
        {"allowed_hosts": ("https://faces.example.org",)},
        {"cors_origins": ("https://faces.example.org/path",)},
        {"cors_origins": ("*",)},
        {"root_path": "faces"},
        {"access_log": "apache"},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        ServerOptions.of(**{"access_log": "off", **wrong})


def test_a_host_that_is_allowed_is_answered(engine: FaceSearch) -> None:
    engine.gallery.write(create_key, "any", ["read"])
    with serve_here(engine, ServerOptions(allowed_hosts=("faces.example.org",))) as api:
        for host, status in (
            ("faces.example.org", 200),
            ("FACES.example.org:80", 200),
            ("localhost", 200),
            ("evil.example", 421),
        ):
            assert api.get("/v1/health/live", headers={"Host": host}).status_code == status


def test_sites_on_the_list_may_use_the_api_from_a_browser(engine: FaceSearch, people_folder: Path) -> None:
    options = ServerOptions(cors_origins=("https://shop.example.org",))
    photo = photos(people_folder / "Mira Quill" / "1.jpg")
    cross = {"Origin": "https://shop.example.org", "Sec-Fetch-Site": "cross-site"}
    asked = {**cross, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    with serve_here(engine, options) as api:
        assert api.options("/v1/identify", headers=asked).headers["access-control-allow-origin"] == cross["Origin"]
        answer = api.post("/v1/identify", files=photo, headers=cross)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, cross["Origin"])
        for origin in ("https://evil.example", "https://shop.example.org.evil.example", "null"):
            foreign = {**cross, "Origin": origin}
            assert refusal(api.post("/v1/identify", files=photo, headers=foreign)) == (403, "cross_origin")
            assert api.options("/v1/identify", headers={**asked, "Origin": origin}).status_code == 400


def test_other_sites_cannot_even_ask(read_only: httpx.Client) -> None:
    for site in ("cross-site", "same-site"):
        asked = read_only.get("/v1/audit", headers={"Sec-Fetch-Site": site})
        assert refusal(asked) == (403, "cross_origin")
        assert read_only.get("/", headers={"Sec-Fetch-Site": site}).status_code == 200, "a link to the page"
    assert read_only.get("/v1/info", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_the_access_log_has_a_line_for_each_request_and_no_name(
    engine: FaceSearch, caplog: pytest.LogCaptureFixture
) -> None:
    key = engine.gallery.write(create_key, "shop", ["read"])
    for kind in (AccessLog.COMMON, AccessLog.JSON, AccessLog.OFF):
        caplog.clear()
        with caplog.at_level("INFO", "facesearch.access"), serve_here(engine, ServerOptions(access_log=kind)) as api:
            answer = api.get("/v1/subjects?search=Mira", headers={**with_key(key), "X-Request-ID": "abc-1"})
            assert answer.headers["x-request-id"] == "abc-1"
            given = api.get("/v1/info", headers={"X-Request-ID": "no id\\n"}).headers["x-request-id"]
            assert re.fullmatch(r"[0-9a-f]{32}", given)
        lines = [record.getMessage() for record in caplog.records if record.name == "facesearch.access"]
        assert "Mira" not in str(lines)
        if kind is AccessLog.COMMON:
            assert re.fullmatch(
                r'127\.0\.0\.1 - shop \[[^]]+ \+0000\] "GET /v1/subjects HTTP/1\.1" 200 \d+ 0\.\d+ abc-1', lines[0]
            )
            assert " - - [" in lines[1]
            assert '"GET /v1/info HTTP/1.1" 401' in lines[1]
        elif kind is AccessLog.JSON:
            told = json.loads(lines[0])
            assert (told["actor"], told["path"], told["status"], told["request_id"]) == (
                "shop",
                "/v1/subjects",
                200,
                "abc-1",
            )
        else:
            assert lines == []


def test_a_monitor_reads_metrics_and_nothing_else(engine: FaceSearch, people_folder: Path) -> None:
    monitor = engine.gallery.write(create_key, "prometheus", ["metrics"])
    reader = engine.gallery.write(create_key, "reader", ["read"])
    with serve_here(engine) as api:
        api.post("/v1/identify", files=photos(people_folder / "Mira Quill" / "1.jpg"), headers=with_key(reader))
        api.get("/v1/subjects/1", headers=with_key(reader))
        api.head("/v1/subjects/1", headers=with_key(reader))
        api.get("/", headers=with_key(monitor))
        api.get("/v1/info", headers=with_key(monitor))  # a request is counted when its answer is out
        text = api.get("/v1/metrics", headers=with_key(monitor)).text
        for path in ("/v1/subjects", "/v1/audit"):
            assert refusal(api.get(path, headers=with_key(monitor))) == (403, "missing_scope")
        assert api.get("/v1/info", headers=with_key(monitor)).json()["scopes"] == ["metrics"]
    for line in (
        'facesearch_request_seconds_count{endpoint="/v1/subjects/{id}",method="GET",status="200"} 1.0',
        'facesearch_request_seconds_count{endpoint="/v1/subjects/{id}",method="HEAD",status="200"} 1.0',
        'facesearch_request_seconds_count{endpoint="/v1/identify",method="POST",status="200"} 1.0',
        'facesearch_request_seconds_count{endpoint="other",method="GET",status="200"}',
        'facesearch_decisions_total{decision="match"} 1.0',
        'facesearch_decisions_total{decision="ambiguous"} 0.0',
        "facesearch_queue_seconds_count 1.0",
    ):
        assert line in text
    assert re.search(r'facesearch_build_info\{python="[\d.]+",version="[\w.]+"\} 1\.0', text)


def test_ready_means_that_somebody_can_be_identified(bereft: FaceSearch) -> None:
    with serve_here(bereft) as api:
        assert api.get("/v1/health/live").status_code == 200
        assert refusal(api.get("/v1/health/ready")) == (503, "vector_database")


def test_a_file_holds_the_settings_of_a_server(
    gallery: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with FaceSearch.open(gallery, provider="cpu") as engine:
        engine.gallery.write(create_key, "any", ["read"])
    file = tmp_path / "facesearch.toml"
    file.write_text('public-url = "https://faces.example.org/x"\nthumbnails = true\naccess-log = "json"\n')
    port = free_port()
    with serve_process(gallery, "--config", str(file), "--port", str(port)) as server:
        assert server.url == "https://faces.example.org/x"
        assert httpx.get(f"{LOCAL}:{port}/v1/health/live").status_code == 200
    assert json.loads(capfd.readouterr().err.splitlines()[-1])["path"] == "/v1/health/live"
