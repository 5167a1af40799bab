"""The `facesearch` command: parse, one call into the engine, print."""

from __future__ import annotations

import gc


def main() -> None:
    """Run the command line."""
    gc.set_threshold(20_000)  # imports make many objects and no garbage; with freeze(), a sixth of a first query
    try:
        from facesearch.cli.app import app

        app()
    finally:
        gc.freeze()  # what ends with the process need not be searched for garbage
