"""How results reach people and programs: tables and notes, NDJSON and CSV, progress bars."""

from __future__ import annotations

import csv
import json
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from facesearch.cli.hints import pasteable
from facesearch.names import path_text, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence


def emit(record: Mapping[str, Any]) -> None:
    """One NDJSON line on stdout, at once: whoever reads along sees what is done. A `Path` is written as its text."""
    sys.stdout.write(json_line(record) + "\n")
    sys.stdout.flush()


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
    typer.echo(printable(text))


def note(text: str) -> None:
    """A line for the person at the terminal, on stderr."""
    typer.echo(printable(pasteable(text)), err=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """A table on stdout; numbers to the right, names as text."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    kept = [list(row) for row in rows]
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for index, name in enumerate(columns):
        numeric = bool(kept) and all(isinstance(row[index], int | float | None) for row in kept)
        table.add_column(Text(printable(name)), justify="right" if numeric else "left", overflow="fold")
    for row in kept:
        table.add_row(*(Text(_cell(value)) for value in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 160))  # a file or a pipe has no edge to wrap at
    console.print(table)


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

    That function takes by how much, else by one. A `total` of None is not known.
    """
    if not sys.stderr.isatty():
        yield lambda _count=1: None
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

        def advance(count: int = 1) -> None:
            done = bar.tasks[0].completed + count
            bar.update(task, advance=count, rate=f"{done / max(time.monotonic() - started, 1e-3):.0f} {unit}/s")

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
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done / 1e6:7.1f} of {total / 1e6:.1f} MB" + ("\n" if done == total else ""))
            sys.stderr.flush()
        elif tenth != self._tenth:
            note(f"{done / 1e6:.1f} of {total / 1e6:.1f} MB")
        self._tenth = tenth
