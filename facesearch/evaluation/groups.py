"""TAR and FAR by group at one global threshold: the same threshold for all is what a user of the engine gets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.bootstrap import Sample, sample_of_pairs, subject_weights
from facesearch.evaluation.rates import REPLICATES, Rate, surrounded
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


def rates_at(
    sample: Sample, threshold: float, *, replicates: int = REPLICATES, seed: int = 0
) -> tuple[Rate | None, Rate | None]:
    """TAR and FAR at one threshold for all replicates, with intervals; None for a class without comparisons.

    Raises EvaluationError: the kept tail ends above the threshold.
    """
    if not sample.complete and threshold < sample.tail_score[-1]:
        raise EvaluationError("The kept tail of non-mated scores ends above this threshold.")
    accepted = int(np.searchsorted(-sample.mated_score, -threshold, side="right"))
    false = int(np.searchsorted(-sample.tail_score, -threshold, side="right"))
    tars, fars = np.full((2, replicates), math.nan)
    row = 0
    for weights in subject_weights(sample.subjects, replicates, seed):
        totals, mated = sample.non_mated_of(weights), weights @ sample.planned_mated
        for drawn, total, mated_total in zip(weights, totals.tolist(), mated.tolist(), strict=True):
            if mated_total:
                tars[row] = drawn.take(sample.mated_subject[:accepted]).sum() / mated_total
            if total:
                fars[row] = sample.weights(drawn, false).sum() / total
            row += 1
    mated_total = int(sample.planned_mated.sum())
    tar = far = None
    if mated_total:
        tar = surrounded(Rate(accepted, mated_total), sample.mated_units, tars, flawless=mated_total)
    if sample.non_mated:
        far = Rate(false, sample.non_mated)
        excess = 0.0 if sample.tail_b is None else 2 * far.value * (1 - far.value) / far.total
        far = surrounded(far, sample.non_mated_units, fars, flawless=0, excess=excess)
    return tar, far


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
