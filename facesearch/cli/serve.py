"""`facesearch serve` and `facesearch keys`: a server of the gallery, and who may use it."""

from __future__ import annotations

from typing import Annotated

import typer

from facesearch.cli.options import (
    MODEL,
    EngineOptions,
    GalleryOption,
    JsonOption,
    engine_options,
    open_engine,
    refuse_idle_index,
)
from facesearch.cli.output import emit, note, print_records, tell
from facesearch.cli.root import new_group
from facesearch.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command and the group."""
    app.command()(serve)
    keys = new_group("API keys of a server: create, list, revoke.")
    keys.command()(create)
    keys.command("list")(list_keys)
    keys.command()(revoke)
    app.add_typer(keys, name="keys")


@engine_options(*MODEL, "threshold", "index", "fusion")
def serve(
    host: Annotated[
        str,
        typer.Option(
            "--host", help="Address to listen on; others than loopback need a key (`facesearch keys create NAME`)."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Show faces of enrolled photos, cut from their files.")
    ] = False,
    require_key: Annotated[
        bool, typer.Option("--require-key", help="Ask for a key on a loopback address too.")
    ] = False,
    *,
    options: EngineOptions,
    json: JsonOption = False,
) -> None:
    """Serve the gallery over HTTP: a page for people at /, an API for programs at /v1.

    Without a key the server listens to this machine alone. Ctrl-C stops it after it has answered what it accepted.

    Example: facesearch serve --port 8000
    """
    try:
        from facesearch.server.app import serve as run
        from facesearch.server.options import ServerOptions
    except ImportError as error:
        raise ConfigError("The server needs an extra package.", "Run: pip install 'facesearch[server]'") from error
    bounds = ServerOptions(host=host, port=port, thumbnails=thumbnails, require_key=require_key)
    with open_engine(options) as engine:
        refuse_idle_index(options, engine)
        note(engine.extractor.provider.note)
        if not engine.has_gallery:
            note(f"There is no gallery in {engine.settings.gallery} yet: an empty one is made.")
        run(engine, bounds, lambda url: tell({"url": url}, f"facesearch is at {url}", json=json))


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the key in the audit log.")],
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="read, enroll or delete; may be repeated [default: read]."),
    ] = None,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Make a key and print it, once: the gallery keeps only its hash.

    Once there is a key, every server of the gallery asks for one. `read` searches and lists; `enroll` adds photos,
    renames and sets attributes; `delete` removes and merges.

    Example: facesearch keys create web-shop --scope read --scope enroll
    """
    from facesearch.store.keys import create_key

    scopes = scope or ["read"]
    with open_engine(gallery=gallery) as engine, engine.whole_gallery() as opened:
        key = opened.write(create_key, name, scopes)
    if json:
        emit({"name": name, "scopes": sorted(scopes), "key": key})
        return
    note("Store the key now: it cannot be shown again.")
    typer.echo(key)


def list_keys(gallery: GalleryOption = None, json: JsonOption = False) -> None:
    """List the keys by name, with what they may do.

    Example: facesearch keys list
    """
    from facesearch.store.keys import active_keys

    with open_engine(gallery=gallery) as engine:
        found = engine.gallery.read(active_keys)
    records = ({"name": key.name, "scopes": sorted(key.scopes), "created_at": key.created_at} for key in found)
    rows = ((key.name, " ".join(sorted(key.scopes)), key.created_at) for key in found)
    print_records(records, ("key", "scopes", "created"), rows, json=json)


def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The key's name.")],
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Revoke a key: running servers refuse it within a second.

    Example: facesearch keys revoke web-shop
    """
    from facesearch.store.keys import revoke_key

    with open_engine(gallery=gallery) as engine:
        engine.gallery.write(revoke_key, name)
    if json:
        emit({"revoked": name})
    note(f"The key {name} is revoked.")
