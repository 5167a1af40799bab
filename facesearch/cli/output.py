"""How results reach people and programs: tables and notes, NDJSON and CSV, progress bars.

Commands in messages are completed, so that they do what they say when they are pasted. A message sets a command in
backticks, or ends the line with it.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from facesearch.names import path_text, printable, sentences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.text import Text

    from facesearch.records import Record
    from facesearch.types import Subject, Threshold

PHOTO: Final = "photo"
"""Header of columns that name photos, whose texts are paths."""
_ENDLESS: Final = 100_000
"""Columns of a file or a pipe, which have no edge to wrap at."""
_READABLE: Final = 24
"""Columns that a text has at least to wrap in."""
_GAP: Final = 3
"""Columns that a column of a table takes beside its text."""


COMMAND: Final = re.compile(
    r"`facesearch (?P<quoted>[^`\n]+)`|(?<!`)\bfacesearch (?P<last>[a-z][^`\n]*)$", re.MULTILINE
)
WITH_GALLERY: Final = frozenset(
    {
        "audit", "backup", "calibrate", "check", "db", "detect", "enroll", "eval", "export", "history", "import",
        "info", "init", "keys", "log", "models retire", "people", "query", "reembed", "reindex", "rekey", "restore",
        "serve", "undo", "verify",
    }
)  # fmt: skip
"""Commands and groups that take --gallery, apart from `eval compare`."""


@dataclass(frozen=True, slots=True)
class Typed:
    """What the running command was told about its gallery, which a command in its messages has to be told as well."""

    gallery: str | None = None
    """Without a password."""
    key_file: Path | None = None


NOTHING: Final = Typed()
typed: ContextVar[Typed] = ContextVar("facesearch_typed", default=NOTHING)
_quiet: ContextVar[bool] = ContextVar("facesearch_quiet", default=False)


def be_quiet(quiet: bool) -> None:
    """Leave out notes and progress from now on, or not."""
    _quiet.set(quiet)


def emit(record: Mapping[str, Any] | Record) -> None:
    """One NDJSON line on stdout, at once: whoever reads along sees what is done. A `Path` is written as its text."""
    sys.stdout.write(json_line(record if isinstance(record, Mapping) else record.model_dump(mode="json")) + "\n")
    sys.stdout.flush()


def tell(record: Mapping[str, Any] | Record, text: str, *, json: bool) -> None:
    """Print a result: the record as NDJSON, or else `text`, a line for the person."""
    if json:
        emit(record)
    else:
        say(text)


def tell_person(subject: Subject, text: str, *, json: bool) -> None:
    """`tell` for what was done to a person."""
    from facesearch.records import SubjectRecord

    tell(SubjectRecord.of(subject), text, json=json)


def print_records(
    records: Iterable[Mapping[str, Any] | Record],
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    json: bool,
) -> None:
    """Print records as NDJSON, or else the same as rows of a table."""
    if json:
        for record in records:
            emit(record)
    else:
        print_table(columns, rows)


def json_line(record: object) -> str:
    """JSON as one line that every strict reader takes and that stdout can encode."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"  # else only ASCII is sure to arrive
    text = json.dumps(record, ensure_ascii=not unicode, allow_nan=False, default=_as_json)
    return text if text.isprintable() else "".join(map(_in_string, text))


def _as_json(value: object) -> str:
    if isinstance(value, Path):
        return path_text(value)
    raise TypeError(f"a {type(value).__name__} is no JSON value")


def _in_string(character: str) -> str:
    """A character of a JSON string as it is, or printable where a terminal would act on it."""
    return json.dumps(printable(character), ensure_ascii=False)[1:-1] if not character.isprintable() else character


def say(text: str) -> None:
    """A line for the person, on stdout."""
    typer.echo(sentences(printable(text)))


def note(text: str) -> None:
    """A line for the person at the terminal, on stderr; nothing with --quiet."""
    if not _quiet.get():
        typer.echo(sentences(printable(pasteable(text))), err=True)


def note_threshold(threshold: Threshold | None, warning: str | None) -> None:
    """Say which threshold is in force with what is to be expected at it, unless it is None, and what is wrong."""
    if threshold is not None:
        note(f"A face matches at a score of {threshold.value:g} or more ({threshold.basis}).")
        if threshold.expected_fpir is not None:
            note(f"Expected FPIR: {threshold.expected_fpir:.2g} ({threshold.expected_basis}).")
    if warning:
        note(f"Warning: {warning}")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """A table on stdout; numbers to the right, names as text.

    It is as wide as COLUMNS or the terminal says, and as it needs to be in a file or a pipe. Text wraps between words.
    A word or a path is never broken: where it does not fit, the table is wider.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    kept = [list(row) for row in rows]
    room = shutil.get_terminal_size((_ENDLESS, 24)).columns - _GAP * len(columns)
    texts = [[_as_text(name, row[index]) for row in kept] for index, name in enumerate(columns)]
    headers = [_as_text("", name) for name in columns]
    widths = _widths([[header, *cells] for header, cells in zip(headers, texts, strict=True)], room)
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for index, header in enumerate(headers):
        numeric = bool(kept) and all(isinstance(row[index], int | float | None) for row in kept)
        table.add_column(header, justify="right" if numeric else "left", width=widths[index])
    for cells in zip(*texts, strict=True):
        table.add_row(*cells)
    Console(width=sum(widths) + _GAP * len(columns)).print(table)


def _as_text(column: str, value: object) -> Text:
    from rich.text import Text

    return Text(_cell(value), no_wrap=isinstance(value, Path) or column == PHOTO or None)


def _widths(columns: Sequence[Sequence[Text]], room: int) -> list[int]:
    """Widths that break neither a path nor a word; what `room` has beyond them goes to those that need least more."""
    from rich.cells import cell_len

    def least(text: Text) -> int:
        if text.no_wrap:
            return text.cell_len
        return max(min(text.cell_len, _READABLE), *map(cell_len, text.plain.split() or [""]))

    widths = [max(map(least, cells), default=0) for cells in columns]
    wanted = [max((text.cell_len for text in cells), default=0) for cells in columns]
    spare = room - sum(widths)
    order = sorted(range(len(columns)), key=lambda index: wanted[index] - widths[index])
    for left, index in zip(range(len(columns), 0, -1), order, strict=True):
        more = max(0, min(wanted[index] - widths[index], spare // left))
        widths[index] += more
        spare -= more
    return widths


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Path):
        return path_text(value)
    return f"{value:.3f}" if isinstance(value, float) else printable(str(value))


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """CSV on stdout, with a header."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([printable(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    sys.stdout.flush()


@contextmanager
def progress_bar(label: str, total: int | None, unit: str = "photos") -> Iterator[Callable[..., None]]:
    """A bar with rate and remaining time on stderr, where that is a terminal; yields the function that advances it.

    That function takes by how much, else by one, or `to` how much. A `total` of None is not known.
    """
    if _quiet.get() or not sys.stderr.isatty():
        yield lambda *_args, **_options: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    started = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, rate="")

        def advance(count: int = 1, to: int | None = None) -> None:
            done = bar.tasks[0].completed + count if to is None else to
            bar.update(task, completed=done, rate=f"{done / max(time.monotonic() - started, 1e-3):.0f} {unit}/s")

        yield advance


class DownloadProgress:
    """Shows a model download on stderr: a line that updates on a terminal, one line per tenth elsewhere."""

    def __init__(self) -> None:
        self._tenth = -1

    def __call__(self, done: int, total: int | None) -> None:
        """`done` of `total` bytes are here."""
        if total is None:
            return
        tenth = done * 10 // total
        if _quiet.get():
            return
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done / 1e6:7.1f} of {total / 1e6:.1f} MB" + ("\n" if done == total else ""))
            sys.stderr.flush()
        elif tenth != self._tenth:
            note(f"{done / 1e6:.1f} of {total / 1e6:.1f} MB")
        self._tenth = tenth


def pasteable(text: str) -> str:
    """The message with the typed --gallery and --key-file in its commands."""
    return COMMAND.sub(_completed, text) if typed.get() != NOTHING else text


def _completed(match: re.Match[str]) -> str:
    arguments = match["quoted"] or match["last"]
    if not _takes_gallery(arguments):
        return match[0]
    options, told = "", typed.get()
    if told.gallery is not None and "--gallery" not in arguments:
        options = f" --gallery {_quoted(told.gallery)}"
    key = f"--key-file {_quoted(str(told.key_file))} " if told.key_file is not None else ""
    return match[0].replace(f"facesearch {arguments}", f"facesearch {key}{arguments}{options}")


def _quoted(text: str) -> str:
    """An argument as a shell takes it, on one printable line: bytes that are no text as bash and zsh write them."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_in_quotes, text)) + "'"


def _in_quotes(character: str) -> str:
    if character.isprintable() and character not in "\\'":
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def _takes_gallery(arguments: str) -> bool:
    words = arguments.split()
    return words[:2] != ["eval", "compare"] and (words[0] in WITH_GALLERY or " ".join(words[:2]) in WITH_GALLERY)
