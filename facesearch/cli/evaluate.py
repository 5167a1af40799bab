"""`facesearch eval`: error rates on labelled photos, scores or vectors, and reports side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from facesearch.cli.evaluate_options import (
    REPORT,
    EvaluationOptions,
    embed_photos,
    end,
    evaluation_options,
    keep_figures,
    parse_rates,
    paths_in,
    refuse_idle_files,
    require_choice,
)
from facesearch.cli.options import (
    MODEL,
    EngineOptions,
    ForceOption,
    JsonOption,
    engine_options,
    open_engine,
    refuse_idle,
)
from facesearch.errors import ConfigError
from facesearch.names import is_folder

if TYPE_CHECKING:
    from facesearch.evaluation.trials.types import SearchTrials
    from facesearch.jobs.evaluate import Evaluation

DEFAULT_COMMAND = "pairs"
PHOTO_OPTIONS = ("flip", "faces", "aligned", "no_cache", "no_record", *MODEL)
"""Options that say how photos are embedded, and where the figures are kept."""


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


@engine_options(*MODEL)
@evaluation_options(*REPORT)
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
    *,
    asked: EvaluationOptions,
    far: Annotated[
        str | None, typer.Option("--far", metavar="RATES", help="FARs to report TAR at, as 1e-3,1e-4 [1e-1 ... 1e-6].")
    ] = None,
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
    options: EngineOptions,
    json: JsonOption = False,
) -> None:
    """TAR at FAR, EER, AUC and more on labelled pairs of photos, scores or vectors, with 95 % intervals.

    Example: facesearch eval pairs.txt --photos lfw/ --out report/
    """
    from facesearch.cli.evaluate_output import emit_verification, print_verification
    from facesearch.cli.outputs import guard_outputs
    from facesearch.evaluation.trials import read_trials
    from facesearch.evaluation.trials.types import PairTrials
    from facesearch.evaluation.verification import TARGETS
    from facesearch.jobs.evaluate import VerificationOptions, evaluate, photos_of

    refuse_idle_files(context, path, asked)
    if convention is not None:
        require_choice("--convention", convention, ("insightface",))
    figures = VerificationOptions(parse_rates("--far", far, TARGETS), convention is not None, groups, asked.seed)
    trials = read_trials(path, asked.photos)
    embedded, model = None, None
    wanted = photos_of(trials)
    if not wanted:
        refuse_idle(context, PHOTO_OPTIONS, f"{path} holds no photos")
    if aligned:
        refuse_idle(context, ("faces", "det_size"), "with --aligned no faces are looked for")
    with (
        open_engine(options, many=True) as engine,
        guard_outputs(engine, paths_in(path, groups, *wanted), force=asked.force).optional_folder(asked.out) as output,
    ):
        if wanted:
            embedder = engine.photo_embedder(
                faces=asked.faces, flip=asked.flip, aligned=aligned, cache=not asked.no_cache
            )
            embedded = embed_photos(embedder, wanted)
            model = embedder.settings
        protocol = "lfw" if isinstance(trials, PairTrials) and path.suffix == ".txt" else ""
        evaluation = evaluate(trials, figures, embedded=embedded, model=model, protocol=protocol)
        if output is not None:
            with output.unfinished() as folder:
                evaluation = _write(folder, evaluation, asked.plots)
        if wanted and not asked.no_record:
            keep_figures(engine, evaluation.report, asked.out)
    (emit_verification if json else print_verification)(evaluation, embedded)
    end(asked, [point.flag for point in evaluation.report.result.points])


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


@engine_options(*MODEL, "fusion")
@evaluation_options(*REPORT)
def search(
    context: typer.Context,
    enrolled: Annotated[
        Path,
        typer.Argument(
            metavar="GALLERY", help="A folder per person or a CSV image,subject_id; or one folder with both."
        ),
    ],
    probes: Annotated[
        Path | None,
        typer.Argument(metavar="[PROBES]", help="Likewise. Left out where GALLERY holds gallery/, probe/, unknown/."),
    ] = None,
    *,
    split: Annotated[
        bool, typer.Option("--split", help="Make gallery and probes out of one folder per person, by a seeded rule.")
    ] = False,
    fpir: Annotated[
        str | None, typer.Option("--fpir", metavar="RATES", help="FPIRs to report FNIR at [0.1,0.01,0.001].")
    ] = None,
    margin: Annotated[
        str | None, typer.Option("--margin", metavar="COSINES", help="Margins to decide with [0,0.02,0.05,0.1].")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="R: FNIR is reported for R = 1 and R = k.")] = 20,
    asked: EvaluationOptions,
    options: EngineOptions,
    json: JsonOption = False,
) -> None:
    """How often searches miss somebody enrolled (FNIR) and alarm for strangers (FPIR), with 95 % intervals.

    Example: facesearch eval search people/ --split --out report/
    """
    from facesearch.cli.evaluate_output import emit_identification, print_identification
    from facesearch.cli.outputs import guard_outputs
    from facesearch.evaluation.decisions import MARGINS
    from facesearch.evaluation.identification import evaluate_searches
    from facesearch.evaluation.report import IdentificationReport, describe
    from facesearch.evaluation.report_files import write_identification_report
    from facesearch.evaluation.searches import FPIR_TARGETS
    from facesearch.jobs.evaluate import failures, model_settings, score_searches

    refuse_idle_files(context, enrolled, asked)
    if k < 1:
        raise ConfigError(f"-k {k} is below 1.", "Give the number of candidates to look at, as -k 20.")
    targets = parse_rates("--fpir", fpir, FPIR_TARGETS)
    margins = parse_rates("--margin", margin, MARGINS, lowest=0.0)
    trials = _read_searches(enrolled, probes, asked, split=split)
    wanted = (*trials.gallery.photos, *trials.probes.photos)
    with (
        open_engine(options, many=True) as engine,
        guard_outputs(engine, paths_in(enrolled, probes, *wanted), force=asked.force).optional_folder(
            asked.out
        ) as output,
    ):
        embedder = engine.photo_embedder(faces=asked.faces, flip=asked.flip, cache=not asked.no_cache)
        known, searched = embed_photos(embedder, wanted).split_at(len(trials.gallery))
        scores = score_searches(trials, known, searched, engine.settings.fusion)
        result = evaluate_searches(scores, targets=targets, ranks=(1, k), margins=margins, seed=asked.seed)
        about = describe(
            trials.source,
            model_settings(embedder.settings, engine.settings.fusion),
            title=f"Identification: {Path(trials.source).name}",
        )
        report = IdentificationReport(about, result)
        if output is not None:
            with output.unfinished() as folder:
                write_identification_report(folder, report, plots=asked.plots)
        if not asked.no_record:
            keep_figures(engine, report, asked.out)
    (emit_identification if json else print_identification)(report, failures(known, searched))
    end(asked, [point.flag for point in result.points])


def _read_searches(enrolled: Path, probes: Path | None, asked: EvaluationOptions, *, split: bool) -> SearchTrials:
    """The 1:N trials that these arguments name; `ConfigError` or `EvaluationError` where they name none."""
    from facesearch.evaluation.trials.folders import (
        read_manifests,
        read_people,
        read_search_folders,
        require_new_photos,
        split_people,
    )
    from facesearch.evaluation.trials.types import SearchTrials

    if split:
        if probes is not None:
            raise ConfigError("--split makes gallery and probes out of one folder.", "Leave PROBES out.")
        return split_people(read_people(enrolled), asked.seed)
    if probes is None:
        return read_search_folders(enrolled)
    if is_folder(enrolled) and is_folder(probes):
        known, searched = read_people(enrolled), read_people(probes)
        return require_new_photos(SearchTrials(f"{known.source} and {searched.source}", known, searched))
    return read_manifests(enrolled, probes, asked.photos)


def compare(
    reports: Annotated[
        list[Path], typer.Argument(metavar="REPORT...", help="report.json files; each is set against the first.")
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="HTML", help="Write the page there.")] = None,
    force: ForceOption = False,
    far: Annotated[
        str | None, typer.Option("--far", metavar="RATES", help="FARs to compare TAR at [those all support].")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of every random draw: same seed, same figures.")] = 0,
    json: JsonOption = False,
) -> None:
    """Reports of the same people side by side, with paired differences; no winner where the interval covers 0.

    Example: facesearch eval compare small/report.json large/report.json --out compare.html
    """
    from facesearch.cli.evaluate_output import emit_differences, print_differences
    from facesearch.cli.output import note
    from facesearch.cli.outputs import guard_outputs
    from facesearch.evaluation.comparison import compare_reports, comparison_page
    from facesearch.evaluation.report import SCORES

    inputs = [file for each in reports for file in (each, each.parent / SCORES)]
    with open_engine() as engine, guard_outputs(engine, inputs, force=force).optional_file(out) as page:
        found = compare_reports(reports, parse_rates("--far", far, ()) or None, seed)
        if page is not None:
            page.write(comparison_page(found.reports, found.differences).encode())
            note(f"The comparison is in {out}.")
    for each in found.differences:
        (emit_differences if json else print_differences)(*each)
