"""The list of the erased in the database, which every machine sees, and its copy in the folder beside it.

The list changes in the transaction that erases somebody, so an import from any machine meets it. But a database that
is restored from an older copy has an older list: that is what the copy is for. In a gallery that is a folder it lies
beside the database. Of one on a server each machine that erases, imports or checks has one beside its index cache.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from facesearch.errors import GalleryError
from facesearch.store import audit
from facesearch.store.erasure import erase_again, find_in_journal
from facesearch.store.rows import insert, now, require_whole, stored_columns, update
from facesearch.store.schema import ErasedRow
from facesearch.store.tombstones import Tombstones, erased_rows, read_tombstones, write_tombstones

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy.engine import Connection

log = logging.getLogger("facesearch.store")

DIGEST: Final = 32
"""Bytes of an entry."""


class ErasedList:
    """The list of one gallery."""

    def __init__(self, folder: Path, *, beside: bool) -> None:
        """`beside` says that the folder is the gallery; else it is this machine's index cache of one on a server."""
        self._folder = folder
        self._beside = beside

    def read(self, connection: Connection) -> Tombstones:
        """What the database and the copy have. Raises `CorruptGalleryError` where either is damaged."""
        return _in_database(connection).merged(read_tombstones(self._folder))

    def read_own(self, connection: Connection) -> Tombstones:
        """The entries whose ids are this gallery's."""
        listed, others = self.read(connection), _salts_of_others(connection)
        return Tombstones({salt: each for salt, each in listed.sections.items() if salt not in others})

    def back(self, connection: Connection) -> tuple[int, int]:
        """(people, templates) that were erased and are there all the same, or could be brought back by an undo."""
        own = self.read_own(connection)
        people, templates = erased_rows(connection, own)
        past = find_in_journal(connection, own)
        return len({*people, *past.subjects}), len(templates) + past.templates

    def add(self, connection: Connection, rows: Sequence[str]) -> None:
        """Put rows on the list, as `tombstones` spells them. Raises `GalleryError`.

        The copy is on disk when this returns, before the commit: should that fail, a list that names more than was
        erased names people who were to be erased anyway.
        """
        fresh = self.read_own(connection).named(rows)
        _insert(connection, fresh, of_others=False)
        self.keep_copy(self.read(connection))

    def lift(self, connection: Connection, rows: Sequence[str]) -> None:
        """Take rows off the list, so that a person may come back. Raises `GalleryError`."""
        listed = self.read(connection)
        kept = listed.lifted(rows)
        if len(kept) == len(listed):
            return
        for row in connection.execute(sa.select(*stored_columns(ErasedRow))).all():
            require_whole(ErasedRow, row)
            digests = kept.sections[row.salt] & _entries(row.digests)
            update(connection, ErasedRow, ErasedRow.id == row.id, {"digests": b"".join(sorted(digests))})
        self.keep_copy(kept)
        audit.record(connection, "people.bring_back", {"entries": len(listed) - len(kept)})

    def take_over(self, connection: Connection, others: Tombstones, *, of_others: bool) -> None:
        """Put the entries of another list on this one. Raises `GalleryError`.

        `of_others` says that the ids in it are another gallery's.
        """
        own = self.read_own(connection).sections.keys()
        fresh = others.without(_in_database(connection))
        for salt, digests in fresh.sections.items():
            _insert(connection, Tombstones({salt: digests}), of_others=of_others and salt not in own)
        self.keep_copy(self.read(connection).merged(others))

    def keep_copy(self, listed: Tombstones) -> None:
        """Write the copy. Raises `GalleryError` where it belongs to the gallery; of a cache it is a warning."""
        try:
            write_tombstones(self._folder, listed)
        except GalleryError as error:
            if self._beside:
                raise
            log.warning("The copy of the list of the erased was not written: %s", error.message)

    def enforce(self, connection: Connection) -> list[int]:
        """Erase whoever is on the list and is there all the same; the ids of the templates that went."""
        listed = self.read_own(connection)
        removed = erase_again(connection, listed)
        self.take_over(connection, listed, of_others=False)
        audit.record(connection, "people.forget", {"again": 1, "templates": len(removed)})
        return removed


def _in_database(connection: Connection) -> Tombstones:
    found = Tombstones()
    for row in connection.execute(sa.select(*stored_columns(ErasedRow)).order_by(ErasedRow.id)):
        require_whole(ErasedRow, row)
        found.sections.setdefault(row.salt, set()).update(_entries(row.digests))
    return found


def _entries(digests: bytes) -> set[bytes]:
    return {digests[at : at + DIGEST] for at in range(0, len(digests), DIGEST)}


def _salts_of_others(connection: Connection) -> set[bytes]:
    """Each gallery has a salt of its own."""
    return set(connection.scalars(sa.select(ErasedRow.salt).where(ErasedRow.of_others == 1)))


def _insert(connection: Connection, listed: Tombstones, *, of_others: bool) -> None:
    for salt, digests in listed.sections.items():
        if digests:
            entries = b"".join(sorted(digests))
            values = {"at": now(), "salt": salt, "digests": entries, "of_others": int(of_others)}
            insert(connection, ErasedRow, values)
