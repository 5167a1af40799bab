"""`facesearch eval search`: photos to enroll and probes -> a 1:N report, through the index that `query` searches."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.summaries import NON_MATED, NOT_ENROLLED, TOP, join, summarise
from facesearch.evaluation.trials.refusal import encode, refusal
from facesearch.index.flat import FlatIndex
from facesearch.recognition.quality import ENROLL_LIMITS, PROBE_LIMITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facesearch.evaluation.results.scores import SearchScores
    from facesearch.evaluation.trials import PhotoSet, SearchTrials
    from facesearch.jobs.embeddings import Embedded
    from facesearch.types import Vectors

_CELLS: Final = 4_000_000
"""Scores of probes with templates looked at together: 16 MB of them, and as much again for their ids."""


def search_everybody(
    gallery: Vectors,
    subject: NDArray[np.int64],
    probes: Vectors,
    mate: NDArray[np.int64],
    identity: NDArray[np.int64] | None,
) -> SearchScores:
    """Search probes among enrolled templates and keep of each search what the rates need.

    Args:
        gallery: (t, d) templates. subject: (t,) codes 0 ... N-1 of who they show.
        probes: (q, d); a row of NaN is a failed probe.
        mate: (q,) the probe's own subject, or `NON_MATED` or `NOT_ENROLLED`.
        identity: (q,) codes of the people on the probes.

    Raises:
        EvaluationError: nobody is enrolled.
    """
    if not len(gallery):
        raise EvaluationError("Nobody could be enrolled, so that nothing can be searched.", "Look at the reasons.")
    index = FlatIndex(gallery.shape[1])
    index.add(np.arange(len(gallery), dtype=np.int64), gallery)
    subjects = int(subject.max()) + 1
    step = max(1, _CELLS // len(gallery))
    parts = []
    for start in range(0, max(len(probes), 1), step):
        rows = slice(start, start + step)
        block = _best_per_subject(index, subject, subjects, probes[rows])
        own = mate[rows]
        people = None if identity is None else identity[rows]
        parts.append(summarise(block.astype(np.float64), own, people, keep=TOP))
    return join(parts)


def _best_per_subject(
    index: FlatIndex, subject: NDArray[np.int64], subjects: int, probes: Vectors
) -> NDArray[np.float32]:
    """(q, N) each probe's best score per subject, as the index gives it; a failed probe is NaN throughout."""
    failed = np.isnan(probes[:, 0])
    scores, ids = index.search(np.where(failed[:, None], np.float32(0), probes), len(index))
    best = np.full((len(probes), subjects), -np.inf, np.float32)
    np.maximum.at(best, (np.arange(len(probes))[:, None], subject[ids]), scores)
    best[failed] = np.nan
    return best


def score_searches(trials: SearchTrials, enrolled: Embedded, probes: Embedded) -> SearchScores:
    """The planned searches of `trials`, every one accounted for.

    Faces are refused as `enroll` and `query` refuse them. A person none of whose photos could be enrolled is not in
    the gallery, and each search for them is a miss.

    Raises:
        EvaluationError: a probe that is a copy of an enrolled photo; templates of several photos; nobody enrolled.
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
        raise EvaluationError("No photo of the gallery could be enrolled.", f"Failed: {enrolled.reasons}")
    nothing = np.full(gallery.shape[1], np.nan, np.float32)
    vectors = np.array([nothing if each.vector is None else each.vector for each in probes.photos], np.float32)
    scores = search_everybody(gallery, subject, vectors, mate, identity)
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
    if copies:
        raise refusal(
            trials.source, "probes that are enrolled, as copies", copies, len(copies), "They would find themselves."
        )


def failures(enrolled: Embedded, probes: Embedded) -> dict[str, dict[str, int]]:
    """Photos without a template, by role and reason, quality limits included."""
    return {"gallery": enrolled.limited(ENROLL_LIMITS).reasons, "probe": probes.limited(PROBE_LIMITS).reasons}


def model_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """What a 1:N report says of the model: the embedder's settings, and the limits that enrolment and search apply."""
    limits = {"enroll_limits": asdict(ENROLL_LIMITS), "probe_limits": asdict(PROBE_LIMITS)}
    return {**settings, **{name: {key: str(value) for key, value in each.items()} for name, each in limits.items()}}
