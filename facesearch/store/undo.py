"""Undoing a correction: putting back what it changed, ids included. See `journal`."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from facesearch.corrections import UNDO, JournalEntry
from facesearch.errors import UndoError
from facesearch.names import path_text
from facesearch.store import audit
from facesearch.store.decisions import decide, forget_comparisons
from facesearch.store.journal import ENROLL, KEPT_DAYS, TABLES, Entry, as_stored, find, unpack
from facesearch.store.rows import Base, JsonText, Sealed, chunks, require_whole, stored_columns, update
from facesearch.store.schema import (
    AliasRow,
    DecisionRow,
    FaceRow,
    JournalChangeRow,
    JournalRow,
    ModelRow,
    PhotoRow,
    SubjectRow,
    TemplateRow,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.engine import Connection, Row


def undo(connection: Connection, entry_id: int | None = None) -> JournalEntry:
    """Put back what an entry changed, by default the newest that is neither undone nor an undo; returns that entry.

    Raises `UndoError`, and nothing is changed, where there is no such entry, where it is undone already, where what
    it changed was changed again, or where the journal has it no more.
    """
    entry = find(connection, entry_id)
    query = (
        sa.select(*stored_columns(JournalChangeRow))
        .where(JournalChangeRow.entry_id == entry.entry_id)
        .order_by(JournalChangeRow.id.desc())
    )
    changes = connection.execute(query).all()
    for change in changes:
        require_whole(JournalChangeRow, change)
    if not changes:
        raise UndoError(
            f"Entry {entry.entry_id} cannot be undone: the journal no longer has what it changed.",
            f"Removals can be undone for {KEPT_DAYS} days, and not once the person was forgotten.",
        )
    redo = Entry(connection, UNDO, {**entry.detail, "entry": entry.entry_id, "undone": entry.action})
    for change in changes:
        _revert(redo, change, entry.entry_id)
    if entry.action == ENROLL:
        _decide_against(redo, changes)
    update(connection, JournalRow, JournalRow.id == entry.entry_id, {"undone_by": redo.id})
    if entry.action == UNDO:  # what that had undone is in force again
        update(connection, JournalRow, JournalRow.id == entry.detail["entry"], {"undone_by": None})
    forget_comparisons(connection)
    audit.record(connection, "people.undo", {"entry": entry.entry_id})
    return replace(entry, undone_by=redo.id)


def _decide_against(redo: Entry, changes: Sequence[Row[Any]]) -> None:
    """Note whose the photos are that a source had moved: the undoing is a person's word, and newer."""
    moved = [c.row_id for c in changes if c.table_name == PhotoRow.__tablename__ and c.before and c.after]
    for chunk in chunks(moved):
        query = sa.select(PhotoRow.sha256, PhotoRow.label, PhotoRow.owner_id).where(PhotoRow.id.in_(chunk))
        for sha256, label, owner_id in redo.connection.execute(query).all():
            decide(redo, sha256, label, owner_id, of=owner_id)


def _revert(redo: Entry, change: Row[Any], entry_id: int) -> None:
    row = TABLES[change.table_name]
    if change.before is None:
        _revert_insert(redo, row, change, entry_id)
    elif change.after is None:
        _revert_delete(redo, row, change, entry_id)
    else:
        _revert_update(redo, row, change, entry_id)


def _revert_insert(redo: Entry, row: type[Base], change: Row[Any], entry_id: int) -> None:
    key = change.row_id
    if row is SubjectRow:
        children = sa.select(sa.func.count()).select_from(FaceRow).where(FaceRow.subject_id == key)
        if redo.connection.scalar(children):
            raise _changed_again(entry_id, "the person has other photos by now")
        redo.delete(AliasRow, AliasRow.subject_id == key, of=key)
    redo.delete(row, row.__table__.c.id == key, of=change.subject_id, other=change.other_id)


def _revert_update(redo: Entry, row: type[Base], change: Row[Any], entry_id: int) -> None:
    assert issubclass(row, Sealed)
    before, after = unpack(change.before), unpack(change.after)
    columns = [column for column in row.__table__.c if column.name in after]
    found = redo.connection.execute(sa.select(*as_stored(columns)).where(row.id == change.row_id)).one_or_none()
    if found is None or list(found) != [after[column.name] for column in columns]:
        raise _changed_again(entry_id, f"{_NAMES[row]} was changed again since")
    if row is SubjectRow and "name" in before:
        _require_free(redo.connection, before["name"], change.row_id, entry_id)
    values = {c.name: json.loads(before[c.name]) if isinstance(c.type, JsonText) else before[c.name] for c in columns}
    redo.update(row, row.id == change.row_id, values, of=change.subject_id, other=change.other_id)


def _revert_delete(redo: Entry, row: type[Base], change: Row[Any], entry_id: int) -> None:
    connection, values = redo.connection, unpack(change.before)
    if (
        row is TemplateRow
        and connection.scalar(sa.select(ModelRow.id).where(ModelRow.id == values["model_id"])) is None
    ):
        return  # its model was retired meanwhile, and nothing could search it
    if row is PhotoRow:
        _require_not_enrolled(connection, values, entry_id)
    conflict = _conflict_of(connection, row, values)
    if conflict:
        raise _changed_again(entry_id, conflict)
    redo.insert_again(row, values, of=change.subject_id, other=change.other_id)


def _conflict_of(connection: Connection, row: type[Base], values: Mapping[str, Any]) -> str | None:
    """Why a removed row cannot come back, in words."""
    if row is SubjectRow:
        _require_free(connection, values["name"], values["id"], None)
    if row is AliasRow and _holder(connection, values["name"]) is not None:
        return f"the name {values['name']!r} is somebody's again"
    if row is DecisionRow:
        same = sa.and_(DecisionRow.sha256 == values["sha256"], DecisionRow.label == values["label"])
        if connection.scalar(sa.select(DecisionRow.id).where(same)) is not None:
            return "something else was decided about one of its photos since"
    return None


def _require_not_enrolled(connection: Connection, photo: Mapping[str, Any], entry_id: int) -> None:
    same_content = sa.and_(PhotoRow.sha256 == photo["sha256"], PhotoRow.owner_id == photo["owner_id"])
    query = (
        sa.select(PhotoRow.path, SubjectRow.name)
        .select_from(PhotoRow)
        .outerjoin(SubjectRow, SubjectRow.id == PhotoRow.owner_id)
        .where((PhotoRow.path == photo["path"]) | same_content)
    )
    found = connection.execute(query).first()
    if found is not None:
        path, name = path_text(os.fsdecode(found.path)), found.name or "several people"
        raise UndoError(
            f"Entry {entry_id} cannot be undone: {path} was enrolled again since, as {name}.",
            f"If all photos of {name} are wrong, run `facesearch people remove {shlex.quote(found.name or 'NAME')}`. "
            "Else say whose each is: facesearch people move PHOTO --to NAME --new",
        )


def _require_free(connection: Connection, name: str, subject_id: int, entry_id: int | None) -> None:
    holder = _holder(connection, name)
    if holder not in {None, subject_id}:
        entry = f"Entry {entry_id}" if entry_id else "It"
        raise UndoError(
            f"{entry} cannot be undone: somebody else is called {name!r} by now.",
            "Rename that person first: facesearch people rename",
        )


def _holder(connection: Connection, name: str) -> int | None:
    """Whose name or alias this is."""
    own = connection.scalar(sa.select(SubjectRow.id).where(SubjectRow.name == name))
    return own or connection.scalar(sa.select(AliasRow.subject_id).where(AliasRow.name == name))


def _changed_again(entry_id: int, why: str) -> UndoError:
    return UndoError(
        f"Entry {entry_id} cannot be undone: {why}.",
        "Undo what came after it first; `facesearch history` shows the entries.",
    )


_NAMES: Final[dict[type[Base], str]] = {
    SubjectRow: "the person",
    AliasRow: "another name",
    PhotoRow: "a photo",
    FaceRow: "a photo's person",
    DecisionRow: "what was decided about a photo",
}
