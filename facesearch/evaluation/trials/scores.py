"""Score files: CSV `score,mated[,id_a,id_b,fold]` and bob's four columns `claimed_id real_id test_label score`."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.trials.pairs import check_labels_against_ids
from facesearch.evaluation.trials.refusal import encode, refusal, repeats
from facesearch.evaluation.trials.table import HEADER_ROWS, read_columns, read_flags, read_folds, read_text
from facesearch.evaluation.trials.types import ScoreTrials
from facesearch.names import path_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_CHUNK = 500


def read_scores_csv(path: Path) -> ScoreTrials:
    """CSV `score,mated[,id_a,id_b,fold]`: an empty or NaN score is a failed trial and keeps its row.

    `mated` takes 1/0, true/false or yes/no in any case. Two rows may name the same two people: people have several
    photos. EvaluationError, by row, for cells that cannot be read and labels that contradict the ids.
    """
    columns = read_columns(path, ("score", "mated"), ("id_a", "id_b", "fold"))
    if ("id_a" in columns) != ("id_b" in columns):
        raise EvaluationError(f"{path}: row 1 names one of id_a and id_b", "Give both columns, or neither.")
    scores = _numbers(path, columns["score"], HEADER_ROWS)
    mated = np.array(read_flags(path, "mated", columns["mated"]))
    fold = np.array(read_folds(path, columns["fold"]), dtype=np.int64) if "fold" in columns else None
    if "id_a" not in columns:
        return ScoreTrials(path_text(path), scores, mated, fold=fold)
    subjects: dict[str, int] = {}
    id_a, id_b = encode(columns["id_a"], subjects), encode(columns["id_b"], subjects)
    check_labels_against_ids(str(path), mated, id_a, id_b, HEADER_ROWS)
    return ScoreTrials(path_text(path), scores, mated, id_a, id_b, tuple(subjects), fold)


def read_bob_scores(path: Path) -> ScoreTrials:
    """bob's four columns, separated by blanks: a trial is mated where `claimed_id` is `real_id`.

    Side a is the claimed identity, side b the person on the photo `test_label`. EvaluationError, by row, for lines of
    another shape, a comparison listed twice, and a photo that is said to show two people.
    """
    claimed: list[str] = []
    real: list[str] = []
    label: list[str] = []
    cells: list[str] = []
    lines = iter(read_text(path).rstrip().splitlines())
    while rows := [line.split() for line in islice(lines, _CHUNK)]:
        if set(map(len, rows)) != {4}:
            start = len(cells) + 1
            bad = [i for i, row in enumerate(rows, start) if len(row) != 4]
            offenders = (f"row {i}" for i in bad)
            raise refusal(str(path), "lines that are not 'claimed_id real_id test_label score'", offenders, len(bad))
        for column, values in zip((claimed, real, label, cells), zip(*rows, strict=True), strict=True):
            column.extend(values)
    if not cells:
        raise EvaluationError(f"{path}: is empty", "It needs at least one trial.")
    scores = _numbers(path, cells, 0)
    subjects: dict[str, int] = {}
    id_a, id_b = encode(claimed, subjects), encode(real, subjects)
    _check_labels(path, id_a, id_b, label)
    return ScoreTrials(path_text(path), scores, id_a == id_b, id_a, id_b, tuple(subjects))


def _check_labels(path: Path, claimed: NDArray[np.int64], real: NDArray[np.int64], labels: Sequence[str]) -> None:
    label = encode(labels, {})
    later, first = repeats(label)
    two = real[later] != real[first]
    if two.any():
        pairs = zip(later[two].tolist(), first[two].tolist(), strict=True)
        offenders = (f"{labels[i]} in rows {j + 1} and {i + 1}" for i, j in pairs)
        raise refusal(str(path), "one photo carries the ids of two people", offenders, int(two.sum()))
    later, first = repeats(claimed * (int(label.max()) + 1) + label)
    if later.size:
        pairs = zip(later.tolist(), first.tolist(), strict=True)
        offenders = (f"row {i + 1}, first in row {j + 1}" for i, j in pairs)
        raise refusal(str(path), "comparisons are listed twice", offenders, int(later.size))


def _numbers(path: Path, cells: Sequence[str], header_rows: int) -> NDArray[np.float64]:
    try:
        return np.fromiter(map(float, cells), dtype=np.float64, count=len(cells))
    except ValueError:
        pass
    values = [_number(cell) for cell in cells]
    bad = [(i, cells[i - 1 - header_rows]) for i, value in enumerate(values, 1 + header_rows) if value is None]
    if bad:
        offenders = (f"row {i}: '{cell}'" for i, cell in bad)
        raise refusal(
            str(path), "scores that are no numbers", offenders, len(bad), "An empty score marks a failed comparison."
        )
    return np.array(values, dtype=np.float64)


def _number(cell: str) -> float | None:
    """NaN for an empty cell, None for one that is no number."""
    if not cell.strip():
        return math.nan
    try:
        return float(cell)
    except ValueError:
        return None


def write_scores_csv(path: Path, trials: ScoreTrials) -> None:
    """The trials as `read_scores_csv` reads them, every score in the shortest form that reads back the same double."""
    columns: list[Sequence[str]] = [
        ["" if math.isnan(score) else repr(score) for score in trials.scores.tolist()],
        ["1" if mated else "0" for mated in trials.mated.tolist()],
    ]
    header = ["score", "mated"]
    if trials.id_a is not None and trials.id_b is not None:
        quoted = [_quoted(subject) for subject in trials.subjects]
        columns += [[quoted[i] for i in ids.tolist()] for ids in (trials.id_a, trials.id_b)]
        header += ["id_a", "id_b"]
    if trials.fold is not None:
        columns.append([str(fold) for fold in trials.fold.tolist()])
        header.append("fold")
    rows = map(",".join, zip(*columns, strict=True))
    path.write_text("\n".join([",".join(header), *rows]) + "\n", encoding="utf-8", newline="\n")


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in ',"\r\n') else cell
