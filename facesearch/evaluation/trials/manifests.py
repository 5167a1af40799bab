"""1:N manifests: `gallery.csv` and `probes.csv`, one photo a row."""

from __future__ import annotations

from pathlib import Path

from facesearch.evaluation.trials.refusal import encode, refusal, repeats
from facesearch.evaluation.trials.table import HEADER_ROWS, read_columns
from facesearch.evaluation.trials.types import PhotoSet, SearchTrials
from facesearch.names import listed_path, path_text
from facesearch.walking import is_gone


def read_manifest(path: Path, photos: Path | None = None) -> PhotoSet:
    """CSV `image,subject_id[,template_id,media_id]`; paths are relative to `photos`, or to the CSV's own folder.

    EvaluationError, by row, for a photo listed twice, an empty subject id, and photos that are not there.
    """
    columns = read_columns(path, ("image", "subject_id"), ("template_id", "media_id"))
    root = path.parent if photos is None else photos
    images, subjects = columns["image"], columns["subject_id"]
    later, first = repeats(encode(images, {}))
    if later.size:
        offenders = (
            f"row {i + 1 + HEADER_ROWS} ({images[i]}{'' if subjects[i] == subjects[j] else ', for another person'}), "
            f"first in row {j + 1 + HEADER_ROWS}"
            for i, j in zip(later.tolist(), first.tolist(), strict=True)
        )
        raise refusal(str(path), "photos are listed twice", offenders, int(later.size), "Keep one row of each photo.")
    nameless = [i for i, subject in enumerate(subjects, 1 + HEADER_ROWS) if not subject.strip()]
    if nameless:
        raise refusal(str(path), "rows without a subject_id", (f"row {i}" for i in nameless), len(nameless))
    files = tuple(listed_path(root, image) for image in images)
    absent = [i for i, file in enumerate(files) if is_gone(file)]
    if absent:
        offenders = (f"row {i + 1 + HEADER_ROWS}: {images[i]}" for i in absent)
        hint = "Name the folder they are in with --photos DIR."
        raise refusal(str(path), "photos that are not there", offenders, len(absent), hint)
    templates, media = columns.get("template_id"), columns.get("media_id")
    return PhotoSet(
        path_text(path),
        files,
        tuple(images),
        tuple(subjects),
        tuple(templates) if templates else None,
        tuple(media) if media else None,
    )


def read_manifests(gallery: Path, probes: Path, photos: Path | None = None) -> SearchTrials:
    """A 1:N experiment of two manifests; a probe whose subject_id is not in the gallery's is a non-mated search.

    EvaluationError, by row, for a photo that is in both: it would find itself.
    """
    enrolled, searched = read_manifest(gallery, photos), read_manifest(probes, photos)
    return require_new_photos(SearchTrials(f"{enrolled.source} and {searched.source}", enrolled, searched), HEADER_ROWS)


def require_new_photos(trials: SearchTrials, header_rows: int = 0) -> SearchTrials:
    """The trials; EvaluationError, by row, where a photo is both enrolled and searched for: it would find itself."""
    row_of = {photo: i for i, photo in enumerate(trials.gallery.photos, 1 + header_rows)}
    shared = [(i, photo) for i, photo in enumerate(trials.probes.photos, 1 + header_rows) if photo in row_of]
    if shared:
        offenders = (f"row {i}, enrolled in row {row_of[photo]} ({photo.name})" for i, photo in shared)
        problem = f"probes that {Path(trials.gallery.source).name} enrolls"
        raise refusal(trials.probes.source, problem, offenders, len(shared))
    return trials
