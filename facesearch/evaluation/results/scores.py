"""What goes into the statistics: the scores of planned comparisons and searches. NaN means that one failed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facesearch.evaluation.results.arrays import Counts, Flags, Floats


@dataclass(frozen=True, slots=True)
class Attempts:
    """Templates tried and failed, by role; what FTE and FTA are computed from."""

    enrolments: int
    failed_enrolments: int
    probes: int
    failed_probes: int


@dataclass(frozen=True, slots=True, eq=False)
class ScoredPairs:
    """Planned 1:1 comparisons, one row each; n rows.

    A row whose score is NaN was planned and failed. -inf and +inf are scores.
    """

    score: Floats
    """(n,) float64, higher is more alike."""
    mated: Flags
    """(n,) bool: the two sides show one person."""
    id_a: Counts | None = None
    """(n,) int64 subject codes of the first side (any integers); None without identities."""
    id_b: Counts | None = None
    fold: Counts | None = None
    """(n,) int64 fold numbers; None without folds."""


@dataclass(frozen=True, slots=True, eq=False)
class PairSummary:
    """All comparisons among n templates of known subjects, kept small: mated in full, of the non-mated the tail.

    Every pair of templates of one subject is mated, every other non-mated; g mated pairs, k tail entries.
    """

    mated_score: Floats
    """(g,) float64."""
    mated_id: NDArray[np.int32]
    """(g,) subject codes 0 ... S-1."""
    tail_score: NDArray[np.float32]
    """(k,) float32, falling: every non-mated score >= `floor`."""
    tail_a: NDArray[np.int32]
    """(k,) rows of the vectors; `subject[tail_a]` is the subject."""
    tail_b: NDArray[np.int32]
    floor: float
    """-inf where the tail holds every non-mated score."""
    histogram: Counts
    """(bins,) int64: all non-mated scores over equal bins of [-1, 1]; a score on an edge counts above it."""
    subject: NDArray[np.int32]
    """(n,) subject codes 0 ... S-1 of the templates."""
    non_mated: int
    """Comparisons, all of them."""


@dataclass(frozen=True, slots=True, eq=False)
class SearchScores:
    """1:N searches against `subjects` enrolled people, summarised per probe; p mated and q non-mated searches.

    A subject's score is the best over its templates. NaN marks a failed probe, or a mate whose enrolment failed.
    """

    subjects: int
    """N, enrolled (failed enrolments are not in the gallery)."""
    mate_score: Floats
    """(p,) float64: the mate's score; NaN = miss at every threshold and rank."""
    mate_rank: Counts
    """(p,) int64: 1 + other subjects with score >= the mate's; any value >= 1 where the search failed."""
    top: Floats
    """(q, k) float64: the k best subject scores of each non-mated search, falling, k <= N; a row of NaN = failed."""
    mate_id: Counts | None = None
    """(p,) int64 subject codes of mated probes, for the subject bootstrap."""
    non_mate_id: Counts | None = None
    """(q,) int64 subject codes of non-mated probes; codes differ from mated ones unless it is the same person."""
    failed_enrolments: int = 0
    attempted_enrolments: int = 0
    """0: not known."""
