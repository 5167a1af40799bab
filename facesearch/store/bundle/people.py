"""The people of a bundle: who is new, who is here already, and whose names and decisions come along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from facesearch.errors import GalleryError
from facesearch.store import models, subjects
from facesearch.store.bundle.tables import BY_NAME, IdMap
from facesearch.store.rows import insert_all, keep_ids, now, select_in
from facesearch.store.schema import DecisionRow, PhotoRow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sqlalchemy.engine import Connection

    from facesearch.store.bundle.admission import Admission
    from facesearch.store.bundle.file import BundleReader

FEW: Final = 3
"""Conflicts that a message names."""


class Target:
    """The gallery that a bundle is read into, within one transaction."""

    def __init__(self, connection: Connection, bundle: BundleReader) -> None:
        self.connection = connection
        self.bundle = bundle
        self.is_fresh = not models.all_models(connection)
        """Whether everything keeps the ids that it has in the bundle."""

    def rows(self, table: str) -> Iterator[list[dict[str, Any]]]:
        return self.bundle.batches(BY_NAME[table].file, BY_NAME[table].columns)

    def insert(self, table: str, rows: Sequence[dict[str, Any]]) -> list[int]:
        """Add rows; their ids are the bundle's in an empty gallery, and new ones elsewhere."""
        row = BY_NAME[table].row
        if self.is_fresh:
            return keep_ids(self.connection, row, rows)
        return insert_all(self.connection, row, [{k: v for k, v in each.items() if k != "id"} for each in rows])


class ImportedPeople:
    """Subjects with their aliases and what was decided about their photos."""

    def __init__(self, target: Target, admission: Admission, *, merge: bool) -> None:
        self.ids = IdMap()
        """Subjects."""
        self.erased: dict[int, list[str]] = {}
        """Names of those who stay out, by id in the bundle."""
        self.new = 0
        self.merged = 0
        """Whom the gallery had already."""
        self._target = target
        self._admission = admission
        self._merge = merge
        self._aliases: dict[int, list[dict[str, Any]]] = {}
        """By the subject's id in the bundle."""

    def run(self) -> None:
        """Import them. Raises `GalleryError` for people whom the gallery has too, without `merge`."""
        self._read_aliases()
        self._import_subjects()
        self._import_aliases()
        self._import_decisions()

    def _read_aliases(self) -> None:
        """Whom else people are called: needed before the people, and kept in memory, since few have any."""
        for rows in self._target.rows("aliases"):
            for row in rows:
                _require_clean(row["name"])
                self._aliases.setdefault(row["subject_id"], []).append(row)

    def _names(self, row: dict[str, Any]) -> list[str]:
        """A subject's name and aliases."""
        return [row["name"], *(alias["name"] for alias in self._aliases.get(row["id"], ()))]

    def _import_subjects(self) -> None:
        taken: list[str] = []
        for rows in self._target.rows("subjects"):
            for row in rows:
                _require_clean(row["name"])
                for column in ("attributes", "said"):
                    row[column] = subjects.clean_attributes(row[column])
            names = [name for row in rows for name in self._names(row)]
            known = {} if self._target.is_fresh else subjects.ids_by_name(self._target.connection, names)
            taken += self._take_subjects(rows, known)
        if taken and not self._merge:
            raise GalleryError(
                f"{len(taken)} people of the bundle have names that are in the gallery: {_few(taken)}.",
                "Where they are the same people: --merge. Otherwise rename first: facesearch people rename NAME NEW",
            )
        self.merged = len(taken)

    def _take_subjects(self, rows: Sequence[dict[str, Any]], known: dict[str, int]) -> list[str]:
        """Add people who are new; the names of those whom the gallery has."""
        taken, new = [], []
        for row in rows:
            holder = next((known[name] for name in self._names(row) if name in known), None)
            if holder is not None:
                taken.append(row["name"])
                subjects.add_attributes(self._target.connection, holder, row["attributes"], row["said"])
                self.ids.add([row["id"]], [holder])
                own = {"id": 0, "subject_id": row["id"], "name": row["name"], "created_at": now()}
                self._aliases[row["id"]] = [own, *self._aliases.get(row["id"], ())]
            elif self._admission.is_subject_erased(row, self._names(row)):
                self.erased[row["id"]] = self._names(row)
            else:
                new.append(row)
        self.ids.add([row["id"] for row in new], self._target.insert("subjects", new))
        self.new += len(new)
        return taken

    def _import_aliases(self) -> None:
        """Add other names. In a merge a name that somebody has stays that person's."""
        given = [row for key, rows in self._aliases.items() if key not in self.erased for row in rows]
        given.sort(key=lambda row: row["id"])
        held = subjects.ids_by_name(self._target.connection, [row["name"] for row in given])
        if self._target.is_fresh and held:
            raise ValueError("an alias is another person's name")
        owners = self.ids.find([row["subject_id"] for row in given])
        if not all(owners):
            raise ValueError("an alias is nobody's")
        free = {
            row["name"]: {**row, "subject_id": owner}
            for row, owner in zip(given, owners, strict=True)
            if row["name"] not in held
        }
        if self._target.is_fresh and len(free) != len(given):
            raise ValueError("two people have one alias")
        self._target.insert("aliases", list(free.values()))

    def _import_decisions(self) -> None:
        erased = {name for names in self.erased.values() for name in names}
        for rows in self._target.rows("decisions"):
            stay = (
                set() if self._target.is_fresh else _decided(self._target.connection, {row["sha256"] for row in rows})
            )
            owners = self.ids.find([row["subject_id"] or 0 for row in rows])
            new = [
                {**row, "subject_id": owner or None}
                for row, owner in zip(rows, owners, strict=True)
                if (owner or row["subject_id"] is None)
                and (row["sha256"], row["label"]) not in stay
                and row["label"] not in erased
            ]
            for row in new:
                require_label(row["label"])
            self._target.insert("decisions", new)


def _require_clean(name: str) -> None:
    if subjects.clean_name(name) != name:
        raise ValueError("a name is not as the gallery keeps names")


def require_label(label: str) -> None:
    """Raise `ValueError` for the label of a source that the gallery would not keep so."""
    if label:
        _require_clean(label)


def _decided(connection: Connection, hashes: Collection[bytes]) -> set[tuple[bytes, str]]:
    """Which of these contents the gallery has, or decided about, and under which labels."""
    return {
        (row.sha256, row.label)
        for table in (DecisionRow, PhotoRow)
        for row in select_in(connection, sa.select(table.sha256, table.label), table.sha256, hashes)
    }


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")
