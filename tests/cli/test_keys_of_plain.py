"""Whoever gives a key believes that the gallery is encrypted: a plain one is an error, there or to be made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from facesearch import ConfigError, FaceSearch

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text("correct horse\n")
    return file


def test_no_command_makes_a_plain_gallery_with_a_key(
    command: Command,
    key_file: Path,
    gallery: Path,
    standin_pack: Path,
    people_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert command("export", tmp_path / "bundle").code == 0
    assert command("backup", tmp_path / "backup").code == 0
    new = tmp_path / "new"
    makers: list[tuple[str | Path, ...]] = [
        ("init",),
        ("enroll", people_folder, "--pack", standin_pack),
        ("import", tmp_path / "bundle"),
        ("restore", tmp_path / "backup"),
        ("keys", "create", "web"),
        ("serve", "--pack", standin_pack),
    ]
    monkeypatch.setenv("FACESEARCH_KEY_FILE", str(key_file))
    for arguments in makers:
        run = command(*arguments, "--gallery", new)
        assert (run.code, run.out) == (2, ""), arguments
        assert "encrypted, but a key was given" in run.err, arguments
        assert "facesearch init --encrypted" in run.err, arguments
        assert not (new / "gallery.db").exists(), arguments


@pytest.mark.parametrize("way", ["option", "file", "variable"])
def test_a_plain_gallery_is_not_opened_with_a_key(
    command: Command, key_file: Path, gallery: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "file":
        monkeypatch.setenv("FACESEARCH_KEY_FILE", str(key_file))
    elif way == "variable":
        monkeypatch.setenv("FACESEARCH_KEY", "correct horse")
    flags = ("--key-file", key_file) if way == "option" else ()
    for arguments in (("people", "list"), ("info",), ("check",), ("db", "upgrade")):
        run = command(*flags, *arguments)
        assert run.code == 2, arguments
        assert "is not encrypted, but a key was given" in run.err
        assert "FACESEARCH_KEY_FILE" in run.err


def test_python_makes_no_plain_gallery_with_a_key(
    tmp_path: Path, standin_pack: Path, people_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACESEARCH_KEY", "correct horse")
    with (
        FaceSearch.open(tmp_path / "new", pack=standin_pack, provider="cpu") as engine,
        pytest.raises(ConfigError, match="would not be encrypted"),
    ):
        list(engine.enroll(people_folder))
    assert not (tmp_path / "new").exists()


def test_the_demo_needs_no_key(command: Command, key_file: Path) -> None:
    assert command("--key-file", key_file, "demo").code == 0
