"""`facesearch backup` and `restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facesearch.cli.options import (
    EngineOptions,
    ForceOption,
    GalleryOption,
    JsonOption,
    ask_key,
    load_settings,
    open_engine,
)
from facesearch.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(backup)
    app.command()(restore)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup to write.")],
    force: ForceOption = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Write the gallery into one checksummed file, while others use it. Treat it like the gallery itself.

    Example: facesearch backup gallery.fsbackup
    """
    from facesearch.cli.output import emit, say
    from facesearch.jobs.outputs import guard_outputs

    with open_engine(gallery=gallery) as engine:
        opened = engine.gallery
        from facesearch.store.backups import write_backup

        guard_outputs(engine, force=force).check(file)
        size, encrypted = write_backup(opened, file, force=force), opened.is_encrypted
    if json:
        emit({"file": file, "bytes": size, "encrypted": encrypted})
    else:
        say(f"{file}: {size / 1e6:.1f} MB{', encrypted' if encrypted else ''}.")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
    force: Annotated[bool, typer.Option("--force", help="Put it in the place of the gallery that is there.")] = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Make a gallery from a backup. Whoever was erased since stays erased.

    A list of the erased lies in the gallery's folder (gallery.tombstones) and in every backup: copy the newest along
    to another machine before restoring there.

    Example: facesearch restore gallery.fsbackup --gallery restored
    """
    from facesearch.cli.output import emit, note, say
    from facesearch.jobs.outputs import require_not_of_gallery
    from facesearch.jobs.parts import require_gallery_libraries

    settings = load_settings(EngineOptions(gallery=gallery))
    folder = settings.gallery
    if not isinstance(folder, Path):
        raise ConfigError(
            "A backup file becomes a gallery in a folder.",
            "A gallery in PostgreSQL is brought back with the server's own tools: pg_restore.",
        )
    require_gallery_libraries()
    from facesearch.errors import GalleryLockedError
    from facesearch.store.backups import restore_backup

    require_not_of_gallery(settings, [file])

    try:
        restored = restore_backup(file, folder, passphrase=settings.key, force=force)
    except GalleryLockedError:
        key = ask_key("Key of the backup") if settings.key is None else None
        if not key:
            raise
        restored = restore_backup(file, folder, passphrase=key, force=force)
    if json:
        emit(
            {
                "gallery": folder.absolute(),
                "backup_of": restored.created_at,
                "subjects": restored.subjects,
                "templates": restored.templates,
                "erased_again": restored.erased_again,
                "keys": list(restored.keys),
            }
        )
        return
    text = f"{folder}: {restored.subjects} people, {restored.templates} templates, as of"
    say(f"{text} {restored.created_at}.")
    note(
        "Whoever was erased after this backup was made stays erased only where the folder held the gallery.tombstones "
        "of the original."
    )
    if restored.erased_again:
        note(f"{restored.erased_again} templates of people who were erased since were left out.")
    if restored.keys:
        note(f"API keys in force again: {', '.join(restored.keys)}. Revoke what should not be: facesearch keys list")
