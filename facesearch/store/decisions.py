"""What was decided about photos: by people, who corrected a source, and by the engine, which refused a photo.

A source (a folder, a manifest, `--as`) says a label for a photo. A person may move the photo to somebody else, or
remove it. The decision is kept by content and label. It holds when the source says the same again, also after the
file vanished and came back, and no longer when the source says something else.

A refusal is remembered so that the same file is not looked at again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from facesearch.store.erasure_list import ErasedEntries, content_key, name_key
from facesearch.store.rows import (
    below,
    chunks,
    delete_in,
    fetch,
    insert_all,
    is_whole,
    now,
    select_in,
    storable,
    stored_columns,
)
from facesearch.store.schema import DecisionRow, RejectionRow, SubjectRow
from facesearch.types import Reason, Rejection

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.engine import Connection

    from facesearch.store.erasure_list import ErasureList
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
    contents = [bytes.fromhex(each) for each in hashes]
    rows = [row for chunk in chunks(contents) for row in fetch(connection, DecisionRow, DecisionRow.sha256.in_(chunk))]
    return {(row.sha256.hex(), row.label): row.subject_id for row in rows}


@dataclass(frozen=True, slots=True)
class Standing:
    """A state of the decisions and of the list of the erased."""

    erased: ErasedEntries
    own: ErasedEntries
    """The part of the list whose names are those of people of this gallery."""
    is_any: bool
    """Whether there is anything that a photo's content has to be looked up in."""

    def entries_of(self, label: str, sha256: str | None) -> list[str]:
        """The entries of the list of the erased that name a label, or a content (SHA-256 in hex) under it."""
        found = [name_key(label)] if len(self.own) and self.own.names(name_key(label)) else []
        keys = (content_key(sha256), content_key(sha256, label)) if sha256 and len(self.erased) else ()
        return found + [key for key in keys if self.erased.names(key)]


def read_standing(connection: Connection, listed: ErasureList) -> Standing:
    """What is decided and erased. Raises `CorruptGalleryError` for a damaged list."""
    erased = listed.read(connection)
    decided = connection.scalar(sa.select(DecisionRow.id).limit(1)) is not None
    return Standing(erased, listed.read_own(connection), is_any=bool(len(erased)) or decided)


def name_decisions(connection: Connection, hashes: Collection[str]) -> dict[tuple[str, str], str | None]:
    """`find_decisions`, with the subjects' names."""
    found = find_decisions(connection, hashes)
    query = sa.select(SubjectRow.id, SubjectRow.name)
    rows = select_in(connection, query, SubjectRow.id, {key for key in found.values() if key is not None})
    names = {row.id: row.name for row in rows}
    return {key: None if subject_id is None else names.get(subject_id) for key, subject_id in found.items()}


@dataclass(frozen=True, slots=True)
class StoredRejection:
    """What the gallery remembers of a refused photo."""

    sha256: str | None
    size: int
    mtime_ns: int
    policy: str
    rejection: Rejection


@dataclass(frozen=True, slots=True)
class RefusedPhoto:
    """A photo that was refused."""

    path: Path
    rejection: StoredRejection
    remembered: bool = True
    """Whether the gallery keeps the refusal: of people who were forgotten it keeps no path."""


def find_rejections(connection: Connection, paths: Sequence[Path]) -> dict[Path, StoredRejection]:
    """What was decided about the photos at these paths when they were last refused."""
    found: dict[Path, StoredRejection] = {}
    query = sa.select(*stored_columns(RejectionRow))
    for row in select_in(connection, query, RejectionRow.path, [os.fsencode(path) for path in paths]):
        if not is_whole(row):
            continue  # the photo is looked at again, and then the row is replaced
        sha256 = row.sha256.hex() if row.sha256 is not None else None
        rejection = Rejection(Reason(row.reason), row.detail)
        found[Path(os.fsdecode(row.path))] = StoredRejection(sha256, row.size, row.mtime_ns, row.policy, rejection)
    return found


def rejected_below(connection: Connection, folder: Path) -> list[Path]:
    """Where photos were refused, in `folder` or anywhere below it."""
    found = connection.scalars(sa.select(RejectionRow.path).where(below(RejectionRow.path, folder)))
    return [Path(os.fsdecode(raw)) for raw in found]


def forget_comparisons(connection: Connection) -> None:
    """Forget refusals that rest on other photos of the gallery, some of which have gone or changed hands.

    Their reasons may no longer hold, and they name people and photos that may have been removed.
    """
    resting = (Reason.DUPLICATE.value, Reason.IDENTITY_CONFLICT.value)
    connection.execute(sa.delete(RejectionRow).where(RejectionRow.reason.in_(resting)))


def remember_rejections(connection: Connection, refused: Sequence[RefusedPhoto]) -> None:
    """Remember that photos, each at another path, were refused, and under which policy."""
    forget_rejections(connection, [each.path for each in refused])
    moment = now()
    insert_all(connection, RejectionRow, [_rejection_values(each, moment) for each in refused])


def _rejection_values(refused: RefusedPhoto, moment: str) -> dict[str, object]:
    stored = refused.rejection
    return {
        "path": os.fsencode(refused.path),
        "sha256": bytes.fromhex(stored.sha256) if stored.sha256 is not None else None,
        "size": stored.size,
        "mtime_ns": storable(stored.mtime_ns),
        "policy": stored.policy,
        "reason": stored.rejection.reason.value,
        "detail": stored.rejection.detail,
        "rejected_at": moment,
    }


def forget_rejections(connection: Connection, paths: Collection[Path]) -> None:
    """The photos at these paths are no longer refused."""
    delete_in(connection, RejectionRow, RejectionRow.path, [os.fsencode(path) for path in paths])
