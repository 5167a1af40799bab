"""What `check` advises makes the gallery sound when it is followed."""

from __future__ import annotations

import shlex
import shutil
import sqlite3
from pathlib import Path

import pytest

from facesearch.cli.output import COMMAND
from facesearch.demo.portraits import PEOPLE, draw_portrait, write_photo
from tests.cli.conftest import Command


@pytest.fixture
def people(people_folder: Path, tmp_path: Path) -> Path:
    """Photos of two people, which may be changed."""
    for name in PEOPLE[:2]:
        shutil.copytree(people_folder / name, tmp_path / "people" / name)
    return tmp_path / "people"


@pytest.fixture
def small(command: Command, people: Path, standin_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gallery of them with an index cache, and a backup of it."""
    monkeypatch.setenv("FACESEARCH_GALLERY", str(tmp_path / "gallery"))
    assert command("enroll", people, "--pack", standin_pack).code == 0
    assert command("query", people / PEOPLE[0] / "1.jpg").code == 0
    assert command("backup", tmp_path / "backup").code == 0
    return tmp_path / "gallery"


def advised(command: Command) -> list[str]:
    """The arguments of the one command that `check` advises."""
    run = command("check")
    assert run.code == 1
    lines = [line for line in run.out.splitlines() if line.startswith("FAULT")]
    (found,) = {match["quoted"] or match["last"] for line in lines for match in COMMAND.finditer(line)}
    return shlex.split(found)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE templates SET crc = crc + 1 WHERE id = 1",
        "UPDATE photos SET crc = crc + 1 WHERE id = 1",
        "UPDATE faces SET crc = crc + 1 WHERE id = 1",
        "UPDATE subjects SET crc = crc + 1 WHERE id = 1",
        "UPDATE models SET crc = crc + 1",
        "UPDATE audit_events SET crc = crc + 1 WHERE id = 1",
        "DROP INDEX ix_faces_subject_id",
    ],
)
def test_a_damaged_database_is_brought_back_from_a_backup(
    statement: str, command: Command, small: Path, tmp_path: Path
) -> None:
    with sqlite3.connect(small / "gallery.db") as database:
        database.execute(statement)
    arguments = [str(tmp_path / "backup") if each == "FILE" else each for each in advised(command)]
    assert arguments[0] == "restore"
    assert command(*arguments).code == 0
    assert command("check").code == 0


def test_a_damaged_cache_is_rebuilt(command: Command, small: Path) -> None:
    cache = small / "index.cache"
    data = bytearray(cache.read_bytes())
    data[len(data) // 2] ^= 1
    cache.write_bytes(data)
    assert command(*advised(command)).code == 0
    assert command("check").code == 0


def test_a_face_without_a_template_gets_one(command: Command, small: Path) -> None:
    with sqlite3.connect(small / "gallery.db") as database:
        database.execute("DELETE FROM templates WHERE id = 1")
    arguments = advised(command)
    assert arguments[0] == "reembed"
    assert command(*arguments).code == 0
    assert command("check").code == 0


def test_a_changed_photo_is_enrolled_again_with_its_folder(command: Command, small: Path, people: Path) -> None:
    write_photo(people / PEOPLE[0] / "1.jpg", draw_portrait(0, 7))
    run = command("check")
    assert (run.code, "enroll its folder again" in run.out) == (1, True)
    assert command("enroll", people).code == 0
    assert command("check").code == 0
    assert [each["subject"] for each in command("people", "list", "--json").records] == sorted(PEOPLE[:2])
