"""The `facesearch` command: parse, one call into the engine, print."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from facesearch.cli.app import app

    app()
