"""`facesearch audit`: what in a gallery a person should look at."""

from __future__ import annotations

import os
import shlex
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from facesearch.cli.options import (
    EngineOptions,
    ForceOption,
    GalleryOption,
    JsonOption,
    ThresholdOption,
    open_engine,
    refuse_idle,
)
from facesearch.cli.output import emit, note, pasteable, print_table
from facesearch.cli.outputs import guard_outputs
from facesearch.cli.root import EXIT_NEGATIVE
from facesearch.errors import ConfigError
from facesearch.names import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from facesearch.api import FaceSearch
    from facesearch.evaluation.audit import Audit, Finding, Kind, LabelledTemplates
    from facesearch.types import Threshold

SHOWN = 20
"""Rows of each kind in the terminal; --json has them all."""
COLUMNS = {
    "score": "score", "subject_a": "person", "subject_b": "person", "photo_a": "photo", "photo_b": "photo", "note": "",
}  # fmt: skip
"""Headers by field."""
LEFT_OUT = {"mislabelled": ("subject_b",), "duplicate": ("subject_b", "note")}
"""Fields that would say something twice, by the kind of finding."""
Record: TypeAlias = dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(audit)


def audit(
    context: typer.Context,
    threshold: ThresholdOption = None,
    duplicates: Annotated[
        float, typer.Option("--duplicates", metavar="SCORE", help="Score from which two photos are near-duplicates.")
    ] = 0.98,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page that shows the faces.")
    ] = None,
    force: ForceOption = False,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="Most findings of each kind on the page.")] = 100,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Look for mistakes in the gallery: people who match each other, photos of another person, near-duplicates.

    Exit code: 0 nothing was found; 1 something needs a look.

    Example: facesearch audit --html audit.html
    """
    from facesearch.evaluation.audit import audit_templates
    from facesearch.jobs.calibrate import gallery_templates

    if not -1 <= duplicates <= 1:
        raise ConfigError(
            f"--duplicates {duplicates:g} is not a score.", "Give a number between -1 and 1, for example 0.98."
        )
    if html is None:
        refuse_idle(context, ("limit",), "it limits the page that --html writes")
    with (
        open_engine(EngineOptions(gallery=gallery, threshold=threshold)) as engine,
        guard_outputs(engine, force=force).optional_file(html) as page,
    ):
        in_force = engine.threshold
        known = gallery_templates(engine.gallery)
        found = audit_templates(known, in_force.value, duplicates)
        engine.record_use("audit", {"templates": len(known.subject), "pages": int(html is not None)})
        if page is not None:
            page.write(_page(engine, known, found, in_force, limit).encode())
            note(f"The page is in {html}. It shows faces and names, so keep it private.")
    records = {kind: [_record(known, each) for each in findings] for kind, findings in found.by_kind.items()}
    if json:
        for record in chain(*records.values()):
            emit(record)
    else:
        _print(known, found, records, in_force)
    raise typer.Exit(EXIT_NEGATIVE if found.findings else 0)


def _record(known: LabelledTemplates, found: Finding) -> Record:
    record: Record = {"kind": found.kind.value, "score": round(found.score, 6)}
    for side, row in (("a", found.a), ("b", found.b)):
        record[f"subject_{side}"] = known.names[known.subject[row]]
        record[f"photo_{side}"] = known.photos[row]
        record[f"template_id_{side}"] = int(known.ids[row])
    return {**record, "note": found.note or None, "commands": _remedies(known, found)}


def _remedies(known: LabelledTemplates, found: Finding) -> list[str]:
    """Commands that settle a finding, of which a person chooses one; none for near-duplicates, which do no harm."""
    if found.kind == "duplicate":
        return []
    photo, (person, other) = known.photos[found.a], (known.names[known.subject[row]] for row in (found.a, found.b))
    if found.kind == "mislabelled":
        nearer = None if found.nearer is None else known.names[known.subject[found.nearer]]
        to = f"--to {shlex.quote(nearer)}" if nearer else "--to NAME --new"
        commands = [f"people move {shlex.quote(photo)} {to}"]
    else:
        merge = f"people merge {shlex.quote(person)} {shlex.quote(other)}"
        commands = [merge, f"people move {shlex.quote(photo)} --to {shlex.quote(other)}"]
    return [f"facesearch {each}" for each in (*commands, f"people confirm {shlex.quote(photo)}")]


def _print(known: LabelledTemplates, found: Audit, records: Mapping[Kind, Sequence[Record]], now: Threshold) -> None:
    from facesearch.evaluation.audit import SECTIONS

    counts = (
        f"Different people at or above {now.value:g}: {len(found.look_alikes):,}; photos far from their person: "
        f"{len(found.mislabelled):,}; near-duplicates: {len(found.duplicates):,}"
    )
    typer.echo(f"{counts}.\nAll {len(known.subject):,} templates of {len(known.names):,} people were compared.")
    for kind, findings in records.items():
        if not findings:
            continue
        typer.echo(f"\n{SECTIONS[kind][0]}:")
        _print_table(findings[:SHOWN], LEFT_OUT.get(kind.value, ()))
        if len(findings) > SHOWN:
            typer.echo(f"... and {len(findings) - SHOWN:,} more: --json lists all of them.")
        for number, each in enumerate(findings[:SHOWN], 1):  # what can be done about each row of the table
            if each["commands"]:
                typer.echo(f"{number}. Choose one:")
            for command in each["commands"]:
                typer.echo(printable(pasteable(command)))
    if not found.complete:
        note("Too many pairs reach the threshold, so only the highest are listed. Raise --threshold.")
    note(f"Origin of the threshold: {now.basis}.")
    note(f"A photo is far from its person where its mean score with their other photos is below {found.limit:.3f}.")


def _print_table(findings: Sequence[Record], left_out: Sequence[str]) -> None:
    """A row for each finding; photos are named from the folder they share, and nothing is said twice."""
    names = _short_names([each[side] for each in findings for side in ("photo_a", "photo_b")])
    shown = {name: header for name, header in COLUMNS.items() if name not in left_out}
    rows = (
        [names[each[name]] if header == "photo" else each[name] for name, header in shown.items()] for each in findings
    )
    print_table(tuple(shown.values()), rows)


def _short_names(photos: Sequence[str]) -> dict[str, str]:
    files = [photo for photo in photos if os.path.isabs(photo)]  # noqa: PTH117  # the others were uploaded
    folder = os.path.commonpath([os.path.dirname(photo) for photo in files]) if files else ""  # noqa: PTH120
    return {**dict(zip(photos, photos, strict=True)), **{photo: os.path.relpath(photo, folder) for photo in files}}


def _page(engine: FaceSearch, known: LabelledTemplates, found: Audit, in_force: Threshold, limit: int) -> str:
    from facesearch.evaluation.audit import audit_page, face_names
    from facesearch.jobs.embeddings import thumbnails
    from facesearch.names import text_path
    from facesearch.store import templates

    shown = (each for findings in found.by_kind.values() for each in findings[:limit])
    names = face_names(known, (row for each in shown for row in (each.a, each.b)))
    boxes = engine.gallery.read(templates.boxes, [int(known.ids[row]) for row in names])
    faces = {name: (text_path(known.photos[row]), boxes[int(known.ids[row])]) for row, name in names.items()}
    pictures = thumbnails(faces)
    if len(pictures) < len(faces):
        note(f"Photos that are gone or cannot be read, with empty frames on the page: {len(faces) - len(pictures)}.")
    title = f"Audit of {engine.gallery.place.rsplit('/', 1)[-1]}"
    return audit_page(title, in_force.basis, known, found, pictures, limit)
