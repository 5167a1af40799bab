"""People and photos over HTTP: what is reported is there, what is removed is gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from facesearch import FaceSearch
from facesearch.recognition.thumbnail import thumbnail
from facesearch.server.options import ServerOptions
from facesearch.store import audit
from facesearch.store import people as stored_people
from facesearch.store import photos as stored_photos
from facesearch.store.schema import AuditRow
from tests.server.conftest import serve_here
from tests.server.test_probes import photos


def find(api: httpx.Client, name: str) -> dict[str, Any]:
    found = api.get("/v1/subjects", params={"search": name}).json()["subjects"]
    (subject,) = [each for each in found if each["subject"] == name]
    return dict(subject)


def enroll(api: httpx.Client, name: str, *paths: Path, **fields: str) -> httpx.Response:
    return api.post("/v1/subjects", data={"subject": name, **fields}, files=photos(*paths))


def who(api: httpx.Client, path: Path) -> tuple[str, str | None]:
    record = api.post("/v1/identify", files=photos(path)).json()["results"][0]
    return record["decision"], record["subject"]


def test_people_come_page_by_page_and_by_part_of_their_name(read_only: httpx.Client) -> None:
    everybody = read_only.get("/v1/subjects").json()
    names = [subject["subject"] for subject in everybody["subjects"]]
    assert (everybody["total"], everybody["next"], len(names)) == (12, None, 12)
    paged: list[str] = []
    after: str | None = None
    while True:
        page = read_only.get("/v1/subjects", params={"limit": 5, **({"after": after} if after else {})}).json()
        paged += [subject["subject"] for subject in page["subjects"]]
        after = page["next"]
        if after is None:
            break
    assert paged == names == sorted(names)
    found = read_only.get("/v1/subjects", params={"search": "QUILL"}).json()["subjects"]
    assert [each["subject"] for each in found] == ["Mira Quill"]
    assert read_only.get("/v1/subjects", params={"search": "%"}).json()["subjects"] == []


@pytest.mark.parametrize("search", ["george w bush", "GEORGE_W", "jose", "JOSÉ", "o neill", "z\u00f6e", "zoe"])
def test_names_are_found_however_they_are_written(api: httpx.Client, engine: FaceSearch, search: str) -> None:
    for number, name in enumerate(("George_W_Bush", "José", "Shaun O'Neill", "Zo\u200be\u0308"), 1):
        engine.gallery.write(stored_people.rename, number, name)
    assert api.get("/v1/subjects", params={"search": search}).json()["total"] == 1


def test_names_that_look_the_same_are_the_same(api: httpx.Client, scenes_folder: Path) -> None:
    for name in ("Ada L", "A\u200bda\u00ad L", "Ada\u200d L\ufeff"):
        answer = enroll(api, name, scenes_folder / "stranger.jpg").json()
        assert answer["subject"]["subject"] == "Ada L"
    joined = "\u0645\u06cc\u200c\u062e"
    assert enroll(api, joined, scenes_folder / "stranger.jpg").json()["subject"]["subject"] == joined


def test_a_person_holds_only_so_many_attributes(api: httpx.Client, scenes_folder: Path) -> None:
    for number in range(12):
        many = {"attributes": {f"a{number}": "x" * 1990}}
        answer = api.patch("/v1/subjects/1/attributes", json=many)
        assert answer.status_code == (200 if number < 10 else 422)
    stranger = photos(scenes_folder / "stranger.jpg")
    fields = {"subject": find(api, "Mira Quill")["subject"], "attributes": '{"b": "' + "x" * 2000 + '"}'}
    held = api.get("/v1/subjects/1").json()["attributes"]
    api.post("/v1/subjects", data={**fields, "subject": api.get("/v1/subjects/1").json()["subject"]}, files=stranger)
    assert api.get("/v1/subjects/1").json()["attributes"] == held


def test_enrolled_photos_are_found_at_once_and_sending_them_again_changes_nothing(
    api: httpx.Client, scenes_folder: Path
) -> None:
    stranger = scenes_folder / "stranger.jpg"
    assert who(api, stranger)[0] == "unknown"
    answer = enroll(api, "Näme 名前", stranger, attributes='{"team": "design"}')
    assert answer.status_code == 201
    (record,) = answer.json()["results"]
    assert (record["status"], record["photo"], record["faces"]) == ("enrolled", "stranger.jpg", 1)
    assert answer.json()["subject"]["attributes"] == {"team": "design"}
    assert who(api, stranger) == ("match", "Näme 名前")
    again = enroll(api, "Näme 名前", stranger)
    assert again.status_code == 200
    assert again.json()["results"][0]["status"] == "unchanged"
    assert again.json()["results"][0]["template_ids"] == record["template_ids"]
    assert find(api, "Näme 名前")["photos"] == 1
    assert api.get("/v1/check").json()["ok"] is True
    (uploaded,) = [each for each in api.get("/v1/check").json()["findings"] if "uploaded" in each["detail"]]
    assert uploaded["ok"] is True


def test_photos_that_cannot_be_used_are_told_with_their_reasons(api: httpx.Client, scenes_folder: Path) -> None:
    group, empty = scenes_folder / "group.jpg", scenes_folder / "landscape.jpg"
    answer = enroll(api, "Nobody Yet", group, empty, empty)
    assert answer.status_code == 200
    assert [each["reason"] for each in answer.json()["results"]] == ["multiple_faces", "face_not_found", "duplicate"]
    assert answer.json()["subject"] is None
    assert api.get("/v1/subjects", params={"search": "Nobody"}).json()["total"] == 0


def test_one_face_of_several_can_be_chosen(api: httpx.Client, scenes_folder: Path) -> None:
    group = scenes_folder / "group.jpg"
    faces = api.post("/v1/identify", files=photos(group)).json()["results"]
    unknown = [face["face"] for face in faces if face["decision"] == "unknown"] or [len(faces)]
    chosen = faces[unknown[0] - 1]
    answer = enroll(api, "From the group", group, faces=str(chosen["face"]))
    assert answer.status_code == 201
    photo = api.get(f"/v1/subjects/{answer.json()['subject']['id']}/photos").json()["photos"][0]
    assert photo["faces"][0]["box"] == pytest.approx(chosen["box"], abs=0.01)
    other = enroll(api, "Somebody else", group, faces=str(unknown[0] % len(faces) + 1))
    assert other.status_code == 201, "the same photo, for another of its people"
    refused = enroll(api, "From the group", scenes_folder / "stranger.jpg", faces="7")
    assert refused.json()["results"][0]["reason"] == "face_not_found"
    refused = enroll(api, "From the group", scenes_folder / "stranger.jpg", faces="0")
    assert (refused.status_code, refused.json()["reason"]) == (422, "invalid_request")


def test_faces_are_counted_from_1(api: httpx.Client, scenes_folder: Path) -> None:
    group = scenes_folder / "group.jpg"
    for path in ("identify", "detect"):
        results = api.post(f"/v1/{path}", files=photos(group)).json()["results"]
        assert [each["face"] for each in results] == [1, 2, 3, 4, 5]


def test_a_photo_of_somebody_else_is_reported_or_refused(api: httpx.Client, people_folder: Path) -> None:
    wolf = people_folder / "Mira Quill" / "1.jpg"
    strict = enroll(api, "Wolf", wolf, strict="true").json()
    assert (strict["results"][0]["status"], strict["results"][0]["reason"]) == ("rejected", "identity_conflict")
    reported = enroll(api, "Wolf", wolf).json()
    assert (reported["results"][0]["status"], reported["results"][0]["reason"]) == ("enrolled", "identity_conflict")
    assert find(api, "Mira Quill")["photos"] == 4, "the photo was not taken from her"


def test_a_file_takes_the_place_of_its_upload(api: httpx.Client, engine: FaceSearch, scenes_folder: Path) -> None:
    stranger = scenes_folder / "stranger.jpg"
    (uploaded,) = enroll(api, "New", stranger).json()["results"]
    (outcome,) = engine.enroll(stranger, subject="New")
    assert (outcome.status, outcome.template_ids) == ("unchanged", tuple(uploaded["template_ids"]))
    assert [photo.photo for photo in engine.gallery.read(stored_photos.photos_of_subject, "New")] == [stranger]
    (other,) = engine.enroll(stranger, subject="Other")
    assert other.subject == "Other"


def test_photos_are_added_listed_and_removed(api: httpx.Client, engine: FaceSearch, scenes_folder: Path) -> None:
    mira = find(api, "Mira Quill")
    url = f"/v1/subjects/{mira['id']}/photos"
    answer = api.post(url, files=photos(scenes_folder / "stranger.jpg"))
    added = answer.json()["results"][0]["photo_id"]
    assert answer.json()["subject"]["photos"] == 5
    listed = {photo["id"]: photo for photo in api.get(url).json()["photos"]}
    assert len(listed) == 5
    assert listed[added]["faces"][0]["quality"]["size"] > 40
    other = find(api, "Otto Bramble")
    assert api.delete(f"/v1/subjects/{other['id']}/photos/{added}").status_code == 404, "it is not his"
    assert api.delete(f"{url}/{added}").json() == {"photos": 1, "templates": 1}
    assert api.delete(f"{url}/{added}").status_code == 404
    (event,) = engine.gallery.read(audit.events, action="photos.remove")
    assert event.detail == {"photos": 1, "templates": 1}
    assert who(api, scenes_folder / "stranger.jpg")[0] == "unknown"


def test_rename_merge_attributes_and_erase(api: httpx.Client, people_folder: Path) -> None:
    mira, otto = find(api, "Mira Quill"), find(api, "Otto Bramble")
    taken = api.patch(f"/v1/subjects/{mira['id']}", json={"subject": "Otto Bramble"})
    assert (taken.status_code, taken.json()["reason"]) == (409, "subject_exists")
    renamed = api.patch(f"/v1/subjects/{mira['id']}", json={"subject": "Mira Penn"}).json()
    assert (renamed["id"], renamed["subject"]) == (mira["id"], "Mira Penn")
    url = f"/v1/subjects/{mira['id']}/attributes"
    assert api.patch(url, json={"attributes": {"a": "1", "b": "2"}}).json()["attributes"] == {"a": "1", "b": "2"}
    assert api.patch(url, json={"attributes": {"a": None}}).json()["attributes"] == {"b": "2"}
    merged = api.post(f"/v1/subjects/{mira['id']}/merge", json={"into": otto["id"]}).json()
    assert (merged["subject"], merged["photos"], merged["attributes"]) == ("Otto Bramble", 8, {"b": "2"})
    assert api.get(f"/v1/subjects/{mira['id']}").status_code == 404
    assert who(api, people_folder / "Mira Quill" / "1.jpg") == ("match", "Otto Bramble")
    receipt = api.delete(f"/v1/subjects/{otto['id']}").json()
    assert (receipt["removed"]["photos"], receipt["removed"]["templates"]) == (8, 8)
    assert who(api, people_folder / "Mira Quill" / "1.jpg")[0] == "unknown"
    gone = api.delete(f"/v1/subjects/{otto['id']}")
    assert (gone.status_code, gone.json()["reason"]) == (404, "unknown_subject")
    assert api.get("/v1/check").json()["ok"] is True


def test_a_photo_is_somebody_elses_at_once_and_until_that_is_undone(api: httpx.Client, people_folder: Path) -> None:
    mira, otto = find(api, "Mira Quill"), find(api, "Otto Bramble")
    photo = people_folder / "Mira Quill" / "1.jpg"
    enrolled = api.get(f"/v1/subjects/{mira['id']}/photos").json()["photos"]
    (photo_id,) = [each["id"] for each in enrolled if Path(each["photo"]).name == "1.jpg"]
    moved = api.post(f"/v1/photos/{photo_id}/move", json={"to": otto["id"]}).json()
    assert (moved["subject"], moved["photos"]) == ("Otto Bramble", 5)

    def owners() -> set[str]:
        """Whose candidate is the photo itself."""
        (result,) = api.post("/v1/identify", files=photos(photo), params={"k": 12}).json()["results"]
        return {each["subject"] for each in result["candidates"] if each["photo_id"] == photo_id}

    assert owners() == {"Otto Bramble"}
    assert api.post("/v1/undo", json={}).json()["what"] == "moved 1 photo to Otto Bramble"
    assert owners() == {"Mira Quill"}
    assert find(api, "Otto Bramble")["photos"] == 4


def test_the_history_comes_page_by_page_and_by_person(api: httpx.Client) -> None:
    mira, otto = find(api, "Mira Quill"), find(api, "Otto Bramble")
    api.post(f"/v1/subjects/{mira['id']}/aliases", json={"alias": "M. Q."})
    api.patch(f"/v1/subjects/{otto['id']}/attributes", json={"attributes": {"team": "a"}})
    api.patch(f"/v1/subjects/{mira['id']}", json={"subject": "Mira Penn"})

    def history(**query: int | str) -> list[str]:
        return [each["action"] for each in api.get("/v1/history", params=query).json()["entries"]]

    assert history() == ["rename", "set", "alias"]
    assert history(limit=1) == ["rename"]
    assert history(before=3) == ["set", "alias"]
    assert history(subject="M. Q.") == history(subject_id=mira["id"]) == ["rename", "alias"]
    both = api.get("/v1/history", params={"subject": "M. Q.", "subject_id": mira["id"]})
    assert (both.status_code, both.json()["reason"]) == (422, "invalid_request")


@pytest.mark.parametrize("number", ["true", '"1"', "1.5", "[1]"])
def test_only_whole_numbers_are_ids(read_only: httpx.Client, number: str) -> None:
    for path, field in (("subjects/1/merge", "into"), ("photos/1/move", "to"), ("undo", "entry")):
        body = f'{{"{field}": {number}}}'
        answer = read_only.post(f"/v1/{path}", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == (404 if (field, number) == ("to", '"1"') else 422), "somebody may be called 1"
    assert read_only.get("/v1/history").json()["entries"] == []


def test_erasing_is_forgetting(api: httpx.Client, engine: FaceSearch) -> None:
    mira = find(api, "Mira Quill")
    receipt = api.delete(f"/v1/subjects/{mira['id']}").json()
    assert (receipt["subjects"], receipt["clean"], receipt["log_emptied"]) == (["Mira Quill"], True, True)
    assert {"scan", "photo_files", "names_too_short_to_scan"} <= receipt.keys(), "the receipt of the command, whole"
    assert (engine.gallery.folder / "gallery.erased").is_file(), "a backup does not bring her back"
    assert not any(b"Mira Quill" in path.read_bytes() for path in engine.gallery.folder.iterdir())


def test_look_alikes_are_other_people_best_first(read_only: httpx.Client) -> None:
    mira = find(read_only, "Mira Quill")
    found = read_only.get(f"/v1/subjects/{mira['id']}/lookalikes", params={"k": 3}).json()["results"]
    scores = [each["score"] for each in found]
    assert len(found) == 3
    assert scores == sorted(scores, reverse=True)
    assert mira["id"] not in {each["subject_id"] for each in found}


def test_thumbnails_are_shown_where_the_server_is_told_to(
    api: httpx.Client, engine: FaceSearch, scenes_folder: Path, people_folder: Path
) -> None:
    mira = find(api, "Mira Quill")
    photo = api.get(f"/v1/subjects/{mira['id']}/photos").json()["photos"][0]
    assert photo["thumbnail"] is False
    assert api.get(f"/v1/photos/{photo['id']}/thumbnail").status_code == 404
    with serve_here(engine, ServerOptions(thumbnails=True)) as shown:
        answer = shown.get(f"/v1/photos/{photo['id']}/thumbnail")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert answer.content.startswith(b"\xff\xd8\xff")
        uploaded = enroll(shown, "New", scenes_folder / "stranger.jpg").json()["results"][0]["photo_id"]
        crop = shown.get(f"/v1/photos/{uploaded}/thumbnail")
        assert crop.content.startswith(b"\xff\xd8\xff"), "of an upload a crop is kept"
        shown.delete(f"/v1/subjects/{find(shown, 'New')['id']}")
        assert shown.get(f"/v1/photos/{uploaded}/thumbnail").status_code == 404
    folder = engine.gallery.folder
    engine.close()
    assert crop.content not in b"".join(path.read_bytes() for path in folder.iterdir())


def test_a_thumbnail_is_made_once(engine: FaceSearch, people_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counted(data: bytes, *more: Any) -> bytes:
        made.append(len(data))
        return thumbnail(data, *more)

    monkeypatch.setattr("facesearch.server.enrolment.thumbnail", counted)
    engine.gallery.write(lambda connection: connection.exec_driver_sql("DELETE FROM crops"))
    with serve_here(engine, ServerOptions(thumbnails=True)) as shown:
        first, again = (shown.get("/v1/photos/1/thumbnail") for _ in range(2))
        assert first.content == again.content
        assert len(made) == 1
        owner = next(
            each["id"]
            for each in shown.get("/v1/subjects").json()["subjects"]
            if 1 in {photo["id"] for photo in shown.get(f"/v1/subjects/{each['id']}/photos").json()["photos"]}
        )
        assert shown.delete(f"/v1/subjects/{owner}").json()["clean"] is True
        assert shown.get("/v1/photos/1/thumbnail").status_code == 404
    folder = engine.gallery.folder
    engine.close()
    assert first.content not in b"".join(path.read_bytes() for path in folder.iterdir())


def test_a_thumbnail_is_cut_from_the_bytes_that_were_enrolled_only(
    engine: FaceSearch, people_folder: Path, tmp_path: Path
) -> None:
    photo = tmp_path / "new.jpg"
    photo.write_bytes((people_folder / "Mira Quill" / "1.jpg").read_bytes() + b"\0")
    list(engine.enroll(photo, subject="Copy"))
    (stored,) = engine.gallery.read(stored_photos.photos_of_subject, "Copy")
    photo.write_bytes((people_folder / "Otto Bramble" / "1.jpg").read_bytes())
    with serve_here(engine, ServerOptions(thumbnails=True)) as shown:
        assert shown.get(f"/v1/photos/{stored.photo_id}/thumbnail").status_code == 404


def test_what_was_done_through_the_api_is_in_the_audit_without_names(
    api: httpx.Client, engine: FaceSearch, scenes_folder: Path
) -> None:
    enroll(api, "Very Private", scenes_folder / "stranger.jpg")
    subject = find(api, "Very Private")
    person = f"/v1/subjects/{subject['id']}"
    (photo,) = api.get(f"{person}/photos").json()["photos"]
    api.patch(person, json={"subject": "Still Private"})
    api.patch(f"{person}/attributes", json={"attributes": {"Private": "Private"}})
    api.post(f"{person}/aliases", json={"alias": "Private, too"})
    api.delete(f"{person}/aliases", params={"alias": "Private, too"})
    api.post(f"/v1/photos/{photo['id']}/confirm")
    api.post(f"/v1/photos/{photo['id']}/move", json={"to": "Also Private", "create": True})
    api.post("/v1/undo", json={})
    api.post(f"/v1/subjects/{find(api, 'Mira Quill')['id']}/merge", json={"into": subject["id"]})
    api.delete(f"{person}/photos/{photo['id']}")
    api.delete(person)
    with engine.gallery.database.read() as connection:
        rows = connection.execute(sa.select(AuditRow.action, AuditRow.detail).order_by(AuditRow.id)).all()
    people = ("rename", "set", "alias", "alias", "confirm", "move", "undo", "merge")
    done = ["enroll", *(f"people.{each}" for each in people), "photos.remove", "people.forget"]
    assert [row.action for row in rows[-len(done) :]] == done, "each is one line"
    assert "Private" not in str(rows)
