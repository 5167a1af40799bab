"""The gallery compared with itself: what a person should look at, and its page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
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
slightly blurred (measured in `recognition.quality`)."""
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
    def by_kind(self) -> dict[Kind, tuple[Finding, ...]]:
        """The findings of each kind."""
        return {Kind.LOOK_ALIKE: self.look_alikes, Kind.MISLABELLED: self.mislabelled, Kind.DUPLICATE: self.duplicates}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them."""
        return self.look_alikes + self.mislabelled + self.duplicates


def audit_templates(known: LabelledTemplates, threshold: float, duplicate: float = NEAR_DUPLICATE) -> Audit:
    """Compare all templates with each other.

    Args:
        threshold: cosine at which two people are taken for one another.
        duplicate: cosine from which two photos of one person are near-duplicates.

    Raises EvaluationError: fewer than two templates.
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


SECTIONS: Final = {
    Kind.LOOK_ALIKE: (
        "Different people at or above the threshold",
        "They look alike, or one person is enrolled twice. Merge one person; two people will be confused.",
        "No two people reach the threshold.",
    ),
    Kind.MISLABELLED: (
        "Photos far from the rest of their person",
        "The label is wrong, the photo is bad, or years lie between the photos. Beside each stands the person's most "
        "typical photo.",
        "Every photo is closer to its own person than the limit.",
    ),
    Kind.DUPLICATE: (
        "Near-duplicate photos of one person",
        "A second copy of a photo adds no information.",
        "No photo is there twice.",
    ),
}
"""Title, explanation, and what to say where nothing was found."""


def face_names(known: LabelledTemplates, rows: Iterable[int]) -> dict[int, str]:
    """What each face is called on the page: its photo, and its template where a photo shows several of them."""
    chosen = set(rows)
    seen = Counter(known.photos[row] for row in chosen)
    return {
        row: known.photos[row] if seen[known.photos[row]] == 1 else f"{known.photos[row]} (template {known.ids[row]})"
        for row in chosen
    }


def audit_page(
    title: str, basis: str, known: LabelledTemplates, found: Audit, thumbnails: Mapping[str, bytes], limit: int
) -> str:
    """Return the HTML.

    `basis` says where the threshold comes from. `thumbnails` holds JPEG bytes by `face_names`. `limit` findings of each
    kind are shown.
    """
    kinds = found.by_kind
    verdict = (
        f"{len(found.look_alikes):,} pairs of different people at or above the threshold, {len(found.mislabelled):,} "
        f"photos that may be labelled wrongly, {len(found.duplicates):,} near-duplicates."
    )
    names = face_names(known, (row for each in kinds.values() for one in each[:limit] for row in (one.a, one.b)))

    def shown(each: Finding) -> Html:
        a, b = names[each.a], names[each.b]
        people = " / ".join(dict.fromkeys(known.names[known.subject[row]] for row in (each.a, each.b)))
        lines = [people, file_name(a), file_name(b), *filter(None, [each.note])]
        return card(a, b, f"{each.score:.4f}", lines, thumbnails)

    def kind_section(kind: Kind) -> Html:
        name, meaning, nothing = SECTIONS[kind]
        findings = kinds[kind]
        if not findings:
            return section(name, paragraph(nothing, css="note"))
        cut = f" The first {limit:,} of {len(findings):,} are shown." if len(findings) > limit else ""
        return section(name, paragraph(meaning + cut, css="note"), cards(map(shown, findings[:limit])))

    return page(
        title,
        element("header", element("h1", text(title))),
        element(
            "div",
            paragraph(verdict if found.findings else "Nothing to look at was found.", css="big"),
            paragraph(f"Threshold {threshold_text(found.threshold)}, {basis}."),
            css="answer",
        ),
        facts({"People": f"{len(known.names):,}", "Templates": f"{len(known.subject):,}"}),
        *map(kind_section, Kind),
    )
