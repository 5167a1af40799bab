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
from facesearch.store.bundle.file import BundleReader
from facesearch.store.bundle.tables import BY_NAME, IdMap, template_columns, templates_file
from facesearch.store.decisions import Standing, read_standing
from facesearch.store.erasure_list import ErasedEntries, content_key, name_key, subject_key, template_keys, vector_key
from facesearch.store.rows import chunks, insert_all, keep_ids, now, update
from facesearch.store.schema import AliasRow, DecisionRow, FaceRow, PhotoRow, SubjectRow, TemplateRow
from facesearch.store.templates import checksum
from facesearch.types import Reason, is_cosine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection

    from facesearch.store.database import Database
    from facesearch.store.opening import Store

FEW: Final = 3
"""Conflicts that a message names."""
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
            run = Import(store.database, connection, bundle, standing, merge=merge, bring_back_erased=bring_back_erased)
            done = run.run(progress)
            done.signed, done.verified = bundle.is_signed, key is not None
            counts = {name: getattr(done, name) for name in ("subjects", "photos", "templates", "merged", "erased")}
            audit.record(connection, "import", counts)
            store.erasure_list.take_over(connection, packed, of_others=not run.is_fresh)
            store.erasure_list.lift(connection, [*run.brought_back, *run.mistaken()])
            return done

        done = store.change(work)
    store.database.checkpoint()
    return done


class Import:
    """One import within one transaction."""

    def __init__(
        self,
        database: Database,
        connection: Connection,
        bundle: BundleReader,
        standing: Standing,
        *,
        merge: bool,
        bring_back_erased: bool,
    ) -> None:
        self._database = database
        self._connection = connection
        self._bundle = bundle
        self._standing = standing
        self._merge = merge
        self._bring_back = bring_back_erased
        self.is_fresh = not models.all_models(connection)
        """Whether everything keeps the ids that it has in the bundle."""
        self.brought_back: set[str] = set()
        """Entries of the list of the erased that name what was imported all the same."""
        self._last_subject = connection.scalar(sa.select(sa.func.max(SubjectRow.id))) or 0
        self._models: dict[int, tuple[int, int, bool]] = {}
        """Row id here, dimension, and whether it is active, by row id in the bundle."""
        self._subjects, self._photos, self._faces = IdMap(), IdMap(), IdMap()
        self._owners = IdMap()
        """Whose each imported photo is, both by id in the bundle."""
        self._aliases: dict[int, list[dict[str, Any]]] = {}
        """By the subject's id in the bundle."""
        self._erased_people: dict[int, list[str]] = {}
        """Names of those who stay out, by id in the bundle."""
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
        self._read_aliases()
        self._import_subjects()
        self._import_aliases()
        self._import_decisions()  # before the photos: what is decided here about photos that are here stays
        for rows in self._rows("photos"):
            self._import_photos(rows)
        erased = self._erased_faces()
        for rows in self._rows("faces"):
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
        own = self._standing.own
        if not len(own):
            return []
        if self.is_fresh:
            keys = list(template_keys(self._connection, sa.true())) if self._bring_back else []
        else:
            query = sa.select(SubjectRow.id, SubjectRow.created_at).where(SubjectRow.id > self._last_subject)
            keys = [subject_key(*row) for row in self._connection.execute(query)]
        return [key for key in keys if own.names(key)]

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
            _require_cosine(row["threshold"], "its model")
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
                models.bind_row(self._connection, key)
        if sum(active for *_, active in self._models.values()) != 1:
            raise ValueError("it has no active model")

    # -- people

    def _read_aliases(self) -> None:
        """Whom else people are called: needed before the people, and kept in memory, since few have any."""
        for rows in self._rows("aliases"):
            for row in rows:
                _require_clean(row["name"])
                self._aliases.setdefault(row["subject_id"], []).append(row)

    def _names(self, row: dict[str, Any]) -> list[str]:
        """A subject's name and aliases."""
        return [row["name"], *(alias["name"] for alias in self._aliases.get(row["id"], ()))]

    def _import_subjects(self) -> None:
        taken: list[str] = []
        for rows in self._rows("subjects"):
            for row in rows:
                _require_clean(row["name"])
                for column in ("attributes", "said"):
                    row[column] = subjects.clean_attributes(row[column])
            names = [name for row in rows for name in self._names(row)]
            known = {} if self.is_fresh else subjects.ids_by_name(self._connection, names)
            taken += self._take_subjects(rows, known)
        if taken and not self._merge:
            raise GalleryError(
                f"{len(taken)} people of the bundle have names that are in the gallery: {_few(taken)}.",
                "Where they are the same people: --merge. Otherwise rename first: facesearch people rename NAME NEW",
            )
        self._done.merged = len(taken)

    def _take_subjects(self, rows: Sequence[dict[str, Any]], known: dict[str, int]) -> list[str]:
        """Add people who are new; the names of those whom the gallery has."""
        taken, new = [], []
        for row in rows:
            holder = next((known[name] for name in self._names(row) if name in known), None)
            if holder is not None:
                taken.append(row["name"])
                subjects.add_attributes(self._connection, holder, row["attributes"], row["said"])
                self._subjects.add([row["id"]], [holder])
                own = {"id": 0, "subject_id": row["id"], "name": row["name"], "created_at": now()}
                self._aliases[row["id"]] = [own, *self._aliases.get(row["id"], ())]
            elif self._is_erased(row):
                self._erased_people[row["id"]] = self._names(row)
            else:
                new.append(row)
        self._subjects.add([row["id"] for row in new], self._insert("subjects", new))
        self._done.subjects += len(new)
        return taken

    def _is_erased(self, row: dict[str, Any]) -> bool:
        """Whether somebody of that name was erased from the gallery, and nobody has been called so since."""
        keys = [name_key(name) for name in self._names(row)]
        if self.is_fresh:
            keys.append(subject_key(row["id"], row["created_at"]))
        return self._stays_out(keys, self._standing.own)

    def _stays_out(self, keys: Sequence[str], listed: ErasedEntries) -> bool:
        """Whether any of these entries is on the list and nobody said that it is to be lifted."""
        found = [key for key in keys if listed.names(key)] if len(listed) else []
        if self._bring_back:
            self.brought_back.update(found)
            return False
        return bool(found)

    def _import_aliases(self) -> None:
        """Add other names. In a merge a name that somebody has stays that person's."""
        given = [row for key, rows in self._aliases.items() if key not in self._erased_people for row in rows]
        given.sort(key=lambda row: row["id"])
        held = subjects.ids_by_name(self._connection, [row["name"] for row in given])
        if self.is_fresh and held:
            raise ValueError("an alias is another person's name")
        owners = self._subjects.find([row["subject_id"] for row in given])
        if not all(owners):
            raise ValueError("an alias is nobody's")
        free = {
            row["name"]: {**row, "subject_id": owner}
            for row, owner in zip(given, owners, strict=True)
            if row["name"] not in held
        }
        if self.is_fresh and len(free) != len(given):
            raise ValueError("two people have one alias")
        self._insert("aliases", list(free.values()))

    def _import_decisions(self) -> None:
        erased = {name for names in self._erased_people.values() for name in names}
        for rows in self._rows("decisions"):
            stay = set() if self.is_fresh else self._decided([row["sha256"] for row in rows])
            owners = self._subjects.find([row["subject_id"] or 0 for row in rows])
            new = [
                {**row, "subject_id": owner or None}
                for row, owner in zip(rows, owners, strict=True)
                if (owner or row["subject_id"] is None)
                and (row["sha256"], row["label"]) not in stay
                and row["label"] not in erased
            ]
            for row in new:
                _require_label(row["label"])
            self._insert("decisions", new)

    def _decided(self, hashes: Sequence[bytes]) -> set[tuple[bytes, str]]:
        """Which of these contents the gallery has, or decided about, and under which labels."""
        found: set[tuple[bytes, str]] = set()
        for chunk in chunks(hashes):
            for row in (DecisionRow, PhotoRow):
                columns = row.__table__.c
                query = sa.select(columns.sha256, columns.label).where(columns.sha256.in_(chunk))
                found.update((sha256, label) for sha256, label in self._connection.execute(query))
        return found

    # -- photos

    def _import_photos(self, rows: list[dict[str, Any]]) -> None:
        held = self._held_paths([row["path"] for row in rows])
        if held and not self._merge:
            raise GalleryError(
                f"{len(held)} photos of the bundle or more are in the gallery.",
                "With --merge the gallery's stay, and what it lacks is added.",
            )
        owners = self._subjects.find([row["owner_id"] for row in rows])
        here = self._copies(rows) if self._merge and not self.is_fresh else set()
        names = self._names_here(owners) if len(self._standing.erased) else {}
        new = []
        for row, owner in zip(rows, owners, strict=True):
            _require_label(row["label"])
            if row["owner_id"] in self._erased_people:
                self._erased_photos.add(row["id"])
            elif not owner:
                raise ValueError("a photo is nobody's")
            elif row["path"] in held or (row["sha256"], owner) in here:
                self._done.photos_known += 1
            elif self._is_content_erased(row, names.get(owner, ())):
                self._erased_photos.add(row["id"])
                self._thinned.add(owner)
            else:
                here.update({(row["sha256"], owner)} if self._merge else ())
                new.append({**row, "owner_id": owner})
        self._add_photos(new, {row["id"]: row["owner_id"] for row in rows})

    def _add_photos(self, new: Sequence[dict[str, Any]], owners: dict[int, int]) -> None:
        keys = self._insert("photos", [{**row, "conflict": None} for row in new])
        self._photos.add([row["id"] for row in new], keys)
        self._owners.add([row["id"] for row in new], [owners[row["id"]] for row in new])
        pairs = zip(new, keys, strict=True)
        self._conflicts.update({key: row["conflict"] for row, key in pairs if row["conflict"] is not None})
        self._done.photos += len(new)

    def _held_paths(self, paths: Sequence[bytes]) -> set[bytes]:
        query = sa.select(PhotoRow.path)
        return {
            path
            for chunk in chunks([] if self.is_fresh else paths)
            for path in self._connection.scalars(query.where(PhotoRow.path.in_(chunk)))
        }

    def _copies(self, rows: Sequence[dict[str, Any]]) -> set[tuple[bytes, int]]:
        """The enrolled photos of these contents, by content and whose they are."""
        query = sa.select(PhotoRow.sha256, PhotoRow.owner_id)
        return {
            (row.sha256, row.owner_id)
            for chunk in chunks([row["sha256"] for row in rows])
            for row in self._connection.execute(query.where(PhotoRow.sha256.in_(chunk)))
        }

    def _names_here(self, subject_ids: Sequence[int]) -> dict[int, list[str]]:
        """What these people are called in the gallery."""
        names: dict[int, list[str]] = {}
        for chunk in chunks(list(set(subject_ids))):
            for key, name in ((SubjectRow.id, SubjectRow.name), (AliasRow.subject_id, AliasRow.name)):
                for subject_id, spelled in self._connection.execute(sa.select(key, name).where(key.in_(chunk))):
                    names.setdefault(subject_id, []).append(spelled)
        return names

    def _is_content_erased(self, row: dict[str, Any], names: Sequence[str]) -> bool:
        sha256 = row["sha256"].hex()
        keys = [content_key(sha256), *(content_key(sha256, name) for name in {*names, row["label"]})]
        return self._stays_out(keys, self._standing.erased)

    def _erased_faces(self) -> dict[int, list[str]]:
        """The entries that name a vector of a face of the bundle, by the face's id there."""
        found: dict[int, list[str]] = {}
        if not len(self._standing.erased):
            return found
        for row_id, (_, dimension, _) in self._models.items():
            for rows in self._bundle.batches(templates_file(row_id), template_columns(dimension)):
                for row in rows:
                    key = vector_key(row["vector"])
                    if self._standing.erased.names(key):
                        found.setdefault(row["face_id"], []).append(key)
        return found

    def _import_faces(self, rows: list[dict[str, Any]], erased: dict[int, list[str]]) -> None:
        photo_ids = self._photos.find([row["photo_id"] for row in rows])
        owners = self._owners.find([row["photo_id"] for row in rows])
        subject_ids = self._subjects.find([row["subject_id"] for row in rows])
        new = []
        for row, photo_id, owner, subject_id in zip(rows, photo_ids, owners, subject_ids, strict=True):
            if row["origin"] not in ORIGINS or (photo_id and row["subject_id"] != owner):
                raise ValueError("a face is not its photo's person's")
            if row["photo_id"] in self._erased_photos:
                self._done.erased += 1
            elif photo_id and self._stays_out(erased.get(row["id"], ()), self._standing.erased):
                self._done.erased += 1
                self._thinned.add(subject_id)
            elif photo_id:
                new.append({**row, "photo_id": photo_id, "subject_id": subject_id})
        self._faces.add([row["id"] for row in new], self._insert("faces", new))
        self._done.faces += len(new)

    def _import_templates(self, row_id: int, progress: Callable[[int], None]) -> None:
        model_row, dimension, active = self._models[row_id]
        wanted = set(self._conflicts.values())
        for rows in self._bundle.batches(templates_file(row_id), template_columns(dimension)):
            faces = self._faces.find([row["face_id"] for row in rows])
            for row in rows:
                if checksum(row["face_id"], row_id, row["vector"]) != row["crc"]:
                    raise ValueError(f"template {row['id']} does not match its checksum")
            require_unit_vectors(_vectors(rows, dimension), dimension)
            new = [(row, face) for row, face in zip(rows, faces, strict=True) if face]
            keys = self._keep_templates(new, model_row, dimension)
            matched = zip((row["id"] for row, _ in new), keys, strict=True)
            self._matched.update((old, key) for old, key in matched if old in wanted)
            self._done.templates += len(new) if active else 0
            progress(len(rows))

    def _keep_templates(self, new: Sequence[tuple[dict[str, Any], int]], model_row: int, dimension: int) -> list[int]:
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
            return keep_ids(self._connection, TemplateRow, [{"id": i, **row} for i, row in zip(old, rows, strict=True)])
        return insert_all(self._connection, TemplateRow, rows)

    def _import_conflicts(self) -> None:
        """Say of photos which template they match, where it came along."""
        for photo_id, template_id in self._conflicts.items():
            if template_id in self._matched:
                values = {"conflict": self._matched[template_id]}
                update(self._connection, PhotoRow, PhotoRow.id == photo_id, values)

    def _import_rest(self) -> None:
        if BY_NAME["crops"].file in self._bundle:
            for rows in self._rows("crops"):
                owners = self._photos.find([row["photo_id"] for row in rows])
                taken = [{**row, "photo_id": photo} for row, photo in zip(rows, owners, strict=True) if photo]
                self._insert("crops", taken)
        if not self.is_fresh:
            return
        for rows in self._rows("calibrations"):
            for row in rows:
                _require_cosine(row["document"].get("threshold"), "its calibration")
            self._insert("calibrations", [{**row, "model_id": self._models[row["model_id"]][0]} for row in rows])
        for rows in self._rows("rejections"):
            for row in rows:
                Reason(row["reason"])
            self._insert("rejections", rows)

    def _tidy(self) -> None:
        """Remove what is left of people who stay out, and refusals that rest on who was enrolled before."""
        if not self.is_fresh:
            decisions.forget_comparisons(self._connection)
        elif self._erased_people:
            erasure.forget_refusals(self._connection, [name for each in self._erased_people.values() for name in each])
        bare = ~sa.exists().where(TemplateRow.face_id == FaceRow.id)
        self._done.faces -= self._connection.execute(sa.delete(FaceRow).where(bare)).rowcount
        alone = ~sa.exists().where(FaceRow.photo_id == PhotoRow.id)
        self._done.photos -= self._connection.execute(sa.delete(PhotoRow).where(alone)).rowcount
        self._done.subjects -= self._remove_thinned() + subjects.remove_faceless_subjects(self._connection)
        self._done.erased_subjects = len(self._erased_people)

    def _remove_thinned(self) -> int:
        """Remove new people all of whose photos stay out, with all that is known of them; returns how many."""
        removed = 0
        for chunk in chunks([key for key in self._thinned if key > self._last_subject]):
            faceless = SubjectRow.id.in_(chunk) & ~sa.exists().where(FaceRow.subject_id == SubjectRow.id)
            keys = self._connection.scalars(sa.select(SubjectRow.id).where(faceless)).all()
            self._connection.execute(sa.delete(DecisionRow).where(DecisionRow.subject_id.in_(keys)))
            removed += self._connection.execute(sa.delete(SubjectRow).where(SubjectRow.id.in_(keys))).rowcount
        return removed


def _require_clean(name: str) -> None:
    if subjects.clean_name(name) != name:
        raise ValueError("a name is not as the gallery keeps names")


def _require_label(label: str) -> None:
    if label:
        _require_clean(label)


def _require_cosine(threshold: object, whose: str) -> None:
    if not isinstance(threshold, int | float) or not is_cosine(threshold):
        raise ValueError(f"the threshold of {whose} is not a cosine similarity: {threshold!r}")


def _vectors(rows: Sequence[dict[str, Any]], dimension: int) -> NDArray[np.float32]:
    return np.frombuffer(b"".join(row["vector"] for row in rows), "<f4").reshape(-1, dimension).astype(np.float32)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")
