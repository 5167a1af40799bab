"""`facesearch history` and `undo`, `people move` and `people confirm`: what people correct, and taking it back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facesearch.cli.options import (
    GalleryOption,
    JsonOption,
    complete_people,
    open_engine,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facesearch.search.gallery import Gallery

PhotosArgument = Annotated[
    list[str], typer.Argument(metavar="PHOTO...", help="Enrolled photos, as `people show` names them.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(history)
    app.command()(undo)


def history(
    last: Annotated[int | None, typer.Option("--last", "-n", metavar="N", min=1, help="Only the last N.")] = None,
    person: Annotated[
        str | None,
        typer.Option(
            "--person", metavar="NAME", autocompletion=complete_people, help="Only what concerns this person."
        ),
    ] = None,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Show what was corrected: renames, merges, moves, attributes, removals. Newest first, with names.

    Example: facesearch history --person "Ada Lovelace"
    """
    from facesearch.cli.output import print_records
    from facesearch.records import HistoryRecord

    with open_engine(gallery=gallery) as engine:
        found = engine.history(last=last, who=person)
    rows = ((each.entry_id, each.at, each.actor, each.what, each.state) for each in found)
    print_records(map(HistoryRecord.of, found), ("entry", "time (UTC)", "who", "what", ""), rows, json=json)


def undo(
    entry: Annotated[
        int | None, typer.Argument(metavar="[ENTRY]", help="An entry of `facesearch history`; else the newest.")
    ] = None,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Put back exactly what a correction changed: names, attributes, photos and ids.

    It is refused where the same was changed again since, or where the person was forgotten. Removals can be undone for
    30 days. An undo is an entry itself, which can be undone.

    Example: facesearch undo 12
    """
    from facesearch.cli.output import emit, note, say
    from facesearch.records import HistoryRecord

    with open_engine(gallery=gallery) as engine:
        undone, counts = engine.undo(entry), engine.counts()
    if lacking := counts["faces"] - counts["templates"]:
        note(f"{lacking} faces have no template of the model in use, so nobody finds them. Run: facesearch reembed")
    if json:
        emit(HistoryRecord.of(undone))
        return
    say(f"Entry {undone.entry_id} is undone: {undone.what}.")
    note(f"To make it hold again: facesearch undo {undone.undone_by}")


def move(
    photos: PhotosArgument,
    to: Annotated[
        str,
        typer.Option("--to", metavar="NAME", autocompletion=complete_people, help="The person in the photos."),
    ],
    new: Annotated[bool, typer.Option("--new", help="Make a person of that name where there is none.")] = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Say that enrolled photos show somebody else. Enrolling their folders again does not change that.

    Example: facesearch people move people/Ada/7.jpg --to "Mary Somerville"
    """
    from facesearch.cli.output import emit, say
    from facesearch.records import SubjectRecord
    from facesearch.store import people

    with open_engine(gallery=gallery) as engine:
        engine.gallery.change(people.move_photos, _enrolled(engine.gallery, photos), to, create=new)
        subject = engine.gallery.read(people.find, to)
    if json:
        emit(SubjectRecord.of(subject))
        return
    say(f"{len(photos)} photos are {subject.name}'s, who has {subject.photos} in all.")


def confirm(photos: PhotosArgument, gallery: GalleryOption = None, json: JsonOption = False) -> None:
    """Say that enrolled photos show whom they are enrolled as. What they conflicted with is settled then.

    Example: facesearch people confirm people/Ada/7.jpg
    """
    from facesearch.cli.output import emit, say
    from facesearch.store import people

    with open_engine(gallery=gallery) as engine:
        confirmed = engine.gallery.write(people.confirm_photos, _enrolled(engine.gallery, photos))
    if json:
        emit({"confirmed": confirmed})
        return
    say(f"{confirmed} photos are confirmed.")


def _enrolled(gallery: Gallery, photos: Sequence[str]) -> list[Path]:
    """The paths under which these photos are enrolled: as typed, or as the text form that commands print."""
    from facesearch.names import text_path
    from facesearch.store.photos import find_photos, is_upload

    typed = [Path(photo) for photo in photos]
    exact = [path if is_upload(path) else Path(os.path.abspath(path)) for path in typed]  # noqa: PTH100  # keeps links
    known = gallery.read(find_photos, exact)
    return [path if path in known else text_path(os.fspath(path)) for path in exact]
