"""Leaving rows out of an error curve without making any up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facesearch.evaluation.results.arrays import Counts

WHOLE = 10_000
"""A curve of up to so many rows is written whole: 6,000 pairs are less than a megabyte."""
FINE = 1_000
"""Steps per e-fold of a count that a table keeps: what it leaves out lies within 0.1 % of a row it keeps."""
DRAWN = 60
"""Steps per e-fold that a drawing keeps: a third of a pixel at the size the plots have."""


def kept_rows(*errors: Counts, steps: int, whole: int = 0) -> NDArray[np.intp]:
    """Positions of the rows of a curve to keep, rising; the first and the last are always among them.

    `errors` are (m,) int64 counts of errors along the curve, such as false matches and false non-matches. A row is kept
    where one of them has moved by a factor of exp(1 / steps) or, below `steps` errors, at all: few errors are the end
    of the curve that matters, and stay complete. A curve of up to `whole` rows is kept as it is.
    """
    rows = errors[0].size
    if rows <= whole:
        return np.arange(rows)
    keep = np.zeros(rows, dtype=np.bool_)
    keep[[0, -1]] = True
    for count in errors:
        # Below one error per step the logarithm resolves every count.
        cell = np.floor(steps * np.log1p(count))
        keep[1:] |= cell[1:] != cell[:-1]
    return np.flatnonzero(keep)
