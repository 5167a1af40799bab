"""`facesearch history` and `facesearch undo`: what people corrected, and taking it back."""

from __future__ import annotations

from typing import Annotated

import typer

from facesearch.cli.options import GalleryOption, JsonOption, open_engine


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(history)
    app.command()(undo)


def history(
    last: Annotated[int | None, typer.Option("--last", "-n", metavar="N", min=1, help="Only the last so many.")] = None,
    person: Annotated[
        str | None, typer.Option("--person", metavar="NAME", help="Only what concerns this person.")
    ] = None,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Show what was corrected: renames, merges, moves, attributes, removals. Newest first, with names.

    Example: facesearch history --person "Ada Lovelace"
    """
    from facesearch.cli.output import emit, print_table
    from facesearch.records import journal_record

    with open_engine(gallery=gallery) as engine:
        found = engine.history(last=last, who=person)
    if json:
        for each in found:
            emit(journal_record(each))
        return
    rows = [(each.entry_id, each.at, each.actor, each.what, each.state) for each in found]
    print_table(("entry", "time (UTC)", "who", "what", ""), rows)


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
    from facesearch.records import journal_record

    with open_engine(gallery=gallery) as engine:
        undone = engine.undo(entry)
    if json:
        emit(journal_record(undone))
        return
    say(f"Entry {undone.entry_id} is undone: {undone.what}.")
    note(f"To make it hold again: facesearch undo {undone.undone_by}")
