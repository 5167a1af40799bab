"""What the readers hand on: pairs of photos, scored pairs, sets of photos, searches, and sets of vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from facesearch.evaluation.rates import Counts, Flags, Floats
from facesearch.types import Vectors

Photo: TypeAlias = Path | bytes
"""A file, or the encoded bytes of one (as in an InsightFace .bin)."""

MISSING_SCORE = "missing_score"
"""Why a row of a score file failed, where the file does not say."""


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
    """(n,) int64 codes of the people on the first side; None where the input names no people."""
    id_b: Counts | None = None
    fold: Counts | None = None
    """(n,) int64 cross-validation folds."""
    source: str = ""
    """The file or folder they come from, for messages and reports."""
    subjects: tuple[str, ...] = ()
    """The name of each code, sorted: the same people have the same codes in every input."""
    reasons: Mapping[int, str] = field(default_factory=dict)
    """Row -> why it failed; a failed row that is not in here failed for `missing_score`."""

    def __len__(self) -> int:
        """How many comparisons were planned."""
        return self.score.size

    @property
    def failed(self) -> Flags:
        """(n,) the comparisons that have no score."""
        return np.isnan(self.score)

    def failures(self) -> dict[str, int]:
        """How many comparisons failed, by reason, most frequent first."""
        rows = np.flatnonzero(self.failed).tolist()
        counts = Counter(self.reasons.get(row, MISSING_SCORE) for row in rows)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True, slots=True, eq=False)
class PairTrials:
    """1:1 comparisons of photos that are still to be made."""

    source: str
    photos: tuple[Photo, ...]
    """Every photo once."""
    names: tuple[str, ...]
    """What each photo is called in tables and reports."""
    a: NDArray[np.int64]
    """(n,) positions in `photos`."""
    b: NDArray[np.int64]
    same: NDArray[np.bool_]
    """(n,) whether the pair shows one person."""
    id_a: NDArray[np.int64] | None = None
    """(n,) positions in `subjects`; None where the input names no people."""
    id_b: NDArray[np.int64] | None = None
    subjects: tuple[str, ...] = ()
    fold: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """How many pairs are planned."""
        return self.same.size

    def scored(self, scores: NDArray[np.floating], reasons: Mapping[int, str] | None = None) -> ScoredPairs:
        """The same trials with their (n,) scores, NaN where a side failed; `reasons` says why, by row."""
        if scores.shape != self.same.shape:
            raise ValueError(f"{self.same.size} pairs need as many scores, not {scores.shape}")
        return ScoredPairs(
            scores.astype(np.float64), self.same, self.id_a, self.id_b, self.fold,
            self.source, self.subjects, reasons or {},
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class PhotoSet:
    """Photos with the person each one shows. All pairs of it make 1:1 trials."""

    source: str
    photos: tuple[Path, ...]
    names: tuple[str, ...]
    """Paths relative to where the set was read from."""
    subject_ids: tuple[str, ...]
    """The person in each photo."""
    template_ids: tuple[str, ...] | None = None
    """Photos of one subject that share a template id are meant to make one template."""
    media_ids: tuple[str, ...] | None = None
    """Photos that share a media id come from one recording and are not independent."""

    def __len__(self) -> int:
        """How many photos there are."""
        return len(self.photos)


@dataclass(frozen=True, slots=True, eq=False)
class SearchTrials:
    """1:N searches: the photos to enroll, and the probes to search them for."""

    source: str
    gallery: PhotoSet
    probes: PhotoSet

    @property
    def mated(self) -> NDArray[np.bool_]:
        """(probes,) whether the person in each probe is planned to be in the gallery."""
        enrolled = set(self.gallery.subject_ids)
        return np.array([subject in enrolled for subject in self.probes.subject_ids], dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingSet:
    """Vectors with the person each one belongs to; a failed one keeps its row."""

    source: str
    vectors: Vectors
    """(n, d) float32 of unit length; a failed row is all zero."""
    subject_ids: tuple[str, ...]
    failed: NDArray[np.bool_]
    """(n,) rows whose status is not "ok"."""
    status: tuple[str, ...]
    """"ok", or why the row has no vector."""
    template_ids: tuple[str, ...] | None = None
    media_ids: tuple[str, ...] | None = None

    def __len__(self) -> int:
        """How many rows there are, failures included."""
        return len(self.subject_ids)
