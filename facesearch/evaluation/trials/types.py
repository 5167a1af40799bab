"""What the readers hand on: pairs of photos, scored pairs, sets of photos, searches, and sets of vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from facesearch.errors import EvaluationError
from facesearch.evaluation.rates import Counts, Flags, Floats
from facesearch.types import Vectors


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


Photo: TypeAlias = Path | bytes
"""A file, or the encoded bytes of one (as in an InsightFace .bin)."""

MISSING_SCORE = "missing_score"
"""Why a row of a score file failed, where the file does not say."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTrials:
    """Scored 1:1 comparisons, one row per *planned* trial; a failed one keeps its row, with NaN for its score."""

    source: str
    """The file or folder they come from, for messages and reports."""
    scores: NDArray[np.float64]
    """(n,) cosine, higher is more alike; NaN where the comparison failed."""
    mated: NDArray[np.bool_]
    """(n,) whether both sides are one person."""
    id_a: NDArray[np.int64] | None = None
    """(n,) positions in `subjects`; None where the input names no people."""
    id_b: NDArray[np.int64] | None = None
    subjects: tuple[str, ...] = ()
    """The people, each once, in order of first mention."""
    fold: NDArray[np.int64] | None = None
    """(n,) the cross-validation fold of each trial."""
    reasons: Mapping[int, str] = field(default_factory=dict)
    """Row -> why it failed; a failed row that is not in here failed for `missing_score`."""

    def __len__(self) -> int:
        """How many trials were planned."""
        return self.scores.size

    @property
    def failed(self) -> NDArray[np.bool_]:
        """(n,) the trials that have no score."""
        return np.isnan(self.scores)

    def failures(self) -> dict[str, int]:
        """How many trials failed, by reason, most frequent first."""
        counts: dict[str, int] = {}
        for row in np.flatnonzero(self.failed):
            reason = self.reasons.get(int(row), MISSING_SCORE)
            counts[reason] = counts.get(reason, 0) + 1
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

    def scored(self, scores: NDArray[np.floating], reasons: Mapping[int, str] | None = None) -> ScoreTrials:
        """The same trials with their (n,) scores, NaN where a side failed; `reasons` says why, by row."""
        if scores.shape != self.same.shape:
            raise ValueError(f"{self.same.size} pairs need as many scores, not {scores.shape}")
        return ScoreTrials(
            source=self.source,
            scores=scores.astype(np.float64),
            mated=self.same,
            id_a=self.id_a,
            id_b=self.id_b,
            subjects=self.subjects,
            fold=self.fold,
            reasons=dict(reasons or {}),
        )


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


def scored_pairs(*evaluations: ScoreTrials) -> tuple[ScoredPairs, ...]:
    """What the statistics take; a person of the same name has the same code in all of the evaluations.

    Codes go by name, not by the order of the rows: a bootstrap draws people by code, and the same people are to give
    the same intervals whether they come from photos or from the score file written of them.

    EvaluationError where several are given and one names no people: nothing could be paired.
    """
    if len(evaluations) > 1:
        for trials in evaluations:
            if trials.id_a is None:
                raise EvaluationError(
                    f"{trials.source}: names no people, so that nothing can be paired", "Add the columns id_a and id_b."
                )
    names = sorted({subject for trials in evaluations for subject in trials.subjects})
    codes = {name: code for code, name in enumerate(names)}
    return tuple(_coded(trials, codes) for trials in evaluations)


def _coded(trials: ScoreTrials, codes: dict[str, int]) -> ScoredPairs:
    if trials.id_a is None or trials.id_b is None:
        return ScoredPairs(trials.scores, trials.mated, fold=trials.fold)
    code = np.array([codes[subject] for subject in trials.subjects], dtype=np.int64)
    return ScoredPairs(trials.scores, trials.mated, code[trials.id_a], code[trials.id_b], trials.fold)
