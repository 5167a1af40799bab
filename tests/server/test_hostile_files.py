"""Photos whose names are no text, enrolled or uploaded: every endpoint answers in valid Unicode, and never with 500.

The endpoints are those of the OpenAPI document; one that is missing here fails.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from facesearch import FaceSearch
from facesearch.client import Client
from facesearch.names import path_text, text_path
from facesearch.server.options import ServerOptions
from tests.hostile_names import FILE_NAMES, UNDECODABLE
from tests.server.conftest import serve_on_socket

HOSTILE = os.fsdecode(UNDECODABLE + b"\n\x1b[2J'\"<b>")
LONE = json.dumps("Q\udcffQ\n")
"""JSON may hold what no text is."""
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e]")

pytestmark = pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="Names are Unicode here")


@dataclass
class Served:
    """A server over people with hostile photo names."""

    http: httpx.Client
    url: str
    photos: list[Path]
    """One of each person."""
    asked: set[tuple[str, str]] = field(default_factory=set)

    def ask(self, method: str, path: str, *, place: str | None = None, **content: Any) -> Any:
        """The answer, proven clean; `place` is the path of the document, where it has parameters."""
        self.asked.add((method.lower(), place or path))
        answer = self.http.request(method, f"/v1{path}", **content)
        assert answer.status_code < 500, (method, path, answer.text)
        if "json" not in answer.headers.get("content-type", ""):
            return answer.content
        found = json.loads(answer.content.decode("utf-8"))
        text = json.dumps(found, ensure_ascii=False)
        text.encode()
        assert "Q?Q" not in text
        assert "\N{REPLACEMENT CHARACTER}" not in text
        for each in _strings(found):
            assert not CONTROLS.search(each), each
        return found

    def upload(self, path: str, photo: Path, name: bytes, *, place: str | None = None, **fields: str) -> Any:
        """The answer to a form that names the photo by these bytes, as some clients do."""
        parts = [(f'name="{key}"', value.encode()) for key, value in fields.items()]
        quoted = name.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\r", b"%0D").replace(b"\n", b"%0A")
        wanted = ("a", "b") if path == "/verify" else ("photo",)
        parts += [(f'name="{each}"; filename="', photo.read_bytes()) for each in wanted]
        body = b""
        for head, value in parts:
            shown = head.encode() + quoted + b'"' if "filename" in head else head.encode()
            body += b"--x\r\nContent-Disposition: form-data; " + shown + b"\r\n\r\n" + value + b"\r\n"
        headers = {"content-type": "multipart/form-data; boundary=x"}
        return self.ask("POST", path, place=place, content=body + b"--x--\r\n", headers=headers)


def _strings(found: Any) -> Iterator[str]:
    if isinstance(found, dict):
        for key, value in found.items():
            yield key
            yield from _strings(value)
    elif isinstance(found, list):
        for each in found:
            yield from _strings(each)
    elif isinstance(found, str):
        yield found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, standin_pack: Path, people_folder: Path) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("served") / HOSTILE
    pack = Path(shutil.copytree(standin_pack, root / HOSTILE))
    photos = []
    for number, person in enumerate(sorted(people_folder.iterdir())[:8]):
        folder = root / "people" / person.name
        folder.mkdir(parents=True)
        for photo, name in zip(sorted(person.iterdir())[:3], FILE_NAMES[number * 3 :] + FILE_NAMES, strict=False):
            photos.append(Path(shutil.copy(photo, folder / os.fsdecode(name + b".jpg"))))
    with FaceSearch.open(root / f"gallery{HOSTILE}", pack=pack, provider="cpu") as engine:
        assert {outcome.status for outcome in engine.enroll(root / "people")} == {"enrolled"}
        with (
            serve_on_socket(engine, ServerOptions(thumbnails=True)) as url,
            httpx.Client(base_url=url, timeout=60) as http,
        ):
            yield Served(http, url, photos[::3])


def look(served: Served) -> None:
    people = served.ask("GET", "/subjects")["subjects"]
    found = set()
    for each in people:
        served.ask("GET", f"/subjects/{each['id']}", place="/subjects/{id}")
        photos = served.ask("GET", f"/subjects/{each['id']}/photos", place="/subjects/{id}/photos")["photos"]
        served.ask("GET", f"/subjects/{each['id']}/lookalikes", place="/subjects/{id}/lookalikes")
        found |= {text_path(photo["photo"]) for photo in photos}
        picture = served.ask("GET", f"/photos/{photos[0]['id']}/thumbnail", place="/photos/{id}/thumbnail")
        assert picture.startswith(b"\xff\xd8")
    assert found >= set(served.photos)
    for place in ("/info", "/check", "/audit", "/evaluation", "/calibration", "/metrics"):
        served.ask("GET", place)
    assert served.ask("GET", "/health/live")
    assert served.ask("GET", "/health/ready")


def probe(served: Served) -> None:
    for name in FILE_NAMES:
        served.upload("/detect", served.photos[0], name)
    for photo in served.photos:
        (result,) = served.upload("/identify", photo, photo.name.encode("utf-8", "surrogateescape"))["results"]
        assert text_path(result["candidates"][0]["photo"]) == photo
        served.upload("/verify", photo, UNDECODABLE)
        served.upload("/preview", photo, UNDECODABLE)
    for query in ("where=%FF", "where=a=%FF%0A", "k=%FF"):
        assert served.http.post(f"/v1/identify?{query}", content=b"x").status_code in {200, 422}


def headers_and(json_text: str) -> dict[str, Any]:
    return {"headers": {"content-type": "application/json"}, "content": json_text}


def change(served: Served) -> None:
    photo = served.photos[0]
    for name in FILE_NAMES:
        served.upload("/subjects", photo, name, subject="Ada", attributes=f'{{"team": {LONE}}}')
    answer = served.upload("/subjects", photo, UNDECODABLE, subject="Ada")
    ada = answer["subject"]["id"]
    served.upload(f"/subjects/{ada}/photos", served.photos[1], UNDECODABLE, place="/subjects/{id}/photos")
    body = headers_and(f'{{"subject": {LONE}}}')
    assert served.ask("PATCH", f"/subjects/{ada}", place="/subjects/{id}", **body)["status"] == 422
    body = headers_and(f'{{"attributes": {{"a": {LONE}}}}}')
    served.ask("PATCH", f"/subjects/{ada}/attributes", place="/subjects/{id}/attributes", **body)
    (other, *_) = (each for each in served.ask("GET", "/subjects")["subjects"] if each["id"] != ada)
    served.ask("POST", f"/subjects/{other['id']}/merge", place="/subjects/{id}/merge", json={"into": ada})
    aliases = {"place": "/subjects/{id}/aliases", **headers_and(f'{{"alias": {LONE}}}')}
    assert served.ask("POST", f"/subjects/{ada}/aliases", **aliases)["status"] == 422
    served.ask("DELETE", f"/subjects/{ada}/aliases?alias=Q%0AQ", place="/subjects/{id}/aliases")
    photos = served.ask("GET", f"/subjects/{ada}/photos", place="/subjects/{id}/photos")["photos"]
    served.ask("POST", f"/photos/{photos[-1]['id']}/confirm", place="/photos/{id}/confirm")
    served.ask("POST", f"/photos/{photos[-1]['id']}/move", place="/photos/{id}/move", json={"to": "Bo", "create": True})
    assert served.ask("POST", "/undo", json={})["action"] == "move"
    assert served.ask("GET", "/history")["entries"][0]["action"] == "undo"
    place = "/subjects/{id}/photos/{photo_id}"
    served.ask("DELETE", f"/subjects/{ada}/photos/{photos[0]['id']}", place=place)
    (mary, *_) = (each for each in served.ask("GET", "/subjects")["subjects"] if each["id"] != ada)
    assert served.ask("POST", f"/subjects/{mary['id']}/remove", place="/subjects/{id}/remove") == mary
    assert served.ask("POST", "/undo", json={})["action"] == "remove"
    for receipt in (
        served.ask("POST", "/subjects/forget", json={"ids": [mary["id"]]}),
        served.ask("DELETE", f"/subjects/{ada}", place="/subjects/{id}"),
    ):
        assert receipt["gallery"].endswith(path_text(HOSTILE))


STEPS: tuple[Callable[[Served], None], ...] = (look, probe, change)


def test_the_client_gets_paths_back_and_names_photos_as_the_engine_does(served: Served) -> None:
    photo = served.photos[1]
    with Client(served.url) as client:
        (result,) = client.identify(photo)
        assert result.photo == path_text(photo)
        assert result.best is not None
        assert text_path(result.best.photo) == photo
        assert photo in {each.photo for each in client.photos_of_subject(result.best.subject_id)}
        assert client.verify(photo, str(photo)).b == path_text(photo)
        (outcome,) = client.enroll(photo, subject=result.best.subject)
        assert (outcome.photo, outcome.status) == (path_text(photo), "unchanged")


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_names_that_are_no_text(served: Served, step: Callable[[Served], None]) -> None:
    step(served)


def test_every_endpoint_has_met_such_names(served: Served) -> None:
    document = served.http.get("/v1/openapi.json").json()
    paths = document["paths"].items()
    described = {(method, path.removeprefix("/v1")) for path, methods in paths for method in methods}
    assert described - served.asked == set()
