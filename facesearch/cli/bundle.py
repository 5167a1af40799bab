"""`facesearch export` and `import`: a gallery as a file that other programs read, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facesearch.cli.options import ForceOption, GalleryOption, JsonOption, open_engine


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("export")(export)
    app.command("import")(import_)


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
    from facesearch.cli.output import emit, progress_bar, say
    from facesearch.jobs.outputs import guard_outputs
    from facesearch.versions import require

    require("pyarrow")
    with open_engine(gallery=gallery) as engine:
        opened = engine.gallery
        guard_outputs(engine, [sign_key] if sign_key else [], force=force).check(file)
        from facesearch.store.bundle_export import write_bundle

        with progress_bar("exporting", None, "templates") as progress:
            counts = write_bundle(
                opened, file, crops=crops, key=sign_key, unencrypted=unencrypted, force=force, progress=progress
            )
    if json:
        emit({"file": file, "bytes": file.stat().st_size, **counts, "signed": sign_key is not None})
        return
    text = f"{counts['subjects']} people, {counts['photos']} photos, {counts['templates']} templates"
    say(f"{file}: {text}, {file.stat().st_size / 1e6:.1f} MB{', signed' if sign_key else ''}.")


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
    from facesearch.cli.output import emit, note, progress_bar, say
    from facesearch.jobs.outputs import guard_outputs
    from facesearch.versions import require

    require("pyarrow")
    with open_engine(gallery=gallery) as engine:
        guard_outputs(engine, [file, verify_key] if verify_key else [file])
        with engine.whole_gallery() as opened, progress_bar("importing", None, "templates") as progress:
            from facesearch.store.bundle_import import read_bundle

            done = read_bundle(
                opened,
                file,
                key=verify_key,
                merge=merge,
                bring_back_erased=bring_back_erased,
                progress=progress,
            )
    if json:
        emit(
            {
                "subjects": done.subjects,
                "photos": done.photos,
                "faces": done.faces,
                "templates": done.templates,
                "merged": done.merged,
                "photos_known": done.photos_known,
                "erased": done.erased,
                "erased_subjects": done.erased_subjects,
                "verified": done.verified,
            }
        )
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
        note("The bundle is signed; nobody checked by whom: --verify-key public.pem")
