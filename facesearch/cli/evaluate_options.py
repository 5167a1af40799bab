"""What the commands that evaluate share: options, embedding with a progress bar, exit codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from facesearch.cli.options import ForceOption, grouped_options, refuse_idle
from facesearch.cli.root import EXIT_NEGATIVE
from facesearch.errors import ConfigError, GalleryError
from facesearch.names import is_folder

if TYPE_CHECKING:
    from facesearch.api import FaceSearch
    from facesearch.evaluation.rates import Flag
    from facesearch.evaluation.report import IdentificationReport, VerificationReport
    from facesearch.evaluation.trials.types import Photo
    from facesearch.jobs.embeddings import Embedded, PhotoEmbedder


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """The options of every command that evaluates photos, in the order of `--help`."""

    photos: Annotated[
        Path | None, typer.Option("--photos", metavar="DIR", help="The folder that photos in a list are named from.")
    ] = None
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Write the report, tables and plots there.")
    ] = None
    force: ForceOption = False
    plots: Annotated[str, typer.Option("--plots", metavar="KIND", help="Kind of the plot files: svg or png.")] = "svg"
    flip: Annotated[
        bool,
        typer.Option("--flip", help="Sum each face's vector with that of its mirror image, as published figures do."),
    ] = False
    faces: Annotated[
        str,
        typer.Option(
            "--faces", help="Which face of a photo: single (one, or one that dominates), as enroll does, or largest."
        ),
    ] = "single"
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 when the data do not support a requested point.")
    ] = False
    seed: Annotated[int, typer.Option("--seed", help="Seed of every random draw: same seed, same figures.")] = 0
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Do not read or write cached vectors [folder: FACESEARCH_CACHE].")
    ] = False
    no_record: Annotated[
        bool, typer.Option("--no-record", help="Do not keep the figures in the gallery (no names or photos are kept).")
    ] = False


REPORT: Final = (
    "photos", "out", "force", "plots", "flip", "faces", "strict", "seed", "no_cache", "no_record",
)  # fmt: skip
"""Options of the commands that write a report."""


def evaluation_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these options; its parameter `asked` receives them as one `EvaluationOptions`."""
    return grouped_options(EvaluationOptions, names, "asked")


def refuse_idle_files(context: typer.Context, path: Path, asked: EvaluationOptions) -> None:
    """Raise `ConfigError` for a kind of plot that is not known, and for --plots and --photos without effect."""
    require_choice("--plots", asked.plots, ("svg", "png"))
    if asked.out is None:
        refuse_idle(context, ("plots",), "plots are written with --out")
    if is_folder(path):
        refuse_idle(context, ("photos",), f"{path} is a folder, and --photos is for lists")


def embed_photos(embedder: PhotoEmbedder, photos: Sequence[Photo]) -> Embedded:
    """Embed with a progress bar, and say what came from the cache."""
    from facesearch.cli.output import note, progress_bar

    with progress_bar("embedding", len(photos)) as advance:
        embedded = embedder.embed(photos, advance)
    cached = len(photos) - embedded.computed
    note(f"{len(photos):,} photos: {embedded.computed:,} embedded now, {max(cached, 0):,} from the cache or copies.")
    return embedded


def paths_in(*inputs: Path | bytes | None) -> list[Path]:
    """The inputs that are files or folders: a photo may be in memory, an argument may be left out."""
    return [each for each in inputs if isinstance(each, Path)]


def keep_figures(engine: FaceSearch, report: VerificationReport | IdentificationReport, out: Path | None) -> None:
    """Keep the figures in the gallery, where it has the model that was evaluated."""
    from facesearch.cli.output import note
    from facesearch.evaluation.report import PAGE, digest
    from facesearch.names import path_text

    try:
        kept = engine.keep_evaluation(digest(report, None if out is None else path_text((out / PAGE).absolute())))
    except GalleryError as error:  # the figures are on the screen, and in the report
        note(f"The figures are not kept in the gallery: {error.message}")
        return
    if kept:
        note("The figures are kept in the gallery: the page of `facesearch serve` shows them. --no-record keeps none.")


def end(asked: EvaluationOptions, flags: Iterable[Flag | None]) -> None:
    """Say where the report is. With --strict, exit with `EXIT_NEGATIVE` where a point is unsupported."""
    from facesearch.cli.output import note
    from facesearch.evaluation.rates import Flag
    from facesearch.evaluation.report import PAGE

    if asked.out is not None:
        note(f"The report is in {asked.out}: open {asked.out / PAGE}. It shows faces and names, so keep it private.")
    if asked.strict and Flag.UNSUPPORTED in flags:
        raise typer.Exit(EXIT_NEGATIVE)


def parse_rates(
    option: str, value: str | None, default: tuple[float, ...], *, lowest: float | None = None
) -> tuple[float, ...]:
    """`1e-3,1e-4` as numbers above 0, or from `lowest` on, and up to 1; `ConfigError` for anything else."""
    if value is None:
        return default
    try:
        rates = tuple(float(part) for part in value.split(","))
    except ValueError:
        rates = ()
    if not rates or not all(0 < rate <= 1 or rate == lowest for rate in rates):
        bound = "above 0" if lowest is None else f"from {lowest:g}"
        raise ConfigError(
            f"{option} {value!r} is not a list of numbers {bound} and up to 1.", f"For example: {option} 1e-1,1e-2"
        )
    return tuple(dict.fromkeys(rates))


def require_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """`ConfigError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ConfigError(f"{option} {value} is not known.", f"Use: {' or '.join(choices)}.")
