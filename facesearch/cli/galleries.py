"""`facesearch init`, `info`, `check`, `reindex`, `rekey`, `log` and `db upgrade`: the gallery itself."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facesearch.cli import backups
from facesearch.cli.options import (
    EngineOptions,
    GalleryOption,
    JsonOption,
    ask_key,
    engine_options,
    load_gallery_settings,
    open_engine,
)
from facesearch.cli.output import emit, note, pasteable, print_records, print_table, progress_bar, tell
from facesearch.cli.outputs import require_not_of_gallery
from facesearch.cli.root import EXIT_NEGATIVE, new_group
from facesearch.errors import ConfigError
from facesearch.index.services import VectorDatabaseKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from facesearch.types import Finding


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(info)
    app.command()(check)
    app.command()(reindex)
    app.command()(log)
    backups.register(app)
    app.command()(init)
    app.command()(rekey)
    database = new_group("The gallery's database schema.")
    database.command()(upgrade)
    database.callback()(lambda: None)  # keeps `db` a group although it has one command
    app.add_typer(database, name="db")


@engine_options("gallery", "pack", "provider", "threshold")
def info(*, options: EngineOptions, json: JsonOption = False) -> None:
    """Show the gallery, its counts, the model, the index and the execution provider.

    Example: facesearch info
    """
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
        return _joined(value, by=": ")
    return "" if value is None else str(value)


def check(
    fix: Annotated[
        bool, typer.Option("--fix", help="Rebuild the index cache; erase people again who came back.")
    ] = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Prove that database, templates, index, photos and models agree.

    Exit code: 0 they agree, with --fix also after repairs, 1 they do not.

    Example: facesearch check
    """
    from facesearch.records import FindingRecord

    sound = True
    with open_engine(gallery=gallery) as engine:
        for finding in engine.check(fix=fix):
            sound = sound and finding.ok
            tell(FindingRecord.of(finding), _line(finding), json=json)
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
            help=f"Move to: auto, flat or two-stage (the gallery's own), {' or '.join(VectorDatabaseKind)} "
            "[default: as it is].",
        ),
    ] = None,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Rebuild the search index from the database, or move it to a vector database, while the gallery is used.

    Example: facesearch reindex --index milvus
    """
    from facesearch.types import IndexKind

    own = index if index in set(IndexKind) else None
    with open_engine(EngineOptions(gallery=gallery, index=own)) as engine:
        templates = engine.counts()["templates"]
        with progress_bar("indexing", templates, "templates") as advance:
            count = engine.reindex(index, lambda done, _total: advance(to=done))
    tell({"templates": count}, f"The index holds {count} templates.", json=json)


def upgrade(gallery: GalleryOption = None, json: JsonOption = False) -> None:
    """Bring the gallery's database to the schema of this version.

    Example: facesearch db upgrade
    """
    settings = load_gallery_settings(gallery)
    from facesearch.store.opening import upgrade_gallery

    place = settings.gallery
    before, after = upgrade_gallery(place, settings.key)
    if json:
        emit({"gallery": str(place), "schema_before": before, "schema": after})
    note(f"{place}: schema {before or 'none'} -> {after}" if before != after else f"{place}: schema {after} is current")


def log(
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="From this date or time on, in UTC unless it says more."),
    ] = None,
    action: Annotated[
        str | None,
        typer.Option("--action", metavar="NAME", help="Only this action, for example enroll, query or people.forget."),
    ] = None,
    last: Annotated[int | None, typer.Option("-n", min=1, help="Only the last N.")] = None,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Show the audit log: who did what and when, in counts. It holds no names, faces or vectors of people.

    Example: facesearch log --since 2026-01-01 --action people
    """
    from facesearch.store import audit

    moment = _moment(since) if since else None
    with open_engine(gallery=gallery) as engine:
        events = engine.gallery.read(audit.events, since=moment, action=action, last=last)
    names = ("at", "actor", "action", "detail")
    records = ({"id": each.event_id, **{name: getattr(each, name) for name in names}} for each in events)
    rows = ((each.at, each.actor, each.action, _joined(each.detail)) for each in events)
    print_records(records, ("time (UTC)", "who", "what", ""), rows, json=json)


def _joined(values: Mapping[str, object], by: str = " ") -> str:
    return ", ".join(f"{key}{by}{value}" for key, value in values.items())


def _moment(text: str) -> str:
    """As the log spells it."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no date or time.", "For example: --since 2026-01-31") from None
    known = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return known.isoformat(timespec="seconds")


def init(
    encrypted: Annotated[
        bool, typer.Option("--encrypted", help="Encrypt everything; without the key nobody can read it again.")
    ] = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Make an empty gallery. `enroll` makes one too; this one can be encrypted.

    The key comes from --key-file, FACESEARCH_KEY_FILE or FACESEARCH_KEY, else you are asked for it.

    Example: facesearch init --encrypted
    """
    settings = load_gallery_settings(gallery)
    from facesearch.search.gallery import create_gallery

    key = settings.key
    if encrypted and not key:
        key = ask_key("New key of the gallery", confirm=True)
    if encrypted and not key:
        raise ConfigError(
            "An encrypted gallery needs a key.",
            "Name a file with it: facesearch --key-file FILE init --encrypted, or set FACESEARCH_KEY.",
        )
    require_not_of_gallery(settings, [])
    create_gallery(settings.gallery, key, encrypted=encrypted)
    if json:
        emit({"gallery": str(settings.gallery), "encrypted": encrypted})
    note(f"{settings.gallery}: an empty {'encrypted ' if encrypted else ''}gallery.")
    if encrypted:
        note("Keep the key and a copy of it elsewhere: without it the gallery is lost.")


def rekey(
    new_key_file: Annotated[
        Path | None, typer.Option("--new-key-file", metavar="FILE", help="The new key; else you are asked for it.")
    ] = None,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Encrypt an encrypted gallery with another key. Backups keep the key they were made with.

    Example: facesearch rekey --new-key-file new.key
    """
    from facesearch.config import read_key_file

    settings = load_gallery_settings(gallery)
    from facesearch.store.opening import change_passphrase

    old = settings.key or ask_key()
    new = read_key_file(new_key_file) if new_key_file else ask_key("New key of the gallery", confirm=True)
    if not new:
        raise ConfigError("There is no new key.", "Name a file with it: --new-key-file FILE")
    require_not_of_gallery(settings, [new_key_file] if new_key_file else [])
    change_passphrase(settings.gallery, old, new)
    if json:
        emit({"gallery": str(settings.gallery), "rekeyed": True})
    note(f"{settings.gallery} opens with the new key only.")
