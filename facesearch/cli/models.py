"""`facesearch models`: which model packs there are, and getting them."""

from __future__ import annotations

from typing import Annotated

import typer

from facesearch.cli import models_quantize, models_repair
from facesearch.cli.options import JsonOption, open_engine
from facesearch.cli.reembed import retire
from facesearch.cli.root import EXIT_NEGATIVE

PackArgument = Annotated[str, typer.Argument(metavar="PACK", help="A pack's name, or a folder.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    models = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Model packs: list, pull, verify, info, repair, quantize, retire.",
    )
    models.command("list")(list_packs)
    models.command()(pull)
    models.command()(verify)
    models.command()(info)
    models_repair.register(models)
    models_quantize.register(models)
    models.command()(retire)
    app.add_typer(models, name="models")


def list_packs(json: JsonOption = False) -> None:
    """List the packs that can be pulled, and those that are on this machine.

    Example: facesearch models list
    """
    from facesearch.cli.output import emit, print_table

    with open_engine() as engine:
        installed = {each.name: each for each in engine.packs.installed()}
        known = {each.name: each for each in engine.packs.known()}
    records = []
    for name in [*known, *(name for name in installed if name not in known)]:
        here, pack = installed.get(name), known.get(name)
        records.append(
            {
                "pack": name,
                "summary": pack.summary if pack else "your own",
                "download_bytes": pack.archive_size if pack else None,
                "folder": here.folder if here else None,
                "problem": here.problem if here else None,
            }
        )
    if json:
        for record in records:
            emit(record)
        return
    rows = [(each["pack"], each["summary"], each["problem"] or each["folder"] or "not here") for each in records]
    print_table(("pack", "what it is", "on this machine"), rows)


def pull(pack: PackArgument, json: JsonOption = False) -> None:
    """Download a pack, verify it, and keep what is needed of it.

    Example: facesearch models pull buffalo_l
    """
    from facesearch.cli.output import DownloadProgress, emit, note, say

    with open_engine() as engine:
        pulled = engine.packs.pull(pack, progress=DownloadProgress(), notice=note)
    folder = pulled.recognizer.path.parent
    if json:
        emit({"pack": pulled.name, "folder": folder})
    else:
        say(f"{pulled.name} is in {folder}")


def verify(pack: PackArgument, json: JsonOption = False) -> None:
    """Compare the SHA-256 of a pack's files with what they should be.

    Exit code: 0 they are right, 1 they are not, 4 the pack is not here.

    Example: facesearch models verify buffalo_l
    """
    from facesearch.cli.output import emit, say

    with open_engine() as engine:
        checks = engine.packs.verify(pack)
    for each in checks:
        if json:
            emit({"file": each.path, "ok": each.ok, "detail": each.detail})
        else:
            say(f"{'ok' if each.ok else 'FAULT':6} {each.path}: {each.detail}")
    raise typer.Exit(0 if all(each.ok for each in checks) else EXIT_NEGATIVE)


def info(pack: PackArgument, json: JsonOption = False) -> None:
    """Show a pack's files, licence, preprocessing and threshold.

    Example: facesearch models info buffalo_l
    """
    from facesearch.cli.output import emit, print_table
    from facesearch.jobs.precision import recorded

    with open_engine() as engine:
        found = engine.packs.find(pack)
    record = {
        "pack": found.name,
        "licence": found.licence,
        "detector": found.detector.path,
        "detector_sha256": found.detector.sha256,
        "recognizer": found.recognizer.path,
        "recognizer_sha256": found.recognizer.sha256,
        "input_mean": found.recognizer.input_mean,
        "input_std": found.recognizer.input_std,
        "dimension": found.recognizer.dimension,
        "threshold": found.threshold,
        "threshold_basis": found.threshold_basis,
        "precisions": recorded(found),
    }
    if json:
        emit(record)
    else:
        print_table(("", ""), [(key, "" if value is None else value) for key, value in record.items()])
