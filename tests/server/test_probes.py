"""detect, identify and verify over HTTP answer what the engine answers."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from facesearch import FaceSearch
from facesearch.records import FaceRecord, SearchRecord
from tests.server.conftest import serve_here


def photos(*paths: Path, field: str = "photo") -> list[tuple[str, tuple[str, bytes]]]:
    return [(field, (path.name, path.read_bytes())) for path in paths]


def test_identify_answers_the_records_of_the_command_line(
    read_only: httpx.Client, enrolled_gallery: Path, scenes_folder: Path
) -> None:
    scenes = [scenes_folder / name for name in ("group.jpg", "stranger.jpg", "landscape.jpg")]
    answer = read_only.post("/v1/identify", files=photos(*scenes), params={"k": 3})
    assert answer.status_code == 200
    records = answer.json()["results"]
    with FaceSearch.open(enrolled_gallery, provider="cpu") as engine:
        expected = [
            SearchRecord.of(result).model_dump(mode="json")
            for scene in scenes
            for result in engine.identify(scene, k=3)
        ]
    assert [record["photo_index"] for record in records] == [0] * 5 + [1, 2]
    for record, wanted in zip(records, expected, strict=True):
        assert record == {**wanted, "photo": Path(wanted["photo"]).name, "photo_index": record["photo_index"]}


def test_a_photo_may_be_the_body_itself(read_only: httpx.Client, people_folder: Path) -> None:
    data = (people_folder / "Mira Quill" / "1.jpg").read_bytes()
    for kind in ("image/jpeg", "application/octet-stream"):
        (record,) = read_only.post("/v1/identify", content=data, headers={"Content-Type": kind}).json()["results"]
        assert (record["subject"], record["decision"]) == ("Mira Quill", "match")


def test_candidates_carry_the_ids_that_other_endpoints_take(read_only: httpx.Client, people_folder: Path) -> None:
    answer = read_only.post("/v1/identify", files=photos(people_folder / "Otto Bramble" / "2.jpg"))
    best = answer.json()["results"][0]["candidates"][0]
    subject = read_only.get(f"/v1/subjects/{best['subject_id']}").json()
    assert subject["subject"] == "Otto Bramble"
    ids = [photo["id"] for photo in read_only.get(f"/v1/subjects/{best['subject_id']}/photos").json()["photos"]]
    assert best["photo_id"] in ids


def test_a_server_looks_at_the_detection_size_it_was_started_with(enrolled_gallery: Path, people_folder: Path) -> None:
    photo = next(iter(sorted(people_folder.glob("*/*.jpg")))).read_bytes()
    with FaceSearch.open(enrolled_gallery, provider="cpu", det_size="fast") as engine, serve_here(engine) as client:
        assert client.get("/v1/info").json()["det_size"] == "fast"
        (result,) = client.post("/v1/identify", files={"photo": photo}).json()["results"]
    assert result["decision"] == "match"


def test_k_threshold_and_margin_are_obeyed(read_only: httpx.Client, people_folder: Path) -> None:
    def ask(**params: float) -> dict[str, Any]:
        answer = read_only.post(
            "/v1/identify", files=photos(people_folder / "Juno Wren" / "1.jpg"), params=dict(params)
        )
        record: dict[str, Any] = answer.json()["results"][0]
        return record

    assert len(ask(k=4)["candidates"]) == 4
    for threshold, decision in ((0.9, "match"), (1, "unknown")):  # their photos differ a little from each other
        assert (ask(threshold=threshold)["decision"], ask(threshold=threshold)["threshold_basis"]) == (
            decision,
            "given",
        )
    assert ask(margin=1.9)["decision"] == "ambiguous"


def test_where_searches_only_those_people(api: httpx.Client, people_folder: Path) -> None:
    (mira,) = api.get("/v1/subjects", params={"search": "mira"}).json()["subjects"]
    api.patch(f"/v1/subjects/{mira['id']}/attributes", json={"attributes": {"team": "design"}})
    probe = photos(people_folder / "Otto Bramble" / "1.jpg")
    answer = api.post("/v1/identify", files=probe, params={"where": "team=design"}).json()["results"][0]
    assert [each["subject"] for each in answer["candidates"]] == ["Mira Quill"]
    assert answer["decision"] == "unknown"
    refused = api.post("/v1/identify", files=probe, params={"where": "team"})
    assert (refused.status_code, refused.json()["reason"]) == (422, "invalid_request")


def test_detect_answers_every_face_or_why_there_is_none(
    read_only: httpx.Client, enrolled_gallery: Path, scenes_folder: Path
) -> None:
    group, empty = scenes_folder / "group.jpg", scenes_folder / "landscape.jpg"
    records = read_only.post("/v1/detect", files=photos(group, empty)).json()["results"]
    with FaceSearch.open(enrolled_gallery, provider="cpu") as engine:
        expected = [
            FaceRecord.of_face("group.jpg", number, face).model_dump(mode="json")
            for number, face in enumerate(engine.detect(group), 1)
        ]
    found = [{key: record[key] for key in expected[0]} for record in records[:-1]]
    assert found == expected
    assert (records[-1]["photo"], records[-1]["reason"]) == ("landscape.jpg", "face_not_found")


def test_what_is_no_photo_is_a_result_and_costs_the_others_nothing(
    read_only: httpx.Client, people_folder: Path
) -> None:
    good = (people_folder / "Mira Quill" / "1.jpg").read_bytes()
    files = [("photo", ("cut.jpg", good[:2000])), ("photo", ("text.jpg", b"hello")), ("photo", ("good.jpg", good))]
    records = read_only.post("/v1/identify", files=files).json()["results"]
    assert [record["reason"] for record in records] == ["unreadable", "unsupported_format", None]
    assert records[2]["subject"] == "Mira Quill"


def test_verify_compares_two_photos(read_only: httpx.Client, people_folder: Path, scenes_folder: Path) -> None:
    mira = people_folder / "Mira Quill"
    same = [*photos(mira / "1.jpg", field="a"), *photos(mira / "2.jpg", field="b")]
    other = [*photos(mira / "1.jpg", field="a"), *photos(scenes_folder / "stranger.jpg", field="b")]
    assert read_only.post("/v1/verify", files=same).json()["match"] is True
    assert read_only.post("/v1/verify", files=other).json()["match"] is False
    for files, reason in (
        ([*photos(mira / "1.jpg", field="a"), *photos(scenes_folder / "landscape.jpg", field="b")], "face_not_found"),
        ([*photos(mira / "1.jpg", field="a"), *photos(scenes_folder / "group.jpg", field="b")], "multiple_faces"),
        (photos(mira / "1.jpg", field="a"), "invalid_request"),
    ):
        refused = read_only.post("/v1/verify", files=files)
        assert (refused.status_code, refused.json()["reason"]) == (422, reason)
        assert refused.headers["content-type"] == "application/problem+json"


def test_many_requests_at_once_get_their_own_answers(read_only: httpx.Client, people_folder: Path) -> None:
    """Their faces share runs of the recogniser and looks into the index."""
    names = [folder.name for folder in sorted(people_folder.iterdir())]
    found: dict[str, tuple[str, int]] = {}

    def ask(name: str, k: int) -> None:
        answer = read_only.post("/v1/identify", files=photos(people_folder / name / "3.jpg"), params={"k": k})
        record = answer.json()["results"][0]
        found[name] = (record["subject"], len(record["candidates"]))

    threads = [threading.Thread(target=ask, args=(name, 1 + index % 3)) for index, name in enumerate(names)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: (name, 1 + index % 3) for index, name in enumerate(names)}


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\x00b.jpg", "<script>.jpg", "\u202egpj.exe", "x" * 5000, ""])
def test_a_photo_may_be_called_anything(read_only: httpx.Client, people_folder: Path, name: str) -> None:
    data = (people_folder / "Mira Quill" / "1.jpg").read_bytes()
    answer = read_only.post("/v1/identify", files=[("photo", (name, data))])
    assert answer.status_code in {200, 422}
    if answer.status_code == 200:
        shown = answer.json()["results"][0]["photo"]
        assert shown.isprintable()
        assert 0 < len(shown) <= 255


def test_a_preview_is_a_bounded_jpeg_without_metadata_and_says_how_large_the_photo_is(
    read_only: httpx.Client, tmp_path: Path
) -> None:
    photo = tmp_path / "large.tif"
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = 6  # lies on its side
    Image.new("RGB", (3000, 1000), "red").save(photo, exif=exif)
    answer = read_only.post("/v1/preview", files=photos(photo))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert (answer.headers["photo-width"], answer.headers["photo-height"]) == ("1000", "3000")
    assert answer.headers["cache-control"] == "no-store"
    with Image.open(io.BytesIO(answer.content)) as shown:
        assert max(shown.size) == 1600
        assert not shown.getexif()
    refused = read_only.post("/v1/preview", files={"photo": b"no photo"})
    assert (refused.status_code, refused.json()["reason"]) == (422, "unsupported_format")
