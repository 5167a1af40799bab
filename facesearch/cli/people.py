"""`facesearch people`, `history` and `undo`: who is enrolled, and correcting that."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facesearch.cli import erasing
from facesearch.cli.options import GalleryOption, JsonOption, NameArgument, complete_people, open_engine
from facesearch.cli.output import emit, note, print_records, print_table, say, tell, tell_person
from facesearch.cli.root import new_group
from facesearch.errors import ConfigError
from facesearch.names import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from facesearch.search.gallery import Gallery
    from facesearch.types import Subject

PhotosArgument = Annotated[
    list[str], typer.Argument(metavar="PHOTO", help="Enrolled photos, as `people show` names them.")
]
OtherArgument = Annotated[str, typer.Argument(metavar="OTHER", help="Another name of the person.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    people = new_group("Who is enrolled: list, show, change, remove, forget.")
    people.command("list")(list_people)
    people.command("set")(set_attributes)
    for command in (show, rename, merge, remove, move, confirm, erasing.forget, erasing.expire):
        people.command()(command)
    aliases = new_group("A person's other names: add, remove, list.")
    aliases.command("add")(add_alias)
    aliases.command("remove")(remove_alias)
    aliases.command("list")(list_aliases)
    people.add_typer(aliases, name="alias")
    app.add_typer(people, name="people")
    app.command()(history)
    app.command()(undo)


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
    from facesearch.arguments import key_values
    from facesearch.records import SubjectRecord

    with open_engine(gallery=gallery) as engine:
        found = engine.subjects(key_values(where, "--where team=design"))
    rows = ((each.name, each.photos, each.templates, _attributes(each.attributes)) for each in found)
    print_records(map(SubjectRecord.of, found), ("subject", "photos", "templates", "attributes"), rows, json=json)
    if not found:
        note(f"Nobody has {' and '.join(where)}." if where else "Nobody is enrolled.")


def show(name: NameArgument, gallery: GalleryOption = None, json: JsonOption = False) -> None:
    """Show a person's other names, attributes and enrolled photos.

    The column `assigned` says who decided that a photo shows this person: `enrolled` is a folder, a manifest or --as;
    `moved` and `confirmed` are your corrections.

    Example: facesearch people show "Ada Lovelace"
    """
    from facesearch.records import EnrolledPhotoRecord, SubjectRecord

    with open_engine(gallery=gallery) as engine:
        subject, photos = engine.subject(name), engine.photos_of_subject(name)
    if json:
        enrolled = [EnrolledPhotoRecord.of(photo).model_dump() for photo in photos]
        emit({**SubjectRecord.of(subject).model_dump(), "enrolled_photos": enrolled})
        return
    say(f"{subject.name}: {_amount(subject)}")
    if subject.aliases:
        say(f"also called: {', '.join(subject.aliases)}")
    say(_attributes(subject.attributes) or "no attributes")
    rows = [(photo.photo, photo.faces, photo.detection_score, photo.origin) for photo in photos]
    print_table(("photo", "faces", "detection score", "assigned"), rows)


def rename(
    name: NameArgument,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The new name.")],
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Rename a person. The old name stays as an alias, so `enroll` still knows folders of that name.

    Example: facesearch people rename "A. Byron" "Ada Lovelace"
    """
    with open_engine(gallery=gallery) as engine:
        subject = engine.rename_subject(name, new)
    tell_person(subject, f"{name} is now called {new}.", json=json)


def merge(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", autocompletion=complete_people, help="The person to merge away.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", autocompletion=complete_people, help="The person who gets the photos.")
    ],
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Merge two people who are one: TARGET gets the photos of SOURCE, and its names as aliases.

    Example: facesearch people merge "A. Byron" "Ada Lovelace"
    """
    with open_engine(gallery=gallery) as engine:
        subject = engine.merge_subjects(source, target)
    tell_person(subject, f"{source} is merged into {target}.", json=json)


def set_attributes(
    name: NameArgument,
    pairs: Annotated[list[str], typer.Argument(metavar="KEY=VALUE", help="Attributes; KEY= removes one.")],
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Set a person's attributes, to search with `query --where`.

    Example: facesearch people set "Ada Lovelace" team=analysis born=1815
    """
    from facesearch.arguments import key_values

    example = f"facesearch people set {shlex.quote(name)} team=design"
    changes = {key: value or None for key, value in key_values(pairs, example).items()}
    with open_engine(gallery=gallery) as engine:
        subject = engine.set_attributes(name, changes)
    tell_person(subject, f"{subject.name}: {_attributes(subject.attributes) or 'no attributes'}", json=json)


def add_alias(
    name: NameArgument, other: OtherArgument, gallery: GalleryOption = None, json: JsonOption = False
) -> None:
    """Give a person one more name. Folders, manifests and commands can use it.

    Example: facesearch people alias add "Ada Lovelace" "A. Byron"
    """
    with open_engine(gallery=gallery) as engine:
        subject = engine.add_alias(name, other)
    tell_person(subject, f"{subject.name} is also called: {', '.join(subject.aliases)}", json=json)


def remove_alias(
    name: NameArgument, other: OtherArgument, gallery: GalleryOption = None, json: JsonOption = False
) -> None:
    """Remove another name of a person. `enroll` then takes a folder of that name for a new person.

    Example: facesearch people alias remove "Ada Lovelace" "A. Byron"
    """
    with open_engine(gallery=gallery) as engine:
        subject = engine.remove_alias(name, other)
    tell_person(subject, f"{subject.name} is no longer called {other}.", json=json)


def list_aliases(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only the names of this person.")] = None,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """List the other names of people.

    Example: facesearch people alias list
    """
    with open_engine(gallery=gallery) as engine:
        found = engine.subjects() if name is None else [engine.subject(name)]
    rows = [(each.name, alias) for each in found for alias in each.aliases]
    records = ({"subject": person, "alias": alias} for person, alias in rows)
    print_records(records, ("subject", "alias"), rows, json=json)


def remove(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Remove a person with all photos and templates from the gallery. The photo files themselves stay.

    `facesearch undo` brings the person back for 30 days, and so does a restored backup. If somebody asks to be erased,
    use `people forget`.

    Example: facesearch people remove "Ada Lovelace"
    """
    from facesearch.store.journal import KEPT_DAYS

    with open_engine(gallery=gallery) as engine:
        subject = engine.subject(name)
        if not yes:
            if not sys.stdin.isatty():
                raise ConfigError(f"Removing {name} needs a yes, and there is no terminal to ask on.", "Add --yes.")
            typer.confirm(f"Remove {name} ({_amount(subject)})?", abort=True)
        removed = engine.remove_subject(subject.subject_id)
        (entry,) = engine.history(last=1, who=subject.subject_id)
    tell_person(removed, f"{name} is removed: {_amount(removed)}.", json=json)
    note(f"For {KEPT_DAYS} days you can undo that: facesearch undo {entry.entry_id}")


def history(
    last: Annotated[int | None, typer.Option("--last", "-n", metavar="N", min=1, help="Only the newest N.")] = None,
    person: Annotated[
        str | None,
        typer.Option(
            "--person", metavar="NAME", autocompletion=complete_people, help="Only corrections of this person."
        ),
    ] = None,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """List corrections, newest first: renames, merges, moves, changed attributes, removals. The list holds names.

    Example: facesearch history --person "Ada Lovelace"
    """
    from facesearch.records import HistoryRecord

    with open_engine(gallery=gallery) as engine:
        found = engine.history(last=last, who=person)
    rows = ((each.entry_id, each.at, each.actor, each.what, each.state) for each in found)
    print_records(map(HistoryRecord.of, found), ("entry", "time (UTC)", "who", "what", ""), rows, json=json)


def undo(
    entry: Annotated[
        int | None, typer.Argument(metavar="[ENTRY]", help="An entry of `facesearch history` [default: the newest].")
    ] = None,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Undo a correction: restore exactly the names, attributes, photos and ids that it changed.

    It fails if the same thing was changed again since, or if the person was forgotten. Removals can be undone for 30
    days. An undo can be undone as well.

    Example: facesearch undo 12
    """
    from facesearch.records import HistoryRecord

    with open_engine(gallery=gallery) as engine:
        undone, counts = engine.undo(entry), engine.counts()
    if lacking := counts["faces"] - counts["templates"]:
        faces = counted(lacking, "face has", "faces have")
        note(f"{faces} no template of the model in use, so searches miss them. Run: facesearch reembed")
    tell(HistoryRecord.of(undone), f"Entry {undone.entry_id} is undone: {undone.what}.", json=json)
    note(f"To take the undo back: facesearch undo {undone.undone_by}")


def move(
    photos: PhotosArgument,
    to: Annotated[
        str, typer.Option("--to", metavar="NAME", autocompletion=complete_people, help="The person in the photos.")
    ],
    new: Annotated[bool, typer.Option("--new", help="Make a new person if nobody has that name.")] = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Move enrolled photos to the person they show. Later runs of `enroll` keep that.

    Example: facesearch people move people/Ada/7.jpg --to "Mary Somerville"
    """
    from facesearch.store import people

    with open_engine(gallery=gallery) as engine:
        engine.gallery.change(people.move_photos, _enrolled(engine.gallery, photos), to, create=new)
        subject = engine.gallery.read(people.find, to)
    text = f"{counted(len(photos), 'photo')} moved to {subject.name}, who has {counted(subject.photos, 'photo')} now."
    tell_person(subject, text, json=json)


def confirm(photos: PhotosArgument, gallery: GalleryOption = None, json: JsonOption = False) -> None:
    """Confirm that enrolled photos show the person they are enrolled as. `enroll` and `audit` then stop reporting them.

    Example: facesearch people confirm people/Ada/7.jpg
    """
    from facesearch.store import people

    with open_engine(gallery=gallery) as engine:
        confirmed = engine.gallery.write(people.confirm_photos, _enrolled(engine.gallery, photos))
    tell({"confirmed": confirmed}, f"{counted(confirmed, 'photo')} confirmed.", json=json)


def _enrolled(gallery: Gallery, photos: Sequence[str]) -> list[Path]:
    """The paths under which these photos are enrolled: as typed, or as the text form that commands print."""
    from facesearch.names import text_path
    from facesearch.store.photos import find_photos, is_upload

    typed = [Path(photo) for photo in photos]
    exact = [path if is_upload(path) else Path(os.path.abspath(path)) for path in typed]  # noqa: PTH100  # keeps links
    known = gallery.read(find_photos, exact)
    return [path if path in known else text_path(os.fspath(path)) for path in exact]


def _amount(subject: Subject) -> str:
    return f"{counted(subject.photos, 'photo')}, {counted(subject.templates, 'template')}"


def _attributes(attributes: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(attributes.items()))
