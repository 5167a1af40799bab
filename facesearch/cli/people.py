"""`facesearch people`: who is enrolled, and changing that."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from facesearch.cli import erasing
from facesearch.cli.options import GalleryOption, JsonOption, open_engine, parse_pairs
from facesearch.errors import ConfigError

if TYPE_CHECKING:
    from facesearch.types import Subject

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A person's name, as enrolled.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    people = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="Who is enrolled: list, show, change, remove, forget."
    )
    people.command("list")(list_people)
    people.command()(show)
    people.command()(rename)
    people.command()(merge)
    people.command("set")(set_attributes)
    people.command()(remove)
    erasing.register(people)
    app.add_typer(people, name="people")


def list_people(
    where: Annotated[
        list[str] | None, typer.Option("--where", metavar="KEY=VALUE", help="Only people with this attribute.")
    ] = None,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """List everybody who is enrolled.

    Example: facesearch people list --where team=design
    """
    from facesearch.cli.output import emit, print_table
    from facesearch.engine.records import subject_record

    with open_engine(gallery=gallery) as engine:
        found = engine.gallery.subjects(parse_pairs(where))
    if json:
        for subject in found:
            emit(subject_record(subject))
        return
    rows = [(each.name, each.photos, each.templates, _attributes(each.attributes)) for each in found]
    print_table(("subject", "photos", "templates", "attributes"), rows)


def show(name: NameArgument, gallery: GalleryOption = None, json: JsonOption = False) -> None:
    """Show a person's attributes and enrolled photos.

    Example: facesearch people show "Ada Lovelace"
    """
    from facesearch.cli.output import emit, print_table, say
    from facesearch.engine.records import photo_record, subject_record

    with open_engine(gallery=gallery) as engine:
        subject, photos = engine.gallery.subject(name), engine.gallery.photos_of_subject(name)
    if json:
        emit({**subject_record(subject), "enrolled_photos": [photo_record(photo) for photo in photos]})
        return
    say(f"{subject.name}: {subject.photos} photos, {subject.templates} templates")
    say(_attributes(subject.attributes) or "no attributes")
    rows = [(photo.photo, photo.faces, photo.detection_score) for photo in photos]
    print_table(("photo", "faces", "detection score"), rows)


def rename(
    name: NameArgument,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The new name.")],
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Give a person another name.

    Example: facesearch people rename "A. Byron" "Ada Lovelace"
    """
    with open_engine(gallery=gallery) as engine:
        engine.gallery.rename_subject(name, new)
        subject = engine.gallery.subject(new)
    _done(f"{name} is now called {new}.", subject, json=json)


def merge(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The entry that goes.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The entry that gets its photos.")],
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Make two entries one person: SOURCE's photos become TARGET's.

    Example: facesearch people merge "A. Byron" "Ada Lovelace"
    """
    with open_engine(gallery=gallery) as engine:
        engine.gallery.merge_subjects(source, target)
        subject = engine.gallery.subject(target)
    _done(f"{source} and {target} are one person now: {target}.", subject, json=json)


def set_attributes(
    name: NameArgument,
    pairs: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="KEY= removes the attribute.")],
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Set a person's attributes, to search with `query --where`.

    Example: facesearch people set "Ada Lovelace" team=analysis born=1815
    """
    changes = {key: value or None for key, value in parse_pairs(pairs).items()}
    with open_engine(gallery=gallery) as engine:
        engine.gallery.set_attributes(name, changes)
        subject = engine.gallery.subject(name)
    _done(f"{subject.name}: {_attributes(subject.attributes) or 'no attributes'}", subject, json=json)


def remove(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Remove a person with all photos and templates from the gallery. The photo files themselves stay.

    A restored backup brings the person back. For somebody who asks to be erased, use `people forget`.

    Example: facesearch people remove "Ada Lovelace"
    """
    with open_engine(gallery=gallery) as engine:
        subject = engine.gallery.subject(name)
        if not yes:
            if not sys.stdin.isatty():
                raise ConfigError(f"Removing {name} is final, and nobody is here to ask.", "Add --yes if you mean it.")
            typer.confirm(
                f"Remove {name} ({subject.photos} photos, {subject.templates} templates) for good?", abort=True
            )
        photos, templates = engine.gallery.remove_subject(name)
    _done(f"{name} is removed: {photos} photos, {templates} templates.", subject, json=json)


def _attributes(attributes: object) -> str:
    assert isinstance(attributes, dict)
    return ", ".join(f"{key}={value}" for key, value in sorted(attributes.items()))


def _done(text: str, subject: Subject, *, json: bool) -> None:
    """Say what was done, or print the person it was done to."""
    from facesearch.cli.output import emit, say
    from facesearch.engine.records import subject_record

    if json:
        emit(subject_record(subject))
    else:
        say(text)
