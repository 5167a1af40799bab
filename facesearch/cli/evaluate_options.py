"""What the commands that evaluate share: options, embedding with a progress bar, exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facesearch.cli.root import EXIT_NEGATIVE
from facesearch.errors import ConfigError, GalleryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from facesearch.api import FaceSearch
    from facesearch.evaluation.rates import Flag
    from facesearch.evaluation.report import IdentificationReport, VerificationReport
    from facesearch.evaluation.trials.types import Photo
    from facesearch.jobs.embeddings import Embedded, PhotoEmbedder

FarOption = Annotated[
    str | None, typer.Option("--far", metavar="RATES", help="FARs to report TAR at, as 1e-3,1e-4 [1e-1 ... 1e-6].")
]
PhotosOption = Annotated[
    Path | None, typer.Option("--photos", metavar="DIR", help="The folder that photos in a list are named from.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="DIR", help="Write the report, tables and plots there.")
]
FlipOption = Annotated[
    bool, typer.Option("--flip", help="Sum each face's vector with that of its mirror image, as published figures do.")
]
FacesOption = Annotated[
    str, typer.Option("--faces", help="Which face of a photo: largest, or single (one, or one that dominates).")
]
NoCacheOption = Annotated[
    bool, typer.Option("--no-cache", help="Neither use nor keep vectors of these photos [folder: FACESEARCH_CACHE].")
]
NoRecordOption = Annotated[
    bool, typer.Option("--no-record", help="Do not keep the figures in the gallery (no names or photos are kept).")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of everything that is drawn: same seed, same figures.")]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Exit with 1 when the data do not support a requested point.")
]


def embed_photos(embedder: PhotoEmbedder, photos: Sequence[Photo]) -> Embedded:
    """Embed with a progress bar, and say what came from the cache and what is kept in it."""
    from facesearch.cli.output import note, progress_bar

    with progress_bar("embedding", len(photos)) as advance:
        embedded = embedder.embed(photos, advance)
    cached = len(photos) - embedded.computed
    note(f"{len(photos):,} photos: {embedded.computed:,} embedded now, {max(cached, 0):,} from the cache or copies.")
    return embedded


def paths_in(*inputs: Path | bytes | None) -> list[Path]:
    """Those of the inputs that are files or folders: a photo may be in memory, an argument may be left out."""
    return [each for each in inputs if isinstance(each, Path)]


def note_report(out: Path | None) -> None:
    """Say where the report is."""
    from facesearch.cli.output import note

    if out is not None:
        note(f"The report is in {out}: open {out / 'report.html'}. It shows faces and names; treat it as such.")


def record_figures(
    engine: FaceSearch, report: VerificationReport | IdentificationReport, out: Path | None, *, record: bool
) -> None:
    """Keep the figures in the gallery, where it has the model that was evaluated."""
    from facesearch.cli.output import note
    from facesearch.evaluation.report import PAGE, digest
    from facesearch.names import path_text

    if not record:
        return
    try:
        kept = engine.keep_evaluation(digest(report, None if out is None else path_text((out / PAGE).absolute())))
    except GalleryError as error:  # the figures are on the screen, and in the report
        note(f"The figures are not kept in the gallery: {error.message}")
        return
    if kept:
        note("The figures are kept in the gallery: the page of `facesearch serve` shows them. --no-record keeps none.")


def exit_by_support(strict: bool, flags: Iterable[Flag | None]) -> None:
    """With --strict, end with `EXIT_NEGATIVE` where a point is unsupported."""
    from facesearch.evaluation.rates import Flag

    if strict and Flag.UNSUPPORTED in flags:
        raise typer.Exit(EXIT_NEGATIVE)


def parse_rates(text: str | None, default: tuple[float, ...]) -> tuple[float, ...]:
    """`1e-3,1e-4` as numbers in (0, 1]; `ConfigError` for anything else."""
    if text is None:
        return default
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        rates = ()
    if not rates or any(not 0 < rate <= 1 for rate in rates):
        raise ConfigError(
            f"{text!r} cannot be used as rates: they are numbers above 0 and up to 1.", "For example: 1e-3,1e-4"
        )
    return tuple(dict.fromkeys(rates))


def require_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """`ConfigError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ConfigError(f"{option} {value} is not known.", f"Use: {' or '.join(choices)}.")
