"""`facesearch people forget` and `people expire`: erasing people, with a receipt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facesearch.cli.options import ForceOption, GalleryOption, JsonOption, NameArgument, open_engine, refuse_idle
from facesearch.cli.output import emit, note, print_records, say
from facesearch.cli.outputs import guard_outputs
from facesearch.cli.root import EXIT_NEGATIVE
from facesearch.errors import ConfigError
from facesearch.names import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facesearch.api import FaceSearch
    from facesearch.outputs import Output

SHOWN = 20
"""Photo files that are named on a terminal."""

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
ReceiptOption = Annotated[
    Path | None, typer.Option("--receipt", metavar="FILE", help="Write the receipt (JSON) to this file too.")
]


def forget(
    name: NameArgument,
    yes: YesOption = False,
    receipt: ReceiptOption = None,
    force: ForceOption = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Erase a person for good, search all files of the gallery for what is left, and print a receipt.

    Your photo files stay, and `enroll` refuses them from then on. A person who was removed can be forgotten as well.

    Exit code: 0 nothing is left; 1 something is left, and the receipt says what.

    Example: facesearch people forget "Ada Lovelace" --receipt ada.json
    """
    from facesearch.store import people

    with open_engine(gallery=gallery) as engine, guard_outputs(engine, force=force).optional_file(receipt) as file:
        subject = engine.gallery.read(people.find, name, removed=True)
        held = f"{counted(subject.photos, 'photo')}, {counted(subject.templates, 'template')}"
        _confirm(f"Erase {subject.name} ({held}) for good?", yes)
        _hand_over([engine.forget([subject.subject_id])], file, json=json)


def expire(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List who would be erased, and erase nobody.")] = False,
    yes: YesOption = False,
    receipt: ReceiptOption = None,
    force: ForceOption = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Erase everybody whose attribute retain_until has passed, as `people forget` does.

    retain_until is the last day to keep a person, for example 2027-12-31. People who were removed are erased as well.
    It also deletes what is kept to undo removals once 30 days have passed.

    Example: facesearch people expire --dry-run
    """
    from facesearch.jobs.erasure import purge_removed
    from facesearch.records import SubjectRecord
    from facesearch.store import people
    from facesearch.store.journal import KEPT_DAYS

    if dry_run:
        refuse_idle(context, ("yes", "receipt"), "--dry-run erases nobody")
    with open_engine(gallery=gallery) as engine, guard_outputs(engine, force=force).optional_file(receipt) as file:
        purged = 0 if dry_run else purge_removed(engine.gallery)
        if purged:
            note(f"Removals of more than {KEPT_DAYS} days ago can no longer be undone: their data is deleted.")
        due = engine.gallery.read(people.overdue)
        if dry_run and (due or json):
            rows = ((each.name, each.attributes["retain_until"], each.photos) for each in due)
            print_records(map(SubjectRecord.of, due), ("due", "retain until", "photos"), rows, json=json)
        if not due:
            note("Nobody is to be erased: no retain_until has passed.")
        if dry_run or not due:
            return
        _confirm(f"Erase {counted(len(due), 'person', 'people')} for good? --dry-run lists them.", yes)
        _hand_over(_forget_in_groups(engine, [each.subject_id for each in due]), file, json=json)


def _forget_in_groups(engine: FaceSearch, ids: Sequence[int]) -> list[dict[str, Any]]:
    """A transaction, an emptied log and a scan per group: together they cost what they cost for one person."""
    group = 200
    return [engine.forget(ids[start : start + group]) for start in range(0, len(ids), group)]


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("Erasing is final, and there is no terminal to ask on.", "Add --yes if you mean it.")
    typer.confirm(question, abort=True)


def _hand_over(receipts: Sequence[dict[str, Any]], file: Output | None, *, json: bool) -> None:
    for each in receipts:
        if json:
            emit(each)
        else:
            _print(each)
    if file is not None:
        file.write(_as_text(receipts).encode(), done="The people are erased and what was printed is the receipt")
    raise typer.Exit(0 if all(each["clean"] for each in receipts) else EXIT_NEGATIVE)


def _print(receipt: dict[str, Any]) -> None:
    removed, scan = receipt["removed"], receipt["scan"]
    who = ", ".join(receipt["subjects"])
    say(
        f"Erased: {who}. {counted(removed['photos'], 'photo')}, {counted(removed['templates'], 'template')}, "
        f"{counted(removed['cached_embeddings'], 'cached vector')}, "
        f"{counted(removed['refused_photos'], 'refused photo')}."
    )
    total = sum(each["bytes"] for each in scan)
    left = [each for each in scan if each["vectors"] or each["face_pictures"] or each["names"] or each["photo_paths"]]
    typer.echo(f"Searched {counted(len(scan), 'file')} ({total / 1e6:.1f} MB) for what was removed.")
    for each in left:
        note(
            f"{each['file']} still holds: {each['vectors']} vectors, {each['face_pictures']} pictures of faces, "
            f"{each['names']} names, {each['photo_paths']} photo paths."
        )
    if receipt["rows_of_others_with_these_names"]:
        rows = counted(receipt["rows_of_others_with_these_names"], "row")
        note(f"{rows} about other people hold the same name or a part of it, and stay.")
    if not receipt["log_emptied"]:
        note("Another process reads the gallery and keeps its write-ahead log. Stop it, then run `facesearch reindex`.")
    if receipt["backups_since_enrolment"]:
        note(
            f"Backups written since the enrolment: {receipt['backups_since_enrolment']}. They hold this data until you "
            "delete them. To restore one in another folder, copy gallery.erased there first, or this data comes back."
        )
    if receipt["explained"]:
        note(receipt["explained"])
    _name_files(receipt["photo_files_on_disk"])
    for each in receipt["not_searched"]:
        note(f"Not searched: {each}.")
    if receipt["not_searched"] and receipt["clean"]:
        typer.echo("Nothing is left in the database's tables or on this machine.")
        return
    typer.echo("Nothing is left." if receipt["clean"] else "Something is left. The notes above name the files.")


def _name_files(files: Sequence[str]) -> None:
    """Say which files would bring the people back if `enroll` were told to."""
    if not files:
        return
    note(f"Your photo files stay: {len(files)}. `enroll` refuses them unless you give --bring-back-erased.")
    for each in files[:SHOWN]:
        note(f"  {each}")
    if len(files) > SHOWN:
        note(f"  ... and {len(files) - SHOWN} more: --json and --receipt list all of them.")


def _as_text(receipts: Sequence[dict[str, Any]]) -> str:
    import json

    return json.dumps(receipts[0] if len(receipts) == 1 else list(receipts), ensure_ascii=False, indent=2) + "\n"
