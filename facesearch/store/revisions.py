"""Which changes of templates a transaction sees, and which templates an index has to look at again after others.

Whoever changes templates gives the change a random token, by trigger, and notes which templates it touched: by their
ids, which is all that is kept of a removed one.

In SQLite one change follows the other, so the newest token stands for all before it. The newest 4096 changes, each of
one template, are kept in their order. An index that holds what the templates were at one token has to look only at what
came behind it; where it is not there, everything has to be compared: it is too old, or of a state that a rollback or a
restored backup took back.

On PostgreSQL changes overlap. The newest hundred transactions are kept, each with the ids of the templates that it
touched, and the oldest half is swept up now and then: the change of the transaction that does names what it swept up. A
change is visible to a transaction exactly when its templates are. So an index that holds what some changes left has to
look only at what the others touched, as long as it had seen all that was swept up meanwhile, and nothing is gone in
another way.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from facesearch.errors import CorruptGalleryError
from facesearch.store.database import TOKEN_BYTES, Database
from facesearch.store.schema import RevisionRow

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from facesearch.types import Ids


@dataclass(frozen=True)
class Revision:
    """A state of the templates, by the changes that made it."""

    changes: frozenset[bytes]
    """The token of each that is not swept up."""

    @cached_property
    def token(self) -> bytes:
        """16 bytes, equal for two states only if they are the same."""
        if len(self.changes) == 1:
            return next(iter(self.changes))
        return sha256(b"".join(sorted(self.changes))).digest()[:TOKEN_BYTES]

    def with_change(self, before: Revision, after: Revision) -> Revision | None:
        """This state with what a transaction changed that began at `before` and ends at `after`.

        None where that swept up changes which this state lacks: nobody could tell afterwards.
        """
        swept = before.changes - after.changes
        if not swept <= self.changes:
            return None
        return Revision(self.changes - swept | (after.changes - before.changes))


def read_revision(connection: Connection) -> Revision:
    """The state of the templates that `connection` sees."""
    found = Database.of(connection).tokens(connection)
    if not found:
        raise CorruptGalleryError("The gallery has no revision token.", "Restore the gallery from a backup.")
    return Revision(found)


def renew_token(connection: Connection) -> None:
    """Change the revision although no template changed: what an index has to hold did."""
    connection.execute(sa.insert(RevisionRow), [{"token": secrets.token_bytes(TOKEN_BYTES)}])


def touched_since(connection: Connection, known: Revision, now: Revision) -> Ids | None:
    """Ids of all templates, of any model, that may differ between two states; None where that is not known.

    `now` is what `connection` sees. Sorted, each once.
    """
    if known.token == now.token:
        return np.empty(0, np.int64)
    return Database.of(connection).touched(connection, known.changes, now.changes)
