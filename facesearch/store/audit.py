"""Audit events: who did what and when, in counts."""

from __future__ import annotations

import getpass
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from facesearch.names import printable
from facesearch.store.rows import fetch, insert, now
from facesearch.store.schema import AuditRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy.engine import Connection


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One event as it was written."""

    event_id: int
    """Rising, without gaps: a missing one was removed."""
    at: str
    """UTC, ISO 8601, to the second."""
    actor: str
    """The user of the operating system, or the name of an API key."""
    action: str
    detail: Mapping[str, int | str]


_acting: ContextVar[str | None] = ContextVar("facesearch_actor", default=None)


def record(connection: Connection, action: str, detail: Mapping[str, int | str]) -> None:
    """Write one event. `detail` holds counts and settings; never a vector, a face or a person's name."""
    values = {"at": now(), "actor": actor(), "action": action, "detail": dict(detail)}
    insert(connection, AuditRow, values)


def record_uses(connection: Connection, events: Mapping[tuple[str, str], Mapping[str, int]]) -> None:
    """Write one event for each actor and action, with its counts."""
    for (by, action), counts in events.items():
        with acting_as(by):
            record(connection, action, counts)


def keep(connection: Connection, events: Iterable[AuditEvent]) -> None:
    """Write events of another log with their time and actor, unless they are here already."""
    rows = connection.execute(sa.select(AuditRow.at, AuditRow.actor, AuditRow.action, AuditRow.detail)).all()
    known = {(row.at, row.actor, row.action, str(sorted(row.detail.items()))) for row in rows}
    for each in events:
        if (each.at, each.actor, each.action, str(sorted(each.detail.items()))) not in known:
            values = {"at": each.at, "actor": each.actor, "action": each.action, "detail": dict(each.detail)}
            insert(connection, AuditRow, values)


@contextmanager
def acting_as(name: str | None) -> Iterator[None]:
    """Events of this thread or task are of this actor; None leaves them to whoever runs the process."""
    before = _acting.set(name)
    try:
        yield
    finally:
        _acting.reset(before)


def events(
    connection: Connection, *, since: str | None = None, action: str | None = None, last: int | None = None
) -> list[AuditEvent]:
    """Events, oldest first: those from `since` on (ISO 8601, UTC), of an action or a group of actions, the last n.

    `people` is the group of `people.set`, `people.forget` and so on. Raises `CorruptGalleryError` for a damaged event.
    """
    chosen = [] if since is None else [AuditRow.at >= since]
    if action is not None:
        action = printable(action)
        within = sa.func.substr(AuditRow.action, 1, len(action) + 1) == f"{action}."
        chosen.append((AuditRow.action == action) | within)
    rows = fetch(connection, AuditRow, *chosen, order=AuditRow.id.desc(), limit=last)
    return [AuditEvent(row.id, row.at, row.actor, row.action, row.detail) for row in reversed(rows)]


def actor() -> str:
    """Who acts: the API key of this request, else the user of the operating system."""
    acting = _acting.get()
    if acting is not None:
        return acting
    try:
        return printable(getpass.getuser())
    except (OSError, KeyError):  # a container's user id without a name
        return "unknown"
