"""`facesearch enroll` as a person and as a program sees it."""

from __future__ import annotations

import shutil
from pathlib import Path

from facesearch.demo.portraits import PEOPLE, draw_group, draw_portrait, write_photo
from tests.cli.conftest import Command


def test_the_table_ends_an_enrolment(command: Command, people_folder: Path, standin_pack: Path, tmp_path: Path) -> None:
    args = ("enroll", people_folder, "--gallery", tmp_path / "g", "--pack", standin_pack)
    run = command(*args)
    assert run.code == 0
    assert [line.split() for line in run.out.splitlines() if "enrolled" in line] == [["enrolled", "48"]]
    assert "CPU" in run.err
    again = command(*args)
    assert [line.split() for line in again.out.splitlines() if "unchanged" in line] == [["unchanged", "48"]]


def test_json_gives_one_record_per_photo(command: Command, gallery: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "new" / PEOPLE[0] / "new.jpg", draw_portrait(0, 7))
    write_photo(tmp_path / "new" / PEOPLE[0] / "group.jpg", draw_group((0, 1)))
    (tmp_path / "new" / PEOPLE[0] / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    run = command("enroll", tmp_path / "new", "--json")
    assert run.code == 0
    by_name = {Path(record["photo"]).name: record for record in run.records}
    assert set(by_name) == {"new.jpg", "group.jpg", "broken.jpg"}
    fields = {"photo", "subject", "status", "reason", "detail", "note", "faces", "template_ids", "detection_score"}
    assert all(set(record) == fields for record in run.records)
    assert by_name["new.jpg"]["status"] == "enrolled"
    assert by_name["new.jpg"]["faces"] == len(by_name["new.jpg"]["template_ids"]) == 1
    assert (by_name["group.jpg"]["status"], by_name["group.jpg"]["reason"]) == ("rejected", "multiple_faces")
    assert by_name["broken.jpg"]["reason"] == "unreadable"


def test_when_no_photo_was_of_use_the_exit_code_is_3(command: Command, gallery: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    run = command("enroll", tmp_path / "bad.jpg", "--as", "Ada")
    assert run.code == 3
    assert "unsupported_format" in run.err


def test_a_copy_of_what_is_enrolled_is_no_failure_and_told_once(
    command: Command, gallery: Path, tmp_path: Path
) -> None:
    write_photo(tmp_path / "new" / "Ada" / "1.jpg", draw_portrait(17, 3))
    assert command("enroll", tmp_path / "new").code == 0
    shutil.copytree(tmp_path / "new", tmp_path / "copy")
    said = "Copies of other photos of the same person were left out: 1."
    for told in (True, False):
        run = command("enroll", tmp_path / "copy")
        assert (run.code, said in run.err) == (0, told), run
    (record,) = command("enroll", tmp_path / "copy", "--json").records
    assert (record["status"], record["reason"], record["template_ids"]) == ("unchanged", "duplicate", [])


def test_a_group_photo_is_rejected_with_the_option_that_helps(command: Command, gallery: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "group.jpg", draw_group((0, 1)))
    run = command("enroll", tmp_path / "group.jpg", "--as", "Both")
    assert run.code == 3
    assert "--faces largest" in run.err


def test_an_unknown_policy_is_a_usage_error(command: Command, gallery: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg", draw_portrait(0, 7))
    run = command("enroll", tmp_path / "a.jpg", "--faces", "some")
    assert run.code == 2
    assert "single, largest, all" in run.err


def test_removed_photos_are_reported_by_sync(
    command: Command, people_folder: Path, standin_pack: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "people"
    for variation in range(3):
        write_photo(folder / "Ada" / f"{variation}.jpg", draw_portrait(0, variation))
    command("enroll", folder, "--gallery", tmp_path / "g", "--pack", standin_pack)
    (folder / "Ada" / "0.jpg").unlink()
    run = command("enroll", folder, "--gallery", tmp_path / "g", "--sync", "--json")
    assert sorted(record["status"] for record in run.records) == ["removed", "unchanged", "unchanged"]


def test_workers_and_batch_change_no_outcome(command: Command, gallery: Path, tmp_path: Path) -> None:
    for variation in (7, 8, 9):
        write_photo(tmp_path / "new" / PEOPLE[1] / f"{variation}.jpg", draw_portrait(1, variation))
    run = command("enroll", tmp_path / "new", "--workers", "1", "--batch", "2", "--json")
    assert [record["status"] for record in run.records] == ["enrolled"] * 3
    refused = command("enroll", tmp_path / "new", "--workers", "0")
    assert refused.code == 2
    assert "workers is 0" in refused.err
