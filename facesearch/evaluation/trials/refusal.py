"""Refusals that name the rows, and the checks several formats share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from facesearch.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

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


def repeats(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows whose key stood in an earlier row, and for each the first row that has it."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    earliest = first[inverse]
    later = np.flatnonzero(earliest != np.arange(keys.size))
    return later, earliest[later]


def require_disjoint_subjects(
    calibration: Sequence[str], test: Sequence[str], *, calibration_source: str, test_source: str
) -> None:
    """Raise EvaluationError where a person is in both splits: a threshold judged on them would look too good.

    `calibration` and `test` hold the subject id of each row; the message names the first row of each side.
    """
    first: dict[str, int] = {}
    for row, subject in enumerate(calibration, 1):
        first.setdefault(subject, row)
    shared: dict[str, int] = {}
    for row, subject in enumerate(test, 1):
        if subject in first:
            shared.setdefault(subject, row)
    if shared:
        offenders = (f"row {first[subject]} there and row {row} here ({subject})" for subject, row in shared.items())
        raise refusal(
            test_source,
            f"people of the calibration split {calibration_source} are in the test split as well",
            offenders,
            len(shared),
            "Split by person, not by photo: every person on one side only.",
        )
