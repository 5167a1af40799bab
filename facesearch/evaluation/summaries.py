"""Searches reduced to what the 1:N figures need, block by block."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.results.scores import SearchScores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from facesearch.evaluation.results.arrays import Counts, Floats

NON_MATED = -1
"""In `summarise`: the probe's person is not meant to be in the gallery."""
NOT_ENROLLED = -2
"""In `summarise`: the probe's person should be in the gallery, but the enrolment failed."""
TOP = 256
"""Subject scores kept per non-mated search: FPIR by gallery size is exact while fewer of them alarm."""


def summarise(block: Floats, mate: Counts, identity: Counts | None = None, *, keep: int = TOP) -> SearchScores:
    """Reduce searches against all subjects to what the rates need; see `join` for many blocks.

    Args:
        block: (b, N) each probe's best score per enrolled subject; a row of NaN is a failed probe.
        mate: (b,) column of the probe's own subject, `NON_MATED` or `NOT_ENROLLED`.
        identity: (b,) codes of the people on the probes.
        keep: subject scores kept of each non-mated search.

    Raises:
        EvaluationError: no subjects, a row that is NaN in part, a mate outside the gallery.

    >>> scores = summarise(np.array([[0.9, 0.2], [0.4, 0.4], [0.3, 0.1]]), np.array([0, 1, NON_MATED]))
    >>> scores.mate_score.tolist(), scores.mate_rank.tolist(), scores.top.tolist()
    ([0.9, 0.4], [1, 2], [[0.3, 0.1]])
    """
    missing = np.isnan(block)
    if block.ndim != 2 or block.shape[1] == 0:
        raise EvaluationError("The gallery is empty: nothing can be searched.", hint="Enroll at least one subject.")
    if np.any(missing.any(axis=1) & ~missing.all(axis=1)):
        raise EvaluationError("A search has scores for some subjects only.", hint="A failed probe is NaN throughout.")
    if mate.min(initial=0) < NOT_ENROLLED or mate.max(initial=-1) >= block.shape[1]:
        raise EvaluationError("A probe's mate is outside the gallery.", hint="Mark it NON_MATED or NOT_ENROLLED.")
    mated = mate != NON_MATED
    scores, columns = block[mated], mate[mated]
    own = np.where(columns >= 0, scores[np.arange(columns.size), np.maximum(columns, 0)], math.nan)
    rank = np.count_nonzero(scores >= own[:, None], axis=1)
    others = block[~mated]
    top = -np.sort(-others, axis=1)[:, :keep]
    return SearchScores(
        subjects=block.shape[1],
        mate_score=own.astype(np.float64),
        mate_rank=np.maximum(rank, 1),
        top=top.astype(np.float64),
        mate_id=None if identity is None else identity[mated],
        non_mate_id=None if identity is None else identity[~mated],
    )


def join(blocks: Sequence[SearchScores]) -> SearchScores:
    """Searches of several blocks against one gallery as one; enrolment counts are those of the first.

    >>> one = summarise(np.array([[0.9, 0.2]]), np.array([0]))
    >>> join([one, one]).mate_rank.tolist()
    [1, 1]
    """
    first = blocks[0]
    if any(block.subjects != first.subjects for block in blocks):
        raise EvaluationError("The searches were made against galleries of different sizes.")

    def gather(name: str) -> NDArray[np.int64] | None:
        parts = [getattr(block, name) for block in blocks]
        return None if any(part is None for part in parts) else np.concatenate(parts)

    return replace(
        first,
        mate_score=np.concatenate([block.mate_score for block in blocks]),
        mate_rank=np.concatenate([block.mate_rank for block in blocks]),
        top=np.concatenate([block.top for block in blocks]),
        mate_id=gather("mate_id"),
        non_mate_id=gather("non_mate_id"),
    )
