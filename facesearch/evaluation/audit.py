"""The gallery compared with itself: what a person should look at, and its page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facesearch.errors import EvaluationError
from facesearch.evaluation.markup import Html, card, cards, element, facts, page, paragraph, section, text
from facesearch.evaluation.pairwise import BINS, PairSummary, compare_all
from facesearch.evaluation.rates import file_name, threshold_text
from facesearch.types import Ids, Vectors


@dataclass(frozen=True, slots=True, eq=False)
class LabelledTemplates:
    """n templates of S people."""

    vectors: Vectors
    """(n, d) float32."""
    subject: NDArray[np.int64]
    """(n,) positions in `names`."""
    names: tuple[str, ...]
    photos: tuple[str, ...]
    """The photo behind each template: its path as text, of a labelled folder's as it is named there."""
    ids: Ids
    """Template ids of the gallery; empty for photos that are not enrolled."""
    failures: Mapping[str, int]
    """Photos without a usable face, by reason."""


NEAR_DUPLICATE: Final = 0.98
"""Cosine from which two photos of one person count as copies: that of a photo with itself at half the resolution or
slightly blurred (measured in `vision.quality`)."""
STRANGE: Final = 0.99
"""A photo is far from its person where its mean score with them is one that this share of strangers do not reach."""
_ENOUGH: Final = 100
"""Pairs of strangers from which on that share can be read off; below, the threshold stands in."""
_BLOCK: Final = 2_048


class Kind(StrEnum):
    """What there is to look at."""

    LOOK_ALIKE = "look_alike"
    """Two people at or above the threshold: look-alikes, or one person enrolled twice."""
    MISLABELLED = "mislabelled"
    """A photo far from the rest of its person."""
    DUPLICATE = "duplicate"
    """Two photos of one person that are nearly the same."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Two templates, by their rows, and what is odd about them."""

    kind: Kind
    score: float
    """Cosine of the two templates."""
    a: int
    """Row of the template; of a mislabelled one, the suspect."""
    b: int
    """Of a mislabelled one, the person's most typical template."""
    note: str = ""
    nearer: int | None = None
    """Row of another person's template that a mislabelled one is nearer to."""


@dataclass(frozen=True, slots=True)
class Audit:
    """Everything found, each kind worst first."""

    threshold: float
    limit: float
    """Mean score with their own person below which photos are called mislabelled."""
    look_alikes: tuple[Finding, ...]
    mislabelled: tuple[Finding, ...]
    duplicates: tuple[Finding, ...]
    complete: bool
    """False where more pairs of templates reach the threshold than are kept: the highest are listed."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them."""
        return self.look_alikes + self.mislabelled + self.duplicates


def audit_templates(known: LabelledTemplates, threshold: float, duplicate: float = NEAR_DUPLICATE) -> Audit:
    """Compare all templates with each other, in blocks.

    Args:
        known: everything enrolled.
        threshold: cosine at which two people are taken for one another.
        duplicate: cosine from which on two photos of one person are near-duplicates.

    Raises:
        EvaluationError: fewer than two templates.
    """
    if len(known.subject) < 2:
        raise EvaluationError("One template cannot be compared with others.", "Enroll more photos.")
    summary = compare_all(known.vectors, known.subject)
    limit = _limit(summary, threshold)
    own = list(_own_people(known, limit, duplicate))
    return Audit(
        threshold=threshold,
        limit=limit,
        look_alikes=tuple(_look_alikes(known, summary, threshold)),
        mislabelled=_sorted(own, Kind.MISLABELLED),
        duplicates=_sorted(own, Kind.DUPLICATE),
        complete=summary.floor <= threshold,
    )


def _sorted(findings: list[Finding], kind: Kind) -> tuple[Finding, ...]:
    chosen = [each for each in findings if each.kind is kind]
    return tuple(sorted(chosen, key=lambda each: each.score, reverse=kind is Kind.DUPLICATE))


def _limit(summary: PairSummary, threshold: float) -> float:
    """The score that `STRANGE` of the pairs of strangers stay below, but never more than the threshold."""
    if summary.non_mated < _ENOUGH:
        return threshold
    bin_of_limit = int(np.searchsorted(np.cumsum(summary.histogram), STRANGE * summary.non_mated)) + 1
    return min(threshold, -1 + 2 * bin_of_limit / BINS)


def _look_alikes(known: LabelledTemplates, summary: PairSummary, threshold: float) -> Iterator[Finding]:
    """The best pair of templates of every two people that reach the threshold, highest first."""
    count = int(np.searchsorted(-summary.tail_score, -threshold, side="right"))
    a, b = summary.tail_a[:count].astype(np.int64), summary.tail_b[:count].astype(np.int64)
    first, second = np.sort([known.subject[a], known.subject[b]], axis=0)
    _, best, inverse = np.unique(first * len(known.names) + second, return_index=True, return_inverse=True)
    pairs = np.bincount(inverse)
    for which in np.argsort(best):
        row = int(best[which])
        more = f"{pairs[which]:,} pairs of their photos match" if pairs[which] > 1 else ""
        yield Finding(Kind.LOOK_ALIKE, float(summary.tail_score[row]), int(a[row]), int(b[row]), more)


def _own_people(known: LabelledTemplates, limit: float, duplicate: float) -> Iterator[Finding]:
    """What the templates of one person among themselves show, person after person."""
    order = np.argsort(known.subject, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(known.subject[order])) + 1):
        if rows.size > 1:
            yield from _one_person(known, rows, limit, duplicate)


def _one_person(known: LabelledTemplates, rows: NDArray[np.int64], limit: float, duplicate: float) -> Iterator[Finding]:
    vectors = known.vectors[rows]
    means = (vectors @ vectors.sum(axis=0) - np.einsum("nd,nd->n", vectors, vectors)) / (rows.size - 1)
    for start in range(0, rows.size, _BLOCK):
        scores = vectors[start : start + _BLOCK] @ vectors.T
        for i, j in np.argwhere(scores >= duplicate).tolist():
            if start + i < j:
                yield Finding(Kind.DUPLICATE, float(scores[i, j]), int(rows[start + i]), int(rows[j]))
    typical = int(np.argmax(means))
    for i in np.flatnonzero(means < limit).tolist():
        # Of two photos neither is the odd one: the pair is told once.
        if i != typical:
            score = float(vectors[i] @ vectors[typical])
            note, nearer = _strange(known, int(rows[i]), float(means[i]))
            yield Finding(Kind.MISLABELLED, score, int(rows[i]), int(rows[typical]), note, nearer)


def _strange(known: LabelledTemplates, row: int, mean: float) -> tuple[str, int | None]:
    """How far the template is from its person, and whom else it looks like: in words, and by row."""
    note = f"mean {mean:.2f} with their other photos"
    scores = known.vectors @ known.vectors[row]
    scores[known.subject == known.subject[row]] = -np.inf
    nearest = int(np.argmax(scores))
    if not np.isfinite(scores[nearest]) or scores[nearest] <= mean:
        return note, None
    return f"{note}; nearer: {known.names[known.subject[nearest]]} {scores[nearest]:.2f}", nearest


@dataclass(frozen=True, slots=True)
class AuditPair:
    """Two photos of the gallery that do not go with their labels, or go together too well."""

    score: float
    """Cosine of the two templates."""
    subject_a: str
    photo_a: str
    subject_b: str
    photo_b: str
    note: str = ""
    """What else there is to say, as "mean score with the person's other photos 0.08"."""


_SECTIONS = (
    (
        "Different people above the threshold",
        "Look-alikes, or one person enrolled twice. If it is one person, merge them; if not, this pair will be "
        "confused.",
        "No two people reach the threshold.",
    ),
    (
        "Photos that do not look like their person",
        "Each is shown beside the person's most typical photo. A wrong label, a bad photo, or a long time "
        "between them.",
        "Every photo is closer to its own person than the limit.",
    ),
    (
        "Near-duplicate photos",
        "Two copies of one photo add nothing, and make the person look better known than they are.",
        "No photo is there twice.",
    ),
)


def audit_page(
    *,
    title: str,
    threshold: float,
    basis: str,
    counts: Mapping[str, int],
    look_alikes: Sequence[AuditPair],
    mislabelled: Sequence[AuditPair],
    duplicates: Sequence[AuditPair],
    thumbnails: Mapping[str, bytes],
    found: tuple[int, int, int] | None = None,
) -> str:
    """The HTML.

    Args:
        threshold, basis: where people are taken for one another, and where that comes from, in words.
        counts: what was looked at, as {"subjects": 120, "templates": 980}.
        look_alikes, mislabelled, duplicates: worst first.
        thumbnails: JPEG bytes by photo.
        found: how many of each kind there are where the lists are cut; else as many as are listed.
    """
    listed = (look_alikes, mislabelled, duplicates)
    totals = found or (len(look_alikes), len(mislabelled), len(duplicates))
    verdict = (
        f"{totals[0]:,} pairs of different people at or above the threshold, {totals[1]:,} photos that may be "
        f"labelled wrongly, {totals[2]:,} near-duplicates."
    )
    looked = {name.capitalize(): f"{count:,}" for name, count in counts.items()}
    return page(
        title,
        element("header", element("h1", text(title))),
        element(
            "div",
            paragraph(verdict if any(totals) else "Nothing to look at was found.", css="big"),
            paragraph(f"Threshold {threshold_text(threshold)}, {basis}."),
            css="answer",
        ),
        facts(looked),
        *(
            _section(kind, pairs, thumbnails, total)
            for kind, pairs, total in zip(_SECTIONS, listed, totals, strict=True)
        ),
    )


def _section(
    kind: tuple[str, str, str], pairs: Sequence[AuditPair], thumbnails: Mapping[str, bytes], total: int
) -> Html:
    name, meaning, nothing = kind
    if not pairs:
        return section(name, paragraph(nothing, css="note"))
    cut = f" The first {len(pairs):,} of {total:,} are shown." if total > len(pairs) else ""
    return section(name, paragraph(meaning + cut, css="note"), cards(_card(pair, thumbnails) for pair in pairs))


def _card(pair: AuditPair, thumbnails: Mapping[str, bytes]) -> Html:
    people = pair.subject_a if pair.subject_a == pair.subject_b else f"{pair.subject_a} / {pair.subject_b}"
    lines = [people, file_name(pair.photo_a), file_name(pair.photo_b), *([pair.note] if pair.note else [])]
    return card(pair.photo_a, pair.photo_b, f"{pair.score:.4f}", lines, thumbnails)
