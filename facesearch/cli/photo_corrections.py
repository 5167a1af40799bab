"""`facesearch people move` and `people confirm`: saying whom enrolled photos show."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facesearch.cli.options import GalleryOption, JsonOption, open_engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facesearch.search.gallery import Gallery

PhotosArgument = Annotated[
    list[str], typer.Argument(metavar="PHOTO...", help="Enrolled photos, as `people show` names them.")
]


def register(people: typer.Typer) -> None:
    """Add the commands to the group."""
    people.command()(move)
    people.command()(confirm)


def move(
    photos: PhotosArgument,
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="Whom the photos show.")],
    new: Annotated[bool, typer.Option("--new", help="Make a person of that name where there is none.")] = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Say that enrolled photos show somebody else. Enrolling their folders again does not change that.

    Example: facesearch people move people/Ada/7.jpg --to "Mary Somerville"
    """
    from facesearch.cli.output import emit, say
    from facesearch.records import subject_record

    with open_engine(gallery=gallery) as engine:
        engine.gallery.move_photos(_enrolled(engine.gallery, photos), to, create=new)
        subject = engine.gallery.subject(to)
    if json:
        emit(subject_record(subject))
        return
    say(f"{len(photos)} photos are {subject.name}'s, who has {subject.photos} in all.")


def confirm(photos: PhotosArgument, gallery: GalleryOption = None, json: JsonOption = False) -> None:
    """Say that enrolled photos show whom they are enrolled as. What they conflicted with is settled then.

    Example: facesearch people confirm people/Ada/7.jpg
    """
    from facesearch.cli.output import emit, say

    with open_engine(gallery=gallery) as engine:
        confirmed = engine.gallery.confirm_photos(_enrolled(engine.gallery, photos))
    if json:
        emit({"confirmed": confirmed})
        return
    say(f"{confirmed} photos are confirmed.")


def _enrolled(gallery: Gallery, photos: Sequence[str]) -> list[Path]:
    """The paths under which these photos are enrolled: as typed, or as the text form that commands print."""
    from facesearch.names import text_path
    from facesearch.store.uploads import is_upload

    typed = [Path(photo) for photo in photos]
    exact = [path if is_upload(path) else Path(os.path.abspath(path)) for path in typed]  # noqa: PTH100  # keeps links
    known = gallery.find_photos(exact)
    return [path if path in known else text_path(os.fspath(path)) for path in exact]
