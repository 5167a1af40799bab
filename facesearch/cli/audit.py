"""`facesearch audit`: what in a gallery a person should look at."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from collections.abc import Sequence

    from facesearch.api import FaceSearch
    from facesearch.evaluation.audit import Audit, Finding, LabelledTemplates
    from facesearch.types import Threshold

SHOWN = 20
"""Rows of each kind in the terminal; --json has them all."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(audit)


def audit(
    context: typer.Context,
    threshold: ThresholdOption = None,
    duplicates: Annotated[
        float, typer.Option("--duplicates", metavar="SCORE", help="Cosine from which photos are near-duplicates.")
    ] = 0.98,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with thumbnails of the faces.")
    ] = None,
    force: ForceOption = False,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="Pairs of each kind on the page.")] = 100,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Compare the gallery with itself: people who match each other, photos with a wrong label, near-duplicates.

    Exit code: 0 nothing to look at, 1 something is.

    Example: facesearch audit --html audit.html
    """
    from facesearch.evaluation.audit import audit_templates
    from facesearch.jobs.calibrate import gallery_templates

    if not -1 <= duplicates <= 1:
        raise ConfigError(f"--duplicates {duplicates:g} is not a cosine.", "Give a number between -1 and 1, as 0.98.")
    if html is None:
        refuse_idle(context, ("limit",), "it limits the page of --html")
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
    if json:
        for each in found.findings:
            emit(_record(known, each))
    else:
        _print(known, found, in_force)
    raise typer.Exit(EXIT_NEGATIVE if found.findings else 0)


def _record(known: LabelledTemplates, found: Finding) -> dict[str, Any]:
    record: dict[str, Any] = {"kind": found.kind.value, "score": round(found.score, 6)}
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


def _print(known: LabelledTemplates, found: Audit, in_force: Threshold) -> None:
    from facesearch.evaluation.audit import SECTIONS

    counts = (
        f"Different people at or above {in_force.value:g}: {len(found.look_alikes):,}; photos far from their person: "
        f"{len(found.mislabelled):,}; near-duplicates: {len(found.duplicates):,}"
    )
    typer.echo(f"{counts}.\nAll {len(known.subject):,} templates of {len(known.names):,} people were compared.")
    for kind, findings in found.by_kind.items():
        if not findings:
            continue
        typer.echo(f"\n{SECTIONS[kind][0]}:")
        print_table(*_table(known, findings[:SHOWN]))
        if len(findings) > SHOWN:
            typer.echo(f"... and {len(findings) - SHOWN:,} more: --json lists all of them.")
        _print_remedies(known, findings[:SHOWN])
    if not found.complete:
        note("More pairs reach the threshold than are kept, so only the highest are listed. Raise the --threshold.")
    note(f"The threshold is: {in_force.basis}.")
    note(f"A photo is far from its person where its mean score with their other photos is below {found.limit:.3f}.")


def _print_remedies(known: LabelledTemplates, findings: Sequence[Finding]) -> None:
    """What can be done about each row of the table above."""
    for number, each in enumerate(findings, 1):
        commands = _remedies(known, each)
        if commands:
            typer.echo(f"{number}. One of:")
        for command in commands:
            typer.echo(printable(pasteable(command)))


def _table(known: LabelledTemplates, findings: Sequence[Finding]) -> tuple[Sequence[str], list[list[object]]]:
    """Header and rows; photos are named from the folder they share, and nothing is said twice."""
    names = _short_names([known.photos[row] for each in findings for row in (each.a, each.b)])
    two_people = findings[0].kind == "look_alike"
    rows: list[list[object]] = []
    for each in findings:
        people = [known.names[known.subject[row]] for row in (each.a, each.b)]
        photos = [names[known.photos[row]] for row in (each.a, each.b)]
        note = [each.note] if each.kind != "duplicate" else []
        rows.append([each.score, people[0], *([people[1]] if two_people else []), *photos, *note])
    note_header = [""] if findings[0].kind != "duplicate" else []
    return ("score", "person", *(["person"] if two_people else []), "photo", "photo", *note_header), rows


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
        note(f"{len(faces) - len(pictures)} photos are gone or cannot be read: the page has empty frames for them.")
    title = f"Audit of {engine.gallery.place.rsplit('/', 1)[-1]}"
    return audit_page(title, in_force.basis, known, found, pictures, limit)
