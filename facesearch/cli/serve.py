"""`facesearch serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from facesearch.cli.options import (
    MODEL,
    EngineOptions,
    JsonOption,
    engine_options,
    open_engine,
    refuse_idle_index,
)
from facesearch.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


@engine_options(*MODEL, "threshold", "index")
def serve(
    host: Annotated[
        str,
        typer.Option(
            "--host", help="Address to listen on; any but a loopback one needs a key of `facesearch keys create NAME`."
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

    Without a key the server listens to this machine alone. Ctrl-C ends it after what it has accepted.

    Example: facesearch serve --port 8000
    """
    from facesearch.cli.output import emit, note, say

    def ready(url: str) -> None:
        if json:
            emit({"url": url})
        else:
            say(f"facesearch is at {url}")

    try:
        from facesearch.server.app import serve as run
        from facesearch.server.state import ServerOptions
    except ImportError as error:
        raise ConfigError("The server needs an extra package.", "Run: pip install 'facesearch[server]'") from error
    bounds = ServerOptions(host=host, port=port, thumbnails=thumbnails, require_key=require_key)
    with open_engine(options) as engine:
        refuse_idle_index(options, engine)
        note(engine.encoder.provider.note)
        if not engine.has_gallery:
            note(f"There is no gallery in {engine.settings.gallery} yet: an empty one is made.")
        run(engine, bounds, ready)
