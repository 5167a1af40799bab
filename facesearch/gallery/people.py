"""Changes of people: their rows, refusals of photos that rest on who they were, and an event in the audit log.

Every function is one transaction's work. Counts go into the log, no names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from facesearch.gallery import audit, subjects
from facesearch.gallery.rejections import forget_comparisons

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection

    from facesearch.gallery.subjects import SubjectKey


def rename(connection: Connection, who: SubjectKey, new: str) -> None:
    """As `Gallery.rename_subject`."""
    subjects.rename_subject(connection, who, new)
    forget_comparisons(connection)
    audit.record(connection, "people.rename", {"subjects": 1})


def merge(connection: Connection, source: SubjectKey, target: SubjectKey) -> None:
    """As `Gallery.merge_subjects`."""
    subjects.merge_subjects(connection, source, target)
    forget_comparisons(connection)
    audit.record(connection, "people.merge", {"subjects": 2})


def set_attributes(connection: Connection, who: SubjectKey, changes: Mapping[str, str | None]) -> None:
    """As `Gallery.set_attributes`."""
    subjects.set_attributes(connection, subjects.require_subject(connection, who), changes)
    audit.record(connection, "people.set", {"attributes": len(changes)})


def remove(connection: Connection, who: SubjectKey) -> tuple[int, list[int]]:
    """Remove a subject: how many photos went, and the ids of the templates that did."""
    photos, templates = subjects.remove_subject(connection, who)
    forget_comparisons(connection)
    audit.record(connection, "people.remove", {"photos": photos, "templates": len(templates)})
    return photos, templates
