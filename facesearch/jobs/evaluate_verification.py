"""`facesearch eval`: labelled trials of any format -> a 1:1 report."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.assessment import evaluate_pairs, evaluate_summary
from facesearch.evaluation.groups import group_rates
from facesearch.evaluation.pairwise import compare_all
from facesearch.evaluation.report import About, VerificationReport, recommended_point
from facesearch.evaluation.results.scores import ScoredPairs
from facesearch.evaluation.tables import WORST, WorstPair, worst_pairs
from facesearch.evaluation.trials import (
    EmbeddingSet,
    PairTrials,
    PhotoSet,
    ScoreTrials,
    SearchTrials,
    all_pairs,
    coded_groups,
    read_groups,
    scored_pairs,
)
from facesearch.evaluation.trials.refusal import encode
from facesearch.evaluation.verification import TARGETS
from facesearch.jobs.scoring import count_attempts, require_distinct_photos, score_pairs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from facesearch.evaluation.results.comparisons import GroupRates
    from facesearch.evaluation.results.scores import Attempts
    from facesearch.evaluation.results.verification import VerificationResult
    from facesearch.evaluation.trials import Photo, Trials
    from facesearch.jobs.embedding_cache import Embedding
    from facesearch.jobs.embeddings import Embedded
    from facesearch.types import Vector

KEPT_PAIRS: Final = 500_000
"""Up to so many pairs of a folder or of vectors are kept one by one, for the worst pairs, groups and a comparison;
beyond, all pairs go through the blocked product, which keeps what the rates need."""

TAIL_FAR: Final = 1e-3
"""Where pairs are not kept one by one, the bootstrap reaches up to this FAR: in 5e8 pairs 1e-2 would cost 2 GB and
minutes. A point beyond it has Wilson's interval, which is told."""


@dataclass(frozen=True, slots=True)
class VerificationOptions:
    """What is asked of a 1:1 evaluation."""

    targets: tuple[float, ...] = TARGETS
    """FARs in (0, 1]."""
    insightface: bool = False
    """Add the field's conventional figures."""
    groups: Path | None = None
    """CSV subject_id,group."""
    seed: int = 0
    """Of the bootstrap."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A 1:1 report and what is written beside it."""

    report: VerificationReport
    scores: ScoreTrials | None
    """The trials; None where they were too many to keep."""
    worst: tuple[WorstPair, ...]
    photos: Mapping[str, tuple[Photo, Embedding]] = field(default_factory=dict)
    """The photos of the worst pairs, by the names in `worst`."""


def photos_of(trials: Trials) -> tuple[Photo, ...]:
    """The photos that have to be embedded; none for scores and vectors. EvaluationError for 1:N trials."""
    if isinstance(trials, SearchTrials):
        raise EvaluationError(
            f"{trials.source}: holds gallery/ and probes, which are 1:N trials",
            f"Run: facesearch eval search {shlex.quote(str(trials.source))}",
        )
    return trials.photos if isinstance(trials, PairTrials | PhotoSet) else ()


def evaluate(
    trials: Trials,
    options: VerificationOptions,
    *,
    embedded: Embedded | None = None,
    model: Mapping[str, Any] | None = None,
    protocol: str = "",
) -> Evaluation:
    """All 1:1 figures of `trials`, with their provenance.

    Args:
        trials: what `read_trials` read; 1:N trials are refused.
        embedded: the templates of `photos_of(trials)`, in that order.
        model: what made them, for the report.
        protocol: "lfw" for LFW's pairs.txt.

    Raises:
        EvaluationError: a class without completed comparisons, copies of one photo in a pair, groups that do not fit.
    """
    photos = photos_of(trials)
    vectors, reasons = _vectors(trials, embedded)
    attempts: Attempts | None = None
    pairs: PairTrials | None = None
    if isinstance(trials, PairTrials):
        pairs = trials
    elif isinstance(trials, PhotoSet | EmbeddingSet):
        if len(trials) * (len(trials) - 1) // 2 > KEPT_PAIRS:
            return _evaluate_many(trials, vectors, reasons, options, model or {})
        pairs = all_pairs(trials)
    if pairs is not None:
        if embedded is not None:
            require_distinct_photos(pairs, [each.sha256 for each in embedded.photos])
        scores = score_pairs(pairs, vectors, reasons)
        attempts = count_attempts(pairs, vectors)
    else:
        assert isinstance(trials, ScoreTrials)
        scores = trials
    result, groups, threshold = _assess(scores, options, attempts)
    worst = worst_pairs(scores, pairs)
    shown: dict[str, tuple[Photo, Embedding]] = {}
    if pairs is not None and embedded is not None:
        wanted = {name for pair in worst for name in (pair.a, pair.b)}
        entries = zip(pairs.names, photos, embedded.photos, strict=True)
        shown = {name: (photo, embedding) for name, photo, embedding in entries if name in wanted}
    about = describe(trials.source, model or {}, protocol)
    report = VerificationReport(about, result, groups, threshold)
    return Evaluation(report, scores, worst, shown)


def _vectors(trials: Trials, embedded: Embedded | None) -> tuple[list[Vector | None], list[str]]:
    """Vector and reason of failure by photo or row."""
    if isinstance(trials, EmbeddingSet):
        rows = zip(trials.vectors, trials.failed.tolist(), strict=True)
        return [None if failed else vector for vector, failed in rows], list(trials.status)
    photos = embedded.photos if embedded else ()
    return [each.vector for each in photos], [each.reason for each in photos]


def _assess(
    scores: ScoreTrials, options: VerificationOptions, attempts: Attempts | None
) -> tuple[VerificationResult, tuple[GroupRates, ...], float | None]:
    (pairs,) = scored_pairs(scores)
    if pairs.fold is not None and np.unique(pairs.fold).size < 2:
        # One fold of LFW's ten is a set like any other: there is nothing to cross-validate.
        pairs = ScoredPairs(pairs.score, pairs.mated, pairs.id_a, pairs.id_b)
    result = evaluate_pairs(
        pairs,
        targets=options.targets,
        attempts=attempts,
        reasons=scores.failures(),
        insightface=options.insightface,
        seed=options.seed,
    )
    if options.groups is None:
        return result, (), None
    groups = coded_groups(read_groups(options.groups), scores.subjects, str(options.groups))
    point = recommended_point(result)
    if point is None or point.threshold is None:
        raise EvaluationError(
            "No operating point is supported, so that there is no threshold to judge the groups at.",
            "Ask for a larger FAR: --far 1e-1",
        )
    return result, group_rates(pairs, groups, point.threshold, seed=options.seed), point.threshold


def _evaluate_many(
    trials: PhotoSet | EmbeddingSet,
    vectors: Sequence[Vector | None],
    reasons: Sequence[str],
    options: VerificationOptions,
    model: Mapping[str, Any],
) -> Evaluation:
    if options.groups or options.insightface:
        raise EvaluationError(
            f"{trials.source}: has {len(trials):,} photos, too many pairs to keep one by one",
            "For --groups and --convention list the pairs to compare in a CSV a,b,same,id_a,id_b.",
        )
    usable = [row for row, vector in enumerate(vectors) if vector is not None]
    codes = encode((trials.subject_ids[row] for row in usable), {})
    if isinstance(trials, EmbeddingSet):
        matrix = trials.vectors if len(usable) == len(trials) else trials.vectors[usable]
    else:
        matrix = np.array([vectors[row] for row in usable], np.float32)
    summary = compare_all(matrix, codes, largest_far=min(TAIL_FAR, max(options.targets)))
    failures = Counter(reasons[row] for row, vector in enumerate(vectors) if vector is None)
    result = evaluate_summary(summary, targets=options.targets, failed_templates=failures.total(), seed=options.seed)
    tail = zip(summary.tail_score[:WORST], summary.tail_a[:WORST], summary.tail_b[:WORST], strict=True)
    worst = tuple(
        _worst_of_tail(trials, rank, float(score), usable[a], usable[b]) for rank, (score, a, b) in enumerate(tail, 1)
    )
    return Evaluation(VerificationReport(describe(trials.source, model), result), None, worst)


def _worst_of_tail(trials: PhotoSet | EmbeddingSet, rank: int, score: float, a: int, b: int) -> WorstPair:
    people = trials.subject_ids[a], trials.subject_ids[b]
    names = (trials.names[a], trials.names[b]) if isinstance(trials, PhotoSet) else people
    # The position that `all_pairs` would give the pair.
    first, second = min(a, b), max(a, b)
    trial = first * len(trials) - first * (first + 1) // 2 + second - first
    return WorstPair(False, rank, score, trial, *names, *people)


def describe(source: str, model: Mapping[str, Any], protocol: str = "", title: str = "") -> About:
    """The provenance of a report made now."""
    from importlib.metadata import version

    return About(
        title=title or f"Verification: {source.rsplit('/', 1)[-1]}",
        source=source,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        facesearch=version("facesearch"),
        model=model,
        protocol=protocol,
    )
