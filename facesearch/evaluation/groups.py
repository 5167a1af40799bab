"""TAR and FAR by group at one global threshold: the same threshold for all is what a user of the engine gets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.bootstrap import subject_weights
from facesearch.evaluation.results.comparisons import GroupRates
from facesearch.evaluation.results.rates import Rate
from facesearch.evaluation.uncertainty import REPLICATES, bootstrap_interval, disjoint_pairs, wilson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from facesearch.evaluation.results.arrays import Counts, Flags
    from facesearch.evaluation.results.scores import ScoredPairs


def group_rates(
    pairs: ScoredPairs, groups: Mapping[int, str], threshold: float, *, replicates: int = REPLICATES, seed: int = 0
) -> tuple[GroupRates, ...]:
    """TAR and FAR of each group at one global threshold, groups in alphabetical order.

    Args:
        pairs: with identities; NaN scores are left out.
        groups: group of each person by code; people without one belong to none.
        threshold: accept iff score >= threshold.
        replicates: of the subject bootstrap within the group.
        seed: of the bootstrap.

    Raises:
        EvaluationError: no identities, or nobody in a group has a completed comparison.

    >>> from facesearch.evaluation.results.scores import ScoredPairs
    >>> pairs = ScoredPairs(np.array([0.9, 0.2]), np.array([True, True]), np.array([1, 2]), np.array([1, 2]))
    >>> [(rates.group, rates.tar.value) for rates in group_rates(pairs, {1: "x", 2: "y"}, 0.5)]
    [('x', 1.0), ('y', 0.0)]
    """
    if pairs.id_a is None or pairs.id_b is None:
        raise EvaluationError("Rates by group need to know who is in each pair.", hint="Add the columns id_a and id_b.")
    completed = ~np.isnan(pairs.score)
    rates = []
    for name in sorted(set(groups.values())):
        members = np.array([person for person, group in groups.items() if group == name])
        inside = completed & np.isin(pairs.id_a, members) & np.isin(pairs.id_b, members)
        people = np.unique(np.append(pairs.id_a[inside], pairs.id_b[inside]))
        accepted = pairs.score >= threshold
        sides = np.searchsorted(people, pairs.id_a), np.searchsorted(people, pairs.id_b)
        drawn = [
            _rate_of_pairs(accepted[kind], (sides[0][kind], sides[1][kind]), people.size, replicates, seed)
            for kind in (inside & pairs.mated, inside & ~pairs.mated)
        ]
        if drawn[0] or drawn[1]:
            rates.append(GroupRates(name, tar=drawn[0], far=drawn[1]))
    if not rates:
        raise EvaluationError("No group has a completed comparison.", hint="Do the names in the groups match?")
    return tuple(rates)


def _rate_of_pairs(
    accepted: Flags, sides: tuple[Counts, Counts], people: int, replicates: int, seed: int
) -> Rate | None:
    if not accepted.size:
        return None
    a, b = sides
    mated = a == b
    drawn = np.full(replicates, math.nan)
    row = 0
    for weights in subject_weights(people, replicates, seed):
        for weight in weights:
            heavy = np.where(mated, weight[a], weight[a] * weight[b])
            total = heavy.sum()
            if total:
                drawn[row] = heavy[accepted].sum() / total
            row += 1
    count, total = int(accepted.sum()), accepted.size
    units = np.unique(a).size if mated.all() else disjoint_pairs(a, b)
    return Rate(
        count,
        total,
        interval=bootstrap_interval(count / total, drawn, trials=total, units=units),
        naive=wilson(count, total),
    )
