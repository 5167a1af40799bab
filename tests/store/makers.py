"""Galleries, photos and templates for the tests: made-up vectors, real databases."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facesearch.search.gallery import Gallery
from facesearch.store import photos as stored_photos
from facesearch.store.changes import MovedPhoto, NewPhoto
from facesearch.store.decisions import RefusedPhoto, StoredRejection
from facesearch.store.photos import PhotoFile
from facesearch.store.sqlite import SqliteDatabase
from facesearch.types import Face, Fusion, ModelInfo, Quality, Reason, Rejection, Template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from facesearch.store.changes import Change
    from facesearch.store.location import Location
    from facesearch.types import Candidate, Vector, Vectors

DIMENSION = 8
MODEL = ModelInfo("model-a", "a-pack", DIMENSION, "d" * 64, "e" * 64, {"det_size": "640"})
OTHER_MODEL = ModelInfo("model-b", "b-pack", DIMENSION, "d" * 64, "f" * 64)
ROOT = Path("/photos")
FACE = Face(np.array([10, 20, 60, 80], np.float32), np.arange(10, dtype=np.float32).reshape(5, 2), detection_score=0.9)
QUALITY = Quality(size=50, sharpness=100, yaw=0.1, roll=-2)


def unit(seed: int, dimension: int = DIMENSION) -> Vector:
    """A random direction, the same for the same seed."""
    return units(seed, 1, dimension).reshape(dimension)


def units(seed: int, count: int, dimension: int = DIMENSION) -> Vectors:
    """`count` random directions."""
    vectors = np.random.default_rng(seed).standard_normal((count, dimension))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def sqlite_of(gallery: Gallery) -> SqliteDatabase:
    """The database of a gallery in a folder."""
    assert isinstance(gallery.database, SqliteDatabase)
    return gallery.database


def template(vector: Vector, model_id: str = MODEL.model_id) -> Template:
    return Template(vector, model_id, FACE, QUALITY)


def photo_file(path: Path | str, content: int | None = None, mtime_ns: int = 1) -> PhotoFile:
    """A file whose content is named by a number, else by its path."""
    named = str(path) if content is None else str(content)
    return PhotoFile(ROOT / path, hashlib.sha256(named.encode()).hexdigest(), 100, mtime_ns)


def new_photo(
    subject: str,
    path: Path | str,
    vectors: Sequence[Vector],
    attributes: Mapping[str, str] | None = None,
    content: int | None = None,
) -> NewPhoto:
    templates = tuple(template(vector) for vector in vectors)
    return NewPhoto(photo_file(path, content), subject, attributes or {}, 640, 480, templates)


def photo_of_other_model(subject: str, path: str, seed: int) -> NewPhoto:
    """A photo whose template `OTHER_MODEL` made."""
    made = (template(unit(seed), OTHER_MODEL.model_id),)
    return NewPhoto(photo_file(path, seed), subject, {}, 640, 480, made)


def moved_photo(gallery: Gallery, old: Path | str, new: Path | str, subject: str) -> MovedPhoto:
    stored = gallery.read(stored_photos.find_photos, [ROOT / old])[ROOT / old]
    file = PhotoFile(ROOT / new, stored.file.sha256, stored.file.size, stored.file.mtime_ns)
    return MovedPhoto(stored, file, subject, {})


def refused_photo(path: Path | str, reason: Reason = Reason.BLURRED, detail: str = "It is blurred.") -> RefusedPhoto:
    return RefusedPhoto(ROOT / path, StoredRejection("ab" * 32, 5, 6, "policy", Rejection(reason, detail)))


def make_gallery(place: Location, fusion: Fusion = Fusion.MEAN) -> Gallery:
    """A new, empty gallery that takes templates of `MODEL`."""
    gallery = Gallery.open(place, create=True, fusion=fusion)
    gallery.adopt(MODEL)
    return gallery


def commit(gallery: Gallery, changes: Sequence[Change]) -> list[tuple[int, ...]]:
    """Carry out changes; the template ids that each concerns."""
    return [each.template_ids for each in gallery.apply(changes).applied]


def enroll(gallery: Gallery, subject: str, *seeds: int, attributes: Mapping[str, str] | None = None) -> list[int]:
    """One photo `<seed>.jpg` per seed, with the vector `unit(seed)`; returns the template ids."""
    photos = [new_photo(subject, f"{seed}.jpg", [unit(seed)], attributes, content=seed) for seed in seeds]
    return [template_id for ids in commit(gallery, photos) for template_id in ids]


def best(gallery: Gallery, vector: Vector) -> Candidate | None:
    """The best candidate for one vector."""
    (candidates,) = gallery.search(vector[None], 1)
    return candidates[0] if candidates else None


def found_subject(gallery: Gallery, seed: int) -> str | None:
    """Whom the vector `unit(seed)` itself belongs to; None where no template equals it."""
    (candidates,) = gallery.search(unit(seed)[None], 10**6)
    return next((each.subject for each in candidates if each.best_template_score > 0.9999), None)
