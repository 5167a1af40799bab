"""What people corrected: the history, undoing, other names, and whom photos show."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from facesearch.errors import ConfigError
from facesearch.records import HistoryRecord, SubjectRecord
from facesearch.server.photos import PhotoId
from facesearch.server.problems import problems
from facesearch.server.schemas import Alias, Confirmed, History, Move, Reference, Undo
from facesearch.server.security import Enroller, Reader, demand, told
from facesearch.server.state import StateOf
from facesearch.server.subjects import SubjectId
from facesearch.store import journal, people

router = APIRouter(tags=["corrections"])

BY_ENROLLERS: Final = frozenset({"rename", "set", "alias", "move", "confirm"})
"""Corrections that a key with the scope `enroll` can make, and so undo. All others take the scope `delete`."""


@router.get("/history", response_model=History, responses=problems(404), summary="What was corrected")
def history(
    state: StateOf,
    _: Enroller,
    __: Reader,
    limit: Annotated[int, Query(ge=1, le=1000, description="Only the newest so many.")] = 50,
    before: Annotated[int | None, Query(ge=1, lt=2**63, description="Only what is older than this entry.")] = None,
    subject: Annotated[str | None, Query(max_length=1000, description="Only what concerns the person.")] = None,
    subject_id: Annotated[int | None, Query(ge=1, description="The same, by the person's id.")] = None,
) -> dict[str, Any]:
    """Renames, merges, moves, attributes and removals, newest first. It names people who were removed as well."""
    if subject is not None and subject_id is not None:
        raise ConfigError("subject and subject_id are given.", "Send one of them.")
    found = state.gallery.read(
        people.history, last=limit, who=subject if subject_id is None else subject_id, before=before
    )
    return {"entries": list(map(HistoryRecord.of, found))}


@router.post("/undo", responses=problems(404, 408, 409, 413), summary="Undo a correction")
def undo(body: Undo, state: StateOf, caller: Enroller) -> HistoryRecord | Reference:
    """Put back exactly what a correction changed: names, attributes, photos and ids.

    409 where the same was changed again since, or is no longer known. Undoing what takes the scope `delete` takes it,
    too.
    """
    entry = state.gallery.read(journal.find, body.entry)
    if entry.detail.get("undone", entry.action) not in BY_ENROLLERS:
        demand(caller, "delete")
    undone = state.engine.undo(entry.entry_id)
    return HistoryRecord.of(undone) if caller.reads else Reference(id=undone.entry_id)


@router.post(
    "/subjects/{id}/aliases",
    responses=problems(404, 408, 409, 413),
    summary="Add another name",
)
def add_alias(id: SubjectId, body: Alias, state: StateOf, caller: Enroller) -> SubjectRecord | Reference:  # noqa: A002  # in the URL
    """Let folders, manifests and people find the person by another name; 409 where it is somebody's."""
    return told(caller, state.engine.add_alias(id, body.alias))


@router.delete("/subjects/{id}/aliases", responses=problems(404), summary="Remove another name")
def remove_alias(
    id: SubjectId,  # noqa: A002
    state: StateOf,
    _: Enroller,
    __: Reader,
    alias: Annotated[str, Query(min_length=1, max_length=1000, description="The name to remove.")],
) -> SubjectRecord:
    """Take another name from the person. It takes the scope `read`, too: the answer tells the other names."""
    return SubjectRecord.of(state.engine.remove_alias(id, alias))


@router.post("/photos/{id}/move", responses=problems(404, 408, 413), summary="Whom a photo shows")
def move(id: PhotoId, body: Move, state: StateOf, caller: Enroller) -> SubjectRecord | Reference:  # noqa: A002
    """Say that an enrolled photo shows somebody else. Enrolling it again does not change that."""
    return told(caller, state.engine.move_photo(id, body.to, create=body.create))


@router.post("/photos/{id}/confirm", response_model=Confirmed, responses=problems(404), summary="It is this person")
def confirm(id: PhotoId, state: StateOf, _: Enroller) -> dict[str, Any]:  # noqa: A002
    """Say that an enrolled photo shows whom it is enrolled as."""
    state.engine.confirm_photo(id)
    return {"confirmed": 1}
