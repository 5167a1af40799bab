"""What searches read from the database, kept in memory for as long as the database does not change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from facesearch.gallery.templates import Described, describe_templates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

MOST: Final = 1 << 15
"""Templates that are remembered: about 10 MB."""


class UnknownTemplateError(Exception):
    """A template that is not remembered: the database has to be asked."""


class Recall:
    """Whose templates are, as they were proven when they were last read. Not thread-safe."""

    def __init__(self) -> None:
        self._version: int | None = None
        self._known: dict[int, Described] = {}

    def is_of(self, version: int | None) -> bool:
        """Whether what is remembered is what the database of this version says."""
        return version is not None and version == self._version

    def start(self, version: int | None) -> None:
        """Remember what is read from now on, which is of this version or of a later one; None remembers nothing."""
        if not self.is_of(version):
            self._known.clear()
        self._version = version

    def describe(self, ids: Sequence[int]) -> dict[int, Described]:
        """From memory alone; raises `UnknownTemplateError`."""
        try:
            return {each: self._known[each] for each in ids}
        except KeyError as error:
            raise UnknownTemplateError from error

    def read(self, connection: Connection, ids: Sequence[int]) -> dict[int, Described]:
        """`describe_templates`, remembered."""
        found = describe_templates(connection, ids)
        if self._version is not None:
            if len(self._known) + len(found) > MOST:
                self._known.clear()
            self._known.update(found)
        return found
