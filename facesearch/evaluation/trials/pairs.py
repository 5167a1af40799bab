"""Labelled pairs: LFW's `pairs.txt`, CSV of photos, CSV of scores, bob's four columns, and all pairs of a set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facesearch.errors import EvaluationError
from facesearch.evaluation.trials.table import (
    HEADER_ROWS,
    encode,
    encode_people,
    read_columns,
    read_flags,
    read_folds,
    read_text,
    refusal,
    repeats,
)
from facesearch.evaluation.trials.types import EmbeddingSet, PairTrials, Photo, PhotoSet, ScoredPairs
from facesearch.names import listed_path, path_text
from facesearch.walking import is_gone


def read_lfw_pairs(path: Path, photos: Path) -> PairTrials:
    """LFW's `pairs.txt`: header `folds pairs`, then per fold that many mated and as many non-mated lines.

    `name n1 n2` is a mated pair and `name1 n1 name2 n2` a non-mated one; the photo is `name/name_%04d.jpg`
    under `photos`. Raises EvaluationError for a line of another shape, a count that is not the header's,
    photos that are not there, and everything `check_pairs` refuses.
    """
    lines = read_text(path).rstrip().splitlines()
    folds, per_class = _lfw_header(path, lines)
    rows = [line.split() for line in lines[1:]]
    bad = [i for i, row in enumerate(rows, 2) if not _is_lfw_row(row)]
    if bad:
        offenders = (f"row {i}: '{lines[i - 1].strip()}'" for i in bad)
        raise refusal(str(path), "lines that are neither 'name n1 n2' nor 'name1 n1 name2 n2'", offenders, len(bad))
    if len(rows) != folds * 2 * per_class:
        raise EvaluationError(
            f"{path}: row 1 promises {folds} x 2 x {per_class} = {folds * 2 * per_class:,} pairs, {len(rows):,} follow",
            "Is the file cut off, or its header that of another one?",
        )
    same = np.array([len(row) == 3 for row in rows])
    expected = np.arange(len(rows)) % (2 * per_class) < per_class
    if misplaced := np.flatnonzero(same != expected).tolist():
        offenders = (f"row {i + 2}" for i in misplaced)
        raise refusal(
            str(path), f"each fold is {per_class} mated and then {per_class} non-mated pairs", offenders, len(misplaced)
        )
    left = [(row[0], int(row[1])) for row in rows]
    right = [(row[-2] if len(row) == 4 else row[0], int(row[-1])) for row in rows]
    return _assembled(
        path,
        photos,
        [_lfw_file(*side) for side in left],
        [_lfw_file(*side) for side in right],
        same,
        people=([name for name, _ in left], [name for name, _ in right]),
        fold=np.arange(len(rows), dtype=np.int64) // (2 * per_class),
    )


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


def _lfw_file(name: str, number: int) -> str:
    return f"{name}/{name}_{number:04d}.jpg"


def read_pairs_csv(path: Path, photos: Path | None = None) -> PairTrials:
    """CSV `a,b,same[,id_a,id_b,fold]`; paths are relative to `photos`, or to the CSV's own folder.

    `same` takes 1/0, true/false or yes/no in any case. `id_a` and `id_b` come together or not at all. Raises
    EvaluationError for a wrong header, wrong cells, photos that are not there and what `check_pairs` refuses.
    """
    columns = read_columns(path, ("a", "b", "same"), ("id_a", "id_b", "fold"))
    if ("id_a" in columns) != ("id_b" in columns):
        raise EvaluationError(f"{path}: row 1 names one of id_a and id_b", "Give both columns, or neither.")
    return _assembled(
        path,
        path.parent if photos is None else photos,
        columns["a"],
        columns["b"],
        np.array(read_flags(path, "same", columns["same"])),
        people=(columns["id_a"], columns["id_b"]) if "id_a" in columns else None,
        fold=np.array(read_folds(path, columns["fold"]), dtype=np.int64) if "fold" in columns else None,
    )


def _assembled(
    path: Path,
    root: Path,
    left: Sequence[str],
    right: Sequence[str],
    same: NDArray[np.bool_],
    *,
    people: tuple[Sequence[str], Sequence[str]] | None,
    fold: NDArray[np.int64] | None,
) -> PairTrials:
    positions: dict[str, int] = {}
    a, b = encode(left, positions), encode(right, positions)
    (id_a, id_b), subjects = encode_people(*people) if people else ((None, None), ())
    photos: tuple[Photo, ...] = tuple(listed_path(root, name) for name in positions)
    trials = PairTrials(path_text(path), photos, tuple(positions), a, b, same, id_a, id_b, subjects, fold)
    check_pairs(trials)
    _check_photos_exist(trials)
    return trials


def _check_photos_exist(trials: PairTrials) -> None:
    absent = {i for i, photo in enumerate(trials.photos) if isinstance(photo, Path) and is_gone(photo)}
    if absent:
        row_of = {int(photo): row for row, pair in reversed(_rows(trials)) for photo in pair}
        offenders = (f"row {row_of[i]}: {trials.names[i]}" for i in sorted(absent))
        raise refusal(
            trials.source,
            "photos that are not there",
            offenders,
            len(absent),
            "Name the folder they are in with --photos DIR.",
        )


def _rows(trials: PairTrials) -> list[tuple[int, tuple[int, int]]]:
    return list(enumerate(zip(trials.a.tolist(), trials.b.tolist(), strict=True), 1 + HEADER_ROWS))


def check_pairs(trials: PairTrials, *, header_rows: int = HEADER_ROWS) -> None:
    """Refuse, by row: a photo against itself, a pair listed twice in either order, labels that contradict.

    Labels contradict where one pair is called both mated and non-mated, where `same` disagrees with the ids, and
    where one photo carries two ids. `header_rows` is what to add to a position to get the row of the file.
    """
    a, b, names = trials.a, trials.b, trials.names

    def row(i: int) -> str:
        return f"row {i + 1 + header_rows} ({names[a[i]]}, {names[b[i]]})"

    itself = np.flatnonzero(a == b).tolist()
    if itself:
        raise refusal(trials.source, "a photo is compared with itself", map(row, itself), len(itself))
    later, first = repeats(np.minimum(a, b) * len(names) + np.maximum(a, b))
    conflicting = trials.same[later] != trials.same[first]
    for problem, chosen in (
        ("one pair is labelled both same and different", conflicting),
        ("pairs are listed twice", ~conflicting),
    ):
        if chosen.any():
            twins = zip(later[chosen].tolist(), first[chosen].tolist(), strict=True)
            offenders = (f"{row(i)}, first in row {j + 1 + header_rows}" for i, j in twins)
            raise refusal(trials.source, problem, offenders, int(chosen.sum()), "Keep one row of each pair.")
    _check_ids(trials, header_rows)


def _check_ids(trials: PairTrials, header_rows: int) -> None:
    if trials.id_a is None or trials.id_b is None:
        return
    check_labels_against_ids(trials.source, trials.same, trials.id_a, trials.id_b, header_rows)
    photo = np.stack([trials.a, trials.b], axis=1).ravel()
    subject = np.stack([trials.id_a, trials.id_b], axis=1).ravel()
    later, first = repeats(photo)
    two = subject[later] != subject[first]
    if two.any():
        offenders = (
            f"{trials.names[photo[i]]} in rows {j // 2 + 1 + header_rows} and {i // 2 + 1 + header_rows}"
            for i, j in zip(later[two].tolist(), first[two].tolist(), strict=True)
        )
        raise refusal(trials.source, "one photo carries the ids of two people", offenders, int(two.sum()))


def check_labels_against_ids(
    source: str, same: NDArray[np.bool_], id_a: NDArray[np.int64], id_b: NDArray[np.int64], header_rows: int
) -> None:
    """Refuse rows that are called mated with two ids, or non-mated with one."""
    wrong = np.flatnonzero(same != (id_a == id_b)).tolist()
    if wrong:
        offenders = (
            f"row {i + 1 + header_rows} says {'same' if same[i] else 'different'}, its ids say otherwise" for i in wrong
        )
        raise refusal(source, "labels contradict the ids", offenders, len(wrong))


_CHUNK = 500


def read_scores_csv(path: Path) -> ScoredPairs:
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
        return ScoredPairs(scores, mated, fold=fold, source=path_text(path))
    (id_a, id_b), subjects = encode_people(columns["id_a"], columns["id_b"])
    check_labels_against_ids(str(path), mated, id_a, id_b, HEADER_ROWS)
    return ScoredPairs(scores, mated, id_a, id_b, fold, path_text(path), subjects)


def read_bob_scores(path: Path) -> ScoredPairs:
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
    (id_a, id_b), subjects = encode_people(claimed, real)
    _check_labels(path, id_a, id_b, label)
    return ScoredPairs(scores, id_a == id_b, id_a, id_b, None, path_text(path), subjects)


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


def write_scores_csv(path: Path, trials: ScoredPairs) -> None:
    """The trials as `read_scores_csv` reads them, every score in the shortest form that reads back the same double."""
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
    path.write_text("\n".join([",".join(header), *rows]) + "\n", encoding="utf-8", newline="\n")


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in ',"\r\n') else cell


def all_pairs(people: PhotoSet | EmbeddingSet) -> PairTrials:
    """n (n - 1) / 2 pairs, those of one person mated. The sides of a pair are positions in the set.

    Vectors have no photos and no names: their rows are called by person and number, as "Mira Quill #3".
    """
    if isinstance(people, PhotoSet):
        return _paired(people.source, people.photos, people.names, people.subject_ids)
    names = tuple(f"{subject} #{row}" for row, subject in enumerate(people.subject_ids))
    return _paired(people.source, (), names, people.subject_ids)


def _paired(source: str, photos: tuple[Photo, ...], names: tuple[str, ...], subject_ids: Sequence[str]) -> PairTrials:
    a, b = np.triu_indices(len(subject_ids), 1)
    (subject,), subjects = encode_people(subject_ids)
    id_a, id_b = subject[a], subject[b]
    return PairTrials(source, photos, names, a, b, id_a == id_b, id_a, id_b, subjects)
