"""Refused photos in the database, remembered so that the same file is not looked at again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from facesearch.store.photo_columns import below, storable
from facesearch.store.rows import insert_all, is_whole, now, stored_columns
from facesearch.store.schema import RejectionRow
from facesearch.store.templates import chunks
from facesearch.types import Reason, Rejection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection


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
    for chunk in chunks([os.fsencode(path) for path in paths]):
        query = sa.select(*stored_columns(RejectionRow)).where(RejectionRow.path.in_(chunk))
        for row in connection.execute(query):
            if not is_whole(row):
                continue  # the photo is looked at again, and then the row is replaced
            sha256 = row.sha256.hex() if row.sha256 is not None else None
            rejection = Rejection(Reason(row.reason), row.detail)
            path = Path(os.fsdecode(row.path))
            found[path] = StoredRejection(sha256, row.size, row.mtime_ns, row.policy, rejection)
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


def forget_rejections(connection: Connection, paths: Sequence[Path]) -> None:
    """The photos at these paths are no longer refused."""
    for chunk in chunks([os.fsencode(path) for path in paths]):
        connection.execute(sa.delete(RejectionRow).where(RejectionRow.path.in_(chunk)))
