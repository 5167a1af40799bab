"""`people forget`, `people expire`, `log`, and what enrolments and queries leave in it."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from pathlib import Path

import pytest

from facesearch.demo.portraits import PEOPLE, draw_portrait, write_photo
from facesearch.search.gallery import Gallery
from facesearch.store import photos, templates
from tests.cli.conftest import Command


def test_forgetting_leaves_nothing_and_hands_over_a_receipt(
    command: Command, gallery: Path, people_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACESEARCH_CACHE", str(tmp_path / "cache"))
    assert command("calibrate", people_folder, "--no-split", "--far", "0.5").code == 0  # fills the cache
    with Gallery.open(gallery) as opened:
        ids, vectors = opened.read(templates.all_templates)
        hers = set(opened.read(photos.photos_of_subject, PEOPLE[0])[0].template_ids)
        vector = next(row for key, row in zip(ids.tolist(), vectors, strict=True) if key in hers).tobytes()

    def holding(text: bytes) -> set[str]:
        files = [path for root in (gallery, tmp_path / "cache") for path in root.rglob("*") if path.is_file()]
        return {path.name for path in files if text in path.read_bytes()}

    assert len(holding(vector)) >= 3  # database, index cache, embeddings
    assert len(holding(PEOPLE[0].encode())) == 1
    receipt_file = tmp_path / "receipt.json"
    run = command("people", "forget", PEOPLE[0], "--yes", "--json", "--receipt", receipt_file)
    assert run.code == 0
    (receipt,) = run.records
    assert json.loads(receipt_file.read_text()) == receipt
    assert receipt["clean"]
    assert receipt["subjects"] == [PEOPLE[0]]
    assert receipt["removed"] == {"photos": 4, "templates": 4, "refused_photos": 0, "cached_embeddings": 4}
    assert {"gallery.db", "index.cache"} <= set(receipt["removed_from"])
    assert {"gallery.db", "gallery.erased"} <= {each["file"] for each in receipt["scan"]}
    assert holding(vector) == holding(PEOPLE[0].encode()) == set()
    assert command("people", "show", PEOPLE[0]).code == 4
    assert command("check").code == 0
    write_photo(tmp_path / "p.jpg", draw_portrait(0, 6))
    assert command("query", tmp_path / "p.jpg", "-t", "0.48", "--json").records[0]["decision"] == "unknown"


def test_nobody_is_erased_without_being_asked_or_for_a_receipt_that_cannot_be_written(
    command: Command, gallery: Path, tmp_path: Path
) -> None:
    run = command("people", "forget", PEOPLE[0])
    assert run.code == 2
    assert "--yes" in run.err
    run = command("people", "forget", PEOPLE[0], "--yes", "--receipt", tmp_path / "no" / "such.json")
    assert run.code == 2
    assert "cannot be written" in run.err
    assert command("people", "show", PEOPLE[0]).code == 0


def test_a_disk_that_is_full_when_the_receipt_is_written_is_told_with_what_was_done(
    command: Command, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("facesearch.outputs.fsync_file", full)
    run = command("people", "forget", PEOPLE[0], "--yes", "--receipt", tmp_path / "receipt.json")
    assert run.code == 2
    assert "The people are erased" in run.err
    assert f"Erased: {PEOPLE[0]}" in run.out
    assert command("people", "show", PEOPLE[0]).code == 4
    assert [path.name for path in tmp_path.iterdir()] == ["gallery"]


def test_what_is_left_is_named_and_is_an_exit_code(command: Command, gallery: Path) -> None:
    (gallery / "notes.txt").write_text(f"Ask {PEOPLE[1]} about the photos.\n")
    run = command("people", "forget", PEOPLE[1], "--yes")
    assert run.code == 1
    assert "notes.txt still holds" in run.err
    assert "Something is left" in run.out


def test_a_name_that_is_part_of_another_is_no_trace(command: Command, gallery: Path) -> None:
    command("people", "rename", PEOPLE[0], "Annette")
    command("people", "rename", PEOPLE[1], "Annette Fields")
    run = command("people", "forget", "Annette", "--yes")
    assert run.code == 0
    assert "about other people hold the same name" in run.err


def test_whoever_is_due_is_erased(command: Command, gallery: Path) -> None:
    assert command("people", "expire").err == "Nobody is to be erased: no retain_until has passed.\n"
    for name, day in ((PEOPLE[0], "2001-01-31"), (PEOPLE[1], "2001-02-28"), (PEOPLE[2], "2999-12-31")):
        run = command("people", "set", name, f"retain_until={day}", "purpose=door", "consent=form-7")
        assert run.code == 0
    run = command("info", "--json")
    assert run.records[0]["overdue"] == 2
    assert "People whose retain_until has passed: 2" in run.err
    due = command("people", "expire", "--dry-run", "--json").records
    assert {each["subject"] for each in due} == set(PEOPLE[:2])
    assert PEOPLE[0] in command("people", "expire", "--dry-run").out
    assert command("people", "expire").code == 2
    (receipt,) = command("people", "expire", "--yes", "--json").records
    assert set(receipt["subjects"]) == set(PEOPLE[:2])
    assert len(command("people", "list", "--json").records) == 10
    assert "overdue" not in command("info").err


@pytest.mark.parametrize("day", ["tomorrow", "31.12.2027", "2027-02-30", "20271231", "2027-W01-1", "2027-12-31T10:00"])
def test_a_day_that_is_none_is_refused_with_its_line(command: Command, gallery: Path, tmp_path: Path, day: str) -> None:
    run = command("people", "set", PEOPLE[0], f"retain_until={day}")
    assert run.code == 2
    assert "2027-12-31" in run.err
    write_photo(tmp_path / "p.jpg", draw_portrait(0, 6))
    manifest = tmp_path / "people.csv"
    manifest.write_text(f"photo,subject,retain_until\np.jpg,Ada,2030-01-01\np.jpg,Ada,{day}\n")
    run = command("enroll", manifest)
    assert run.code == 2
    assert "Line 3" in run.err
    assert "is not a date" in run.err


def test_the_manifest_brings_consent_purpose_and_the_last_day(
    command: Command, gallery: Path, standin_pack: Path, tmp_path: Path
) -> None:
    write_photo(tmp_path / "p.jpg", draw_portrait(0, 6))
    (tmp_path / "m.csv").write_text("photo,subject,consent,purpose,retain_until\np.jpg,Ada,form-7,door,2030-01-01\n")
    assert command("enroll", tmp_path / "m.csv").code == 0
    (record,) = command("people", "show", "Ada", "--json").records
    assert record["attributes"] == {"consent": "form-7", "purpose": "door", "retain_until": "2030-01-01"}


def test_the_log_tells_who_did_what_without_names(command: Command, gallery: Path, tmp_path: Path) -> None:
    for at in range(2):
        write_photo(tmp_path / "photos" / f"{at}.jpg", draw_portrait(at, 6))
    assert command("query", tmp_path / "photos").code == 0
    command("people", "set", PEOPLE[0], "team=ink")
    command("people", "remove", PEOPLE[0], "--yes")
    command("people", "forget", PEOPLE[1], "--yes")
    records = command("log", "--json").records
    assert [each["action"] for each in records] == ["enroll", "query", "people.set", "people.remove", "people.forget"]
    assert records[1]["detail"] == {"match": 2, "photos": 2}  # one event for the command, not one for each photo
    assert all(each["actor"] and each["at"].endswith("+00:00") for each in records)
    assert not any(name in command("log").out for name in PEOPLE)
    assert [each["id"] for each in command("log", "--action", "people", "-n", "2", "--json").records] == [4, 5]
    assert command("log", "--action", "peop", "--json").records == []
    assert len(command("log", "--since", "2001-01-01", "--json").records) == 5
    assert command("log", "--since", "2999-01-01T00:00+02:00", "--json").records == []
    assert command("log", "--since", "yesterday").code == 2


def test_a_changed_log_is_noticed(command: Command, gallery: Path) -> None:
    connection = sqlite3.connect(gallery / "gallery.db")
    connection.execute("UPDATE audit_events SET actor = 'somebody else'")
    connection.commit()
    connection.close()
    assert command("log").code == 4
    assert command("check").code == 1
