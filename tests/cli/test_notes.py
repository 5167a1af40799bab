"""A photo that is used although something is amiss says so in every command, in Python and over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from facesearch import EnrollStatus, FaceSearch
from facesearch.client import Client
from facesearch.demo.portraits import PEOPLE, STRANGER, draw_portrait, write_photo
from tests.cli.conftest import Command
from tests.server.conftest import serve_here

NOTE = "The photo lacks its end marker, and none of its pixels."


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A photo of the first person, not enrolled, without the two bytes that end it."""
    path = tmp_path / "endless.jpg"
    write_photo(path, draw_portrait(0, 7))
    path.write_bytes(path.read_bytes()[:-2])
    return path


def test_commands_say_so(command: Command, gallery: Path, endless: Path, people_folder: Path) -> None:
    other = people_folder / PEOPLE[0] / "1.jpg"
    for arguments in (
        ("query", endless),
        ("detect", endless),
        ("verify", other, endless),
        ("enroll", endless, "--as", PEOPLE[0]),
    ):
        run = command(*arguments)
        assert (run.code, run.err.count(NOTE)) == (0, 1), arguments
        assert "endless.jpg: " in " ".join(run.err.split()), arguments
        assert NOTE not in command("query", other).err


def test_records_say_so(command: Command, gallery: Path, endless: Path, people_folder: Path) -> None:
    other = people_folder / PEOPLE[0] / "1.jpg"
    assert command("verify", other, endless, "--json").records[0]["notes"] == [None, NOTE]
    for arguments in (("query", endless), ("detect", endless), ("enroll", endless, "--as", PEOPLE[0])):
        (record,) = command(*arguments, "--json").records
        assert (record["reason"], record["detail"]) == (None, NOTE), arguments


def test_results_say_so_in_python_and_over_http(gallery: Path, endless: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.jpg"
    write_photo(stranger, draw_portrait(STRANGER, 1))
    stranger.write_bytes(stranger.read_bytes()[:-1])
    with FaceSearch.open(gallery, provider="cpu") as engine:
        assert [each.note for each in engine.identify(endless)] == [NOTE]
        assert engine.verify(endless, stranger).notes == (NOTE, NOTE)
        with serve_here(engine) as api, Client(str(api.base_url)) as client:
            assert client.verify(endless, stranger).notes == (NOTE, NOTE)
            assert [each.note for each in client.identify(endless)] == [NOTE]
            found = api.post("/v1/detect", files={"photo": endless.read_bytes()}).json()["results"]
            assert [(each["reason"], each["detail"]) for each in found] == [(None, NOTE)]
            (uploaded,) = api.post(
                "/v1/subjects", files={"photo": stranger.read_bytes()}, data={"subject": "New"}
            ).json()["results"]
            assert (uploaded["status"], uploaded["detail"]) == ("enrolled", NOTE)
        (outcome,) = engine.enroll(endless, subject=PEOPLE[0])
        assert (outcome.status, outcome.note) == (EnrollStatus.ENROLLED, NOTE)
