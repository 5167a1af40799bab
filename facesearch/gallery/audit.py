"""Audit events: who did what and when, in counts."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

from facesearch.gallery.rows import insert, now
from facesearch.gallery.schema import AuditRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection


def record(connection: Connection, action: str, detail: Mapping[str, int | str]) -> None:
    """Write one event. `detail` holds counts and settings; never a vector, a face or a person's name."""
    values = {"at": now(), "actor": _actor(), "action": action, "detail": dict(detail)}
    insert(connection, AuditRow, values)


def _actor() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user id without a name
        return "unknown"
