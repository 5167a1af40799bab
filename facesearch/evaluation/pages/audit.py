"""The page of `facesearch audit`: what in a gallery a person should look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from facesearch.evaluation.pages import words
from facesearch.evaluation.pages.shell import Html, card, cards, element, facts, page, paragraph, section, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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


_KINDS = (
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
            paragraph(f"Threshold {words.threshold(threshold)}, {basis}."),
            css="answer",
        ),
        facts(looked),
        *(_section(kind, pairs, thumbnails, total) for kind, pairs, total in zip(_KINDS, listed, totals, strict=True)),
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
    lines = [people, words.file_name(pair.photo_a), words.file_name(pair.photo_b), *([pair.note] if pair.note else [])]
    return card(pair.photo_a, pair.photo_b, f"{pair.score:.4f}", lines, thumbnails)
