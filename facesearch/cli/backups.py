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
from facesearch.names import counted, path_text


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(backup)
    app.command()(restore)
    app.command()(export)
    app.command("import")(import_)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup file to write.")],
    force: ForceOption = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Back up the gallery into one file, also while others use it. Protect the file like the gallery itself.

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
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup file.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the gallery that is in the folder.")] = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Make a gallery from a backup.

    People who were erased after the backup stay erased if the erasure list, the file gallery.erased, is in the folder
    that you restore to. Before you restore to another folder or machine, copy the newest gallery.erased there.

    Example: facesearch restore gallery.fsbackup --gallery restored
    """
    settings = load_gallery_settings(gallery)
    folder = settings.gallery
    if not isinstance(folder, Path):
        raise ConfigError(
            "A backup can be restored to a folder only.",
            "Name one with --gallery DIR. For a gallery in PostgreSQL, use pg_restore.",
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
    held = f"{counted(restored.subjects, 'person', 'people')}, {counted(restored.templates, 'template')}"
    say(f"{folder}: {held}, as of {restored.created_at}.")
    if not restored.knew_erased:
        note(
            "People who were erased after the backup was made may be back. To erase them again, copy gallery.erased of "
            f"the original gallery into {path_text(folder)}. Then run: facesearch check --fix"
        )
    if restored.erased_again:
        note(f"Templates left out, because their people were erased since: {restored.erased_again}.")
    if restored.keys:
        note(f"These API keys work again: {', '.join(restored.keys)}. See which to revoke: facesearch keys list")


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The bundle file to write.")],
    force: ForceOption = False,
    crops: Annotated[
        bool, typer.Option("--crops", help="Include the small pictures of uploads that `serve --thumbnails` keeps.")
    ] = False,
    sign_key: Annotated[
        Path | None, typer.Option("--sign-key", metavar="PEM", help="Sign the bundle with this Ed25519 private key.")
    ] = None,
    unencrypted: Annotated[
        bool, typer.Option("--unencrypted", help="Export an encrypted gallery, although the bundle is not encrypted.")
    ] = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Export people and templates into one file of Parquet tables. Protect the file like the gallery itself.

    It holds records of photos, not the photos. Install what it needs with: pip install 'facesearch[export]'

    To sign bundles, make a pair of keys: openssl genpkey -algorithm ed25519 -out key.pem; openssl pkey -in key.pem
    -pubout -out public.pem

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
    size, people = file.stat().st_size, counted(counts["subjects"], "person", "people")
    held = f"{people}, {counted(counts['photos'], 'photo')}, {counted(counts['templates'], 'template')}"
    text = f"{file}: {held}, {size / 1e6:.1f} MB{', signed' if sign_key else ''}."
    tell({"file": file, "bytes": size, **counts, "signed": sign_key is not None}, text, json=json)


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The bundle file.")],
    verify_key: Annotated[
        Path | None,
        typer.Option(
            "--verify-key",
            metavar="PEM",
            help="Refuse a bundle that was not signed with the private key of this public key.",
        ),
    ] = None,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge",
            help="Take people of the same name for one person. What the gallery has stays as it is.",
        ),
    ] = False,
    bring_back_erased: Annotated[
        bool, typer.Option("--bring-back-erased", help="Also import people who were erased from this gallery.")
    ] = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Import a bundle into a gallery: all of it or nothing.

    An empty gallery takes over everything, ids and calibrations included, and then answers as the exported one did. A
    gallery with people takes a bundle of the same model. It refuses names and photos that it has already, unless you
    give --merge.

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
    people, photos = counted(done.subjects, "person", "people"), counted(done.photos, "photo")
    say(f"Imported {people}, {photos} and {counted(done.templates, 'template')}.")
    if done.merged:
        people, photos = counted(done.merged, "person", "people"), counted(done.photos_known, "photo")
        note(f"The gallery had {people} and {photos} already: they stay as they were.")
    if done.erased or done.erased_subjects:
        note(
            f"Left out, because they were erased from this gallery: {counted(done.erased, 'face')}, "
            f"{counted(done.erased_subjects, 'person', 'people')} by name. --bring-back-erased imports them."
        )
    if done.signed and not done.verified:
        note("The bundle is signed, and the signature was not checked. --verify-key public.pem checks it.")
