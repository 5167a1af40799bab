"""Read Markdown pages, and list what they say about commands, options, variables and files that is not so."""

from __future__ import annotations

import functools
import itertools
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.main import get_command

from facesearch.cli.app import app
from facesearch.config import Settings
from facesearch.errors import FaceSearchError
from facesearch.files import is_gallery_name
from facesearch.index.services import VectorDatabaseKind
from facesearch.recognition.detector import parse_det_size
from facesearch.types import Precision

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN = "<!-- run -->"
FOREIGN = frozenset(
    {"cd", "createdb", "docker", "duckdb", "export", "git", "openssl", "pytest", "setpriv", "sudo", "unzip"}
)
"""Programs whose options are not looked at."""
_FENCE = re.compile(r"^(?:(<!-- run -->)\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<![`\\])`([^`]+)`(?!`)")
_SEPARATORS = frozenset({"&&", "||", "|", ";", "&"})
_VALUES: dict[str, Callable[[str], object]] = {
    "--det-size": parse_det_size,
    "--precision": Precision,
    "--index": lambda text: text in set(VectorDatabaseKind) or Settings.load(index=text, environ={}),
}
"""What refuses a wrong value of these options."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int
    runs: bool
    """Whether the page marks it as runnable."""


@functools.cache
def command_tree() -> Any:
    """Return the tree of commands; making it takes 60 ms."""
    return get_command(app)


def pages() -> list[Path]:
    """Return the README and every other page, generated ones included."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    return [
        Block(found[2], found[3], text.count("\n", 0, found.start(3)) + 1, found[1] is not None)
        for found in _FENCE.finditer(text)
    ]


def spans(text: str) -> list[str]:
    """Return the inline code of a page."""
    prose = re.sub(r"<!--.*?-->", "", _FENCE.sub("", text), flags=re.DOTALL)
    return [" ".join(found.split()) for found in _SPAN.findall(prose)]


def transcript(block: Block) -> list[tuple[str, str]]:
    """Return each command of a console block with the output below it."""
    steps: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], ""))
        elif steps and steps[-1][0].endswith("\\"):
            steps[-1] = (f"{steps[-1][0][:-1]}{line}", "")
        elif steps:
            steps[-1] = (steps[-1][0], f"{steps[-1][1]}{line}\n")
    return steps


def simple_commands(line: str) -> list[list[str]]:
    """Return the words of each command of a shell line, without redirections and variables in front."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if word in _SEPARATORS:
            found.append([])
        elif word in {"<", ">"}:
            next(lexer)
        elif found[-1] or not re.match(r"[A-Z_]+=", word):
            found[-1].append(word)
    return [words for words in found if words]


def faults(text: str) -> list[str]:
    """Return everything that a page names and that does not exist, one sentence each."""
    found: list[str] = []
    for block in blocks(text):
        if block.language == "console":
            for line, _ in transcript(block):
                found += [f"line {block.line}: {line}: {why}" for why in _faults_of_line(line)]
    for span in spans(text):
        found += [f"`{span}`: {why}" for why in _faults_of_span(span)]
    variables = known_variables()
    found += [
        f"{name} is no variable"
        for name in sorted(set(re.findall(r"\bFACESEARCH_[A-Z_]+\b(?!\*)", text)))
        if name not in variables
    ]
    return found


def _faults_of_line(line: str) -> Iterator[str]:
    for words in simple_commands(line):
        program, arguments = words[0], words[1:]
        if program == "facesearch":
            yield from faults_of_command(arguments)
        elif program == "poe":
            yield from (f"there is no task {each}" for each in arguments if each not in PROJECT["tool"]["poe"]["tasks"])
        elif words[:3] == ["python", "-m", "benchmarks"]:
            yield from _faults_of_benchmark(words[3:])
        elif program == "pip":
            yield from _faults_of_extras(line)


def _faults_of_benchmark(words: list[str]) -> Iterator[str]:
    if not words:
        return
    file = ROOT / "benchmarks" / f"{words[0]}.py"
    if words[0] != "NAME" and not file.exists():
        yield f"there is no benchmark {words[0]}"


def _faults_of_extras(line: str) -> Iterator[str]:
    for names in re.findall(r"(?:facesearch|\.)\[([a-z,]+)\]", line):
        known = PROJECT["project"]["optional-dependencies"]
        yield from (f"there is no extra {name}" for name in names.split(",") if name not in known)


def faults_of_command(arguments: list[str], *, complete: bool = True) -> Iterator[str]:
    """Yield why `facesearch` refuses these arguments. Not `complete`: values and arguments may be left out."""
    command = command_tree()
    rest = arguments
    while getattr(command, "commands", None):
        if rest and "pairs" in command.commands and rest[0] not in command.commands:
            rest = ["pairs", *rest]  # `facesearch eval PATH`
        context = command.context_class(command)
        try:
            _, rest, _ = command.make_parser(context).parse_args(args=list(rest))
        except Exception as error:  # noqa: BLE001  # typer keeps its errors in a private copy of click
            yield _said(error)
            return
        if not rest or rest[0].isupper():  # `facesearch COMMAND`
            return
        if rest[0] not in command.commands:
            yield f"there is no command {rest[0]}"
            return
        command, rest = command.commands[rest[0]], rest[1:]
    yield from _faults_of_leaf(command, rest, complete)


def _faults_of_leaf(command: Any, arguments: list[str], complete: bool) -> Iterator[str]:
    try:
        given, surplus, _ = command.make_parser(command.context_class(command)).parse_args(args=list(arguments))
    except Exception as error:  # noqa: BLE001  # typer keeps its errors in a private copy of click
        if complete or "requires an argument" not in _said(error):
            yield _said(error)
        return
    yield from (f"{each} is one argument too many" for each in surplus)
    if complete:
        for parameter in command.params:
            if parameter.required and not isinstance(given.get(parameter.name), str | list | tuple):
                yield f"{parameter.name} is missing"
    for option, value in itertools.pairwise(arguments):
        yield from _faults_of_value(option, value)


def _faults_of_value(option: str, value: str) -> Iterator[str]:
    if option in _VALUES and not value.isupper():
        try:
            _VALUES[option](value)
        except (FaceSearchError, ValueError) as error:
            yield _said(error)


def _said(error: Exception) -> str:
    return str(getattr(error, "message", None) or error)


def _faults_of_span(span: str) -> Iterator[str]:
    try:
        words = shlex.split(span)
    except ValueError:
        words = span.split()
    root = command_tree()
    if not words or words[0] in FOREIGN:
        return
    if words[0] == "facesearch" and re.fullmatch(r"[\w ./:=,\[\]'\"-]+", span):
        yield from faults_of_command(_without_brackets(words[1:]), complete=False)
    elif words[0] in root.commands and (len(words) > 1 or not words[0].isalpha()):
        yield from faults_of_command(_without_brackets(words), complete=False)
    elif words[0] in {"poe", "pip", "python"} or words[0].startswith(("OMP_", "FACESEARCH_")):
        yield from _faults_of_line(span)
    elif words[0].startswith("-") and span != "-":
        if words[0] not in known_options():
            yield f"no command has the option {words[0]}"
        yield from _faults_of_value(words[0], words[1] if len(words) > 1 else "VALUE")
    elif re.fullmatch(r"(gallery|index)\.(?!key|fsbackup)\w+", span) and not is_gallery_name(span):
        yield "no gallery has such a file"
    elif (
        re.fullmatch(r"(facesearch|tests|docs|benchmarks|migrations|examples)/[\w/.-]*", span)
        and not (ROOT / span).exists()
    ):
        yield "there is no such file"


def _without_brackets(words: list[str]) -> list[str]:
    return [word for word in words if not word.startswith("[")]


@functools.cache
def known_options() -> set[str]:
    """Return every option of every command."""

    def walk(command: Any) -> Iterator[str]:
        for parameter in command.params:
            yield from (*parameter.opts, *parameter.secondary_opts)
        for child in getattr(command, "commands", {}).values():
            yield from walk(child)

    return {*walk(command_tree()), "-h", "--help", "--install-completion"}


@functools.cache
def known_variables() -> set[str]:
    """Return every variable that the code or the tests read."""
    tests = [each for each in (ROOT / "tests").rglob("*.py") if each.parent.name != "docs"]
    code = [*(ROOT / "facesearch").rglob("*.py"), *tests]
    found = set(re.findall(r"FACESEARCH_[A-Z_]+[A-Z]", "\n".join(each.read_text(encoding="utf-8") for each in code)))
    servers = (kind.setting for kind in VectorDatabaseKind if not kind.is_within)
    return found | {f"{name}{end}" for name in servers for end in ("", "_TOKEN", "_TOKEN_FILE")}


def endpoints_named(text: str) -> set[tuple[str, str]]:
    """Return method and path of every endpoint that a page names, in prose or in a call of curl."""
    found = {(method, path) for method, path in re.findall(r"\b(GET|POST|PATCH|PUT|DELETE) (/v1[\w/{}.-]*)", text)}
    for block in blocks(text):
        if block.language == "console":
            for line, _ in transcript(block):
                found |= {_endpoint(words) for words in simple_commands(line) if words[0] == "curl"}
    return found


def _endpoint(words: list[str]) -> tuple[str, str]:
    sends = any(word in {"-F", "--json", "-d", "--data-binary"} for word in words)
    method = words[words.index("-X") + 1] if "-X" in words else "POST" if sends else "GET"
    (address,) = [word for word in words if word.startswith(("$A/", "http://"))]
    return method, re.sub(r"^(\$A|http://[^/]+/v1)", "/v1", address).split("?")[0]
