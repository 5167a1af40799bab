"""Comparing an engine with the database, and making it equal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.store import templates

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from facesearch.index.external import ExternalIndex
    from facesearch.search.backlog import DatabaseVectors
    from facesearch.types import Ids

SAMPLED: Final = 200
"""Vectors that are compared, spread over all of them."""
TOGETHER: Final = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """How an engine's index of a model differs from the database, aside from what it has not been told yet."""

    count: int
    """Templates in the database."""
    missing: Ids
    """What it lacks."""
    extra: Ids
    """What the database does not know."""
    wrong: Ids
    """Whose vector is another one, among those that were compared."""

    @property
    def is_none(self) -> bool:
        """Whether they are equal."""
        return not (len(self.missing) or len(self.extra) or len(self.wrong))

    def __str__(self) -> str:
        parts = (("lacks", self.missing), ("holds too many:", self.extra), ("holds another vector for", self.wrong))
        return ", ".join(f"{words} {len(ids)}" for words, ids in parts if len(ids)) or "equal"


def compare(connection: Connection, index: ExternalIndex, truth: DatabaseVectors, pending: Ids) -> Difference:
    """The difference between an index and what `connection` sees; nobody tells the engine anything meanwhile."""
    stored, _ = templates.template_keys(connection, truth.model_row)
    held = np.sort(np.concatenate([np.empty(0, np.int64), *index.ids()]))
    both = np.setdiff1d(np.intersect1d(stored, held), pending)
    sample = both[np.linspace(0, len(both) - 1, min(SAMPLED, len(both))).astype(int)]
    return Difference(
        len(stored),
        np.setdiff1d(np.setdiff1d(stored, held), pending),
        np.setdiff1d(np.setdiff1d(held, stored), pending),
        _wrong(index, truth, sample),
    )


def _wrong(index: ExternalIndex, truth: DatabaseVectors, sample: Ids) -> Ids:
    ids, vectors = truth.vectors(sample)
    held_ids, held = index.vectors(sample)
    found = np.isin(ids, held_ids)
    differences = np.abs(vectors[found] - held).max(axis=1, initial=0)
    return np.concatenate([ids[~found], ids[found][differences > index.error]])


def mend(index: ExternalIndex, truth: DatabaseVectors, difference: Difference) -> None:
    """Make the index equal; where one of the compared vectors was wrong, all of them are put in again."""
    for start in range(0, len(difference.extra), TOGETHER):
        index.remove(difference.extra[start : start + TOGETHER])
    for start in range(0, len(difference.missing), TOGETHER):
        index.add(*truth.vectors(difference.missing[start : start + TOGETHER]))
    if len(difference.wrong):
        for ids, vectors in truth.blocks():
            index.add(ids, vectors)
