"""`facesearch backup`, `restore`, `export` and `import`: a gallery as one file, and back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from facesearch.cli.options import ForceOption, GalleryOption, JsonOption, ask_key, load_gallery_settings, open_engine
from facesearch.cli.output import emit, note, progress_bar, say, tell
from facesearch.cli.outputs import guard_outputs, require_not_of_gallery
from facesearch.errors import ConfigError
from facesearch.names import path_text


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(backup)
    app.command()(restore)
    app.command()(export)
    app.command("import")(import_)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup to write.")],
    force: ForceOption = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Write the gallery into one checksummed file, while others use it. Treat it like the gallery itself.

    Example: facesearch backup gallery.fsbackup
    """
    with open_engine(gallery=gallery) as engine:
        opened = engine.gallery
        from facesearch.store.backups import write_backup

        guard_outputs(engine, force=force).check(file)
        size, encrypted = write_backup(opened, file, force=force), opened.is_encrypted
    text = f"{file}: {size / 1e6:.1f} MB{', encrypted' if encrypted else ''}."
    tell({"file": file, "bytes": size, "encrypted": encrypted}, text, json=json)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the gallery that is there.")] = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Make a gallery from a backup. People who were erased since stay erased.

    The erasure list (gallery.erased) lies in the gallery's folder and in every backup. Before you restore on another
    machine, copy the newest one there.

    Example: facesearch restore gallery.fsbackup --gallery restored
    """
    settings = load_gallery_settings(gallery)
    folder = settings.gallery
    if not isinstance(folder, Path):
        raise ConfigError(
            "A backup file becomes a gallery in a folder.",
            "A gallery in PostgreSQL is brought back with the server's own tools: pg_restore.",
        )
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
        emit({"gallery": folder.absolute(), **asdict(restored)})
        return
    text = f"{folder}: {restored.subjects} people, {restored.templates} templates, as of"
    say(f"{text} {restored.created_at}.")
    if not restored.knew_erased:
        note(
            "People who were erased after the backup was made may be back. Copy gallery.erased of the original "
            f"gallery into {path_text(folder)}, then run: facesearch check --fix"
        )
    if restored.erased_again:
        note(f"{restored.erased_again} templates of people who were erased since were left out.")
    if restored.keys:
        note(f"API keys in force again: {', '.join(restored.keys)}. Revoke what should not be: facesearch keys list")


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The bundle to write.")],
    force: ForceOption = False,
    crops: Annotated[
        bool, typer.Option("--crops", help="With the small pictures of uploads that `serve --thumbnails` kept.")
    ] = False,
    sign_key: Annotated[
        Path | None, typer.Option("--sign-key", metavar="PEM", help="Sign it with this Ed25519 private key.")
    ] = None,
    unencrypted: Annotated[
        bool, typer.Option("--unencrypted", help="Export an encrypted gallery: the bundle is not encrypted.")
    ] = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Write people, photos' records and templates into one file of Parquet tables. Treat it like the gallery itself.

    Needs: pip install 'facesearch[export]'. A pair of keys: openssl genpkey -algorithm ed25519 -out key.pem; openssl
    pkey -in key.pem -pubout -out public.pem

    Example: facesearch export people.bundle
    """
    from facesearch.versions import require

    require("pyarrow")
    with open_engine(gallery=gallery) as engine:
        opened = engine.gallery
        guard_outputs(engine, [sign_key] if sign_key else [], force=force).check(file)
        from facesearch.store.bundle.writing import write_bundle

        with progress_bar("exporting", None, "templates") as progress:
            counts = write_bundle(
                opened, file, crops=crops, key=sign_key, unencrypted=unencrypted, force=force, progress=progress
            )
    size, held = file.stat().st_size, "{subjects} people, {photos} photos, {templates} templates".format_map(counts)
    text = f"{file}: {held}, {size / 1e6:.1f} MB{', signed' if sign_key else ''}."
    tell({"file": file, "bytes": size, **counts, "signed": sign_key is not None}, text, json=json)


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle.")],
    verify_key: Annotated[
        Path | None,
        typer.Option(
            "--verify-key", metavar="PEM", help="Refuse it unless it is signed with the key to this public key."
        ),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="People of one name are one person; what the gallery has stays as it is.")
    ] = False,
    bring_back_erased: Annotated[
        bool, typer.Option("--bring-back-erased", help="Also import people who were erased from this gallery.")
    ] = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Read a bundle into a gallery: all of it or nothing.

    An empty gallery takes everything over, ids and calibrations included, and answers exactly as the one that was
    exported. One with people gets those of the bundle beside its own, where the model is the same; names or photos that
    are in both are refused, or merged with --merge.

    Example: facesearch import people.bundle --gallery copy
    """
    from facesearch.versions import require

    require("pyarrow")
    with open_engine(gallery=gallery) as engine:
        guard_outputs(engine, [file, verify_key] if verify_key else [file])
        with engine.whole_gallery() as opened, progress_bar("importing", None, "templates") as progress:
            from facesearch.store.bundle.reading import read_bundle

            done = read_bundle(
                opened, file, key=verify_key, merge=merge, bring_back_erased=bring_back_erased, progress=progress
            )
    if json:
        emit(asdict(done))
        return
    say(f"{done.subjects} people, {done.photos} photos and {done.templates} templates are new.")
    if done.merged:
        note(f"{done.merged} people were here already, and {done.photos_known} photos: they stay as they were.")
    if done.erased or done.erased_subjects:
        note(
            f"{done.erased} faces of people who were erased from this gallery were left out, and "
            f"{done.erased_subjects} people of their names. --bring-back-erased imports them all the same."
        )
    if done.signed and not done.verified:
        note("The bundle is signed, but nobody checked by whom: --verify-key public.pem does.")
