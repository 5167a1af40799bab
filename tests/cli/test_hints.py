"""Commands in messages work when they are pasted: each parses, and is told of the gallery that was meant."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

import facesearch
from facesearch.cli.app import app
from facesearch.cli.output import COMMAND, WITH_GALLERY, Typed, pasteable, typed
from facesearch.demo.portraits import PEOPLE
from tests.cli.conftest import Command

PACKAGE = Path(facesearch.__file__).parent
PROSE = {
    "allows", "and", "as", "at", "does", "encrypts", "is", "made", "metadata", "needs", "never", "looks", "opens",
    "package", "people", "reads", "server",
}  # fmt: skip
"""What follows the word facesearch in a sentence that is about the program."""
VALUES = {
    "calibration.target", "target", "target.kind", "name", "names", "options_of(active)", "options_of(new)", "ours",
    "pack", "pack.name", "reference", "scope", "theirs", "models.options_of(new.info)", "entry.undone_by",
}  # fmt: skip
"""Expressions in commands that are quoted already, or that no shell can misread: names of known packs, numbers."""

ENTRIES = {"undone.undone_by", "entry.entry_id", "entry.undone_by"}
"""Expressions that stand for an entry of the journal."""


@cache
def tree() -> Any:
    return typer.main.get_command(app)


def messages() -> Iterator[tuple[str, str]]:
    """(where, text) of every string of the package that is no docstring; what is filled in is `«expression»`."""
    for file in sorted(PACKAGE.rglob("*.py")):
        if {"migrations", "demo"} & set(file.parts):  # the demo's tour has tests of its own
            continue
        module = ast.parse(file.read_text(encoding="utf-8"))
        parts = {id(value) for node in ast.walk(module) if isinstance(node, ast.JoinedStr) for value in node.values}
        parts |= {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
        for node in ast.walk(module):
            text = None if id(node) in parts else _text(node)
            if text and "(?P<" not in text:  # a regular expression that finds commands is none
                yield f"{file.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}", text


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if not isinstance(node, ast.JoinedStr):
        return None
    return "".join(
        str(part.value) if isinstance(part, ast.Constant) else f"«{ast.unparse(part.value)}»"  # type: ignore[attr-defined]
        for part in node.values
    )


def commands_in(text: str) -> Iterator[str]:
    for match in COMMAND.finditer(text):
        arguments = match["quoted"] or match["last"].partition("  #")[0].strip()
        if match["quoted"] or re.split(r"\W", arguments)[0] not in PROSE:
            yield arguments


def test_every_command_in_a_message_parses() -> None:
    found = [(where, arguments) for where, text in messages() for arguments in commands_in(text)]
    assert len(found) > 60
    problems = [f"{where}: {arguments}: {problem}" for where, arguments in found if (problem := fault(arguments))]
    assert problems == []


def fault(arguments: str) -> str | None:
    """What the shell would say of a command of a message."""
    for expression in re.findall("«(.*?)»", arguments):
        if expression not in VALUES | ENTRIES and not expression.startswith("shlex.quote("):
            return f"{expression} is not quoted"
    try:
        parse(shlex.split(re.sub("«.*?»", filled_in, arguments)))
    except Exception as error:  # noqa: BLE001  # click's usage errors are vendored by typer, and private there
        return f"{type(error).__name__}: {getattr(error, 'message', error)}"
    return None


def filled_in(match: re.Match[str]) -> str:
    expression = match[0][1:-1]
    if "options_of" in expression:
        return "--pack NAME --precision int8 --provider cpu --det-size 640"
    if expression in ENTRIES:
        return "7"
    known = {"names": "A B", "theirs": "bf16 --provider openvino", "calibration.target": "0.001", "target": "0.01"}
    return known.get(expression, "NAME")


def parse(arguments: list[str]) -> None:
    """Raise what the shell would show for a command, an option or a value that is not there."""
    command = tree()
    while hasattr(command, "commands"):
        name, *arguments = arguments
        if command.name == "eval" and name not in command.commands:
            name, arguments = "pairs", [name, *arguments]
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
    command.make_context(command.name, arguments)


def test_no_command_in_a_message_goes_unseen() -> None:
    """A sentence that goes on behind a command without backticks would be pasted with it."""
    for where, text in messages():
        outside = COMMAND.sub("", text)
        for word in re.findall(r"\bfacesearch ([a-z]+)", outside):
            assert word in PROSE, f"{where}: set the command in backticks, or end the line with it: {text}"


def test_the_list_of_commands_with_a_gallery_is_that_of_the_tree() -> None:
    def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if hasattr(command, "commands"):
            for name, child in command.commands.items():
                yield from walk(child, (*path, name))
        elif any(parameter.name == "gallery" for parameter in command.params):
            yield path

    def listed(path: tuple[str, ...]) -> bool:
        return path[0] in WITH_GALLERY or " ".join(path[:2]) in WITH_GALLERY

    taking = set(walk(tree(), ()))
    every = {path for path in _all(tree(), ()) if listed(path)}
    assert every - taking == {("eval", "compare")}
    assert taking <= every


def _all(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not hasattr(command, "commands"):
        yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from _all(child, (*path, name))


def test_a_command_is_told_of_the_gallery_and_the_key_that_were_typed() -> None:
    token = typed.set(Typed("my gallery", Path("the key")))
    try:
        assert pasteable("Run `facesearch check`: it tells.") == (
            "Run `facesearch --key-file 'the key' check --gallery 'my gallery'`: it tells."
        )
        assert pasteable("Run: facesearch people list\nor not") == (
            "Run: facesearch --key-file 'the key' people list --gallery 'my gallery'\nor not"
        )
        for text in (
            "facesearch models pull buffalo_l",
            "facesearch eval compare a.json b.json",
            "SQLite is 3.1, and facesearch needs 3.2 or newer.",
        ):
            assert pasteable(text) == text
        assert pasteable("facesearch check --gallery other") == "facesearch --key-file 'the key' check --gallery other"
    finally:
        typed.reset(token)


@pytest.mark.needs("unicode_names")
def test_a_name_that_is_no_text_is_quoted_on_one_printable_line(tmp_path: Path) -> None:
    name = "it's\\ \udcff\n\u202e é"
    token = typed.set(Typed(name))
    try:
        text = pasteable("Run: facesearch check")
    finally:
        typed.reset(token)
    assert text.isprintable()
    script = text.removeprefix("Run: ").replace("facesearch", "printf %s%s%s", 1)
    printed = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout
    assert printed == b"check--gallery" + os.fsencode(name)


# Followed as they are printed


def printed(text: str, beginning: str) -> list[str]:
    """The arguments of the printed command that begins so."""
    (command,) = [match for match in COMMAND.finditer(text) if (match["quoted"] or match["last"]).startswith(beginning)]
    return shlex.split(command["quoted"] or command["last"])


def test_the_way_to_another_model_is_walked_by_pasting(
    command: Command, standin_pack: Path, people_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With spaces in every path, another precision's flag typed, and a gallery that is not the default."""
    gallery, pack = tmp_path / "my gallery", tmp_path / "new pack"
    shutil.copytree(standin_pack, pack)
    text = (pack / "pack.toml").read_text()
    (pack / "pack.toml").write_text(text.replace("input_std = ", "input_std = 1"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACESEARCH_CACHE", str(tmp_path / "cache"))
    for name in PEOPLE[:2]:
        shutil.copytree(people_folder / name, tmp_path / "PEOPLE" / name)
    assert command("enroll", "PEOPLE", "--pack", standin_pack, "--gallery", gallery).code == 0
    run = command("reembed", "--pack", pack, "--gallery", gallery, "--precision", "fp32", "--det-size", "640")
    assert run.code == 0
    for each in COMMAND.finditer(run.err):
        if each["last"].startswith("eval PEOPLE"):
            assert command(*shlex.split(each["last"])).code == 0
    assert printed(run.err, "eval compare") == ["eval", "compare", "old/report.json", "new/report.json"]
    activate = printed(run.err, "reembed")
    assert {"--precision", "--gallery", "--det-size"} <= set(activate)
    switched = command(*activate)
    assert switched.code == 0
    (record,) = command("info", "--json", "--gallery", gallery).records
    assert (record["pack"], record["det_size"]) == (str(pack), "640")
    assert command(*printed(switched.err, "reembed --rollback")).code == 0
    assert command(*activate).code == 0
    assert command(*printed(switched.err, "models retire")).code == 0


def test_an_error_s_hint_names_the_gallery_that_was_typed(command: Command, gallery: Path, tmp_path: Path) -> None:
    other = tmp_path / "other one"
    shutil.copytree(gallery, other)
    run = command("people", "rename", PEOPLE[0], PEOPLE[1], "--gallery", other)
    assert run.code == 4
    assert command(*printed(run.err, "people merge")).code == 0
    assert len(command("people", "list", "--json", "--gallery", other).records) == len(PEOPLE) - 1
    assert len(command("people", "list", "--json").records) == len(PEOPLE)
