"""Several models in one gallery: new templates beside the old ones, the switch to another model, the end of an old one.

One model is active: its templates are searched, and only they. A face may have a template of each model. Which model
was active before is read from the audit log, whose events are written in the same transaction as the switch.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import sqlalchemy as sa

from facesearch.arguments import require_unit_vectors
from facesearch.errors import GalleryError
from facesearch.files import remove_index_cache
from facesearch.store import audit, decisions, models, subjects
from facesearch.store.database import Database
from facesearch.store.rows import chunks, delete_in, insert_all, require_joined, select_in, stored_columns
from facesearch.store.schema import CropRow, FaceRow, ModelRow, PhotoRow, TemplateRow
from facesearch.store.templates import template_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

    from facesearch.store.models import StoredModel
    from facesearch.store.opening import Store
    from facesearch.types import ModelInfo, Vector

ACTIVATED: Final = "models.activate"


@dataclass(frozen=True, slots=True)
class GalleryModel:
    """A model of the gallery, and how much of the gallery it covers."""

    info: ModelInfo
    active: bool
    templates: int
    missing: int
    """Faces without a template of it."""


@dataclass(frozen=True, slots=True)
class KnownFace:
    """An enrolled face."""

    face_id: int
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the upright photo."""
    lacking: bool
    """Whether it has no template of the model that was asked about."""


@dataclass(frozen=True, slots=True)
class LackingPhoto:
    """A photo with at least one face that lacks a template."""

    photo_id: int
    path: Path
    sha256: str
    faces: tuple[KnownFace, ...]
    """All of the photo's, by id."""
    has_crop: bool
    """Whether a picture of the first face was kept."""


@dataclass(frozen=True, slots=True)
class Retired:
    """What went with a model."""

    model_id: str
    templates: int
    faces: int
    """Faces that had no other template."""
    subjects: int
    """People of whom no face is left."""


def gallery_models(connection: Connection) -> list[GalleryModel]:
    """Every model of the gallery, oldest first."""
    return [_counted(connection, each) for each in models.all_models(connection)]


def find_gallery_model(connection: Connection, model_id: str) -> GalleryModel:
    """The model of that id; `GalleryError` where the gallery knows no such."""
    return _counted(connection, _require(connection, model_id))


def _counted(connection: Connection, model: StoredModel) -> GalleryModel:
    owned = sa.select(sa.func.count()).select_from(TemplateRow).where(TemplateRow.model_id == model.row)
    return GalleryModel(model.info, model.active, connection.scalar(owned) or 0, _count_lacking(connection, model.row))


def _require(connection: Connection, model_id: str) -> StoredModel:
    found = models.find_model(connection, model_id)
    if found is None:
        known = ", ".join(each.info.model_id for each in models.all_models(connection)) or "none"
        raise GalleryError(
            f"The gallery has no templates of {model_id}.",
            f"It has those of: {known}. Make them: facesearch reembed --pack NAME",
        )
    return found


def add_model(connection: Connection, info: ModelInfo) -> None:
    """Let the gallery keep templates of `info` beside those it has. Raises `GalleryError` for an empty gallery."""
    if models.active_model(connection) is None:
        raise GalleryError("The gallery is empty: there is nothing to embed again.", "Enroll people first.")
    if models.find_model(connection, info.model_id) is None:
        models.insert_model(connection, info)


def lacking_photos(connection: Connection, model_id: str, *, after: int, limit: int) -> list[LackingPhoto]:
    """Up to `limit` photos by id, behind the id `after`, with faces that lack a template of that model."""
    row = _require(connection, model_id).row
    wanted = sa.select(FaceRow.photo_id).where(_lacks(row), FaceRow.photo_id > after)
    ids = connection.scalars(wanted.distinct().order_by(FaceRow.photo_id).limit(limit)).all()
    return [photo for chunk in chunks(ids) for photo in _lacking_photos(connection, row, chunk)]


def add_templates(connection: Connection, model_id: str, vectors: Sequence[tuple[int, Vector]]) -> int:
    """Keep templates by face id; returns how many were new.

    Faces that were removed meanwhile, or embedded by another process, are passed over. Raises `GalleryError` for
    vectors that no index may hold.
    """
    model = _require(connection, model_id)
    query = sa.select(FaceRow.id).where(_lacks(model.row))
    wanting = {row.id for row in select_in(connection, query, FaceRow.id, [face_id for face_id, _ in vectors])}
    fresh = [(face_id, vector) for face_id, vector in vectors if face_id in wanting]
    if fresh:
        require_unit_vectors(np.array([vector for _, vector in fresh], np.float32), model.info.dimension)
        insert_all(connection, TemplateRow, [template_values(face_id, model.row, each) for face_id, each in fresh])
    return len(fresh)


def previous_model(connection: Connection) -> str:
    """The id of the model that was active before the one that is; `GalleryError` where there is none to go to."""
    active = models.last_model(connection)
    known = {each.info.model_id for each in models.all_models(connection)}
    for event in reversed(audit.events(connection, action=ACTIVATED)):
        before = str(event.detail["previous"])
        if active and event.detail["model"] == active.model_id and before in known:
            return before
    raise GalleryError(
        "There is no model to roll back to.",
        "`facesearch info` shows the models; `facesearch reembed --pack NAME --activate` switches to one.",
    )


def activate(store: Store, model_id: str, *, allow_missing: bool = False) -> str:
    """Search this model's templates from now on, in one transaction; returns the id of the model until now.

    Raises `GalleryError`, and nothing is changed, where faces have no template of it and not `allow_missing`: no search
    would find them.
    """
    store.prepare_models()
    return store.write(_activate, model_id, allow_missing=allow_missing)


def _activate(connection: Connection, model_id: str, *, allow_missing: bool) -> str:
    Database.of(connection).hold_models(connection)
    new, active = _require(connection, model_id), models.last_model(connection)
    assert active is not None  # there is a model
    missing = _count_lacking(connection, new.row)
    if missing and not allow_missing:
        raise GalleryError(
            f"{missing} enrolled faces have no template of {model_id}: no search would find them.",
            f"Make them with `facesearch reembed {models.options_of(new.info)}`; "
            "add --allow-missing to go without these faces.",
        )
    if new.active:
        return model_id
    models.make_active(connection, new.row)
    decisions.forget_comparisons(connection)
    detail: dict[str, int | str] = {"model": model_id, "previous": active.model_id, "missing": missing}
    audit.record(connection, ACTIVATED, detail)
    return active.model_id


def retire(store: Store, model_id: str, *, allow_missing: bool = False) -> Retired:
    """Remove a model that is not active with its templates and calibrations for good, from the index cache too.

    Faces that have no template of another model go with it, and so do photos and people of whom none is left; that
    needs `allow_missing`, or `GalleryError` is raised and nothing is changed.
    """
    retired = store.change(_retire, model_id, store.folder, allow_missing=allow_missing)
    store.database.checkpoint()
    return retired


def _retire(connection: Connection, model_id: str, folder: Path, *, allow_missing: bool) -> Retired:
    Database.of(connection).hold_models(connection)
    model = _require(connection, model_id)
    if model.active:
        raise GalleryError(
            f"{model_id} is the model in use.", "Activate another: facesearch reembed --pack NAME --activate"
        )
    templates = _counted(connection, model).templates
    other = sa.exists().where(TemplateRow.face_id == FaceRow.id, TemplateRow.model_id != model.row)
    alone = connection.execute(sa.select(FaceRow.id, FaceRow.photo_id).where(~other)).all()
    if alone and not allow_missing:
        raise GalleryError(
            f"{len(alone)} enrolled faces have no template but those of {model_id}, and would go with it.",
            "Enroll their photos again, or add --allow-missing to remove these faces.",
        )
    connection.execute(sa.delete(ModelRow).where(ModelRow.id == model.row))
    delete_in(connection, FaceRow, FaceRow.id, [face.id for face in alone])
    subjects.remove_orphan_photos(connection, sorted({face.photo_id for face in alone}))
    gone = subjects.remove_faceless_subjects(connection)
    detail: dict[str, int | str] = {"model": model_id, "templates": templates, "faces": len(alone), "subjects": gone}
    audit.record(connection, "models.retire", detail)
    # Before the commit: once the removal is acknowledged, no file may hold the vectors.
    remove_index_cache(folder)
    return Retired(model_id, templates, len(alone), gone)


def _lacks(model_row: int) -> sa.ColumnElement[bool]:
    """Condition on `FaceRow`: it has no template of the model."""
    return ~sa.exists().where(TemplateRow.face_id == FaceRow.id, TemplateRow.model_id == model_row)


def _count_lacking(connection: Connection, model_row: int) -> int:
    return connection.scalar(sa.select(sa.func.count()).select_from(FaceRow).where(_lacks(model_row))) or 0


def _lacking_photos(connection: Connection, model_row: int, photo_ids: Sequence[int]) -> list[LackingPhoto]:
    query = (
        sa.select(
            *stored_columns(PhotoRow, "photo_"),
            *stored_columns(FaceRow, "face_"),
            _lacks(model_row).label("lacking"),
            CropRow.id.label("crop_id"),
        )
        .select_from(PhotoRow)
        .join(FaceRow, FaceRow.photo_id == PhotoRow.id)
        .outerjoin(CropRow, CropRow.photo_id == PhotoRow.id)
        .where(PhotoRow.id.in_(photo_ids))
        .order_by(PhotoRow.id, FaceRow.id)
    )
    found: dict[int, LackingPhoto] = {}
    for row in connection.execute(query):
        require_joined(row, PhotoRow, FaceRow)
        face = KnownFace(row.face_id, struct.unpack("<4f", row.face_box), bool(row.lacking))
        known = found.get(row.photo_id)
        found[row.photo_id] = LackingPhoto(
            row.photo_id,
            Path(os.fsdecode(row.photo_path)),
            row.photo_sha256.hex(),
            (*(known.faces if known else ()), face),
            row.crop_id is not None,
        )
    return list(found.values())
