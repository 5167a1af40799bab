"""`backup`, `restore`, `init`, `rekey`, and the key of an encrypted gallery."""

from __future__ import annotations

from pathlib import Path

import pytest

from facesearch.cli import options
from facesearch.demo.portraits import PEOPLE
from tests.cli.conftest import Command


def test_a_backup_is_restored_without_those_who_were_erased(command: Command, gallery: Path, tmp_path: Path) -> None:
    run = command("backup", tmp_path / "b", "--json")
    assert run.records == [{"file": str(tmp_path / "b"), "bytes": (tmp_path / "b").stat().st_size, "encrypted": False}]
    run = command("people", "forget", PEOPLE[0], "--yes")
    assert "Backups written since the enrolment: 1." in run.err
    assert "or this data comes back" in run.err
    assert command("restore", tmp_path / "b").code == 4
    run = command("restore", tmp_path / "b", "--force", "--json")
    assert run.code == 0
    assert (run.records[0]["subjects"], run.records[0]["erased_again"], run.records[0]["knew_erased"]) == (11, 4, True)
    assert command("check").code == 0
    forgotten = command("log", "--action", "people.forget", "--json").records
    assert [each["detail"].get("subjects") for each in forgotten] == [1], "the log of who was erased outlives it"
    assert "gallery.erased" not in command("restore", tmp_path / "b", "--force").err
    assert command("log", "--action", "people.forget", "--json").records == forgotten
    run = command("restore", tmp_path / "b", "--gallery", tmp_path / "else")
    assert run.out.startswith(f"{tmp_path / 'else'}: 12 people, 48 templates")
    assert "gallery.erased" in run.err  # a folder without the list cannot know who was erased
    run = command("restore", tmp_path / "b", "--gallery", tmp_path / "third", "--json")
    assert run.records[0]["knew_erased"] is False
    for place in (tmp_path / "other", gallery):
        run = command("restore", tmp_path / "no", "--gallery", place)
        assert (run.code, f"There is no backup {tmp_path / 'no'}" in run.err) == (2, True)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    pytest.importorskip("sqlcipher3", reason="SQLCipher is not installed: pip install 'facesearch[encrypted]'")
    (tmp_path / "key").write_text("correct horse\n")
    return tmp_path / "key"


def test_an_encrypted_gallery_works_as_any_other_and_leaves_nothing_plain(
    command: Command,
    key_file: Path,
    standin_pack: Path,
    people_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, cache = tmp_path / "locked", tmp_path / "cache"
    monkeypatch.setenv("FACESEARCH_GALLERY", str(folder))
    monkeypatch.setenv("FACESEARCH_CACHE", str(cache))
    assert command("init", "--encrypted").code == 2  # nobody to ask
    assert command("--key-file", key_file, "init", "--encrypted").code == 0
    assert command("--key-file", key_file, "init", "--encrypted").code == 4
    monkeypatch.setenv("FACESEARCH_KEY_FILE", str(key_file))
    assert command("enroll", people_folder, "--pack", standin_pack).code == 0
    probe = people_folder / PEOPLE[0] / "1.jpg"
    assert command("query", probe, "--json").records[0]["subject"] == PEOPLE[0]
    assert command("info", "--json").records[0]["encrypted"] is True
    assert command("calibrate", people_folder, "--no-split", "--far", "0.5").code == 0
    assert command("check").code == 0
    assert command("backup", tmp_path / "b").code == 0
    files = [path for path in (*folder.rglob("*"), *cache.rglob("*"), tmp_path / "b") if path.is_file()]
    assert len(files) >= 3
    for text in (PEOPLE[0].encode(), b"SQLite format", bytes(str(people_folder), "utf-8")):
        assert not [path for path in files if text in path.read_bytes()]
    (tmp_path / "new").write_text("battery staple")
    assert command("rekey", "--new-key-file", tmp_path / "new").code == 0
    run = command("query", probe)
    assert run.code == 4
    assert "key does not open" in run.err
    monkeypatch.delenv("FACESEARCH_KEY_FILE")
    run = command("people", "list")
    assert run.code == 4
    assert "--key-file" in run.err
    monkeypatch.setenv("FACESEARCH_KEY", "battery staple")
    assert command("people", "list", "--json").code == 0
    run = command("--key-file", key_file, "restore", tmp_path / "b", "--gallery", tmp_path / "again")
    assert run.code == 0
    monkeypatch.setattr(options, "ask_key", lambda *_, **__: "correct horse")
    monkeypatch.delenv("FACESEARCH_KEY")
    run = command("people", "list", "--gallery", tmp_path / "again", "--json")
    assert [each["subject"] for each in run.records] == sorted(PEOPLE)


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_file_without_a_key_is_refused(command: Command, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    assert command("--key-file", tmp_path / "key", "people", "list", "--gallery", tmp_path).code == 2


def test_a_plain_gallery_is_made_empty(command: Command, tmp_path: Path) -> None:
    assert command("init", "--gallery", tmp_path / "g").code == 0
    assert command("people", "list", "--json", "--gallery", tmp_path / "g").records == []
    assert command("rekey", "--gallery", tmp_path / "g", "--new-key-file", tmp_path / "no").code == 2
    (tmp_path / "key").write_text("x")
    run = command("rekey", "--gallery", tmp_path / "g", "--new-key-file", tmp_path / "key")
    assert run.code == 4
    assert "not encrypted" in run.err
