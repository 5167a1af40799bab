"""Templates with the people they show: what a calibration and an audit look at."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.trials.refusal import encode, refusal
from facesearch.recognition.quality import ENROLL_LIMITS, PROBE_LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from facesearch.evaluation.trials import PhotoSet
    from facesearch.jobs.embeddings import Embedded
    from facesearch.search.gallery import Gallery
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


def gallery_templates(gallery: Gallery) -> LabelledTemplates:
    """Everything enrolled. EvaluationError where nobody is; `CorruptGalleryError` for a damaged template."""
    ids, vectors = gallery.all_templates()
    if not ids.size:
        raise EvaluationError("The gallery is empty.", "Enroll people first: facesearch enroll PEOPLE_FOLDER")
    described = gallery.describe_templates(ids.tolist())
    rows = [described[each] for each in ids.tolist()]
    codes: dict[str, int] = {}
    subject = encode((each.subject for each in rows), codes)
    return LabelledTemplates(vectors, subject, tuple(codes), tuple(each.photo for each in rows), ids, {})


def labelled_templates(people: PhotoSet, embedded: Embedded) -> LabelledTemplates:
    """Labelled photos as if they were enrolled, faces refused as `enroll` refuses them.

    EvaluationError where no photo is usable.
    """
    embedded = embedded.limited(ENROLL_LIMITS)
    rows = embedded.usable
    if not rows:
        raise EvaluationError(f"{people.source}: no photo has a usable face", f"Reasons: {embedded.reasons}")
    codes: dict[str, int] = {}
    subject = encode((people.subject_ids[row] for row in rows), codes)
    vectors = np.array([embedded.photos[row].vector for row in rows], np.float32)
    photos = tuple(people.names[row] for row in rows)
    return LabelledTemplates(vectors, subject, tuple(codes), photos, np.empty(0, np.int64), embedded.reasons)


def require_unknown(strangers: PhotoSet, gallery: Gallery) -> None:
    """Raise EvaluationError, by name, where somebody who is to be unknown is enrolled."""
    enrolled = {subject.name for subject in gallery.subjects()}
    members = sorted(name for name in set(strangers.subject_ids) if unicodedata.normalize("NFC", name) in enrolled)
    if members:
        problem = "people who are to be unknown are enrolled"
        raise refusal(strangers.source, problem, members, len(members), "Take their folders out.")


def stranger_templates(strangers: PhotoSet, embedded: Embedded, gallery: Gallery, dimension: int) -> LabelledTemplates:
    """Photos of people who are not enrolled, one row each; NaN where `query` could not use the photo.

    EvaluationError, by name, for photos that are enrolled.
    """
    known = gallery.photos_of_contents({each.sha256 for each in embedded.photos if each.sha256})
    copies = [name for name, each in zip(strangers.names, embedded.photos, strict=True) if each.sha256 in known]
    if copies:
        problem = "photos of unknown people are enrolled"
        raise refusal(strangers.source, problem, copies, len(copies), "Take these photos out.")
    embedded = embedded.limited(PROBE_LIMITS)
    nothing = np.full(dimension, np.nan, np.float32)
    vectors = np.array([nothing if each.vector is None else each.vector for each in embedded.photos], np.float32)
    codes: dict[str, int] = {}
    subject = encode(strangers.subject_ids, codes)
    photos = strangers.names
    return LabelledTemplates(vectors, subject, tuple(codes), photos, np.empty(0, np.int64), embedded.reasons)
