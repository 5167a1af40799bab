"""Every command says what it does, with an example, and never shows a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from facesearch.cli import OFTEN
from facesearch.cli.app import app
from facesearch.cli.root import new_app
from tests.cli.conftest import Command

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "commands.md"


def all_commands() -> Iterator[tuple[str, ...]]:
    def walk(group: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for name, child in getattr(group, "commands", {}).items():
            if getattr(child, "commands", None):
                yield from walk(child, (*path, name))
            else:
                yield (*path, name)

    yield from walk(typer.main.get_command(app), ())


@pytest.mark.parametrize("path", list(all_commands()), ids=" ".join)
def test_every_command_has_help_and_an_example_and_stands_in_the_reference(
    path: tuple[str, ...], command: Command
) -> None:
    run = command(*path, "--help")
    assert run.code == 0
    assert f"Example: facesearch {' '.join(path)}" in run.out
    assert f"facesearch {' '.join(path)}" in REFERENCE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", OFTEN)
def test_a_command_that_starts_without_the_others_is_the_same(name: str, command: Command) -> None:
    run = CliRunner().invoke(new_app(import_module(f"facesearch.cli.{OFTEN[name]}")), [name, "--help"])
    assert (run.exit_code, run.stdout) == (0, command(name, "--help").out)


def test_the_version_is_printed(command: Command) -> None:
    run = command("--version")
    assert run.code == 0
    assert run.out.startswith("facesearch ")


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("query", "no-such.jpg"), 2, "no-such.jpg"),
        (("query", "a.jpg"), 4, "enroll"),
        (("enroll", "no-such-folder"), 2, "no-such-folder"),
        (("enroll",), 2, "PATH"),
        (("frobnicate",), 2, "frobnicate"),
        (("people", "show", "Nobody"), 4, "no gallery"),
        (("verify", "a.jpg", "b.jpg"), 2, "b.jpg"),
        (("verify", "a.jpg", "a.jpg", "--provider", "abacus"), 2, "abacus"),
        (("detect", ".", "--pack", "buffalo_xxl"), 2, "buffalo_l"),
        (("check",), 4, "no gallery"),
        (("models", "info", "buffalo_l"), 4, "buffalo_l.zip"),
    ],
)
def test_wrong_input_gets_an_error_with_the_next_step(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], code: int, words: str
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACESEARCH_OFFLINE", "1")
    monkeypatch.setenv("FACESEARCH_MODELS", str(tmp_path / "models"))
    run = command(*args)
    assert run.code == code
    assert words in run.err
    assert run.out == ""
    assert not (tmp_path / "data").exists()
