"""Whose photo a content is, where a person decided otherwise than the photo's source.

A source (a folder, a manifest, `--as`) says a label for a photo. A person may move the photo to somebody else, or
remove it. The decision is kept by content and label: it holds when the source says the same again, also after the
file vanished and came back, and no longer when the source says something else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from facesearch.store.rows import require_whole, stored_columns
from facesearch.store.schema import DecisionRow
from facesearch.store.templates import chunks

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.engine import Connection

    from facesearch.store.journal import Entry


def decide(entry: Entry, sha256: bytes, label: str, subject_id: int | None, *, of: int) -> None:
    """Note that a content of that label is the photo of another subject than `of`, or nobody's."""
    same = sa.and_(DecisionRow.sha256 == sha256, DecisionRow.label == label)
    if entry.connection.scalar(sa.select(DecisionRow.id).where(same)) is None:
        values = {"sha256": sha256, "label": label, "subject_id": subject_id}
        entry.insert(DecisionRow, values, of=of)
    else:
        entry.update(DecisionRow, same, {"subject_id": subject_id}, of=of, other=subject_id)


def find_decisions(connection: Connection, hashes: Collection[str]) -> dict[tuple[str, str], int | None]:
    """What was decided about contents (SHA-256 in hex), by content and label: a subject's id, or None for nobody."""
    found: dict[tuple[str, str], int | None] = {}
    for chunk in chunks([bytes.fromhex(each) for each in hashes]):
        query = sa.select(*stored_columns(DecisionRow)).where(DecisionRow.sha256.in_(chunk)).order_by(DecisionRow.id)
        for row in connection.execute(query):
            require_whole(DecisionRow, row)
            found[row.sha256.hex(), row.label] = row.subject_id
    return found


def any_decisions(connection: Connection) -> bool:
    """Whether a person decided about any photo."""
    return connection.scalar(sa.select(DecisionRow.id).limit(1)) is not None
