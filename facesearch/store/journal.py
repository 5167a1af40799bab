"""The journal: what people corrected, kept so that each correction can be looked up and undone.

A correction is an entry with the rows that it changed: of a changed row the columns that became others, before and
after; of a removed row all columns, vectors included; of a new row that it was added. Undoing an entry puts back what
was, ids included, and is an entry itself. It is refused where the same columns were changed again since.

Removed people can be brought back for `KEPT_DAYS`. Then, or when they are forgotten, what the journal has of them goes.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from facesearch.corrections import UNDO, JournalEntry
from facesearch.errors import UndoError
from facesearch.store import audit
from facesearch.store.rows import (
    Base,
    JsonText,
    Sealed,
    checksum_of,
    chunks,
    insert,
    insert_all,
    now,
    require_whole,
    stored_columns,
    update,
)
from facesearch.store.schema import (
    AliasRow,
    CropRow,
    DecisionRow,
    FaceRow,
    JournalChangeRow,
    JournalRow,
    PhotoRow,
    SubjectRow,
    TemplateRow,
)
from facesearch.types import Subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy.engine import Connection


KEPT_DAYS: Final = 30
"""Days for which a removal can be undone. After that its vectors and pictures are deleted from the journal."""
ENROLL: Final = "enroll"
TABLES: Final[dict[str, type[Base]]] = {
    row.__tablename__: row for row in (SubjectRow, AliasRow, PhotoRow, FaceRow, TemplateRow, CropRow, DecisionRow)
}


class Entry:
    """A correction under way. It is written with the first row that it changes; one that changes nothing is none."""

    def __init__(
        self,
        connection: Connection,
        action: str,
        detail: Mapping[str, object] | None = None,
        entry_id: int | None = None,
    ) -> None:
        """`entry_id` continues an entry of an earlier transaction."""
        self.connection = connection
        self._action, self._detail = action, dict(detail or {})
        self.id = entry_id
        """None while nothing was changed."""

    def update(
        self,
        row: type[Sealed],
        condition: sa.ColumnElement[bool],
        values: Mapping[str, object],
        *,
        of: int,
        other: int | None = None,
    ) -> int:
        """Change rows that belong to the subject `of`, and before or after to `other`; returns how many changed."""
        columns = [column for column in row.__table__.c if column.name in values]
        found = self.connection.execute(sa.select(row.id, *as_stored(columns)).where(condition)).all()
        after = [_stored_value(column, values[column.name]) for column in columns]
        changed = [each for each in found if list(each[1:]) != after]
        names = [column.name for column in columns]
        self._note(row, [(each[0], pack(names, each[1:]), pack(names, after)) for each in changed], of, other)
        for chunk in chunks([each[0] for each in changed]):
            update(self.connection, row, row.id.in_(chunk), values)
        return len(changed)

    def insert(self, row: type[Sealed], values: Mapping[str, object], *, of: int | None = None) -> int:
        """Add a row that belongs to the subject `of`, or is a subject itself; its id."""
        key = insert(self.connection, row, values)
        self._note(row, [(key, None, b"")], key if of is None else of)
        return key

    def insert_again(self, row: type[Base], values: Mapping[str, object], *, of: int, other: int | None) -> None:
        """Put back a row that was removed, as it was stored."""
        columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in values]
        self.connection.execute(sa.insert(sa.table(row.__tablename__, *columns)), [dict(values)])
        self._note(row, [(int(str(values["id"])), None, b"")], of, other)

    def delete(
        self, row: type[Base], condition: sa.ColumnElement[bool], *, of: int, other: int | None = None
    ) -> list[int]:
        """Remove rows that belong to the subject `of`, and to which no others refer; their ids."""
        table = row.__table__
        found = self.connection.execute(sa.select(*as_stored(table.c)).where(condition)).all()
        for each in found:
            if issubclass(row, Sealed):
                require_whole(row, each)
        names = [column.name for column in table.c]
        self._note(row, [(each[0], pack(names, each), None) for each in found], of, other)
        keys = [int(each[0]) for each in found]
        for chunk in chunks(keys):
            self.connection.execute(sa.delete(row).where(table.c.id.in_(chunk)))
        return keys

    def delete_photos(self, photo_ids: Sequence[int], *, of: int, other: int | None = None) -> list[int]:
        """Remove photos of the subject `of` with their faces, templates and pictures; the ids of the templates."""
        removed: list[int] = []
        for chunk in chunks(photo_ids):
            faces = FaceRow.photo_id.in_(chunk)
            of_faces = TemplateRow.face_id.in_(sa.select(FaceRow.id).where(faces))
            removed += self.delete(TemplateRow, of_faces, of=of, other=other)
            self.delete(FaceRow, faces, of=of, other=other)
            self.delete(CropRow, CropRow.photo_id.in_(chunk), of=of, other=other)
            self.delete(PhotoRow, PhotoRow.id.in_(chunk), of=of, other=other)
        return removed

    def _note(
        self,
        row: type[Base],
        changes: Sequence[tuple[int, bytes | None, bytes | None]],
        of: int,
        other: int | None = None,
    ) -> None:
        if not changes:
            return
        if self.id is None:
            values = {"at": now(), "actor": audit.actor(), "action": self._action, "detail": self._detail}
            self.id = insert(self.connection, JournalRow, {**values, "undone_by": None})
            purge_old(self.connection)
        noted = [
            {
                "entry_id": self.id,
                "table_name": row.__tablename__,
                "row_id": key,
                "before": before,
                "after": after,
                "subject_id": of,
                "other_id": other,
            }
            for key, before, after in changes
        ]
        insert_all(self.connection, JournalChangeRow, noted)


# -- looking back


def entries(
    connection: Connection, *, last: int | None = None, subject_id: int | None = None, before: int | None = None
) -> list[JournalEntry]:
    """Corrections, newest first: the last n, those that concern a subject, those before an entry."""
    concerned = JournalChangeRow.entry_id == JournalRow.id
    query = sa.select(
        *stored_columns(JournalRow), JournalRow.detail.label("parsed"), sa.exists().where(concerned).label("undoable")
    ).order_by(JournalRow.id.desc())
    if subject_id is not None:
        query = query.where(sa.exists().where(concerned, _concerns(subject_id)))
    if before is not None:
        query = query.where(JournalRow.id < before)
    found = connection.execute(query.limit(last)).all()
    for row in found:
        require_whole(JournalRow, row[:-2])
    return [
        JournalEntry(row.id, row.at, row.actor, row.action, row.parsed, row.undone_by, bool(row.undoable))
        for row in found
    ]


def _concerns(subject_id: int) -> sa.ColumnElement[bool]:
    return (JournalChangeRow.subject_id == subject_id) | (JournalChangeRow.other_id == subject_id)


def describe(connection: Connection, entry_id: int, counts: Mapping[str, int]) -> None:
    """Say in an entry what was done, in counts."""
    update(connection, JournalRow, JournalRow.id == entry_id, {"detail": dict(counts)})


def removed_subjects(connection: Connection) -> list[Subject]:
    """People who were removed and can be brought back, by name; without photos or templates."""
    query = sa.select(JournalChangeRow.before).where(_removal()).order_by(JournalChangeRow.id)
    rows = {row["id"]: row for row in (unpack(before or b"{}") for before in connection.scalars(query))}
    found = [
        Subject(row["name"], json.loads(row["attributes"]), 0, 0, row["created_at"], key) for key, row in rows.items()
    ]
    return sorted(found, key=lambda each: each.name)


def _removal() -> sa.ColumnElement[bool]:
    """A change that removed a person who is gone still, and was not merged into another one."""
    return sa.and_(
        JournalChangeRow.table_name == SubjectRow.__tablename__,
        JournalChangeRow.after.is_(None),
        JournalChangeRow.other_id.is_(None),
        ~sa.exists().where(SubjectRow.id == JournalChangeRow.row_id),
    )


def images(connection: Connection, subject_ids: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """The rows of these subjects that were removed and did not come back, as they were, by table."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    changes = sa.select(JournalChangeRow.table_name, JournalChangeRow.before)
    query = changes.select_from(JournalChangeRow).join(JournalRow)
    gone = sa.and_(JournalChangeRow.after.is_(None), JournalRow.undone_by.is_(None))
    for subject_id in subject_ids:
        for row in connection.execute(query.where(_concerns(subject_id), gone)):
            found[row.table_name].append(unpack(row.before))
    return found


def removed_rows(connection: Connection) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Every row that was removed and that the journal has as it was, with its entry and table."""
    query = sa.select(JournalChangeRow.entry_id, JournalChangeRow.table_name, JournalChangeRow.before)
    gone = JournalChangeRow.before.is_not(None) & JournalChangeRow.after.is_(None)
    for row in connection.execute(query.where(gone).execution_options(yield_per=512)):
        yield row.entry_id, row.table_name, unpack(row.before)


def find(connection: Connection, entry_id: int | None) -> JournalEntry:
    """An entry that was not undone, by default the newest that can be undone and is no undo; else `UndoError`."""
    found = entries(connection)
    if entry_id is None:
        wanted = [each for each in found if each.undone_by is None and each.action != UNDO and each.undoable]
        if not wanted:
            raise UndoError("There is nothing to undo.", "`facesearch history` shows what was changed.")
        return wanted[0]
    entry = next((each for each in found if each.entry_id == entry_id), None)
    if entry is None:
        raise UndoError(f"There is no entry {entry_id}.", "`facesearch history` shows the entries.")
    if entry.undone_by is not None:
        raise UndoError(
            f"Entry {entry_id} was undone by entry {entry.undone_by} already.",
            f"To make it hold again: facesearch undo {entry.undone_by}",
        )
    return entry


# -- forgetting


def forget(connection: Connection, subject_ids: Iterable[int], names: Iterable[str], whole: Iterable[int] = ()) -> None:
    """Delete what the journal has of these people, who may be removed already.

    Entries that only concern them can no longer be undone; their words go, and so do those of entries that say one of
    these names. What entries changed for others stays undoable, but for the entries of `whole`, which go altogether.
    """
    entry_ids = set(whole)
    for chunk in chunks(list(entry_ids)):
        connection.execute(sa.delete(JournalChangeRow).where(JournalChangeRow.entry_id.in_(chunk)))
    for subject_id in subject_ids:
        concerned = _concerns(subject_id)
        entry_ids.update(connection.scalars(sa.select(JournalChangeRow.entry_id).where(concerned)))
        connection.execute(sa.delete(JournalChangeRow).where(concerned))
    spelled = set(names)
    _forget_labels(connection, spelled)
    for row in connection.execute(sa.select(JournalRow.id, JournalRow.detail)).all():
        said = {value for value in row.detail.values() if isinstance(value, str)}
        if row.id in entry_ids or said & spelled:
            kept = {key: value for key, value in row.detail.items() if isinstance(value, int)}
            update(connection, JournalRow, JournalRow.id == row.id, {"detail": {**kept, "erased": 1}})


def forget_decisions(connection: Connection, ids: Sequence[int]) -> None:
    """Delete what the journal has of these decisions, so that it does not stand in the way of an undo."""
    of_decisions = JournalChangeRow.table_name == DecisionRow.__tablename__
    for chunk in chunks(ids):
        connection.execute(sa.delete(JournalChangeRow).where(of_decisions, JournalChangeRow.row_id.in_(chunk)))


def _forget_labels(connection: Connection, names: set[str]) -> None:
    """Take these names out of what the journal has of other people's photos, whose sources are called so.

    The rows themselves have lost them already, so that what the journal has stays equal to them and undoable.
    """
    labelled = (PhotoRow.__tablename__, DecisionRow.__tablename__)
    query = sa.select(*stored_columns(JournalChangeRow)).where(JournalChangeRow.table_name.in_(labelled))
    for change in connection.execute(query).all() if names else ():
        row = TABLES[change.table_name]
        kept = {side: _without_label(row, getattr(change, side), names) for side in ("before", "after")}
        if all(kept[side] == getattr(change, side) for side in kept):
            continue
        condition = JournalChangeRow.id == change.id
        if change.table_name == DecisionRow.__tablename__:  # the decision is gone, and would say the name
            connection.execute(sa.delete(JournalChangeRow).where(condition))
        else:
            update(connection, JournalChangeRow, condition, kept)


def _without_label(row: type[Base], packed: bytes | None, names: set[str]) -> bytes | None:
    values = unpack(packed) if packed else {}
    if values.get("label") not in names:
        return packed
    values["label"] = ""
    if "crc" in values:
        values["crc"] = checksum_of(values[column.name] for column in row.__table__.c if column.name != "crc")
    return pack(list(values), list(values.values()))


def purge_old(connection: Connection) -> int:
    """Delete the rows of removals that are too old to be undone, and all that is known of people removed; how many.

    What was done stays in the journal, without their names.
    """
    oldest = (datetime.now(UTC) - timedelta(days=KEPT_DAYS)).isoformat(timespec="seconds")
    of_old = JournalChangeRow.entry_id.in_(sa.select(JournalRow.id).where(JournalRow.at < oldest))
    people = connection.scalars(sa.select(JournalChangeRow.row_id).where(_removal(), of_old)).all()
    of_templates = JournalChangeRow.table_name == TemplateRow.__tablename__
    removals = sa.select(JournalChangeRow.entry_id).where(of_templates | _removal())
    purged = sa.delete(JournalChangeRow).where(of_old, JournalChangeRow.entry_id.in_(removals))
    count = connection.execute(purged).rowcount
    forget(connection, people, ())
    return count


# -- rows as bytes: a line of JSON, then the columns of bytes, so that a scan for a vector's bytes would find them


def as_stored(columns: Iterable[sa.ColumnElement[Any]]) -> list[sa.ColumnElement[Any]]:
    return [sa.type_coerce(each, sa.Text) if isinstance(each.type, JsonText) else each for each in columns]


def _stored_value(column: sa.ColumnElement[Any], value: object) -> object:
    return JsonText().process_bind_param(value, None) if isinstance(column.type, JsonText) else value


def pack(names: Sequence[str], values: Sequence[object]) -> bytes:
    plain = {n: {"bytes": len(v)} if isinstance(v, bytes) else v for n, v in zip(names, values, strict=True)}
    return json.dumps(plain, ensure_ascii=False).encode() + b"\n" + b"".join(v for v in values if isinstance(v, bytes))


def unpack(packed: bytes) -> dict[str, Any]:
    head, _, rest = packed.partition(b"\n")
    values: dict[str, Any] = json.loads(head)
    for name, value in values.items():
        if isinstance(value, dict):
            values[name], rest = rest[: value["bytes"]], rest[value["bytes"] :]
    return values
