"""What cannot be read is named and counted by every command, and never taken for gone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from facesearch import EvaluationError, FaceSearch
from facesearch.demo.portraits import PEOPLE, STRANGER, draw_portrait, write_photo
from facesearch.evaluation.trials.folders import read_people
from tests.cli.conftest import Command
from tests.fixtures_unreadable import Refuse, run_without_privileges

DENIED = PermissionError(13, "Permission denied")


@pytest.fixture
def people(people_folder: Path, tmp_path: Path) -> Path:
    """Three of the people in the gallery."""
    folder = tmp_path / "people"
    for name in PEOPLE[:3]:
        shutil.copytree(people_folder / name, folder / name)
    return folder


@pytest.fixture
def small_gallery(command: Command, people: Path, standin_pack: Path, tmp_path: Path) -> tuple[str | Path, ...]:
    """The options for a gallery of these people."""
    options = ("--gallery", tmp_path / "small", "--pack", standin_pack)
    assert command("enroll", people, *options).code == 0
    return options


def test_enroll_names_a_folder_without_permission_and_enrolls_the_others(
    command: Command, people: Path, small_gallery: tuple[str | Path, ...], refuse: Refuse
) -> None:
    write_photo(people / PEOPLE[0] / "new.jpg", draw_portrait(0, 9))
    refuse(people / PEOPLE[1], DENIED)
    run = command("enroll", people, *small_gallery)
    assert run.code == 1
    assert str(people / PEOPLE[1]) in run.err
    assert "Permission denied" in run.err
    assert "Files or folders that could not be read: 1." in run.err
    assert [line.split() for line in run.out.splitlines() if "inaccessible" in line] == [
        ["rejected:", "inaccessible", "1"]
    ]


def test_json_has_a_record_of_a_folder_that_could_not_be_read(
    command: Command, people: Path, small_gallery: tuple[str | Path, ...], refuse: Refuse
) -> None:
    refuse(people / PEOPLE[1], DENIED)
    run = command("enroll", people, *small_gallery, "--json")
    assert run.code == 1
    (record,) = (record for record in run.records if record["reason"] is not None)
    assert (record["photo"], record["subject"]) == (str(people / PEOPLE[1]), None)
    assert (record["status"], record["reason"]) == ("rejected", "inaccessible")
    assert "Permission denied" in record["detail"]


@pytest.mark.parametrize("error", [DENIED, FileNotFoundError(2, "No such file or directory"), OSError(5, "I/O error")])
def test_sync_removes_nothing_from_a_folder_that_could_not_be_read(
    command: Command, people: Path, small_gallery: tuple[str | Path, ...], refuse: Refuse, error: OSError
) -> None:
    shutil.rmtree(people / PEOPLE[1])  # as where a disk is no longer there, or fails
    (people / PEOPLE[1]).mkdir()
    (people / PEOPLE[0] / "1.jpg").unlink()
    refuse(people / PEOPLE[1], error)
    run = command("enroll", people, *small_gallery, "--sync", "--json")
    assert run.code == 1
    removed = [record["photo"] for record in run.records if record["status"] == "removed"]
    assert removed == [str(people / PEOPLE[0] / "1.jpg")]
    assert "stay enrolled" in command("enroll", people, *small_gallery, "--sync").err


def test_nothing_that_could_be_read_is_exit_code_3(
    command: Command, people: Path, small_gallery: tuple[str | Path, ...], refuse: Refuse
) -> None:
    refuse(people, DENIED)
    for options in ((), ("--sync",)):
        run = command("enroll", people, *small_gallery, *options)
        assert run.code == 3
        assert str(people) in run.err


@pytest.mark.parametrize("asking", ["query", "detect"])
def test_query_and_detect_name_a_folder_that_could_not_be_read(
    command: Command, gallery: Path, people: Path, refuse: Refuse, asking: str
) -> None:
    del gallery  # which commands use without being told
    refuse(people / PEOPLE[1], DENIED)
    (people / PEOPLE[2]).chmod(0o700)
    run = command(asking, people, "--json")
    assert run.code == 1
    photos = [record["photo"] for record in run.records]
    assert photos.count(str(people / PEOPLE[1])) == 1
    assert len(photos) == 9


@pytest.mark.parametrize(
    "args", [("eval",), ("eval", "search", "--split"), ("calibrate", "--fpir", "0.1"), ("calibrate", "--unknown")]
)
def test_measurements_refuse_folders_that_could_not_be_read(
    command: Command, gallery: Path, people: Path, refuse: Refuse, args: tuple[str, ...]
) -> None:
    del gallery
    refuse(people / PEOPLE[1], DENIED)
    rate = ("--fpir", "0.1") if args[-1] == "--unknown" else ()
    run = command(*args, people, *rate)
    assert run.code == 2
    assert f"{people / PEOPLE[1]}: Permission denied" in run.err


def test_measurements_refuse_photos_that_are_not_there(gallery: Path, people: Path) -> None:
    photos = [Path(str(photo)) for photo in read_people(people).photos]
    photos[0].unlink()
    with (
        FaceSearch.open(gallery, provider="cpu") as engine,
        pytest.raises(EvaluationError, match=f"1 of 12 photos cannot be read: {photos[0]}"),
    ):
        engine.photo_embedder(cache=False).embed(photos)


def test_files_that_are_no_photos_are_listed_and_counted_in_words(
    command: Command, people: Path, small_gallery: tuple[str | Path, ...]
) -> None:
    (people / PEOPLE[0] / "notes.txt").touch()
    (people / PEOPLE[0] / "film.MOV").touch()
    (people / PEOPLE[0] / "Thumbs.db").touch()
    run = command("enroll", people, *small_gallery, "--json")
    assert run.code == 0
    passed = [record for record in run.records if record["status"] == "passed_over"]
    assert [Path(record["photo"]).name for record in passed] == ["film.MOV", "notes.txt"]
    assert all(record["subject"] is record["reason"] is None for record in passed)
    (people / "@eaDir").mkdir()
    said = command("enroll", *sorted(people.iterdir()), *small_gallery).err
    assert "Skipped 2 files without the suffix of a photo: .mov, .txt." in said
    assert "System folders were skipped: @eaDir." in said


def test_a_photo_given_by_its_name_is_read_whatever_it_is_called(
    command: Command, people: Path, small_gallery: tuple[str | Path, ...], tmp_path: Path
) -> None:
    write_photo(tmp_path / "new.jpg", draw_portrait(STRANGER, 0))
    photo = (tmp_path / "new.jpg").rename(tmp_path / "Ada.photo")
    assert [record["status"] for record in command("enroll", photo, *small_gallery, "--json").records] == ["enrolled"]
    assert command("query", photo, *small_gallery).code == 0


@pytest.fixture
def locked(people: Path) -> Iterator[tuple[Path, Path]]:
    """An enrolled folder and a new photo that nobody but root may read."""
    folder, photo = people / PEOPLE[1], people / PEOPLE[0] / "new.jpg"
    write_photo(photo, draw_portrait(0, 9))
    folder.chmod(0)
    photo.chmod(0)
    yield folder, photo
    folder.chmod(0o700)


def test_permissions_are_respected_and_their_lack_is_said(
    people: Path, small_gallery: tuple[str | Path, ...], locked: tuple[Path, Path]
) -> None:
    (people / PEOPLE[2] / "1.jpg").unlink()

    def enroll(*options: str) -> dict[str, set[str]]:
        run = run_without_privileges("enroll", people, *small_gallery, *options, "--json")
        assert run.returncode == 1, run.stderr
        found: dict[str, set[str]] = {}
        for record in map(json.loads, run.stdout.splitlines()):
            found.setdefault(record["reason"] or record["status"], set()).add(record["photo"])
        return found

    first = enroll("--sync")
    assert first["inaccessible"] == {str(each) for each in locked}
    assert first["removed"] == {str(people / PEOPLE[2] / "1.jpg")}
    locked[1].chmod(0o600)
    second = enroll()  # what could not be read was not remembered as refused
    assert second["inaccessible"] == {str(locked[0])}
    assert second["enrolled"] == {str(locked[1])}
    check = run_without_privileges("check", *small_gallery[:2])
    assert "Traceback" not in check.stderr
    assert check.stdout.count("Permission denied") == 4
