"""`facesearch calibrate`: a threshold for an error target in this gallery, checked on people it was not fitted on."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.audit import LabelledTemplates
from facesearch.evaluation.bootstrap import sample_of_summary
from facesearch.evaluation.calibrating import (
    FpirEstimate,
    Request,
    calibrate_far,
    calibrate_fpir,
    estimate_fpir,
    split_people,
)
from facesearch.evaluation.calibration import Basis, Calibration, Metric
from facesearch.evaluation.documents import to_json
from facesearch.evaluation.groups import rates_at
from facesearch.evaluation.pairwise import compare_all, curve_of_summary
from facesearch.evaluation.rates import Flags, Rate, clustered_rate, counted
from facesearch.evaluation.searches import NON_MATED, SearchScores
from facesearch.evaluation.searching import Searched, mate_scores, search_everybody, search_others
from facesearch.evaluation.trials.table import encode, refuse
from facesearch.recognition.quality import ENROLL_LIMITS, PROBE_LIMITS
from facesearch.store import photos as stored_photos
from facesearch.store import subjects as stored_subjects
from facesearch.store import templates as stored_templates

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from facesearch.evaluation.trials.types import PhotoSet
    from facesearch.jobs.embeddings import Embedded
    from facesearch.search.gallery import Gallery
    from facesearch.types import Fusion


def gallery_templates(gallery: Gallery) -> LabelledTemplates:
    """Everything enrolled. EvaluationError where nobody is; `CorruptGalleryError` for a damaged template."""
    ids, vectors = gallery.read(stored_templates.all_templates)
    if not ids.size:
        raise EvaluationError("The gallery is empty.", "Enroll people first: facesearch enroll PEOPLE_FOLDER")
    described = gallery.read(stored_templates.describe_templates, ids.tolist())
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
        raise EvaluationError(f"{people.source}: no photo has a usable face", f"Reasons: {embedded.said}")
    codes: dict[str, int] = {}
    subject = encode((people.subject_ids[row] for row in rows), codes)
    vectors = np.array([embedded.photos[row].vector for row in rows], np.float32)
    photos = tuple(people.names[row] for row in rows)
    return LabelledTemplates(vectors, subject, tuple(codes), photos, np.empty(0, np.int64), embedded.reasons)


def require_unknown(strangers: PhotoSet, gallery: Gallery) -> None:
    """Raise EvaluationError, by name, where somebody who is to be unknown is enrolled."""
    enrolled = {subject.name for subject in gallery.read(stored_subjects.list_subjects)}
    members = sorted(name for name in set(strangers.subject_ids) if unicodedata.normalize("NFC", name) in enrolled)
    refuse(strangers.source, "people who are to be unknown are enrolled", members, "Take their folders out.")


def stranger_templates(strangers: PhotoSet, embedded: Embedded, gallery: Gallery, dimension: int) -> LabelledTemplates:
    """Photos of people who are not enrolled, one row each; NaN where `query` could not use the photo.

    EvaluationError, by name, for photos that are enrolled.
    """
    known = gallery.read(stored_photos.photos_of_contents, {each.sha256 for each in embedded.photos if each.sha256})
    copies = [name for name, each in zip(strangers.names, embedded.photos, strict=True) if each.sha256 in known]
    refuse(strangers.source, "photos of unknown people are enrolled", copies, "Take these photos out.")
    embedded = embedded.limited(PROBE_LIMITS)
    nothing = np.full(dimension, np.nan, np.float32)
    vectors = np.array([nothing if each.vector is None else each.vector for each in embedded.photos], np.float32)
    codes: dict[str, int] = {}
    subject = encode(strangers.subject_ids, codes)
    photos = strangers.names
    return LabelledTemplates(vectors, subject, tuple(codes), photos, np.empty(0, np.int64), embedded.reasons)


SEARCHES: Final = 20_000
"""Templates that are searched with at most, drawn by the seed: they support an FPIR of 1e-3 with 20 errors, and keep
the work for a large gallery at minutes."""
TAIL: Final = 5
"""Non-mated pairs that are shown: those that decide the threshold."""


@dataclass(frozen=True, slots=True)
class TailPair:
    """Two photos of different people whose score decides the threshold; a wrong label looks like this."""

    score: float
    subject_a: str
    photo_a: str
    subject_b: str
    photo_b: str


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration, and what it does to people it was not fitted on."""

    calibration: Calibration
    held_out: FpirEstimate | Rate | None
    """FPIR at the size asked for, or false matches (FAR), on people left out of the fit; None without a split."""
    missed: Rate | None
    """Mated searches (FPIR) or comparisons (FAR) below the threshold; None where nobody has a second photo."""
    tail: tuple[TailPair, ...]
    """The non-mated pairs with the highest scores."""


def without(known: LabelledTemplates, photos: Collection[str]) -> LabelledTemplates:
    """The templates but those of these photos. EvaluationError for a photo that is not among them."""
    absent = sorted(set(photos) - set(known.photos))
    refuse("--leave-out", "photos that have no part in this calibration", absent, "Name them as `audit` does.")
    rows = [row for row, photo in enumerate(known.photos) if photo not in photos]
    codes: dict[str, int] = {}
    subject = encode((known.names[known.subject[row]] for row in rows), codes)
    return replace(
        known,
        vectors=known.vectors[rows],
        subject=subject,
        names=tuple(codes),
        photos=tuple(known.photos[row] for row in rows),
        ids=known.ids[rows] if known.ids.size else known.ids,
    )


def calibrate_on_labelled(known: LabelledTemplates, request: Request) -> Calibrated:
    """Calibrate on templates of known people: those of the gallery, or of labelled photos.

    For an FPIR every template is searched among everybody else's, which a stranger's search is like; for a FAR all
    templates are compared. The people searched with are split, the people searched are not.

    Raises EvaluationError: the data do not support the target, with how much data would; or more than half of the
    mates would be missed.
    """
    people = len(known.names)
    if people < 2:
        raise EvaluationError(
            f"The photos show {people} person{'' if people == 1 else 's'}, so nobody can be compared with others.",
            "Enroll more people, or use --unknown.",
        )
    if request.metric is Metric.FAR:
        return _accepted(_calibrate_far(known, request))
    rows = _drawn(known.subject.size, request.seed)
    found = search_others(known.vectors, known.subject, rows, request.fusion)
    calibration, held_out = _fit_and_check(found.scores, request)
    missed = _missed(known, rows, calibration.threshold, request.fusion)
    return _accepted(Calibrated(calibration, held_out, missed, _tail(found, known, rows, known)))


def calibrate_on_strangers(known: LabelledTemplates, strangers: LabelledTemplates, request: Request) -> Calibrated:
    """Calibrate on photos of people who are not enrolled, searched in the gallery.

    A row of NaN in `strangers` is a photo without a usable face, which raises no alarm. Raises EvaluationError: the
    target is a FAR, or is not supported; or more than half of the mates would be missed.
    """
    if request.metric is Metric.FAR:
        raise EvaluationError(
            "Strangers are searched for, which gives an FPIR.", "Use --fpir with --unknown, or --far without it."
        )
    nobody = np.full(len(strangers.vectors), NON_MATED)
    found = search_everybody(known.vectors, known.subject, strangers.vectors, nobody, strangers.subject, request.fusion)
    calibration, held_out = _fit_and_check(found.scores, request)
    missed = _missed(known, _drawn(known.subject.size, request.seed), calibration.threshold, request.fusion)
    tail = _tail(found, strangers, np.arange(nobody.size), known)
    return _accepted(Calibrated(calibration, held_out, missed, tail))


def _fit_and_check(scores: SearchScores, request: Request) -> tuple[Calibration, FpirEstimate | None]:
    """Calibrate on the people of the fit, and estimate the same rate on the others."""
    assert scores.non_mate_id is not None
    fit = _fit_rows(scores.non_mate_id, request)
    calibration = calibrate_fpir(scores.select(fit), request)
    if fit.all():
        return calibration, None
    return calibration, estimate_fpir(scores.select(~fit), calibration.threshold, request)


def _calibrate_far(known: LabelledTemplates, request: Request) -> Calibrated:
    vectors, subject, target = known.vectors, known.subject, request.target
    rows = _fit_rows(subject, request)
    fitted = compare_all(vectors[rows], subject[rows], largest_far=target)
    sample = sample_of_summary(fitted)
    calibration = calibrate_far(curve_of_summary(fitted), sample, request)
    tar, _ = rates_at(sample, calibration.threshold, seed=request.seed)
    places = np.flatnonzero(rows)
    pairs = zip(fitted.tail_score.tolist(), places[fitted.tail_a], places[fitted.tail_b], strict=True)
    tail = tuple(_tail_pair(score, known, int(a), known, int(b)) for score, a, b in islice(pairs, TAIL))
    held_out = None
    if not rows.all():
        checked = compare_all(vectors[~rows], subject[~rows], largest_far=min(1.0, 10 * target))
        _, held_out = rates_at(sample_of_summary(checked), calibration.threshold, seed=request.seed)
    return Calibrated(calibration, held_out, tar and tar.complement, tail)


def _drawn(templates: int, seed: int) -> NDArray[np.int64]:
    if templates <= SEARCHES:
        return np.arange(templates)
    return np.sort(np.random.default_rng(seed).choice(templates, SEARCHES, replace=False))


def _fit_rows(people: NDArray[np.int64], request: Request) -> Flags:
    return split_people(people, seed=request.seed) if request.split else np.ones(people.size, np.bool_)


def _missed(known: LabelledTemplates, rows: NDArray[np.int64], threshold: float, fusion: Fusion) -> Rate | None:
    """The share of mated searches below the threshold, each photo searched among its person's others."""
    mates = mate_scores(known.vectors, known.subject, rows, fusion)
    mated = ~np.isnan(mates)
    return clustered_rate(mates[mated] < threshold, known.subject[rows[mated]]) if mated.any() else None


MOST_MISSED: Final = 0.5
"""A threshold that misses more of the mates is refused: recognition would be off without a word."""


def _accepted(found: Calibrated) -> Calibrated:
    """Refuse a threshold that switches recognition off."""
    if found.missed is None or found.missed.value <= MOST_MISSED:
        return found
    pairs = "; ".join(f"{each.score:.3f} {each.photo_a} with {each.photo_b}" for each in found.tail)
    raise EvaluationError(
        f"The threshold would be {found.calibration.threshold:g} and miss {counted(found.missed)} of the mates: these "
        f"photos of different people decide it: {pairs}.",
        "`facesearch audit` shows wrong labels; --leave-out PHOTO leaves a photo out. Or choose a larger target.",
    )


def _tail(
    found: Searched, probes: LabelledTemplates, rows: NDArray[np.int64], known: LabelledTemplates
) -> tuple[TailPair, ...]:
    """The highest of the non-mated searches, each pair of photos once."""
    best = np.nan_to_num(found.scores.top[:, 0], nan=-np.inf)
    pairs: dict[frozenset[str], TailPair] = {}
    for line in np.argsort(-best, kind="stable")[: 2 * TAIL].tolist():
        pair = _tail_pair(float(best[line]), probes, int(rows[line]), known, int(found.nearest[line]))
        if np.isfinite(pair.score):
            pairs.setdefault(frozenset((pair.photo_a, pair.photo_b)), pair)
    return tuple(pairs.values())[:TAIL]


def _tail_pair(score: float, a: LabelledTemplates, row_a: int, b: LabelledTemplates, row_b: int) -> TailPair:
    sides = (
        text for each, row in ((a, row_a), (b, row_b)) for text in (each.names[each.subject[row]], each.photos[row])
    )
    return TailPair(score, *sides)


def read_calibration_file(path: Path) -> Calibration:
    """A calibration.json; EvaluationError, naming the file, for anything else."""
    try:
        return Calibration.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    except EvaluationError as error:
        raise EvaluationError(f"{path}: {error.message}", error.hint) from error


def describe(found: Calibrated) -> Mapping[str, object]:
    """The record that `calibrate --json` prints."""
    return {
        **to_json(found),
        **to_json(found.calibration),
        "extrapolated": found.calibration.basis is Basis.EXTRAPOLATED,
    }
