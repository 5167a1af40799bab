"""`facesearch calibrate`: a threshold for an error target in this gallery, checked on people it was not fitted on."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.assessment import evaluate_summary
from facesearch.evaluation.audit import LabelledTemplates
from facesearch.evaluation.calibrating import calibrate_far, calibrate_fpir, split_people
from facesearch.evaluation.calibration import Basis, Calibration, Metric
from facesearch.evaluation.documents import to_json
from facesearch.evaluation.pairwise import compare_all
from facesearch.evaluation.rates import Flags, Rate, clustered_rate, counted_rate
from facesearch.evaluation.searches import NON_MATED, SearchScores, join, summarise
from facesearch.evaluation.trials.table import encode, refuse
from facesearch.jobs.evaluate import search_everybody
from facesearch.recognition.quality import ENROLL_LIMITS, PROBE_LIMITS
from facesearch.store import photos as stored_photos
from facesearch.store import subjects as stored_subjects
from facesearch.store import templates as stored_templates

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from facesearch.evaluation.trials.types import PhotoSet
    from facesearch.jobs.embeddings import Embedded
    from facesearch.search.gallery import Gallery
    from facesearch.types import Vectors


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
_CELLS: Final = 4_000_000
"""Scores looked at together: 16 MB."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be calibrated."""

    metric: Metric
    target: float
    subjects: int
    """n, the gallery size the threshold is to hold for."""
    split: bool = True
    """Fit on half of the people and check on the others."""
    extrapolate: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration, and what it does to people it was not fitted on."""

    calibration: Calibration
    held_out: Rate | None
    """The false positives (FPIR) or false matches (FAR) on the people left out of the fit; None without a split."""
    missed: Rate | None
    """Mated searches (FPIR) or comparisons (FAR) below the threshold; None where there are none to count."""


def calibrate_on_labelled(vectors: Vectors, subject: NDArray[np.int64], request: Request) -> Calibrated:
    """Calibrate on templates of known people: those of the gallery, or of labelled photos.

    For an FPIR every template is searched among everybody else's, which a stranger's search is like; for a FAR all
    templates are compared. The people searched with are split, the people searched are not.

    Args:
        vectors: (n, d). subject: (n,) codes 0 ... S-1.

    Raises EvaluationError: the data do not support the target; says how much data would.
    """
    people = int(np.unique(subject).size)
    if people < 2:
        raise EvaluationError(
            f"The photos show {people} person{'' if people == 1 else 's'}, so nobody can be compared with others.",
            "Enroll more people, or use --unknown.",
        )
    if request.metric is Metric.FAR:
        return _calibrate_far(vectors, subject, request)
    rows = _drawn(subject.size, request.seed)
    fit = _fit_rows(subject[rows], request)
    scores, mates = search_others(vectors, subject, rows)
    chosen = _select(scores, fit)
    calibration = _for_others(chosen, people - 1, request)
    held_out = None if fit.all() else _alarms(_select(scores, ~fit), calibration.threshold)
    return Calibrated(calibration, held_out, _missed(mates, subject[rows], calibration.threshold))


def calibrate_on_strangers(
    gallery: Vectors, subject: NDArray[np.int64], strangers: Vectors, people: NDArray[np.int64], request: Request
) -> Calibrated:
    """Calibrate on photos of people who are not enrolled, searched in the gallery.

    Args:
        gallery: (t, d) templates. subject: (t,) codes 0 ... N-1.
        strangers: (q, d); a row of NaN is a photo without a usable face, which raises no alarm.
        people: (q,) codes of who they show.

    Raises EvaluationError: the target is a FAR, or is not supported.
    """
    if request.metric is Metric.FAR:
        raise EvaluationError(
            "Strangers are searched for, which gives an FPIR.", "Use --fpir with --unknown, or --far without it."
        )
    scores = search_everybody(gallery, subject, strangers, np.full(len(strangers), NON_MATED), people)
    fit = _fit_rows(people, request)
    calibration = calibrate_fpir(
        _select(scores, fit), request.target, subjects=request.subjects, extrapolate=request.extrapolate
    )
    held_out = None if fit.all() else _alarms(_select(scores, ~fit), calibration.threshold)
    return Calibrated(calibration, held_out, None)


def search_others(
    vectors: Vectors, subject: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[SearchScores, NDArray[np.float64]]:
    """Search templates among everybody else's, and find the best score with the person's own other templates.

    Returns the non-mated searches against S - 1 people, and (r,) mate scores, NaN for a person's only template.
    """
    order = np.argsort(subject, kind="stable")
    arranged, owner = vectors[order], subject[order]
    starts = np.flatnonzero(np.append(True, owner[1:] != owner[:-1]))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    step = max(1, _CELLS // len(order))
    parts, mates = [], []
    for first in range(0, rows.size, step):
        chosen = rows[first : first + step]
        line = np.arange(chosen.size)
        scores = vectors[chosen] @ arranged.T
        # A template matches itself perfectly: that says nothing.
        scores[line, place[chosen]] = -np.inf
        best = np.maximum.reduceat(scores, starts, axis=1).astype(np.float64)
        own = np.searchsorted(owner[starts], subject[chosen])
        mate = best[line, own]
        mates.append(np.where(np.isneginf(mate), np.nan, mate))
        others = np.ones(best.shape, np.bool_)
        others[line, own] = False
        block = best[others].reshape(chosen.size, starts.size - 1)
        parts.append(summarise(block, np.full(chosen.size, NON_MATED), subject[chosen]))
    return join(parts), np.concatenate(mates)


def _for_others(scores: SearchScores, others: int, request: Request) -> Calibration:
    """Calibrate for n people on searches among S - 1.

    For n = S the bound FPIR(S) <= S / (S - 1) FPIR(S - 1) stands in: it costs little, and keeps what was counted
    as the basis. Other sizes are subsets of the S - 1, or are
    scaled up from them.
    """
    if request.subjects != others + 1:
        return calibrate_fpir(scores, request.target, subjects=request.subjects, extrapolate=request.extrapolate)
    people = scores.non_mate_id
    assert people is not None
    factor = (others + 1) / others
    try:
        found = calibrate_fpir(scores, request.target / factor, subjects=others, extrapolate=request.extrapolate)
    except EvaluationError as error:
        halved = ": half of the people are kept for the check, --no-split uses all" if request.split else ""
        raise EvaluationError(
            f"FPIR {request.target:g} for {request.subjects:,} people cannot be calibrated on {len(scores.top):,} "
            f"searches for {np.unique(people).size:,} people{halved}.",
            error.hint,
        ) from error
    interval = replace(
        found.interval, low=min(1.0, found.interval.low * factor), high=min(1.0, found.interval.high * factor)
    )
    size = request.subjects
    estimate = min(1.0, found.estimate * factor)
    return replace(found, target=request.target, subjects=size, valid_up_to=size, estimate=estimate, interval=interval)


def _calibrate_far(vectors: Vectors, subject: NDArray[np.int64], request: Request) -> Calibrated:
    rows = _fit_rows(subject, request)
    target = request.target
    fitted = compare_all(vectors[rows], subject[rows], largest_far=target)
    result = evaluate_summary(fitted, targets=[target], seed=request.seed)
    calibration = calibrate_far(result, target)
    tar = result.points[0].tar
    missed = tar and counted_rate(tar.total - tar.count, tar.total)
    if rows.all():
        return Calibrated(calibration, None, missed)
    checked = compare_all(vectors[~rows], subject[~rows], largest_far=min(1.0, 10 * target))
    errors = int(np.count_nonzero(checked.tail_score >= calibration.threshold))
    return Calibrated(calibration, counted_rate(errors, checked.non_mated), missed)


def _drawn(templates: int, seed: int) -> NDArray[np.int64]:
    if templates <= SEARCHES:
        return np.arange(templates)
    return np.sort(np.random.default_rng(seed).choice(templates, SEARCHES, replace=False))


def _fit_rows(people: NDArray[np.int64], request: Request) -> Flags:
    return split_people(people, seed=request.seed) if request.split else np.ones(people.size, np.bool_)


def _select(scores: SearchScores, rows: Flags) -> SearchScores:
    assert scores.non_mate_id is not None
    return replace(scores, top=scores.top[rows], non_mate_id=scores.non_mate_id[rows])


def _alarms(scores: SearchScores, threshold: float) -> Rate:
    """FPIR of these searches against all the people searched."""
    assert scores.non_mate_id is not None
    return clustered_rate(scores.top[:, 0] >= threshold, scores.non_mate_id)


def _missed(mates: NDArray[np.float64], people: NDArray[np.int64], threshold: float) -> Rate | None:
    mated = ~np.isnan(mates)
    return clustered_rate(mates[mated] < threshold, people[mated]) if mated.any() else None


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
        **to_json(found.calibration),
        "held_out": to_json(found.held_out),
        "missed": to_json(found.missed),
        "extrapolated": found.calibration.basis is Basis.EXTRAPOLATED,
    }
