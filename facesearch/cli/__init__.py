"""The `facesearch` command: parse, one call into the engine, print."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import Final

OFTEN: Final = {"query": "query", "verify": "query", "detect": "query", "enroll": "enroll"}
"""Commands that are made without all others, and their modules. The whole tree costs 0.1 s of every start."""


def main() -> None:
    """Run the command line."""
    gc.set_threshold(20_000)  # imports make many objects and no garbage; with freeze(), a sixth of a first query
    try:
        if sys.argv[1:] and sys.argv[1] in OFTEN:
            from facesearch.cli.root import new_app

            new_app(import_module(f"facesearch.cli.{OFTEN[sys.argv[1]]}"))()
        else:
            from facesearch.cli.app import app

            app()
    finally:
        gc.freeze()  # what ends with the process need not be searched for garbage
