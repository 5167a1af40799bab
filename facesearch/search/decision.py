"""From scored templates to a decision: the one place where hits become candidates and a threshold is applied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facesearch.types import Candidate, Decision

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from facesearch.store.templates import Described

DEFAULT_MARGIN = 0.05
"""Cosine. A runner-up closer than this makes a match ambiguous: about half a standard deviation of the scores of
strangers, which is 0.09 for a MobileFace recogniser on LFW, so a difference that chance explains."""


def best_per_subject(hits: Iterable[tuple[int, float]], described: Mapping[int, Described]) -> tuple[Candidate, ...]:
    """Candidates, one per subject by its best template, best first; equal scores in order of template id.

    `hits` are (template id, score); ids missing from `described` (removed meanwhile) are dropped.
    """
    candidates: dict[str, Candidate] = {}
    for template_id, score in sorted(hits, key=lambda hit: (-hit[1], hit[0])):
        if template_id in described:
            subject, photo, subject_id, photo_id = described[template_id]
            candidates.setdefault(subject, Candidate(subject, score, template_id, photo, subject_id, photo_id))
    return tuple(candidates.values())


def decide(candidates: Sequence[Candidate], threshold: float, margin: float) -> tuple[Decision, float | None]:
    """The decision, and how far the best subject is ahead of the runner-up (None without one).

    `score >= threshold` is a match, everywhere in this project; a match whose runner-up is closer than `margin` is
    ambiguous, even where the runner-up itself is below the threshold.
    """
    lead = candidates[0].score - candidates[1].score if len(candidates) > 1 else None
    if not candidates or candidates[0].score < threshold:
        return Decision.UNKNOWN, lead
    if lead is not None and lead < margin:
        return Decision.AMBIGUOUS, lead
    return Decision.MATCH, lead
