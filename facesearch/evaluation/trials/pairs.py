"""Labelled pairs: LFW's `pairs.txt`, CSV of photos, CSV of scores, bob's four columns, and all pairs of a set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.rates import Counts, Flags, Floats
from facesearch.evaluation.trials.table import (
    CHUNK,
    HEADER_ROWS,
    encode,
    encode_people,
    read_columns,
    read_flags,
    read_folds,
    read_text,
    refuse,
    refuse_absent,
    repeats,
)
from facesearch.evaluation.trials.types import EmbeddingSet, PairTrials, PhotoSet, ScoredPairs
from facesearch.files import write_new
from facesearch.names import listed_path, path_text

# -- photos


def read_lfw_pairs(path: Path, photos: Path) -> PairTrials:
    """LFW's `pairs.txt`: header `folds pairs`, then per fold that many mated and as many non-mated lines.

    `name n1 n2` is a mated pair and `name1 n1 name2 n2` a non-mated one; the photo is `name/name_%04d.jpg` under
    `photos`. Raises EvaluationError for a line of another shape, a count that is not the header's, photos that are not
    there, and everything `check_pairs` refuses.
    """
    lines = read_text(path).rstrip().splitlines()
    folds, per_class = _lfw_header(path, lines)
    rows = [line.split() for line in lines[1:]]
    bad = [f"row {i}: '{lines[i - 1].strip()}'" for i, row in enumerate(rows, 2) if not _is_lfw_row(row)]
    refuse(path, "lines that are neither 'name n1 n2' nor 'name1 n1 name2 n2'", bad)
    if len(rows) != folds * 2 * per_class:
        raise EvaluationError(
            f"{path}: row 1 promises {folds} x 2 x {per_class} = {folds * 2 * per_class:,} pairs, {len(rows):,} follow",
            "Get a complete file, or correct its header.",
        )
    same = np.array([len(row) == 3 for row in rows])
    expected = np.arange(len(rows)) % (2 * per_class) < per_class
    misplaced = [f"row {i + 2}" for i in np.flatnonzero(same != expected).tolist()]
    refuse(path, f"each fold is {per_class} mated and then {per_class} non-mated pairs", misplaced)
    left = [(row[0], int(row[1])) for row in rows]
    right = [(row[-2] if len(row) == 4 else row[0], int(row[-1])) for row in rows]
    names = [[f"{name}/{name}_{number:04d}.jpg" for name, number in side] for side in (left, right)]
    people = [name for name, _ in left], [name for name, _ in right]
    return _assembled(path, photos, names, same, people, np.arange(len(rows)) // (2 * per_class))


def _lfw_header(path: Path, lines: Sequence[str]) -> tuple[int, int]:
    header = lines[0].split() if lines else []
    if len(header) != 2 or not all(cell.isdigit() and int(cell) > 0 for cell in header):
        raise EvaluationError(
            f"{path}: row 1 is '{lines[0].strip() if lines else ''}'",
            "LFW's pairs.txt begins with the number of folds and of pairs per class, such as '10 300'.",
        )
    return int(header[0]), int(header[1])


def _is_lfw_row(row: Sequence[str]) -> bool:
    return len(row) in (3, 4) and all(cell.isdigit() for cell in (row[1], row[-1]))


def read_pairs_csv(path: Path, photos: Path | None = None) -> PairTrials:
    """CSV `a,b,same[,id_a,id_b,fold]`; paths are relative to `photos`, or to the CSV's own folder.

    `same` takes 1/0, true/false or yes/no in any case. `id_a` and `id_b` come together or not at all. Raises
    EvaluationError for a wrong header, wrong cells, photos that are not there and what `check_pairs` refuses.
    """
    columns = read_columns(path, ("a", "b", "same"), ("id_a", "id_b", "fold"))
    same = np.array(read_flags(path, "same", columns["same"]))
    people = (columns["id_a"], columns["id_b"]) if "id_a" in columns else None
    root = path.parent if photos is None else photos
    return _assembled(path, root, (columns["a"], columns["b"]), same, people, read_folds(path, columns.get("fold")))


def _assembled(
    path: Path,
    root: Path,
    sides: Sequence[Sequence[str]],
    same: Flags,
    people: tuple[Sequence[str], Sequence[str]] | None,
    fold: Counts | None,
) -> PairTrials:
    positions: dict[str, int] = {}
    a, b = (encode(side, positions) for side in sides)
    (id_a, id_b), subjects = encode_people(*people) if people else ((None, None), ())
    photos = tuple(listed_path(root, name) for name in positions)
    trials = PairTrials(path_text(path), photos, tuple(positions), a, b, same, id_a, id_b, subjects, fold)
    check_pairs(trials)
    pairs = np.stack([a, b], axis=1).ravel()
    used, first = np.unique(pairs, return_index=True)
    rows = zip(used.tolist(), (first // 2 + 1 + HEADER_ROWS).tolist(), strict=True)
    refuse_absent(trials.source, ((row, trials.names[i], photos[i]) for i, row in rows))
    return trials


def all_pairs(people: PhotoSet | EmbeddingSet) -> PairTrials:
    """Every photo with every other one, once: n (n - 1) / 2 pairs, mated where both show one person.

    Vectors have no photos and no names: their rows are called by person and number, as "Mira Quill #3".
    """
    photos = people.photos if isinstance(people, PhotoSet) else ()
    numbered = (f"{subject} #{row}" for row, subject in enumerate(people.subject_ids))
    names = people.names if isinstance(people, PhotoSet) else tuple(numbered)
    a, b = np.triu_indices(len(people), 1)
    (subject,), subjects = encode_people(people.subject_ids)
    id_a, id_b = subject[a], subject[b]
    return PairTrials(people.source, photos, names, a, b, id_a == id_b, id_a, id_b, subjects)


def check_pairs(trials: PairTrials, *, header_rows: int = HEADER_ROWS) -> None:
    """Refuse, by row: a photo against itself, a pair listed twice in either order, labels that contradict.

    Labels contradict where one pair is called both mated and non-mated, where `same` disagrees with the ids, and
    where one photo carries two ids. `header_rows` is what to add to a position to get the row of the file.
    """
    a, b, names, start = trials.a, trials.b, trials.names, 1 + header_rows

    def row(i: int) -> str:
        return f"row {i + start} ({names[a[i]]}, {names[b[i]]})"

    refuse(trials.source, "a photo is compared with itself", [row(i) for i in np.flatnonzero(a == b).tolist()])
    later, first = repeats(np.minimum(a, b) * len(names) + np.maximum(a, b))
    conflicting = trials.same[later] != trials.same[first]
    for problem, chosen in (
        ("one pair is labelled both same and different", conflicting),
        ("pairs are listed twice", ~conflicting),
    ):
        twins = zip(later[chosen].tolist(), first[chosen].tolist(), strict=True)
        twice = [f"{row(i)}, first in row {j + start}" for i, j in twins]
        refuse(trials.source, problem, twice, "Keep one row of each pair.")
    if trials.id_a is None or trials.id_b is None:
        return
    _check_labels(trials.source, trials.same, trials.id_a, trials.id_b, header_rows)
    photo = np.stack([a, b], axis=1).ravel()
    subject = np.stack([trials.id_a, trials.id_b], axis=1).ravel()
    later, first = repeats(photo)
    two = subject[later] != subject[first]
    twins = zip(later[two].tolist(), first[two].tolist(), strict=True)
    shared = [f"{names[photo[i]]} in rows {j // 2 + start} and {i // 2 + start}" for i, j in twins]
    refuse(trials.source, "one photo carries the ids of two people", shared)


def _check_labels(source: object, same: Flags, id_a: Counts, id_b: Counts, header_rows: int) -> None:
    """Refuse rows that are called mated with two ids, or non-mated with one."""
    wrong = np.flatnonzero(same != (id_a == id_b)).tolist()
    said = [
        f"row {i + 1 + header_rows} says {'same' if same[i] else 'different'}, its ids say otherwise" for i in wrong
    ]
    refuse(source, "labels contradict the ids", said)


# -- scores


def read_scores_csv(path: Path) -> ScoredPairs:
    """CSV `score,mated[,id_a,id_b,fold]`: an empty or NaN score is a failed trial and keeps its row.

    `mated` takes 1/0, true/false or yes/no in any case. Two rows may name the same two people: people have several
    photos. EvaluationError, by row, for cells that cannot be read and labels that contradict the ids.
    """
    columns = read_columns(path, ("score", "mated"), ("id_a", "id_b", "fold"))
    scores = _numbers(path, columns["score"], HEADER_ROWS)
    mated = np.array(read_flags(path, "mated", columns["mated"]))
    fold = read_folds(path, columns.get("fold"))
    if "id_a" not in columns:
        return ScoredPairs(scores, mated, fold=fold, source=path_text(path))
    (id_a, id_b), subjects = encode_people(columns["id_a"], columns["id_b"])
    _check_labels(path, mated, id_a, id_b, HEADER_ROWS)
    return ScoredPairs(scores, mated, id_a, id_b, fold, path_text(path), subjects)


def read_bob_scores(path: Path) -> ScoredPairs:
    """bob's four columns, separated by blanks: a trial is mated where `claimed_id` is `real_id`.

    Side a is the claimed identity, side b the person on the photo `test_label`. EvaluationError, by row, for lines of
    another shape, a comparison listed twice, and a photo that is said to show two people.
    """
    columns: list[list[str]] = [[], [], [], []]
    lines = iter(read_text(path).rstrip().splitlines())
    while rows := [line.split() for line in islice(lines, CHUNK)]:
        start = len(columns[0]) + 1
        bad = [f"row {i}" for i, row in enumerate(rows, start) if len(row) != 4]
        refuse(path, "lines that are not 'claimed_id real_id test_label score'", bad)
        for column, values in zip(columns, zip(*rows, strict=True), strict=True):
            column.extend(values)
    claimed, real, labels, cells = columns
    if not cells:
        raise EvaluationError(f"{path}: is empty", "It needs at least one trial.")
    scores = _numbers(path, cells, 0)
    (id_a, id_b), subjects = encode_people(claimed, real)
    label = encode(labels, {})
    later, first = repeats(label)
    two = id_b[later] != id_b[first]
    twins = zip(later[two].tolist(), first[two].tolist(), strict=True)
    shared = [f"{labels[i]} in rows {j + 1} and {i + 1}" for i, j in twins]
    refuse(path, "one photo carries the ids of two people", shared)
    twice = zip(*(each.tolist() for each in repeats(id_a * (int(label.max()) + 1) + label)), strict=True)
    refuse(path, "comparisons are listed twice", [f"row {i + 1}, first in row {j + 1}" for i, j in twice])
    return ScoredPairs(scores, id_a == id_b, id_a, id_b, None, path_text(path), subjects)


def _numbers(path: Path, cells: Sequence[str], header_rows: int) -> Floats:
    try:
        return np.fromiter(map(float, cells), dtype=np.float64, count=len(cells))
    except ValueError:
        values = [_number(cell) for cell in cells]
    bad = [f"row {i + header_rows}: '{cells[i - 1]}'" for i, value in enumerate(values, 1) if value is None]
    refuse(path, "scores that are not numbers", bad, "Leave the score of a failed comparison empty.")
    return np.array(values, dtype=np.float64)


def _number(cell: str) -> float | None:
    """NaN for an empty cell, None for one that is no number."""
    try:
        return float(cell) if cell.strip() else math.nan
    except ValueError:
        return None


def write_scores_csv(path: Path, trials: ScoredPairs) -> None:
    """Write the trials to a new file as `read_scores_csv` reads them: the shortest forms that give the same doubles."""
    columns: list[Sequence[str]] = [
        ["" if math.isnan(score) else repr(score) for score in trials.score.tolist()],
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
    write_new(path, "".join(f"{row}\n" for row in (",".join(header), *rows)).encode())


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in ',"\r\n') else cell
