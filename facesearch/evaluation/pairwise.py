"""All comparisons of n templates with each other in little memory: a blocked product that keeps what rates need.

It keeps all mated scores, the exact tail of the non-mated scores with their people, and a histogram of all non-mated
scores for the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facesearch.errors import EvaluationError
from facesearch.evaluation.rates import Counts, Floats
from facesearch.evaluation.verification import ErrorCurve
from facesearch.types import Vectors

if TYPE_CHECKING:
    Block = tuple[slice, slice]
    Entries = tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]


@dataclass(frozen=True, slots=True, eq=False)
class PairSummary:
    """All comparisons among n templates of known subjects: g mated scores in full, k non-mated ones of the tail."""

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


BINS = 65_536
"""Of the histogram over [-1, 1]: 2^-15 wide, so that scaling a float32 score to bins is exact."""
BLOCK = 2_048
"""Rows and columns multiplied at a time: 16 MiB of scores."""
UNIT_TOLERANCE = 1e-3
"""How far a vector's length may be from 1."""
_THREADS = 2
"""Parts of a block scanned at the same time."""
_STRIP = 256
"""Rows scanned at a time: a compromise between the processor's cache and one histogram per strip."""
_SMALLEST_TAIL = 1 << 20
"""Tail entries kept in any case: 12 MiB."""
_MARGIN = 128
"""Bins beyond either end, for cosines that the tolerance lets out of [-1, 1]."""
_SCALE = BINS // 2
_LEFT_OUT = np.float32(-1.003 * _SCALE)
"""Stands for a score that is not a non-mated comparison; within the margin, below any cosine."""
_LOWEST = np.float32(-1.0025 * _SCALE)


def compare_all(
    vectors: Vectors, subject: NDArray[np.int64], *, largest_far: float = 1e-3, block: int = BLOCK
) -> PairSummary:
    """Compare every template with every other one, once; pairs of one subject are mated, all others non-mated.

    Args:
        vectors: (n, d) float32 of unit length within 1e-3.
        subject: (n,) codes of the people, any integers.
        largest_far: the tail holds about 4 * largest_far of the non-mated scores, and a million at least: what the
            bootstrap needs for TAR at that FAR. Memory grows by 48 bytes for each such error.
        block: rows multiplied at a time.

    Raises EvaluationError: fewer than two vectors, not unit length or not finite, other shapes, a rate outside (0, 1].
    """
    require_templates(vectors, subject)
    if not 0 < largest_far <= 1:
        raise EvaluationError(f"The FAR {largest_far:g} is not above 0 and up to 1.", hint="For example: 1e-3")
    _, codes = np.unique(subject, return_inverse=True)
    order = np.argsort(codes, kind="stable").astype(np.int32)
    counts = np.bincount(codes)
    non_mated = (subject.size**2 - int((counts.astype(object) ** 2).sum())) // 2
    kept = _Kept(max(4 * math.floor(largest_far * non_mated), _SMALLEST_TAIL))
    arranged = _Arranged(order, np.cumsum(counts)[codes[order]])
    ordered = vectors if np.array_equal(order, np.arange(order.size)) else vectors[order]
    buffer = np.empty(block * block, dtype=np.float32)
    with ThreadPoolExecutor(_THREADS) as workers:
        for rows, columns in blocks(len(vectors), block):
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            scores = buffer[: shape[0] * shape[1]].reshape(shape)
            np.matmul(ordered[rows] * np.float32(_SCALE), ordered[columns].T, out=scores)
            # The product uses all cores; what follows is memory traffic, which two threads share.
            half = (shape[0] + 1) // 2
            parts = ((scores[start : start + half], rows.start + start) for start in range(0, shape[0], half))
            for part in [workers.submit(arranged.scan, *each, columns.start, kept.cut) for each in parts]:
                kept.take(part.result())
    return kept.summary(codes.astype(np.int32), non_mated)


def require_templates(vectors: Vectors, subject: NDArray[np.int64]) -> None:
    """Refuse what is not (n, d) unit vectors with n subjects, n at least 2."""
    if vectors.ndim != 2 or len(vectors) < 2 or subject.shape != (len(vectors),):
        raise EvaluationError(
            f"{vectors.shape} vectors and {subject.shape} subjects cannot be compared.",
            hint="Give (n, d) vectors and n subjects, n at least 2.",
        )
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    if not np.all(np.abs(lengths - 1) <= UNIT_TOLERANCE):
        bad = int(np.flatnonzero(~(np.abs(lengths - 1) <= UNIT_TOLERANCE))[0])
        raise EvaluationError(f"Vector {bad} is not of unit length.", hint="Divide each vector by its length.")


def blocks(size: int, block: int) -> Iterator[Block]:
    """Rows and columns of the blocks that cover the upper triangle of a (size, size) matrix."""
    for top in range(0, size, block):
        for left in range(top, size, block):
            yield slice(top, min(top + block, size)), slice(left, min(left + block, size))


@dataclass(frozen=True, slots=True, eq=False)
class _Scanned:
    """What some rows of a block hold."""

    histogram: Counts
    mated: tuple[NDArray[np.float32], NDArray[np.int32]]
    """Scores, and the caller's row of one side."""
    tail: list[Entries]


@dataclass(frozen=True, slots=True, eq=False)
class _Arranged:
    """Where the templates stand once they are sorted by subject."""

    order: NDArray[np.int32]
    """Row of the caller's vectors at each sorted position."""
    group_end: NDArray[np.int64]
    """Where the subject of each sorted position ends."""

    def scan(self, scores: NDArray[np.float32], top: int, left: int, cut: np.float32) -> _Scanned:
        """Look through scaled scores of sorted rows from `top` and columns from `left`; they are overwritten."""
        rows = np.arange(top, top + scores.shape[0])
        first = np.maximum(rows + 1, left)
        counts = np.maximum(np.minimum(self.group_end[rows], left + scores.shape[1]) - first, 0)
        row = np.repeat(rows - top, counts)
        skipped = np.repeat(np.cumsum(counts) - counts, counts)
        column = np.arange(row.size) - skipped + np.repeat(first - left, counts)
        mated = scores[row, column], self.order[row + top]
        scores[row, column] = _LEFT_OUT
        for line in range(max(0, left - top), scores.shape[0]):
            scores[line, : max(0, top + line + 1 - left)] = _LEFT_OUT
        histogram = np.zeros(BINS + 2 * _MARGIN, dtype=np.int64)
        tail = []
        for start in range(0, len(scores), _STRIP):
            flat = scores[start : start + _STRIP].reshape(-1)
            found = np.flatnonzero(flat >= cut)
            row, column = np.divmod(found.astype(np.int32), np.int32(scores.shape[1]))
            tail.append((flat[found], self.order[row + (top + start)], self.order[column + left]))
            # Floor and adding a whole number are exact: no score is put into a wrong bin.
            np.floor(flat, out=flat)
            bins = flat.astype(np.int32)
            bins += _SCALE + _MARGIN
            histogram += np.bincount(bins, minlength=histogram.size)
        return _Scanned(histogram, mated, tail)


class _Kept:
    """What was kept of all blocks so far."""

    def __init__(self, keep: int) -> None:
        """`keep` tail entries at most, once all is scanned."""
        self._keep = keep
        self._histogram: Counts = np.zeros(BINS + 2 * _MARGIN, dtype=np.int64)
        self._mated: list[tuple[NDArray[np.float32], NDArray[np.int32]]] = []
        self._tail: list[Entries] = []
        self._waiting = 0
        self.cut = _LOWEST
        """Scaled scores below are no longer kept."""

    def take(self, part: _Scanned) -> None:
        """Add a part, and raise the cut to the lowest edge that at most `keep` scores reach."""
        self._histogram += part.histogram
        self._mated.append(part.mated)
        self._tail += part.tail
        self._waiting += sum(score.size for score, _, _ in part.tail)
        reached = np.cumsum(self._histogram[::-1])
        bins = int(np.searchsorted(reached, self._keep, side="right"))
        self.cut = max(self.cut, np.float32(self._histogram.size - bins - _SCALE - _MARGIN))
        # Merging copies: only when half of it goes.
        if self._waiting > 2 * self._keep:
            self._compact()

    def _compact(self) -> None:
        """Drop what the cut has passed and merge the pieces."""
        kept = [[column[entries[0] >= self.cut] for column in entries] for entries in self._tail]
        score, a, b = (np.concatenate(column) for column in zip(*kept, strict=True))
        self._tail, self._waiting = [(score, a, b)], score.size

    def summary(self, subject: NDArray[np.int32], non_mated: int) -> PairSummary:
        """What was collected, in the caller's numbering."""
        self._compact()
        score, a, b = self._tail[0]
        falling = np.argsort(-score)
        histogram = self._histogram[_MARGIN:-_MARGIN].copy()
        histogram[-1] += self._histogram[-_MARGIN:].sum()
        # Below -1 lie rounded cosines, and everything that was left out.
        histogram[0] += non_mated - histogram.sum()
        return PairSummary(
            mated_score=np.concatenate([scores for scores, _ in self._mated]).astype(np.float64) / _SCALE,
            mated_id=subject[np.concatenate([rows for _, rows in self._mated])],
            tail_score=score[falling] / np.float32(_SCALE),
            tail_a=a[falling],
            tail_b=b[falling],
            floor=float(self.cut) / _SCALE if self.cut > _LOWEST else -math.inf,
            histogram=histogram,
            subject=subject,
            non_mated=non_mated,
        )


def curve_of_summary(summary: PairSummary) -> ErrorCurve:
    """The error curve of a blocked product: distinct scores above the tail's floor, histogram edges below."""
    if not summary.mated_score.size or not summary.non_mated:
        raise EvaluationError(
            "The templates make no mated pair." if summary.non_mated else "The templates are all of one person.",
            hint="Give at least two people, one of them with two photos.",
        )
    mated = np.sort(summary.mated_score)
    tail = np.sort(summary.tail_score).astype(np.float64)
    exact = np.unique(np.concatenate([tail, mated[mated >= summary.floor]]))
    edges, accepted = _edges(summary.histogram)
    edges, accepted = edges[edges < summary.floor], accepted[edges < summary.floor]
    return ErrorCurve(
        threshold=np.concatenate([edges, exact]),
        false_matches=np.concatenate([accepted, tail.size - np.searchsorted(tail, exact)]),
        true_matches=mated.size - np.searchsorted(mated, np.concatenate([edges, exact])),
        non_mated=summary.non_mated,
        mated=mated.size,
        exact_from=summary.floor,
    )


def _edges(histogram: Counts) -> tuple[Floats, Counts]:
    """Lower edges of the bins and how many scores lie at or above each; the first takes in rounding below -1."""
    edges = -1 + 2 * np.arange(histogram.size) / histogram.size
    edges[0] = -2.0
    return edges, np.cumsum(histogram[::-1])[::-1]


def histogram_moments(histogram: Counts) -> tuple[float, float]:
    """Mean and variance of scores known by bin."""
    centres = -1 + (2 * np.arange(histogram.size) + 1) / histogram.size
    mean = float(np.average(centres, weights=histogram))
    return mean, float(np.average((centres - mean) ** 2, weights=histogram))
