"""`facesearch log`: who did what with the gallery, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from facesearch.cli.options import GalleryOption, JsonOption, open_engine
from facesearch.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(log)


def log(
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="From this date or time on, UTC unless it says more.")
    ] = None,
    action: Annotated[
        str | None,
        typer.Option("--action", metavar="NAME", help="Only this action, as enroll, query or people.forget."),
    ] = None,
    last: Annotated[int | None, typer.Option("-n", min=1, help="Only the last so many.")] = None,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Show the audit log: who did what and when, in counts. It holds no names, faces or vectors of people.

    Example: facesearch log --since 2026-01-01 --action people
    """
    from facesearch.cli.output import emit, print_table

    moment = _moment(since) if since else None
    with open_engine(gallery=gallery) as engine:
        events = engine.gallery.events(since=moment, action=action, last=last)
    if json:
        for each in events:
            emit(
                {"id": each.event_id, "at": each.at, "actor": each.actor, "action": each.action, "detail": each.detail}
            )
        return
    rows = [(each.at, each.actor, each.action, _words(each.detail)) for each in events]
    print_table(("time (UTC)", "who", "what", ""), rows)


def _words(detail: object) -> str:
    assert isinstance(detail, dict)
    return ", ".join(f"{key} {value}" for key, value in detail.items())


def _moment(text: str) -> str:
    """As the log spells it."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no date or time.", "For example: --since 2026-01-31") from None
    known = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return known.isoformat(timespec="seconds")
