"""`facesearch info`, `check`, `reindex` and `db upgrade`: the gallery itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facesearch.cli import backups, bundle, encryption, log
from facesearch.cli.hints import pasteable
from facesearch.cli.options import (
    EngineOptions,
    GalleryOption,
    JsonOption,
    engine_options,
    load_settings,
    open_engine,
)
from facesearch.cli.root import EXIT_NEGATIVE

if TYPE_CHECKING:
    from facesearch.types import Finding


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(info)
    app.command()(check)
    app.command()(reindex)
    log.register(app)
    backups.register(app)
    bundle.register(app)
    encryption.register(app)
    database = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The gallery's database schema.")
    database.command()(upgrade)
    database.callback()(_database)  # keeps `db` a group although it has one command
    app.add_typer(database, name="db")


def _database() -> None:
    """The gallery's database schema."""


@engine_options("gallery", "pack", "provider", "threshold")
def info(
    *,
    options: EngineOptions,
    json: JsonOption = False,
) -> None:
    """Show the gallery, its counts, the model, the index and the execution provider.

    Example: facesearch info
    """
    from facesearch.cli.output import emit, note, print_table

    with open_engine(options) as engine:
        record = engine.describe()
    if record["overdue"]:
        note(f"{record['overdue']} people are kept longer than they should be: facesearch people expire --dry-run")
    if json:
        emit(record)
        return
    print_table(("", ""), [(key, _shown(key, value)) for key, value in record.items()])


def _shown(key: str, value: Any) -> str | Path:
    if key in {"gallery", "pack"} and isinstance(value, str) and "://" not in value:
        return Path(value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items())
    return "" if value is None else str(value)


def check(
    fix: Annotated[bool, typer.Option("--fix", help="Rebuild the index cache; erase again who is back.")] = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Prove that database, templates, index, photos and models agree.

    Exit code: 0 they do (or do again, with --fix), 1 they do not.

    Example: facesearch check
    """
    from facesearch.cli.output import emit, say
    from facesearch.records import finding_record

    sound = True
    with open_engine(gallery=gallery) as engine:
        for finding in engine.check(fix=fix):
            sound = sound and finding.ok
            if json:
                emit(finding_record(finding))
            else:
                say(_line(finding))
    if not json:
        typer.echo("The gallery is sound." if sound else "The gallery has faults.")
    raise typer.Exit(0 if sound else EXIT_NEGATIVE)


def _line(finding: Finding) -> str:
    mark = "fixed" if finding.fixed else "ok" if finding.ok else "FAULT"
    return f"{mark:6} {finding.subject:10} {pasteable(finding.detail)}"


def reindex(
    index: Annotated[
        str | None,
        typer.Option(
            "--index",
            metavar="KIND",
            help="Move to: auto, flat or two-stage (the gallery's own), pgvector or milvus [default: as it is].",
        ),
    ] = None,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Build the search index anew from the database, or move it to another engine, while the gallery is used.

    Example: facesearch reindex --index milvus
    """
    from facesearch.cli.output import emit, progress_bar
    from facesearch.types import IndexKind

    with open_engine(gallery=gallery, index=index if index in set(IndexKind) else None) as engine:
        templates = engine.gallery.counts()["templates"]
        with progress_bar("indexing", templates, "templates") as advance:
            handed = 0

            def progress(done: int, _total: int) -> None:
                nonlocal handed
                advance(done - handed)
                handed = done

            count = engine.reindex(index, progress)
    if json:
        emit({"templates": count})
    else:
        typer.echo(f"The index holds {count} templates.")


def upgrade(gallery: GalleryOption = None, json: JsonOption = False) -> None:
    """Bring the gallery's database to the schema of this version.

    Example: facesearch db upgrade
    """
    from facesearch.cli.output import emit, note
    from facesearch.jobs.parts import require_gallery_libraries

    require_gallery_libraries()
    from facesearch.search.lifecycle import upgrade_gallery

    settings = load_settings(EngineOptions(gallery=gallery))
    place = settings.gallery
    before, after = upgrade_gallery(place, settings.key)
    if json:
        emit({"gallery": str(place), "schema_before": before, "schema": after})
    note(f"{place}: schema {before or 'none'} -> {after}" if before != after else f"{place}: schema {after} is current")
