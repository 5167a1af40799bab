"""TAR and FAR by group at one global threshold: the same threshold for all is what a user of the engine gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.bootstrap import rates_at, sample_of_pairs
from facesearch.evaluation.rates import REPLICATES, Rate
from facesearch.evaluation.trials.table import HEADER_ROWS, read_columns, refuse, repeated
from facesearch.evaluation.trials.types import ScoredPairs


@dataclass(frozen=True, slots=True)
class GroupRates:
    """One group's comparisons at the one threshold that holds for all groups."""

    group: str
    tar: Rate | None
    """Mated comparisons of the group's people; None without any."""
    far: Rate | None
    """Non-mated comparisons within the group; None without any."""


def group_rates(
    pairs: ScoredPairs, groups: Mapping[int, str], threshold: float, *, replicates: int = REPLICATES, seed: int = 0
) -> tuple[GroupRates, ...]:
    """Return TAR and FAR of each group at one global threshold, groups in alphabetical order.

    `pairs` need identities; NaN scores are left out. `groups` is the group of each person by code; people without one
    belong to none. Raises EvaluationError: no identities, or nobody in a group has a completed comparison.
    """
    if pairs.id_a is None or pairs.id_b is None:
        raise EvaluationError("Rates by group need to know who is in each pair.", hint="Add the columns id_a and id_b.")
    rates = []
    for name in sorted(set(groups.values())):
        members = np.array([person for person, group in groups.items() if group == name])
        inside = ~pairs.failed & np.isin(pairs.id_a, members) & np.isin(pairs.id_b, members)
        if inside.any():
            own = ScoredPairs(pairs.score[inside], pairs.mated[inside], pairs.id_a[inside], pairs.id_b[inside])
            rates.append(GroupRates(name, *rates_at(sample_of_pairs(own), threshold, replicates=replicates, seed=seed)))
    if not rates:
        raise EvaluationError(
            "No group has a completed comparison.", hint="Name people in the groups as the trials do."
        )
    return tuple(rates)


def read_groups(path: Path) -> dict[str, str]:
    """Read CSV `subject_id,group`. EvaluationError, by row, for a person listed twice and for an empty cell."""
    columns = read_columns(path, ("subject_id", "group"))
    people, groups = columns["subject_id"], columns["group"]
    rows = enumerate(zip(people, groups, strict=True), 1 + HEADER_ROWS)
    refuse(path, "rows with an empty cell", [f"row {row}" for row, cells in rows if not all(map(str.strip, cells))])
    twice = [
        f"row {i + 1 + HEADER_ROWS} ({people[i]}), first in row {j + 1 + HEADER_ROWS}" for i, j in repeated(people)
    ]
    refuse(path, "people are listed twice", twice, "Keep one row of each person.")
    return dict(zip(people, groups, strict=True))


def coded_groups(groups: dict[str, str], subjects: Sequence[str], source: str) -> dict[int, str]:
    """The same by code; `subjects` holds the name of each. EvaluationError where none of them is in a group."""
    coded = {code: groups[name] for code, name in enumerate(subjects) if name in groups}
    if not coded:
        raise EvaluationError(
            f"{source}: nobody in it takes part in these trials", "Name people there as the trials do."
        )
    return coded
