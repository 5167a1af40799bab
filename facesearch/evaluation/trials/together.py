"""Trials of the same people from two evaluations, under common codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.results.scores import ScoredPairs

if TYPE_CHECKING:
    from facesearch.evaluation.trials.types import ScoreTrials


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
