"""`facesearch init` and `rekey`: making a gallery, encrypted or not, and changing its key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facesearch.cli.options import EngineOptions, GalleryOption, JsonOption, ask_key, load_settings
from facesearch.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(init)
    app.command()(rekey)


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
    from facesearch.cli.output import emit, note
    from facesearch.jobs.outputs import require_not_of_gallery
    from facesearch.jobs.parts import require_gallery_libraries

    settings = load_settings(EngineOptions(gallery=gallery))
    require_gallery_libraries()
    from facesearch.search.lifecycle import create_gallery

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
    from facesearch.cli.output import emit, note
    from facesearch.config import read_key_file
    from facesearch.jobs.outputs import require_not_of_gallery
    from facesearch.jobs.parts import require_gallery_libraries

    settings = load_settings(EngineOptions(gallery=gallery))
    require_gallery_libraries()
    from facesearch.search.lifecycle import change_passphrase

    old = settings.key or ask_key()
    new = read_key_file(new_key_file) if new_key_file else ask_key("New key of the gallery", confirm=True)
    if not new:
        raise ConfigError("There is no new key.", "Name a file with it: --new-key-file FILE")
    require_not_of_gallery(settings, [new_key_file] if new_key_file else [])
    change_passphrase(settings.gallery, old, new)
    if json:
        emit({"gallery": str(settings.gallery), "rekeyed": True})
    note(f"{settings.gallery} opens with the new key only.")
