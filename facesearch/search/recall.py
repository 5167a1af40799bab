"""What searches read from the database, kept in memory for as long as the database does not change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from facesearch.store.templates import Described, describe_templates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

MOST: Final = 1 << 15
"""Templates that are remembered: about 10 MB."""


Memory: TypeAlias = dict[int, Described]
"""By template id."""


class UnknownTemplateError(Exception):
    """A template that is not remembered: the database has to be asked."""


class Recall:
    """Whose templates are, as they were proven when they were last read.

    `start` and `memory` are for one thread at a time. What they return may be used by several, for as long as they
    like: when the database changes, what is remembered then is another.
    """

    def __init__(self) -> None:
        self._version: int | None = None
        self._known: Memory = {}

    def memory(self, version: int | None) -> Memory | None:
        """What is remembered, if that is what the database of this version says."""
        return self._known if version is not None and version == self._version else None

    def start(self, version: int | None) -> Memory:
        """Where to remember what is read from now on, which is of this version or of a later one.

        None remembers nothing.
        """
        if version is None or version != self._version:
            self._known = {}
        self._version = version
        return self._known if version is not None else {}


def describe(known: Memory, ids: Sequence[int]) -> dict[int, Described]:
    """From memory alone; raises `UnknownTemplateError`."""
    try:
        return {each: known[each] for each in ids}
    except KeyError as error:
        raise UnknownTemplateError from error


def read(known: Memory, connection: Connection, ids: Sequence[int]) -> dict[int, Described]:
    """`describe_templates`, remembered."""
    found = describe_templates(connection, ids)
    if len(known) + len(found) > MOST:
        known.clear()
    known.update(found)
    return found
