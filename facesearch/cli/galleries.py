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
from facesearch.names import counted

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
    database = new_group("The gallery's database: upgrade its tables.")
    database.command()(upgrade)
    database.callback()(lambda: None)  # keeps `db` a group although it has one command
    app.add_typer(database, name="db")


@engine_options("gallery", "pack", "provider", "threshold", "fpir", "fusion")
def info(*, options: EngineOptions, json: JsonOption = False) -> None:
    """Show the gallery, its counts, the model, the index and the execution provider.

    Example: facesearch info
    """
    with open_engine(options) as engine:
        record = engine.describe()
    if record["overdue"]:
        note(f"People whose retain_until has passed: {record['overdue']}. See: facesearch people expire --dry-run")
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
        bool, typer.Option("--fix", help="Rebuild a damaged index, and erase people who came back with a backup.")
    ] = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Check the gallery for damage: database, templates, index, photos and models.

    Exit code: 0 the gallery is sound, or --fix repaired it; 1 it has faults.

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
            help=f"Index to move to: auto, flat, two-stage, {' or '.join(VectorDatabaseKind)} [default: as it is].",
        ),
    ] = None,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Rebuild the search index, or move the gallery to another index. Searches go on meanwhile.

    Example: facesearch reindex --index milvus
    """
    from facesearch.types import IndexKind

    own = index if index in set(IndexKind) else None
    with open_engine(EngineOptions(gallery=gallery, index=own)) as engine:
        templates = engine.counts()["templates"]
        with progress_bar("indexing", templates, "templates") as advance:
            count = engine.reindex(index, lambda done, _total: advance(to=done))
    tell({"templates": count}, f"The index holds {counted(count, 'template')}.", json=json)


def upgrade(gallery: GalleryOption = None, json: JsonOption = False) -> None:
    """Upgrade the gallery's tables to those of this version of facesearch.

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
        typer.Option(
            "--since",
            metavar="TIME",
            help="Only events from this date or time on (UTC unless it names a zone).",
        ),
    ] = None,
    action: Annotated[
        str | None,
        typer.Option("--action", metavar="NAME", help="Only this action, for example enroll, query or people.forget."),
    ] = None,
    last: Annotated[int | None, typer.Option("-n", min=1, metavar="N", help="Only the newest N events.")] = None,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """List what was done with the gallery, by whom and when. The audit log holds counts, no names and no faces.

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
        raise ConfigError(f"{text!r} is not a date or time.", "For example: --since 2026-01-31") from None
    known = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return known.isoformat(timespec="seconds")


def init(
    encrypted: Annotated[
        bool, typer.Option("--encrypted", help="Encrypt the gallery. Without its key nobody can read it.")
    ] = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Make an empty gallery. You need this for encrypted galleries only: `enroll` makes plain ones.

    The key comes from --key-file, FACESEARCH_KEY_FILE or FACESEARCH_KEY. Otherwise you are asked for it.

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
            "Name a file that holds it (facesearch --key-file FILE init --encrypted), or set FACESEARCH_KEY.",
        )
    require_not_of_gallery(settings, [])
    create_gallery(settings.gallery, key, encrypted=encrypted)
    if json:
        emit({"gallery": str(settings.gallery), "encrypted": encrypted})
    note(f"Made an empty {'encrypted ' if encrypted else ''}gallery in {settings.gallery}.")
    if encrypted:
        note("Store the key, and a copy of it on another machine. Without the key the gallery is lost.")


def rekey(
    new_key_file: Annotated[
        Path | None,
        typer.Option(
            "--new-key-file",
            metavar="FILE",
            help="File with the new key [default: you are asked for the key].",
        ),
    ] = None,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Change the key of an encrypted gallery. Older backups keep the old key.

    Example: facesearch rekey --new-key-file new.key
    """
    from facesearch.config import read_key_file

    settings = load_gallery_settings(gallery)
    from facesearch.store.opening import change_passphrase

    old = settings.key or ask_key()
    new = read_key_file(new_key_file) if new_key_file else ask_key("New key of the gallery", confirm=True)
    if not new:
        raise ConfigError("The new key is missing.", "Name a file that holds it: --new-key-file FILE")
    require_not_of_gallery(settings, [new_key_file] if new_key_file else [])
    change_passphrase(settings.gallery, old, new)
    if json:
        emit({"gallery": str(settings.gallery), "rekeyed": True})
    note(f"{settings.gallery} now opens with the new key only.")
