"""What `facesearch demo` leaves behind can be used as it says, and says what it is."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from facesearch.demo.portraits import PEOPLE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command


def test_every_command_that_the_demo_prints_runs_as_it_is_printed_from_any_folder(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = command("demo", "--keep", 'it\'s "here" $HOME; #1')
    assert run.code == 0, run.err
    printed = run.out.partition("To go on with it:")[2]
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    assert [shlex.split(line)[1] for line in lines] == ["enroll", "query", "verify", "people"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "facesearch"
        again = command(*arguments)
        assert again.code == 0, (line, again.err)
    assert list(elsewhere.iterdir()) == []
    assert len(list(tmp_path.glob("it*/drawn/*"))) == 3
    assert "$ " not in run.out, "what is printed as a command can be run"


def test_without_keep_the_demo_prints_no_command_about_files_that_are_gone(command: Command) -> None:
    run = command("demo")
    commands = [line.strip() for line in run.out.splitlines() if line.strip().startswith(("$", "facesearch"))]
    assert all("facesearch-demo-" not in line for line in commands)
    assert "facesearch demo --keep DIR" in run.out


def test_a_photo_of_somebody_is_told_that_the_stand_in_finds_drawn_faces_only(
    command: Command, gallery: Path, assets: Path
) -> None:
    says_so(command, min((assets / "faces" / "lfw").rglob("*.jpg")), gallery)


def test_a_photo_without_a_drawn_face_does_too(command: Command, gallery: Path, scenes_folder: Path) -> None:
    says_so(command, scenes_folder / "landscape.jpg", gallery)


def says_so(command: Command, photo: Path, gallery: Path) -> None:
    for arguments in (
        ("query", photo),
        ("verify", photo, photo),
        ("enroll", photo, "--as", "Somebody"),
    ):
        run = command(*arguments)
        together = " ".join((run.out + run.err).split())
        assert "finds drawn faces only" in together, (arguments, together)
    for arguments in (("query", photo), ("detect", photo), ("enroll", photo, "--as", "Somebody")):
        (record,) = command(*arguments, "--json").records
        assert record["reason"] == "face_not_found"
        assert record["detail"] == "No face was found. The stand-in model finds drawn faces only."
    assert PEOPLE[0] in command("people", "list").out
