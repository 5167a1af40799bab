"""What people decided and erased, as an enrolment asks for it before it takes a photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from facesearch.store.decisions import any_decisions, find_decisions
from facesearch.store.schema import SubjectRow
from facesearch.store.templates import chunks
from facesearch.store.tombstones import Tombstones, content_key, name_key

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.engine import Connection

    from facesearch.store.erased import ErasedList


@dataclass(frozen=True, slots=True)
class Standing:
    """A state of the decisions and of the list of the erased."""

    erased: Tombstones
    own: Tombstones
    """The part of the list whose names are those of people of this gallery."""
    is_any: bool
    """Whether there is anything that a photo's content has to be looked up in."""

    def entries_of(self, label: str, sha256: str | None) -> list[str]:
        """The entries of the list of the erased that name a label, or a content (SHA-256 in hex) under it."""
        found = [name_key(label)] if len(self.own) and self.own.names(name_key(label)) else []
        keys = (content_key(sha256), content_key(sha256, label)) if sha256 and len(self.erased) else ()
        return found + [key for key in keys if self.erased.names(key)]


def read_standing(connection: Connection, listed: ErasedList) -> Standing:
    """What is decided and erased. Raises `CorruptGalleryError` for a damaged list."""
    erased = listed.read(connection)
    return Standing(erased, listed.read_own(connection), bool(len(erased)) or any_decisions(connection))


def name_decisions(connection: Connection, hashes: Collection[str]) -> dict[tuple[str, str], str | None]:
    """`find_decisions`, with the subjects' names."""
    found = find_decisions(connection, hashes)
    names: dict[int, str] = {}
    for chunk in chunks(list({key for key in found.values() if key is not None})):
        query = sa.select(SubjectRow.id, SubjectRow.name).where(SubjectRow.id.in_(chunk))
        names.update(iter(connection.execute(query)))
    return {key: None if subject_id is None else names.get(subject_id) for key, subject_id in found.items()}
