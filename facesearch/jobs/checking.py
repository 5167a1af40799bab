"""What `facesearch check` proves: the gallery, and the models that made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facesearch.errors import CorruptGalleryError, FaceSearchError
from facesearch.search.checks import check_gallery
from facesearch.types import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from facesearch.jobs.parts import Parts
    from facesearch.recognition.packs.store import PackStore
    from facesearch.types import ModelInfo


def check_parts(parts: Parts, *, fix: bool) -> Iterator[Finding]:
    """As `FaceSearch.check`."""
    try:
        yield from check_gallery(parts.gallery, fix=fix)
    except CorruptGalleryError as error:
        yield _failure("database", error)
        return
    try:
        model = parts.gallery.model()
    except CorruptGalleryError:  # a finding has named the damaged row
        return
    if model is not None:
        yield from _check_models(parts.packs, model)


def _check_models(packs: PackStore, model: ModelInfo) -> Iterator[Finding]:
    try:
        checks = packs.verify(model.pack)
    except FaceSearchError as error:
        yield _failure("models", error)
        return
    for each in checks:
        yield Finding(ok=each.ok, subject="models", detail=f"{each.path}: {each.detail}")
    hashes = {model.detector_sha256, model.recognizer_sha256}
    pack = packs.find(model.pack)
    if {pack.detector.identity, pack.recognizer.sha256} != hashes:
        detail = f"the files of {model.pack} are not the ones that made the templates"
        yield Finding(ok=False, subject="models", detail=detail)


def _failure(subject: str, error: FaceSearchError) -> Finding:
    return Finding(ok=False, subject=subject, detail=f"{error.message} {error.hint or ''}".strip())
