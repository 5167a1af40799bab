"""Write the references of commands and settings from the command tree and the configuration. cog calls this."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from typer.main import get_command

from facesearch.cli.app import app
from facesearch.config import Settings
from facesearch.index.services import VectorDatabaseKind

WITHOUT_OPTION = {
    "FACESEARCH_CACHE": "Folder of evaluation vectors, and of index caches of PostgreSQL galleries. Biometric data. "
    "Default: the user's cache folder.",
    "FACESEARCH_KEY": "Key of an encrypted gallery, as text. Default: you are asked.",
    "FACESEARCH_KEY_FILE": "File with the key of an encrypted gallery, on its first line.",
    "FACESEARCH_MODELS": "Folder of model packs, where downloads go. Default: the folder `models` in "
    "facesearch's cache folder. Packs in `~/.insightface/models` are found as well.",
    "FACESEARCH_OFFLINE": "`1` downloads nothing. Default: a known pack that is missing is downloaded.",
}
"""What the variables mean that no option of a command describes."""
SERVERS = [kind for kind in VectorDatabaseKind if not kind.is_within]
for kind in SERVERS:
    name = kind.title()
    WITHOUT_OPTION |= {
        kind.setting: f"Address of {name}, as `http://host:port`. Needed where a gallery's vectors are in {name}.",
        f"{kind.setting}_TOKEN": f"Token of {name}. Default: none.",
        f"{kind.setting}_TOKEN_FILE": f"File with the token of {name}. Goes before `{kind.setting}_TOKEN`.",
    }
TAKES = {int: "N", float: "NUMBER", str: "TEXT", Path: "PATH"}
"""What stands for the value of an option that has no metavar."""


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command with its full name, in the order of `--help`."""

    def walk(group: Any, path: str) -> Iterator[tuple[str, Any]]:
        for name, child in group.commands.items():
            if getattr(child, "commands", None):
                yield from walk(child, f"{path} {name}")
            else:
                yield f"{path} {name}", child

    yield from walk(get_command(app), "facesearch")


def command_reference() -> str:
    """Return a section for each command: what it does, arguments, options, examples."""
    return "\n\n".join(_section(name, command) for name, command in commands())


def _section(name: str, command: Any) -> str:
    paragraphs = re.split(r"\n\s*\n", command.help.replace("\b", ""))
    examples = [each.split("Example: ", 1)[1].strip() for each in command.help.splitlines() if "Example: " in each]
    lines = [f"## {name}", ""]
    for paragraph in paragraphs:
        if not paragraph.lstrip().startswith("Example: "):
            lines += [_text(paragraph), ""]
    lines += ["```console", *(f"$ {each}" for each in examples), "```", ""]
    lines += ["| argument or option | meaning |", "|---|---|"]
    lines += [_row(each) for each in command.params if each.name != "help"]
    return "\n".join(lines)


def _row(parameter: Any) -> str:
    """One parameter as a row. Its help says the default where there is one to say."""
    shown = str(parameter.metavar or "")
    if parameter.param_type_name == "argument":
        names = [shown or str(parameter.name).upper()]
    else:
        takes = "" if parameter.is_flag else shown or TAKES[parameter.type_descriptor.annotation]
        names = [*parameter.opts, *parameter.secondary_opts]
        names[-1] = f"{names[-1]} {takes}".strip()
    said = _text(parameter.help or "")
    default = parameter.default
    if "[" not in said and isinstance(default, str | int | float) and not isinstance(default, bool):
        said = f"{said} Default: `{default}`."
    cell = ", ".join(f"`{each}`" for each in names).replace("|", " or ")
    return f"| {cell} | {said} |"


def _text(paragraph: str) -> str:
    return " ".join(paragraph.split()).replace("|", r"\|").replace("<", r"\<")


def settings_reference() -> str:
    """Return the table of every environment variable. Fails where one lacks a description."""
    options = _options_by_variable()
    variables = variables_of_config()
    if missing := variables - options.keys() - WITHOUT_OPTION.keys():
        raise LookupError(f"Describe in WITHOUT_OPTION: {sorted(missing)}")
    if gone := WITHOUT_OPTION.keys() - variables:
        raise LookupError(f"Not read by facesearch.config any more: {sorted(gone)}")
    lines = ["| variable | option | meaning |", "|---|---|---|"]
    for variable in sorted(variables):
        option, said = options.get(variable, ("", ""))
        lines.append(f"| `{variable}` | {option} | {WITHOUT_OPTION.get(variable) or said} |")
    return "\n".join(lines)


def _options_by_variable() -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    parameters = [each for _, command in commands() for each in command.params]
    for parameter in [*get_command(app).params, *parameters]:
        said = getattr(parameter, "help", None) or ""
        for variable in re.findall(r"FACESEARCH_[A-Z_]+", said):
            if parameter.param_type_name == "option":
                option = next(each for each in parameter.opts if each.startswith("--"))
                found.setdefault(variable, (f"`{option}`", _text(said).replace(f"{variable}; ", "")))
    found.pop("FACESEARCH_CACHE", None)
    return {name: (option, said.replace(f" [{name}]", "")) for name, (option, said) in found.items()}


class _Recorded(Mapping[str, str]):
    """An environment that notes what is read from it; every `*_FILE` names a file that exists."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values_ = values
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        return self.values_[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


def variables_of_config() -> set[str]:
    """Return the names of the variables that `Settings.load` reads, whatever the others say."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "secret"
        file.write_text("secret", encoding="utf-8")
        servers = {kind.setting: "http://host:19530" for kind in SERVERS}
        files = {f"{name}_TOKEN_FILE": os.fspath(file) for name in servers}
        environments = [_Recorded(servers), _Recorded({**servers, **files})]
        for environment in environments:
            Settings.load(environ=environment)
    return {name for each in environments for name in each.read if name.startswith("FACESEARCH_")}
