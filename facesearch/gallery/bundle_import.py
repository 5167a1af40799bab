"""Reading a bundle into a gallery: all of it or nothing, in one transaction.

An empty gallery takes everything over as it was, ids included: every query has the answers that it had. A gallery that
has people adds those of the bundle under new ids. The rules then:

- the bundle's active model has to be the gallery's;
- a name or a path that the gallery has too is a conflict, and nothing is imported, unless they are to be merged. Then
  people of one name are one person; the gallery's attributes, photos at one path and photos of the same bytes of the
  same person stay as they are, and only what it lacks is added;
- calibrations and refusals stay the gallery's own: they were made with its people and its policy;
- whoever was erased from the gallery stays out, unless told otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import sqlalchemy as sa

from facesearch.errors import GalleryError, ModelMismatchError
from facesearch.gallery import audit, models, rejections, subjects
from facesearch.gallery.bundle_file import BundleReader
from facesearch.gallery.bundle_tables import BY_NAME, template_columns, templates_file
from facesearch.gallery.id_map import IdMap
from facesearch.gallery.index.base import require_unit_vectors
from facesearch.gallery.rows import insert_all, keep_ids
from facesearch.gallery.schema import FaceRow, PhotoRow, TemplateRow
from facesearch.gallery.templates import checksum, chunks
from facesearch.gallery.tombstones import Tombstones, vector_key
from facesearch.types import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection

    from facesearch.gallery.database import Database
    from facesearch.gallery.gallery import Gallery

FEW: Final = 3
"""Conflicts that a message names."""


@dataclass(slots=True)
class Imported:
    """What an import did."""

    subjects: int = 0
    """New people."""
    photos: int = 0
    faces: int = 0
    templates: int = 0
    merged: int = 0
    """People of the bundle that the gallery had already."""
    photos_known: int = 0
    """Photos of the bundle that the gallery had already, or has another in the place of."""
    erased: int = 0
    """Faces left out because their people were erased from this gallery."""
    signed: bool = False
    verified: bool = False


def read_bundle(
    gallery: Gallery,
    file: Path,
    *,
    key: Path | None = None,
    merge: bool = False,
    bring_back_erased: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Imported:
    """Import a bundle into the gallery, all of it or nothing.

    `key` is a file with an Ed25519 public key in PEM that it has to be signed with. `progress` hears of templates as
    they are read. Raises `ModelMismatchError` for a bundle of another model, `GalleryError` for people or photos that
    the gallery has too without `merge`, and what `BundleReader.open` raises.
    """
    with BundleReader.open(file, key) as bundle:
        packed = Tombstones.parse(bundle.tombstones)

        def work(connection: Connection) -> Imported:
            listed = Tombstones() if bring_back_erased else gallery.erased_list.read(connection)
            run = Import(gallery.database, connection, bundle, listed, merge=merge)
            done = run.run(progress)
            done.signed, done.verified = bundle.is_signed, key is not None
            counts = {name: getattr(done, name) for name in ("subjects", "photos", "templates", "merged", "erased")}
            audit.record(connection, "import", counts)
            gallery.erased_list.take_over(connection, packed, of_others=not run.is_fresh)
            return done

        done = gallery.change(work)
    gallery.database.checkpoint()
    return done


class Import:
    """One import within one transaction."""

    def __init__(
        self, database: Database, connection: Connection, bundle: BundleReader, erased: Tombstones, *, merge: bool
    ) -> None:
        self._database = database
        self._connection = connection
        self._bundle = bundle
        self._erased = erased
        self._merge = merge
        self.is_fresh = not models.all_models(connection)
        """Whether everything keeps the ids that it has in the bundle."""
        self._models: dict[int, tuple[int, int, bool]] = {}
        """Row id here, dimension, and whether it is active, by row id in the bundle."""
        self._subjects, self._photos, self._faces = IdMap(), IdMap(), IdMap()
        self._done = Imported()

    def run(self, progress: Callable[[int], None]) -> Imported:
        """Import everything."""
        self._import_models()
        self._import_subjects()
        same = self._photos_of_same_people() if self._merge and not self.is_fresh else None
        for rows in self._rows("photos"):
            self._import_photos(rows, same)
        erased = self._erased_faces()
        self._done.erased = len(erased)
        for rows in self._rows("faces"):
            self._import_faces(rows, erased)
        for row_id in self._models:
            self._import_templates(row_id, progress)
        self._import_rest()
        self._tidy()
        return self._done

    def _rows(self, table: str) -> Iterator[list[dict[str, Any]]]:
        return self._bundle.batches(BY_NAME[table].file, BY_NAME[table].columns)

    def _insert(self, table: str, rows: Sequence[dict[str, Any]]) -> list[int]:
        """Add rows; their ids are the bundle's in an empty gallery, and new ones elsewhere."""
        row = BY_NAME[table].row
        if self.is_fresh:
            return keep_ids(self._connection, row, rows)
        return insert_all(self._connection, row, [{k: v for k, v in each.items() if k != "id"} for each in rows])

    def _import_models(self) -> None:
        stored = models.active_model(self._connection, hold=True)
        for row in (row for rows in self._rows("models") for row in rows):
            if row["active"] and stored is not None and row["model_id"] != stored[1].model_id:
                raise ModelMismatchError(
                    f"The bundle's templates are of {row['model_id']}, the gallery's of {stored[1].model_id}.",
                    "Import it into a gallery of its own (--gallery DIR), and `facesearch reembed` one of the two.",
                )
            known = models.find_model(self._connection, row["model_id"])
            if known is not None and known.info.dimension != row["dimension"]:
                raise ValueError("its model has another dimension than the gallery's of that id")
            key = known.row if known else self._insert("models", [{**row, "active": 0}])[0]
            self._models[row["id"]] = (key, row["dimension"], bool(row["active"]))
            if row["active"] and stored is None:
                models.bind_row(self._database, self._connection, key)
        if sum(active for *_, active in self._models.values()) != 1:
            raise ValueError("it has no active model")

    def _import_subjects(self) -> None:
        taken: list[str] = []
        for rows in self._rows("subjects"):
            for row in rows:
                if subjects.clean_name(row["name"]) != row["name"]:
                    raise ValueError("a name is not as the gallery keeps names")
                row["attributes"] = subjects.clean_attributes(row["attributes"])
            known = {} if self.is_fresh else subjects.ids_by_name(self._connection, [row["name"] for row in rows])
            taken += [row["name"] for row in rows if row["name"] in known]
            self._take_subjects(rows, known)
        if taken and not self._merge:
            raise GalleryError(
                f"{len(taken)} people of the bundle have names that are in the gallery: {_few(taken)}.",
                "Where they are the same people: --merge. Otherwise rename them first: facesearch people rename",
            )
        self._done.merged = len(taken)

    def _take_subjects(self, rows: Sequence[dict[str, Any]], known: dict[str, int]) -> None:
        new = [row for row in rows if row["name"] not in known]
        keys = dict(zip((row["name"] for row in new), self._insert("subjects", new), strict=True))
        for row in rows:
            if row["name"] in known and row["attributes"]:
                subjects.add_attributes(self._connection, known[row["name"]], row["attributes"])
        self._subjects.add([row["id"] for row in rows], [(known | keys)[row["name"]] for row in rows])
        self._done.subjects += len(new)

    def _photos_of_same_people(self) -> IdMap:
        """Whose each photo of the bundle is: needed before the photos, and the bundle has it behind them."""
        owners = IdMap()
        for rows in self._rows("faces"):
            owners.add([row["photo_id"] for row in rows], self._subjects.find([row["subject_id"] for row in rows]))
        return owners

    def _import_photos(self, rows: list[dict[str, Any]], owners: IdMap | None) -> None:
        held = self._held_paths([row["path"] for row in rows])
        if held and owners is None:
            raise GalleryError(
                f"{len(held)} photos of the bundle or more are in the gallery.",
                "With --merge the gallery's stay, and what it lacks is added.",
            )
        copies = self._copies(rows, owners) if owners else set()
        new = [row for row in rows if row["path"] not in held and row["id"] not in copies]
        self._photos.add([row["id"] for row in new], self._insert("photos", new))
        self._done.photos += len(new)
        self._done.photos_known += len(rows) - len(new)

    def _held_paths(self, paths: Sequence[bytes]) -> set[bytes]:
        query = sa.select(PhotoRow.path)
        return {
            path
            for chunk in chunks([] if self.is_fresh else paths)
            for path in self._connection.scalars(query.where(PhotoRow.path.in_(chunk)))
        }

    def _copies(self, rows: Sequence[dict[str, Any]], owners: IdMap) -> set[int]:
        """Photos of the bundle whose bytes are enrolled for the same person here."""
        query = sa.select(PhotoRow.sha256, FaceRow.subject_id).join(FaceRow, FaceRow.photo_id == PhotoRow.id)
        here = {
            (row.sha256, row.subject_id)
            for chunk in chunks([row["sha256"] for row in rows])
            for row in self._connection.execute(query.where(PhotoRow.sha256.in_(chunk)))
        }
        owned = owners.find([row["id"] for row in rows])
        return {row["id"] for row, owner in zip(rows, owned, strict=True) if (row["sha256"], owner) in here}

    def _erased_faces(self) -> set[int]:
        """Faces of the bundle any of whose vectors is on the list of the erased: the people's ids are others here."""
        if not len(self._erased):
            return set()
        return {
            row["face_id"]
            for row_id, (_, dimension, _) in self._models.items()
            for rows in self._bundle.batches(templates_file(row_id), template_columns(dimension))
            for row in rows
            if self._erased.names(vector_key(row["vector"]))
        }

    def _import_faces(self, rows: list[dict[str, Any]], erased: set[int]) -> None:
        photo_ids = self._photos.find([row["photo_id"] for row in rows])
        subject_ids = self._subjects.find([row["subject_id"] for row in rows])
        new = [
            {**row, "photo_id": photo_id, "subject_id": subject_id}
            for row, photo_id, subject_id in zip(rows, photo_ids, subject_ids, strict=True)
            if photo_id and subject_id and row["id"] not in erased
        ]
        self._faces.add([row["id"] for row in new], self._insert("faces", new))
        self._done.faces += len(new)

    def _import_templates(self, row_id: int, progress: Callable[[int], None]) -> None:
        model_row, dimension, active = self._models[row_id]
        for rows in self._bundle.batches(templates_file(row_id), template_columns(dimension)):
            faces = self._faces.find([row["face_id"] for row in rows])
            for row in rows:
                if checksum(row["face_id"], row_id, row["vector"]) != row["crc"]:
                    raise ValueError(f"template {row['id']} does not match its checksum")
            require_unit_vectors(_vectors(rows, dimension), dimension)
            new = [(row, face) for row, face in zip(rows, faces, strict=True) if face]
            self._keep_templates(new, model_row, dimension)
            self._done.templates += len(new) if active else 0
            progress(len(rows))

    def _keep_templates(self, new: Sequence[tuple[dict[str, Any], int]], model_row: int, dimension: int) -> None:
        rows = [
            {
                "face_id": face,
                "model_id": model_row,
                "dimension": dimension,
                "vector": row["vector"],
                "crc": checksum(face, model_row, row["vector"]),
            }
            for row, face in new
        ]
        if self.is_fresh:
            old = [row["id"] for row, _ in new]
            keep_ids(self._connection, TemplateRow, [{"id": i, **row} for i, row in zip(old, rows, strict=True)])
        else:
            insert_all(self._connection, TemplateRow, rows)

    def _import_rest(self) -> None:
        if BY_NAME["crops"].file in self._bundle:
            for rows in self._rows("crops"):
                owners = self._photos.find([row["photo_id"] for row in rows])
                taken = [{**row, "photo_id": photo} for row, photo in zip(rows, owners, strict=True) if photo]
                self._insert("crops", taken)
        if not self.is_fresh:
            return
        for rows in self._rows("calibrations"):
            self._insert("calibrations", [{**row, "model_id": self._models[row["model_id"]][0]} for row in rows])
        for rows in self._rows("rejections"):
            for row in rows:
                Reason(row["reason"])
            self._insert("rejections", rows)

    def _tidy(self) -> None:
        """Remove what is left of people who stay out, and refusals that rest on who was enrolled before."""
        if not self.is_fresh:
            rejections.forget_comparisons(self._connection)
        bare = ~sa.exists().where(TemplateRow.face_id == FaceRow.id)
        self._done.faces -= self._connection.execute(sa.delete(FaceRow).where(bare)).rowcount
        alone = ~sa.exists().where(FaceRow.photo_id == PhotoRow.id)
        self._done.photos -= self._connection.execute(sa.delete(PhotoRow).where(alone)).rowcount
        self._done.subjects -= subjects.remove_faceless_subjects(self._connection)


def _vectors(rows: Sequence[dict[str, Any]], dimension: int) -> NDArray[np.float32]:
    return np.frombuffer(b"".join(row["vector"] for row in rows), "<f4").reshape(-1, dimension).astype(np.float32)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")
