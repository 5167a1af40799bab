"""The command tree, and `facesearch demo`.

Command modules import the engine inside their functions, so that `--help` stays fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facesearch.cli import audit, calibrate, enroll, evaluate, galleries, models, people, query, reembed, serve
from facesearch.cli.root import new_app

app = new_app(enroll, query, serve, people, galleries, models, reembed, evaluate, calibrate, audit)


@app.command()
def demo(
    folder: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="DIR",
            help="Keep the portraits, the stand-in model and the gallery in DIR.",
        ),
    ] = None,
) -> None:
    """Try everything on drawn portraits of made-up people. It needs no download and no photos.

    Example: facesearch demo
    """
    from facesearch.demo.tour import run_tour

    run_tour(folder, typer.echo)
