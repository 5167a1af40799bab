"""Which group each person belongs to, for rates by group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facesearch.errors import EvaluationError
from facesearch.evaluation.trials.refusal import encode, refusal, repeats
from facesearch.evaluation.trials.table import HEADER_ROWS, read_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def read_groups(path: Path) -> dict[str, str]:
    """CSV `subject_id,group`: the group of each person.

    EvaluationError, by row, for a person listed twice and for an empty cell.
    """
    columns = read_columns(path, ("subject_id", "group"))
    people, groups = columns["subject_id"], columns["group"]
    empty = [
        row
        for row, cells in enumerate(zip(people, groups, strict=True), 1 + HEADER_ROWS)
        if not all(map(str.strip, cells))
    ]
    if empty:
        raise refusal(str(path), "rows with an empty cell", (f"row {row}" for row in empty), len(empty))
    later, first = repeats(encode(people, {}))
    if later.size:
        twins = zip(later.tolist(), first.tolist(), strict=True)
        offenders = (f"row {i + 1 + HEADER_ROWS} ({people[i]}), first in row {j + 1 + HEADER_ROWS}" for i, j in twins)
        raise refusal(str(path), "people are listed twice", offenders, int(later.size), "Keep one row of each person.")
    return dict(zip(people, groups, strict=True))


def coded_groups(groups: dict[str, str], subjects: Sequence[str], source: str) -> dict[int, str]:
    """The same by the codes that `together.scored_pairs` gives to the people of one evaluation.

    EvaluationError where none of them is in it: the names are then spelt differently.
    """
    coded = {code: groups[name] for code, name in enumerate(sorted(set(subjects))) if name in groups}
    if not coded:
        raise EvaluationError(
            f"{source}: nobody in it takes part in these trials", "Are the people named as in the trials?"
        )
    return coded
