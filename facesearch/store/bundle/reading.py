"""Reading a bundle into a gallery: all of it or nothing, in one transaction.

An empty gallery takes everything over as it was, ids included: every query has the answers that it had. A gallery that
has people adds those of the bundle under new ids. The rules then:

- the bundle's active model has to be the gallery's;
- a name or a path that the gallery has too is a conflict, and nothing is imported, unless they are to be merged. Then
  people who share a name or alias are one person, who gets the bundle's names as aliases; the gallery's attributes,
  photos at one path, photos of the same bytes of the same person and decisions about them stay as they are, and only
  what it lacks is added;
- calibrations and refusals stay the gallery's own: they were made with its people and its policy.

Whoever was erased from the gallery stays out, unless told otherwise: people whose name or alias is on its list, and
photos whose content or vector is. The journal of corrections is no part of a bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import sqlalchemy as sa

from facesearch.arguments import require_unit_vectors
from facesearch.errors import GalleryError, ModelMismatchError
from facesearch.store import audit, decisions, erasure, models, subjects
from facesearch.store.bundle.admission import Admission
from facesearch.store.bundle.file import BundleReader
from facesearch.store.bundle.people import ImportedPeople, Target, require_label
from facesearch.store.bundle.tables import BY_NAME, IdMap, template_columns, templates_file
from facesearch.store.decisions import read_standing
from facesearch.store.erasure_list import ErasedEntries, subject_key, template_keys
from facesearch.store.rows import chunks, delete_in, insert_all, keep_ids, present, select_in, update
from facesearch.store.schema import AliasRow, DecisionRow, FaceRow, PhotoRow, SubjectRow, TemplateRow
from facesearch.store.templates import checksum, template_values
from facesearch.types import Reason, is_cosine

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from facesearch.store.decisions import Standing
    from facesearch.store.opening import Store

ORIGINS: Final = {"enrolled", "confirmed", "moved"}


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
    """Faces left out because they, or their people, were erased from this gallery."""
    erased_subjects: int = 0
    """People left out because somebody of their name was erased from this gallery."""
    signed: bool = False
    verified: bool = False


def read_bundle(
    store: Store,
    file: Path,
    *,
    key: Path | None = None,
    merge: bool = False,
    bring_back_erased: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Imported:
    """Import a bundle into the gallery, all of it or nothing.

    `key` is a file with an Ed25519 public key in PEM that it has to be signed with. `bring_back_erased` imports people
    who were erased, too, and takes them off the list of the erased. `progress` hears of templates as they are read.
    Raises `ModelMismatchError` for a bundle of another model, `GalleryError` for people or photos that the gallery has
    too without `merge`, and what `BundleReader.open` raises.
    """
    with BundleReader.open(file, key) as bundle:
        packed = ErasedEntries.parse(bundle.erased)

        def work(connection: Connection) -> Imported:
            standing = read_standing(connection, store.erasure_list)
            run = Import(connection, bundle, standing, merge=merge, bring_back_erased=bring_back_erased)
            done = run.run(progress)
            done.signed, done.verified = bundle.is_signed, key is not None
            counts = {name: getattr(done, name) for name in ("subjects", "photos", "templates", "merged", "erased")}
            audit.record(connection, "import", counts)
            store.erasure_list.take_over(connection, packed, of_others=not run.is_fresh)
            store.erasure_list.lift(connection, [*run.admission.brought_back, *run.mistaken()])
            return done

        done = store.change(work)
    store.database.checkpoint()
    return done


class Import:
    """One import within one transaction."""

    def __init__(
        self, connection: Connection, bundle: BundleReader, standing: Standing, *, merge: bool, bring_back_erased: bool
    ) -> None:
        self._connection = connection
        self._target = Target(connection, bundle)
        self._merge = merge
        self._bring_back = bring_back_erased
        self.is_fresh = self._target.is_fresh
        self.admission = Admission(standing, is_fresh=self.is_fresh, bring_back=bring_back_erased)
        self._people = ImportedPeople(self._target, self.admission, merge=merge)
        self._last_subject = connection.scalar(sa.select(sa.func.max(SubjectRow.id))) or 0
        self._models: dict[int, tuple[int, int, bool]] = {}
        """Row id here, dimension, and whether it is active, by row id in the bundle."""
        self._photos, self._faces = IdMap(), IdMap()
        self._owners = IdMap()
        """Whose each imported photo is, both by id in the bundle."""
        self._erased_photos: set[int] = set()
        """Photos that stay out because of their content or their people, by id in the bundle."""
        self._thinned: set[int] = set()
        """Subjects here of whom something stays out."""
        self._conflicts: dict[int, int] = {}
        """The template of the bundle that a photo matches, by the photo's id here."""
        self._matched: dict[int, int] = {}
        """The ids here of these templates."""
        self._done = Imported()

    def run(self, progress: Callable[[int], None]) -> Imported:
        """Import everything."""
        self._import_models()
        self._people.run()  # before the photos: what is decided here about photos that are here stays
        for rows in self._target.rows("photos"):
            self._import_photos(rows)
        erased = self.admission.erased_faces(
            self._target.bundle, {key: model[1] for key, model in self._models.items()}
        )
        for rows in self._target.rows("faces"):
            self._import_faces(rows, erased)
        for row_id in self._models:
            self._import_templates(row_id, progress)
        self._import_conflicts()
        self._import_rest()
        self._tidy()
        return self._done

    def mistaken(self) -> list[str]:
        """Entries of the list of the erased that name rows of this import, and not because they were erased.

        A new id and the time that a person brings may be those of somebody else, who was erased from a gallery whose
        ids this one took over. Templates of people who were brought back have the ids that were erased.
        """
        own = self.admission.standing.own
        if not len(own):
            return []
        if self.is_fresh:
            keys = list(template_keys(self._connection, sa.true())) if self._bring_back else []
        else:
            query = sa.select(SubjectRow.id, SubjectRow.created_at).where(SubjectRow.id > self._last_subject)
            keys = [subject_key(*row) for row in self._connection.execute(query)]
        return [key for key in keys if own.names(key)]

    def _import_models(self) -> None:
        stored = models.active_model(self._connection, hold=True)
        for row in (row for rows in self._target.rows("models") for row in rows):
            _require_cosine(row["threshold"], "its model")
            if row["active"] and stored is not None and row["model_id"] != stored[1].model_id:
                raise ModelMismatchError(
                    f"The bundle's templates are of {row['model_id']}, the gallery's of {stored[1].model_id}.",
                    "Import it into a gallery of its own (--gallery DIR), and `facesearch reembed` one of the two.",
                )
            known = models.find_model(self._connection, row["model_id"])
            if known is not None and known.info.dimension != row["dimension"]:
                raise ValueError("its model has another dimension than the gallery's of that id")
            key = known.row if known else self._target.insert("models", [{**row, "active": 0}])[0]
            self._models[row["id"]] = (key, row["dimension"], bool(row["active"]))
            if row["active"] and stored is None:
                models.bind_row(self._connection, key)
        if sum(active for *_, active in self._models.values()) != 1:
            raise ValueError("it has no active model")

    # -- photos

    def _import_photos(self, rows: list[dict[str, Any]]) -> None:
        held = set() if self.is_fresh else present(self._connection, PhotoRow.path, [row["path"] for row in rows])
        if held and not self._merge:
            raise GalleryError(
                f"{len(held)} photos of the bundle or more are in the gallery.",
                "With --merge the gallery's stay, and what it lacks is added.",
            )
        owners = self._people.ids.find([row["owner_id"] for row in rows])
        here = self._copies(rows) if self._merge and not self.is_fresh else set()
        names = _names_of(self._connection, owners) if len(self.admission.standing.erased) else {}
        new = []
        for row, owner in zip(rows, owners, strict=True):
            require_label(row["label"])
            if row["owner_id"] in self._people.erased:
                self._erased_photos.add(row["id"])
            elif not owner:
                raise ValueError("a photo is nobody's")
            elif row["path"] in held or (row["sha256"], owner) in here:
                self._done.photos_known += 1
            elif self.admission.is_content_erased(row, names.get(owner, ())):
                self._erased_photos.add(row["id"])
                self._thinned.add(owner)
            else:
                here.update({(row["sha256"], owner)} if self._merge else ())
                new.append({**row, "owner_id": owner})
        self._add_photos(new, {row["id"]: row["owner_id"] for row in rows})

    def _add_photos(self, new: Sequence[dict[str, Any]], owners: dict[int, int]) -> None:
        keys = self._target.insert("photos", [{**row, "conflict": None} for row in new])
        self._photos.add([row["id"] for row in new], keys)
        self._owners.add([row["id"] for row in new], [owners[row["id"]] for row in new])
        pairs = zip(new, keys, strict=True)
        self._conflicts.update({key: row["conflict"] for row, key in pairs if row["conflict"] is not None})
        self._done.photos += len(new)

    def _copies(self, rows: Sequence[dict[str, Any]]) -> set[tuple[bytes, int]]:
        """The enrolled photos of these contents, by content and whose they are."""
        query = sa.select(PhotoRow.sha256, PhotoRow.owner_id)
        found = select_in(self._connection, query, PhotoRow.sha256, {row["sha256"] for row in rows})
        return {(row.sha256, row.owner_id) for row in found}

    def _import_faces(self, rows: list[dict[str, Any]], erased: dict[int, list[str]]) -> None:
        photo_ids = self._photos.find([row["photo_id"] for row in rows])
        owners = self._owners.find([row["photo_id"] for row in rows])
        subject_ids = self._people.ids.find([row["subject_id"] for row in rows])
        new = []
        for row, photo_id, owner, subject_id in zip(rows, photo_ids, owners, subject_ids, strict=True):
            if row["origin"] not in ORIGINS or (photo_id and row["subject_id"] != owner):
                raise ValueError("a face is not its photo's person's")
            if row["photo_id"] in self._erased_photos:
                self._done.erased += 1
            elif photo_id and self.admission.is_face_erased(erased.get(row["id"], ())):
                self._done.erased += 1
                self._thinned.add(subject_id)
            elif photo_id:
                new.append({**row, "photo_id": photo_id, "subject_id": subject_id})
        self._faces.add([row["id"] for row in new], self._target.insert("faces", new))
        self._done.faces += len(new)

    def _import_templates(self, row_id: int, progress: Callable[[int], None]) -> None:
        model_row, dimension, active = self._models[row_id]
        wanted = set(self._conflicts.values())
        for rows in self._target.bundle.batches(templates_file(row_id), template_columns(dimension)):
            faces = self._faces.find([row["face_id"] for row in rows])
            for row in rows:
                if checksum(row["face_id"], row_id, row["vector"]) != row["crc"]:
                    raise ValueError(f"template {row['id']} does not match its checksum")
            vectors = np.frombuffer(b"".join(row["vector"] for row in rows), "<f4").reshape(-1, dimension)
            require_unit_vectors(vectors.astype(np.float32), dimension)
            new = [(row, face) for row, face in zip(rows, faces, strict=True) if face]
            keys = self._keep_templates(new, model_row)
            matched = zip((row["id"] for row, _ in new), keys, strict=True)
            self._matched.update((old, key) for old, key in matched if old in wanted)
            self._done.templates += len(new) if active else 0
            progress(len(rows))

    def _keep_templates(self, new: Sequence[tuple[dict[str, Any], int]], model_row: int) -> list[int]:
        rows = [template_values(face, model_row, row["vector"]) for row, face in new]
        if not self.is_fresh:
            return insert_all(self._connection, TemplateRow, rows)
        kept = [{"id": old["id"], **row} for (old, _), row in zip(new, rows, strict=True)]
        return keep_ids(self._connection, TemplateRow, kept)

    def _import_conflicts(self) -> None:
        """Say of photos which template they match, where it came along."""
        for photo_id, template_id in self._conflicts.items():
            if template_id in self._matched:
                values = {"conflict": self._matched[template_id]}
                update(self._connection, PhotoRow, PhotoRow.id == photo_id, values)

    def _import_rest(self) -> None:
        if BY_NAME["crops"].file in self._target.bundle:
            for rows in self._target.rows("crops"):
                owners = self._photos.find([row["photo_id"] for row in rows])
                taken = [{**row, "photo_id": photo} for row, photo in zip(rows, owners, strict=True) if photo]
                self._target.insert("crops", taken)
        if not self.is_fresh:
            return
        for rows in self._target.rows("calibrations"):
            for row in rows:
                _require_cosine(row["document"].get("threshold"), "its calibration")
            self._target.insert("calibrations", [{**row, "model_id": self._models[row["model_id"]][0]} for row in rows])
        for rows in self._target.rows("rejections"):
            for row in rows:
                Reason(row["reason"])
            self._target.insert("rejections", rows)

    def _tidy(self) -> None:
        """Remove what is left of people who stay out, and refusals that rest on who was enrolled before."""
        if not self.is_fresh:
            decisions.forget_comparisons(self._connection)
        elif self._people.erased:
            erasure.forget_refusals(self._connection, [name for each in self._people.erased.values() for name in each])
        bare = ~sa.exists().where(TemplateRow.face_id == FaceRow.id)
        self._done.faces -= self._connection.execute(sa.delete(FaceRow).where(bare)).rowcount
        alone = ~sa.exists().where(FaceRow.photo_id == PhotoRow.id)
        self._done.photos -= self._connection.execute(sa.delete(PhotoRow).where(alone)).rowcount
        self._done.merged = self._people.merged
        self._done.subjects = (
            self._people.new - self._remove_thinned() - subjects.remove_faceless_subjects(self._connection)
        )
        self._done.erased_subjects = len(self._people.erased)

    def _remove_thinned(self) -> int:
        """Remove new people all of whose photos stay out, with all that is known of them; returns how many."""
        removed = 0
        for chunk in chunks([key for key in self._thinned if key > self._last_subject]):
            faceless = SubjectRow.id.in_(chunk) & ~sa.exists().where(FaceRow.subject_id == SubjectRow.id)
            keys = self._connection.scalars(sa.select(SubjectRow.id).where(faceless)).all()
            delete_in(self._connection, DecisionRow, DecisionRow.subject_id, keys)
            removed += delete_in(self._connection, SubjectRow, SubjectRow.id, keys)
        return removed


def _require_cosine(threshold: object, whose: str) -> None:
    if not isinstance(threshold, int | float) or not is_cosine(threshold):
        raise ValueError(f"the threshold of {whose} is not a cosine similarity: {threshold!r}")


def _names_of(connection: Connection, subject_ids: Collection[int]) -> dict[int, list[str]]:
    """What these people are called in the gallery."""
    names: dict[int, list[str]] = {}
    for key, name in ((SubjectRow.id, SubjectRow.name), (AliasRow.subject_id, AliasRow.name)):
        for subject_id, spelled in select_in(connection, sa.select(key, name), key, set(subject_ids)):
            names.setdefault(subject_id, []).append(spelled)
    return names
