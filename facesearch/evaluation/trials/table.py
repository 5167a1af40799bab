"""CSV files with a known header, and refusals that name the rows.

The readers refuse what would make an error rate wrong: a pair listed twice, a photo compared with itself, labels that
contradict each other, photos that are not there. Nothing is dropped silently.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.rates import Counts
from facesearch.walking import is_gone

HEADER_ROWS = 1
"""The first data row of a table is row 2 of the file, as an editor counts."""
CHUNK = 500
"""Rows turned into columns at a time: few live row objects keep the garbage collector out of a million rows."""
NAMED = 5
"""Offending rows that a message spells out before it counts the rest."""
YES = frozenset({"1", "true", "yes"})
NO = frozenset({"0", "false", "no"})


def listed(offenders: Sequence[str]) -> str:
    """The first few offenders, then how many more there are."""
    rest = len(offenders) - NAMED
    return "; ".join(offenders[:NAMED]) + (f"; and {rest:,} more" if rest > 0 else "")


def refuse(source: object, problem: str, offenders: Sequence[str], hint: str | None = None) -> None:
    """Raise EvaluationError where there are offending rows of `source`; `problem` says what is wrong with them."""
    if offenders:
        raise EvaluationError(f"{source}: {problem} ({len(offenders):,} in all): {listed(offenders)}", hint)


def refuse_absent(source: object, photos: Iterable[tuple[int, str, Path]]) -> None:
    """Refuse photos that are not there, as (row, name, file)."""
    absent = [f"row {row}: {name}" for row, name, file in photos if is_gone(file)]
    refuse(source, "photos that are not there", absent, "Name the folder they are in with --photos DIR.")


def encode(labels: Iterable[str], codes: dict[str, int]) -> Counts:
    """Labels as positions in order of first mention; `codes` is filled on the way and may be shared."""
    return np.array([codes.setdefault(label, len(codes)) for label in labels], dtype=np.int64)


def encode_people(*columns: Sequence[str]) -> tuple[list[Counts], tuple[str, ...]]:
    """Columns of names as positions among all names, and these names, sorted.

    The bootstrap draws people by code: the same people give the same intervals in whatever order rows come.
    """
    names = sorted(set().union(*columns))
    codes = {name: code for code, name in enumerate(names)}
    return [encode(column, codes) for column in columns], tuple(names)


def repeats(keys: Counts) -> tuple[Counts, Counts]:
    """Rows whose key stood in an earlier row, and for each the first row that has it."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    earliest = first[inverse]
    later = np.flatnonzero(earliest != np.arange(keys.size))
    return later, earliest[later]


def repeated(labels: Iterable[str]) -> Iterator[tuple[int, int]]:
    """(later, first) positions of labels that come again."""
    later, first = repeats(encode(labels, {}))
    return zip(later.tolist(), first.tolist(), strict=True)


def read_text(path: Path) -> str:
    """The file as UTF-8 text (a byte order mark is skipped), or an EvaluationError that names it."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path}: is not UTF-8 text (byte {error.start})") from error


def header_of(text: str) -> list[str]:
    """The cells of the first line, without surrounding blanks."""
    first = text.split("\n", 1)[0]
    return [cell.strip() for cell in next(csv.reader([first]), [])]


def read_columns(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, list[str]]:
    """The columns of a CSV by name. Another header, or a row of another length, is an EvaluationError."""
    text = read_text(path).rstrip("\r\n")
    header = header_of(text)
    wanted = ",".join(required) + (f"[,{','.join(optional)}]" if optional else "")
    known = {*required, *optional}
    if len(set(header)) != len(header) or not set(required) <= set(header) <= known:
        raise EvaluationError(f"{path}: row 1 is '{','.join(header)}'", f"The header has to be {wanted}.")
    if ("id_a" in header) != ("id_b" in header):
        raise EvaluationError(f"{path}: row 1 names one of id_a and id_b", "Give both columns, or neither.")
    columns: list[list[str]] = [[] for _ in header]
    reader = csv.reader(io.StringIO(text))
    next(reader)
    while rows := list(islice(reader, CHUNK)):
        if set(map(len, rows)) != {len(header)}:
            lengths = enumerate(map(len, csv.reader(io.StringIO(text))), 1)
            ragged = [f"row {i} has {cells}" for i, cells in lengths if cells != len(header)]
            refuse(path, f"rows that do not have the header's {len(header)} columns", ragged)
        for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
            column.extend(cells)
    if not columns[0]:
        raise EvaluationError(f"{path}: holds a header and nothing else", "It needs at least one trial.")
    return dict(zip(header, columns, strict=True))


def read_flags(path: Path, name: str, cells: Sequence[str]) -> list[bool]:
    """1/0, true/false, yes/no in any case."""
    meaning = {cell: cell.strip().lower() for cell in set(cells)}
    unknown = {cell for cell, word in meaning.items() if word not in YES | NO}
    bad = [f"row {i}: '{cell}'" for i, cell in enumerate(cells, 1 + HEADER_ROWS) if cell in unknown]
    refuse(path, f"column '{name}' takes 1/0, true/false or yes/no, in any case", bad)
    return [meaning[cell] in YES for cell in cells]


def read_folds(path: Path, cells: Sequence[str] | None) -> Counts | None:
    """Whole numbers; None where there is no such column."""
    if cells is None:
        return None
    bad = [f"row {i}: '{cell}'" for i, cell in enumerate(cells, 1 + HEADER_ROWS) if not _is_whole(cell)]
    refuse(path, "column 'fold' takes whole numbers", bad)
    return np.array(list(map(int, cells)), dtype=np.int64)


def _is_whole(cell: str) -> bool:
    return cell.strip().isascii() and cell.strip().isdigit()
