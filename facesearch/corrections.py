"""Corrections as people and programs see them: entries of the journal, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from facesearch.types import EnrollStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

UNDO: Final = "undo"


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One correction."""

    entry_id: int
    """Rising with time."""
    at: str
    """UTC, ISO 8601, to the second."""
    actor: str
    """The user of the operating system, or the name of an API key."""
    action: str
    """rename, merge, move, confirm, set, alias, remove, enroll, or undo."""
    detail: dict[str, Any]
    """Names and counts; `{"erased": 1}` where somebody concerned was forgotten."""
    undone_by: int | None
    """The entry that undid this one."""
    undoable: bool
    """Whether what it changed is still known."""

    @property
    def what(self) -> str:
        """What was done, in words."""
        return _in_words(self.action, self.detail)

    @property
    def state(self) -> str:
        """Whether it was undone or can be, in words; empty where it can be."""
        if self.undone_by is not None:
            return f"undone by {self.undone_by}"
        return "" if self.undoable else "can no longer be undone"


_WORDS: Final = {
    "rename": "renamed {name} to {to}",
    "merge": "merged {name} into {into}",
    "move": "moved {photos} to {to}",
    "confirm": "confirmed {photos}",
    "set": "set {attributes} of {name}",
    "alias added": "let {name} be called {added} as well",
    "alias removed": "took the name {removed} from {name}",
    "remove": "removed {name}",
    "remove photos": "removed {photos}",
}


def _in_words(action: str, said: Mapping[str, Any]) -> str:
    if action == UNDO:
        undone = said.get("undone", UNDO)
        what = "an undo" if undone == UNDO and "erased" not in said else "a correction"
        return f"undid {said['entry']}: {what if undone == UNDO else _in_words(undone, said)}"
    if action == "enroll":
        counts = ", ".join(f"{count} {status}" for status, count in said.items() if status in set(EnrollStatus))
        return f"enrolled photos: {counts}" if counts else "enrolled photos"
    photos = said.get("photos", 0)
    words = _WORDS[f"{action} {'added' if 'added' in said else 'removed'}" if action == "alias" else action]
    try:
        return words.format_map({**said, "photos": f"{photos} photo{'' if photos == 1 else 's'}"})
    except KeyError:
        return f"{action}: somebody who was forgotten, or removed long ago"
