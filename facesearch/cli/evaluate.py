"""`facesearch eval`: error rates on labelled photos, scores or vectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from facesearch.cli.evaluate_options import (
    FacesOption,
    FarOption,
    FlipOption,
    NoCacheOption,
    NoRecordOption,
    OutOption,
    PhotosOption,
    SeedOption,
    StrictOption,
    embed_photos,
    exit_by_support,
    note_report,
    parse_rates,
    paths_in,
    record_figures,
    require_choice,
)
from facesearch.cli.evaluate_search import compare, search
from facesearch.cli.options import (
    DetSizeOption,
    ForceOption,
    GalleryOption,
    JsonOption,
    PackOption,
    PrecisionOption,
    ProviderOption,
    open_engine,
    refuse_idle,
)
from facesearch.names import is_folder

if TYPE_CHECKING:
    from facesearch.evaluation.trials import Trials
    from facesearch.jobs.evaluate import Evaluation

DEFAULT_COMMAND = "pairs"
PHOTO_OPTIONS = (
    "flip", "faces", "aligned", "no_cache", "no_record", "gallery", "pack", "provider", "det_size", "precision",
)  # fmt: skip
"""Options that say how photos are embedded, and where the figures of that are kept."""


class EvalGroup(TyperGroup):
    """`facesearch eval PATH` is `facesearch eval pairs PATH`; a file called `search` is given as `./search`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command in front of what is no subcommand."""
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        cls=EvalGroup,
        subcommand_metavar="PATH | COMMAND [ARGS]...",
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Error rates with their intervals: PATH for labelled pairs, search for 1:N, compare for reports.\n\n"
        "`facesearch eval PATH` is short for `facesearch eval pairs PATH`: see its --help.\n\n"
        "Example: facesearch eval pairs.txt --photos lfw/ --out report/",
    )
    group.command(DEFAULT_COMMAND)(pairs)
    group.command()(search)
    group.command()(compare)
    app.add_typer(group, name="eval")


def pairs(
    context: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="LFW's pairs.txt, CSV a,b,same or score,mated, bob's four columns, InsightFace's .bin, an embeddings "
            ".npz, or a folder of one folder per person (all pairs).",
        ),
    ],
    photos: PhotosOption = None,
    out: OutOption = None,
    force: ForceOption = False,
    far: FarOption = None,
    flip: FlipOption = False,
    faces: FacesOption = "largest",
    aligned: Annotated[
        bool, typer.Option("--aligned", help="The photos are aligned crops of 112x112: run no detector.")
    ] = False,
    convention: Annotated[
        str | None,
        typer.Option("--convention", metavar="insightface", help="Add figures by the field's habits, to compare."),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option("--groups", metavar="CSV", help="CSV subject_id,group: TAR per group at one global threshold."),
    ] = None,
    strict: StrictOption = False,
    seed: SeedOption = 0,
    no_cache: NoCacheOption = False,
    no_record: NoRecordOption = False,
    plots: Annotated[str, typer.Option("--plots", metavar="KIND", help="Kind of the plot files: svg or png.")] = "svg",
    gallery: GalleryOption = None,
    pack: PackOption = None,
    provider: ProviderOption = None,
    det_size: DetSizeOption = None,
    precision: PrecisionOption = None,
    json: JsonOption = False,
) -> None:
    """TAR at FAR, EER, AUC and more on labelled pairs of photos, scores or vectors, with 95 % intervals.

    Example: facesearch eval pairs.txt --photos lfw/ --out report/
    """
    from facesearch.cli.evaluate_output import emit_verification, print_verification
    from facesearch.evaluation.trials import read_trials
    from facesearch.evaluation.verification import TARGETS
    from facesearch.jobs.evaluate import VerificationOptions, evaluate, photos_of
    from facesearch.jobs.outputs import guard_outputs

    require_choice("--plots", plots, ("svg", "png"))
    if convention is not None:
        require_choice("--convention", convention, ("insightface",))
    options = VerificationOptions(parse_rates(far, TARGETS), convention is not None, groups, seed)
    trials = read_trials(path, photos)
    embedded, model = None, None
    wanted = photos_of(trials)
    if is_folder(path):
        refuse_idle(context, ("photos",), f"{path} is a folder, and --photos is for lists")
    if not wanted:
        refuse_idle(context, PHOTO_OPTIONS, f"{path} holds no photos")
    if aligned:
        refuse_idle(context, ("faces", "det_size"), "with --aligned no faces are looked for")
    if out is None:
        refuse_idle(context, ("plots",), "plots are written with --out")
    with (
        open_engine(
            gallery=gallery,
            pack=pack,
            provider=provider,
            det_size=det_size,
            precision=precision,
            many=True,
        ) as engine,
        guard_outputs(engine, paths_in(path, groups, *wanted), force=force).optional_folder(out) as output,
    ):
        if wanted:
            embedder = engine.photo_embedder(faces=faces, flip=flip, aligned=aligned, cache=not no_cache)
            embedded = embed_photos(embedder, wanted)
            model = embedder.settings
        evaluation = evaluate(trials, options, embedded=embedded, model=model, protocol=_protocol(trials, path))
        if output is not None:
            with output.unfinished() as folder:
                evaluation = _write(folder, evaluation, plots)
        record_figures(engine, evaluation.report, out, record=bool(wanted) and not no_record)
    if json:
        emit_verification(evaluation, embedded)
    else:
        print_verification(evaluation, embedded)
    note_report(out)
    exit_by_support(strict, [point.flag for point in evaluation.report.result.points])


def _protocol(trials: Trials, path: Path) -> str:
    from facesearch.evaluation.trials.types import PairTrials

    return "lfw" if isinstance(trials, PairTrials) and path.suffix == ".txt" else ""


def _write(out: Path, evaluation: Evaluation, plots: str) -> Evaluation:
    """Write the report with thumbnails of the worst pairs."""
    from facesearch.evaluation.report_files import write_verification_report

    shown = {name: (photo, each.box) for name, (photo, each) in evaluation.photos.items()}
    pictures: dict[str, bytes] = {}
    if shown:
        from facesearch.jobs.embeddings import thumbnails

        pictures = thumbnails(shown)
    report = write_verification_report(
        out, evaluation.report, scores=evaluation.scores, worst=evaluation.worst, thumbnails=pictures, plots=plots
    )
    return replace(evaluation, report=report)
