"""`facesearch eval`: labelled trials of any format -> a 1:1 or 1:N report."""

from __future__ import annotations

import math
import shlex
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.assessment import (
    Attempts,
    VerificationResult,
    evaluate_pairs,
    evaluate_summary,
    headline_point,
)
from facesearch.evaluation.groups import GroupRates, coded_groups, group_rates, read_groups
from facesearch.evaluation.pairwise import compare_all
from facesearch.evaluation.report import WORST, VerificationReport, WorstPair, describe, worst_pairs
from facesearch.evaluation.searches import NON_MATED, NOT_ENROLLED, SearchScores
from facesearch.evaluation.searching import search_everybody
from facesearch.evaluation.trials.pairs import all_pairs
from facesearch.evaluation.trials.table import encode, refuse
from facesearch.evaluation.trials.types import EmbeddingSet, PairTrials, Photo, PhotoSet, ScoredPairs, SearchTrials
from facesearch.evaluation.verification import TARGETS
from facesearch.recognition.quality import ENROLL_LIMITS, PROBE_LIMITS
from facesearch.types import Fusion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from facesearch.evaluation.trials import Trials
    from facesearch.jobs.embedding_cache import Embedding
    from facesearch.jobs.embeddings import Embedded
    from facesearch.types import Vector


def score_pairs(trials: PairTrials, vectors: Sequence[Vector | None], reasons: Sequence[str]) -> ScoredPairs:
    """The cosine of each pair, NaN where a side has no vector; `reasons` says why, by photo.

    The product is the one `verify` computes, so that a decision here is the decision there.
    """
    scores = np.full(len(trials), math.nan)
    failed: dict[int, str] = {}
    for row, (a, b) in enumerate(zip(trials.a.tolist(), trials.b.tolist(), strict=True)):
        left, right = vectors[a], vectors[b]
        if left is None or right is None:
            failed[row] = reasons[a if left is None else b]
        else:
            scores[row] = float(np.dot(left, right))
    return trials.scored(scores, failed)


def count_attempts(trials: PairTrials, vectors: Sequence[Vector | None]) -> Attempts:
    """Distinct photos on either side, and how many of them gave no vector: the first is enrolled, the second probes."""
    sides = [np.unique(side).tolist() for side in (trials.a, trials.b)]
    failed = [sum(vectors[photo] is None for photo in side) for side in sides]
    return Attempts(len(sides[0]), failed[0], len(sides[1]), failed[1])


def attempts_of_all(vectors: Sequence[Vector | None]) -> Attempts:
    """Where all photos are compared with each other, each is enrolled and is a probe."""
    failed = sum(vector is None for vector in vectors)
    return Attempts(len(vectors), failed, len(vectors), failed)


def plan_all_pairs(subject_ids: Sequence[str], reasons: Sequence[str]) -> tuple[tuple[int, int], dict[str, int]]:
    """Planned mated and non-mated comparisons of all photos with each other, and how many fail, by reason.

    `reasons` are empty for photos with a template. A comparison fails for the first of its photos that failed.
    """
    size = len(subject_ids)
    mated = sum(count * (count - 1) // 2 for count in Counter(subject_ids).values())
    failed: Counter[str] = Counter()
    usable = 0
    for row, reason in enumerate(reasons):
        if reason:
            failed[reason] += size - 1 - row + usable
        else:
            usable += 1
    return (mated, size * (size - 1) // 2 - mated), dict(failed.most_common())


def require_distinct_photos(trials: PairTrials, hashes: Sequence[str]) -> None:
    """Raise EvaluationError, by row, where the two sides of a pair are the same file under two names."""
    code: dict[str, int] = defaultdict(lambda: len(code) + 1)
    codes = np.array([code[sha256] if sha256 else -i for i, sha256 in enumerate(hashes)], np.int64)
    copies = np.flatnonzero(codes[trials.a] == codes[trials.b]).tolist()
    said = [f"{trials.names[trials.a[row]]} and {trials.names[trials.b[row]]}" for row in copies]
    hint = "The bytes are the same: remove one of each."
    refuse(trials.source, "a photo is compared with a copy of itself", said, hint)


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
    scores: ScoredPairs | None
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
        attempts = count_attempts(pairs, vectors) if isinstance(trials, PairTrials) else attempts_of_all(vectors)
    else:
        assert isinstance(trials, ScoredPairs)
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
    scores: ScoredPairs, options: VerificationOptions, attempts: Attempts | None
) -> tuple[VerificationResult, tuple[GroupRates, ...], float | None]:
    pairs = scores
    if pairs.fold is not None and np.unique(pairs.fold).size < 2:
        # One fold of LFW's ten is a set like any other: there is nothing to cross-validate.
        pairs = replace(pairs, fold=None)
    result = evaluate_pairs(
        pairs,
        targets=options.targets,
        attempts=attempts,
        insightface=options.insightface,
        seed=options.seed,
    )
    if options.groups is None:
        return result, (), None
    groups = coded_groups(read_groups(options.groups), scores.subjects, str(options.groups))
    point = headline_point(result)
    if point is None or point.threshold is None:
        raise EvaluationError(
            "No operating point is supported, so there is no threshold to judge the groups at.",
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
            f"{trials.source}: has {len(trials):,} photos, too many to keep every pair",
            "For --groups and --convention list the pairs to compare in a CSV a,b,same,id_a,id_b.",
        )
    usable = [row for row, vector in enumerate(vectors) if vector is not None]
    codes = encode((trials.subject_ids[row] for row in usable), {})
    if isinstance(trials, EmbeddingSet):
        matrix = trials.vectors if len(usable) == len(trials) else trials.vectors[usable]
    else:
        matrix = np.array([vectors[row] for row in usable], np.float32)
    summary = compare_all(matrix, codes, largest_far=min(TAIL_FAR, max(options.targets)))
    planned, failed = plan_all_pairs(
        trials.subject_ids, [reason if vector is None else "" for vector, reason in zip(vectors, reasons, strict=True)]
    )
    result = evaluate_summary(
        summary,
        targets=options.targets,
        planned=planned,
        reasons=failed,
        attempts=attempts_of_all(vectors),
        seed=options.seed,
    )
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


def score_searches(
    trials: SearchTrials, enrolled: Embedded, probes: Embedded, fusion: Fusion = Fusion.MEAN
) -> SearchScores:
    """The planned searches of `trials`, every one accounted for.

    Faces are refused as `enroll` and `query` refuse them. A person none of whose photos could be enrolled is not in
    the gallery, and each search for them is a miss.

    Raises EvaluationError: a probe that is a copy of an enrolled photo; templates of several photos; nobody enrolled.
    """
    _require_own_templates(trials.gallery)
    _require_new_probes(trials, enrolled, probes)
    enrolled, probes = enrolled.limited(ENROLL_LIMITS), probes.limited(PROBE_LIMITS)
    rows = enrolled.usable
    codes: dict[str, int] = {}
    subject = encode((trials.gallery.subject_ids[row] for row in rows), codes)
    planned = set(trials.gallery.subject_ids)
    mate = np.array(
        [codes.get(name, NOT_ENROLLED if name in planned else NON_MATED) for name in trials.probes.subject_ids]
    )
    identity = encode(trials.probes.subject_ids, {})
    gallery = np.array([enrolled.photos[row].vector for row in rows], np.float32)
    if not rows:
        raise EvaluationError("No photo of the gallery could be enrolled.", f"Reasons: {enrolled.said}")
    nothing = np.full(gallery.shape[1], np.nan, np.float32)
    vectors = np.array([nothing if each.vector is None else each.vector for each in probes.photos], np.float32)
    scores = search_everybody(gallery, subject, vectors, mate, identity, fusion).scores
    return replace(scores, failed_enrolments=len(planned) - len(codes), attempted_enrolments=len(planned))


def _require_own_templates(photos: PhotoSet) -> None:
    """Refuse manifests that ask for several photos in one template: the engine makes one template of each photo."""
    ids = photos.template_ids
    if ids is not None and len(set(ids)) < len(ids):
        raise EvaluationError(
            f"{photos.source}: several photos share a template_id, but every photo makes a template of its own",
            "Give each row another template_id, or leave the column out.",
        )


def _require_new_probes(trials: SearchTrials, enrolled: Embedded, probes: Embedded) -> None:
    known: dict[str, str] = {}
    for name, embedding in zip(trials.gallery.names, enrolled.photos, strict=True):
        known.setdefault(embedding.sha256, name)
    known.pop("", None)
    copies = [
        f"{name} is {known[embedding.sha256]}"
        for name, embedding in zip(trials.probes.names, probes.photos, strict=True)
        if embedding.sha256 in known
    ]
    refuse(trials.source, "probes that are enrolled, as copies", copies, "They would find themselves: take them out.")


def failures(enrolled: Embedded, probes: Embedded) -> dict[str, dict[str, int]]:
    """Photos without a template, by role and reason, quality limits included."""
    return {"gallery": enrolled.limited(ENROLL_LIMITS).reasons, "probe": probes.limited(PROBE_LIMITS).reasons}


def model_settings(settings: dict[str, Any], fusion: Fusion) -> dict[str, Any]:
    """What a 1:N report says of the model: the embedder's settings, the limits of enrolment and search, the fusion."""
    limits = {"enroll_limits": asdict(ENROLL_LIMITS), "probe_limits": asdict(PROBE_LIMITS)}
    said = {name: {key: str(value) for key, value in each.items()} for name, each in limits.items()}
    return {**settings, **said, "fusion": fusion.value}
