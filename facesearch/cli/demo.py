"""`facesearch demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    folder: Annotated[
        Path | None, typer.Option("--keep", metavar="DIR", help="Keep the portraits, the pack and the gallery in DIR.")
    ] = None,
) -> None:
    """Try everything on drawn portraits of made-up people: no download, no photos needed.

    Example: facesearch demo
    """
    from facesearch.demo.tour import run_tour

    run_tour(folder, typer.echo)
