"""CSV files with a known header, and refusals that name the rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facesearch.errors import EvaluationError

NAMED = 5
"""How many of the offending rows a message spells out before it counts the rest."""


def listed(offenders: Iterable[str], total: int) -> str:
    """The first few of `total` offenders in words, then how many more there are."""
    shown: list[str] = []
    for offender in offenders:
        if len(shown) == NAMED:
            break
        shown.append(offender)
    rest = total - len(shown)
    return "; ".join(shown) + (f"; and {rest:,} more" if rest > 0 else "")


def refusal(
    source: str, problem: str, offenders: Iterable[str], total: int, hint: str | None = None
) -> EvaluationError:
    """The error to raise for `total` offending rows of `source`; `problem` says what is wrong with them."""
    return EvaluationError(f"{source}: {problem} ({total:,} in all): {listed(offenders, total)}", hint)


def encode(labels: Iterable[str], codes: dict[str, int]) -> NDArray[np.int64]:
    """Labels as positions in order of first mention; `codes` is filled on the way and may be shared."""
    return np.array([codes.setdefault(label, len(codes)) for label in labels], dtype=np.int64)


def encode_people(*columns: Sequence[str]) -> tuple[list[NDArray[np.int64]], tuple[str, ...]]:
    """Columns of names as positions among all names, and these names, sorted.

    The bootstrap draws people by code: the same people give the same intervals in whatever order rows come.
    """
    names = sorted(set().union(*columns))
    codes = {name: code for code, name in enumerate(names)}
    return [encode(column, codes) for column in columns], tuple(names)


def repeats(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows whose key stood in an earlier row, and for each the first row that has it."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    earliest = first[inverse]
    later = np.flatnonzero(earliest != np.arange(keys.size))
    return later, earliest[later]


HEADER_ROWS = 1
"""The first data row of a table is row 2 of the file, as an editor counts."""
_CHUNK = 500
"""Rows turned into columns at a time: few live row objects keep the garbage collector out of a million rows."""
YES = frozenset({"1", "true", "yes"})
NO = frozenset({"0", "false", "no"})


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
    columns: list[list[str]] = [[] for _ in header]
    reader = csv.reader(io.StringIO(text))
    next(reader)
    while rows := list(islice(reader, _CHUNK)):
        if set(map(len, rows)) != {len(header)}:
            raise _ragged(path, text, len(header))
        for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
            column.extend(cells)
    if not columns[0]:
        raise EvaluationError(f"{path}: holds a header and nothing else", "It needs at least one trial.")
    return dict(zip(header, columns, strict=True))


def _ragged(path: Path, text: str, width: int) -> EvaluationError:
    bad = [(i, len(row)) for i, row in enumerate(csv.reader(io.StringIO(text)), 1) if len(row) != width]
    offenders = (f"row {i} has {cells}" for i, cells in bad)
    return refusal(str(path), f"rows that do not have the header's {width} columns", offenders, len(bad))


def read_flags(path: Path, name: str, cells: Sequence[str]) -> list[bool]:
    """1/0, true/false, yes/no in any case."""
    meaning = {cell: cell.strip().lower() for cell in set(cells)}
    unknown = {cell for cell, word in meaning.items() if word not in YES | NO}
    if unknown:
        bad = [(i, cell) for i, cell in enumerate(cells, 1 + HEADER_ROWS) if cell in unknown]
        offenders = (f"row {i}: '{cell}'" for i, cell in bad)
        raise refusal(str(path), f"column '{name}' takes 1/0, true/false or yes/no, in any case", offenders, len(bad))
    return [meaning[cell] in YES for cell in cells]


def read_folds(path: Path, cells: Sequence[str]) -> list[int]:
    """Whole numbers."""
    bad = [(i, cell) for i, cell in enumerate(cells, 1 + HEADER_ROWS) if not _is_whole(cell)]
    if bad:
        offenders = (f"row {i}: '{cell}'" for i, cell in bad)
        raise refusal(str(path), "column 'fold' takes whole numbers", offenders, len(bad))
    return [int(cell) for cell in cells]


def _is_whole(cell: str) -> bool:
    return cell.strip().isascii() and cell.strip().isdigit()
