"""All pairs of a labelled set as 1:1 trials: every photo with every other one, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from facesearch.evaluation.trials.refusal import encode
from facesearch.evaluation.trials.types import EmbeddingSet, PairTrials, PhotoSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facesearch.evaluation.trials.types import Photo


def all_pairs(people: PhotoSet | EmbeddingSet) -> PairTrials:
    """n (n - 1) / 2 pairs, those of one person mated. The sides of a pair are positions in the set.

    Vectors have no photos and no names: their rows are called by person and number, as "Mira Quill #3".
    """
    if isinstance(people, PhotoSet):
        return _paired(people.source, people.photos, people.names, people.subject_ids)
    names = tuple(f"{subject} #{row}" for row, subject in enumerate(people.subject_ids))
    return _paired(people.source, (), names, people.subject_ids)


def _paired(source: str, photos: tuple[Photo, ...], names: tuple[str, ...], subject_ids: Sequence[str]) -> PairTrials:
    a, b = np.triu_indices(len(subject_ids), 1)
    subjects: dict[str, int] = {}
    subject = encode(subject_ids, subjects)
    id_a, id_b = subject[a], subject[b]
    return PairTrials(source, photos, names, a, b, id_a == id_b, id_a, id_b, tuple(subjects))
