"""Audit events: who did what and when, in counts."""

from __future__ import annotations

import getpass
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from facesearch.gallery.rows import insert, now
from facesearch.gallery.schema import AuditRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy.engine import Connection


_acting: ContextVar[str | None] = ContextVar("facesearch_actor", default=None)


def record(connection: Connection, action: str, detail: Mapping[str, int | str]) -> None:
    """Write one event. `detail` holds counts and settings; never a vector, a face or a person's name."""
    values = {"at": now(), "actor": _actor(), "action": action, "detail": dict(detail)}
    insert(connection, AuditRow, values)


@contextmanager
def acting_as(name: str | None) -> Iterator[None]:
    """Events of this thread or task are of this actor; None leaves them to whoever runs the process."""
    before = _acting.set(name)
    try:
        yield
    finally:
        _acting.reset(before)


def _actor() -> str:
    acting = _acting.get()
    if acting is not None:
        return acting
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user id without a name
        return "unknown"
