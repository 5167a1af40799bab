"""What a key may learn: no name, attribute or score of anybody leaves without the scope `read`, by whatever request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facesearch import FaceSearch
from facesearch.client import Client
from facesearch.errors import ServerError
from facesearch.store import people
from facesearch.store.keys import create_key
from tests.server.conftest import serve_here, serve_on_socket
from tests.server.test_probes import photos

SECRETS = ("Mira", "Quill", "Otto", "Bramble", "Kofi", "Ember", "Nickname", "clearance", "topmost", "/people/")
"""Parts of names, an alias, an attribute and paths of the gallery."""
SCORE = re.compile(r'"score": ?-?\d|with a score|\b0\.\d{3}\b(?!\d)')
BLIND = (("enroll",), ("delete",), ("enroll", "delete"))

Request = tuple[str, str, dict[str, Any]]


def attempts(people_folder: Path, scenes_folder: Path) -> Iterator[Request]:
    """Requests to each endpoint that could tell something, by path as the document has it."""
    mira, stranger = photos(people_folder / "Mira Quill" / "1.jpg"), photos(scenes_folder / "stranger.jpg")
    pair = [*photos(people_folder / "Mira Quill" / "1.jpg", field="a"), *photos(scenes_folder / "group.jpg", field="b")]
    for place in ("detect", "identify", "preview"):
        yield "POST", f"/v1/{place}", {"files": mira}
    yield "POST", "/v1/verify", {"files": pair}
    for place in (
        "calibration",
        "evaluation",
        "audit",
        "check",
        "info",
        "metrics",
        "history",
        "subjects",
        "openapi.json",
    ):
        yield "GET", f"/v1/{place}", {}
    for place in ("", "/photos", "/lookalikes"):
        yield "GET", f"/v1/subjects/1{place}", {}
    yield "GET", "/v1/photos/1/thumbnail", {}
    for fields in ({}, {"strict": "true"}, {"faces": "all"}, {"bring_back_erased": "true"}):
        yield "POST", "/v1/subjects", {"data": {"subject": "Newcomer", **fields}, "files": mira}
        yield "POST", "/v1/subjects/2/photos", {"data": fields, "files": mira}
    yield "POST", "/v1/subjects", {"data": {"subject": "Nickname"}, "files": stranger}
    yield "POST", "/v1/subjects/1/photos", {"files": mira}
    for method, place, body in (
        ("PATCH", "subjects/1", {"subject": "Newcomer"}),
        ("PATCH", "subjects/1", {"subject": "Free"}),
        ("PATCH", "subjects/1/attributes", {"attributes": {}}),
        ("POST", "subjects/1/aliases", {"alias": "Newcomer"}),
        ("POST", "subjects/1/aliases", {"alias": "Fresh"}),
        ("POST", "photos/1/move", {"to": 2}),
        ("POST", "photos/1/move", {"to": "Otta Bramble"}),
        ("POST", "subjects/1/merge", {"into": 1}),
        ("POST", "undo", {}),
        ("POST", "undo", {"entry": 1}),
        ("POST", "undo", {"entry": 9999}),
        ("POST", "subjects/1/merge", {"into": 2}),
        ("POST", "subjects/forget", {"ids": [3, 9999]}),
        ("POST", "subjects/forget", {"ids": [3]}),
    ):
        yield method, f"/v1/{place}", {"json": body}
    yield "DELETE", "/v1/subjects/2/aliases", {"params": {"alias": "none such"}}
    yield "POST", "/v1/photos/5/confirm", {}
    yield "DELETE", "/v1/subjects/2/photos/5", {}
    yield "POST", "/v1/subjects/2/remove", {}
    yield "DELETE", "/v1/subjects/4", {}


@pytest.mark.parametrize("scopes", BLIND, ids="+".join)
def test_a_key_that_may_not_read_is_told_of_nobody(
    engine: FaceSearch, people_folder: Path, scenes_folder: Path, scopes: tuple[str, ...]
) -> None:
    for subject in (1, 2):
        engine.gallery.write(people.set_attributes, subject, {"clearance": "topmost"})
    engine.gallery.write(people.add_alias, 2, "Nickname")
    key = engine.gallery.write(create_key, "blind", scopes)
    done, asked = 0, set()
    with serve_here(engine) as api:
        api.headers["Authorization"] = f"Bearer {key}"
        for method, place, content in attempts(people_folder, scenes_folder):
            answer = api.request(method, place, **content)
            assert answer.status_code < 500, answer.text
            sent = str(content.get("json", "")) + str(content.get("data", ""))
            told = answer.text + str(answer.headers)
            found = [secret for secret in SECRETS if secret in told and secret not in sent]
            assert found == [], (method, place, told)
            assert not SCORE.search(told), (method, place, told)
            done += answer.is_success
            asked.add((method, re.sub(r"/\d+(?=/|$)", "/{id}", place)))
        described = {
            (method.upper(), re.sub(r"{\w+}", "{id}", path))
            for path, methods in api.get("/v1/openapi.json").json()["paths"].items()
            for method in methods
        }
    assert described - asked == {("GET", "/v1/health/live"), ("GET", "/v1/health/ready")}
    assert done > 3, "some of it was allowed"


def test_a_key_that_enrolls_is_told_what_became_of_its_own_photos(
    engine: FaceSearch, people_folder: Path, scenes_folder: Path
) -> None:
    key = engine.gallery.write(create_key, "door", ["enroll"])
    mira, empty = people_folder / "Mira Quill" / "1.jpg", scenes_folder / "landscape.jpg"
    files = photos(mira, empty, scenes_folder / "stranger.jpg")
    with serve_here(engine) as api:
        api.headers["Authorization"] = f"Bearer {key}"
        answer = api.post("/v1/subjects", data={"subject": "Wolf", "strict": "true"}, files=files).json()
        (conflict, none, taken) = answer["results"]
        assert (conflict["status"], conflict["reason"], conflict["detail"]) == ("rejected", "identity_conflict", None)
        assert (none["reason"], bool(none["detail"])) == ("face_not_found", True)
        assert (taken["status"], taken["subject"], taken["subject_id"]) == ("enrolled", "Wolf", answer["subject"]["id"])
        assert answer["subject"].keys() == {"id"}
        assert api.patch(f"/v1/subjects/{taken['subject_id']}/attributes", json={"attributes": {"a": "b"}}).json() == {
            "id": taken["subject_id"]
        }
        refused = api.get("/v1/subjects")
        assert (refused.status_code, refused.json()["reason"]) == (403, "missing_scope")


def test_the_client_says_that_it_is_done_and_may_not_be_told(engine: FaceSearch) -> None:
    key = engine.gallery.write(create_key, "blind", ["enroll"])
    with serve_on_socket(engine) as url, Client(url, key=key) as client:
        with pytest.raises(ServerError, match="It is done, and its id is 1"):
            client.rename_subject(1, "Renamed")
        with pytest.raises(ServerError, match="It is done"):
            client.undo()
    assert [each.action for each in engine.history()] == ["undo", "rename"]


def test_the_document_needs_a_key_where_the_api_does(engine: FaceSearch) -> None:
    key = engine.gallery.write(create_key, "any", ["delete"])
    with serve_here(engine) as api:
        assert api.get("/v1/openapi.json").status_code == 401
        assert api.get("/v1/openapi.json", headers={"Authorization": f"Bearer {key}"}).status_code == 200
