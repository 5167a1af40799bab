"""`facesearch eval search` and `facesearch eval compare`: 1:N error rates, and reports side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facesearch.cli.evaluate_options import (
    FacesOption,
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
from facesearch.errors import ConfigError
from facesearch.names import is_folder

if TYPE_CHECKING:
    from facesearch.evaluation.trials.types import SearchTrials


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
    split: Annotated[
        bool, typer.Option("--split", help="Make gallery and probes out of one folder per person, by a seeded rule.")
    ] = False,
    fpir: Annotated[
        str | None, typer.Option("--fpir", metavar="RATES", help="FPIRs to report FNIR at [0.1,0.01,0.001].")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="R: FNIR is reported for R = 1 and R = k.")] = 20,
    photos: PhotosOption = None,
    out: OutOption = None,
    force: ForceOption = False,
    flip: FlipOption = False,
    faces: FacesOption = "largest",
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
    """How often searches miss somebody enrolled (FNIR) and alarm for strangers (FPIR), with 95 % intervals.

    Example: facesearch eval search people/ --split --out report/
    """
    from facesearch.cli.evaluate_search_output import emit_identification, print_identification
    from facesearch.evaluation.identification import evaluate_searches
    from facesearch.evaluation.report import IdentificationReport
    from facesearch.evaluation.report_files import write_identification_report
    from facesearch.evaluation.searches import FPIR_TARGETS
    from facesearch.jobs.evaluate import describe, failures, model_settings, score_searches
    from facesearch.jobs.outputs import guard_outputs

    require_choice("--plots", plots, ("svg", "png"))
    if k < 1:
        raise ConfigError(f"-k {k} is no rank.", "Give -k 1 or more.")
    targets = parse_rates(fpir, FPIR_TARGETS)
    if out is None:
        refuse_idle(context, ("plots",), "plots are written with --out")
    if is_folder(enrolled):
        refuse_idle(context, ("photos",), f"{enrolled} is a folder, and --photos is for lists")
    trials = read_searches(enrolled, probes, photos, split=split, seed=seed)
    with open_engine(
        gallery=gallery,
        pack=pack,
        provider=provider,
        det_size=det_size,
        precision=precision,
        many=True,
    ) as engine:
        wanted = (*trials.gallery.photos, *trials.probes.photos)
        inputs = paths_in(enrolled, probes, *wanted)
        with guard_outputs(engine, inputs, force=force).optional_folder(out) as output:
            embedder = engine.photo_embedder(faces=faces, flip=flip, cache=not no_cache)
            everything = embed_photos(embedder, wanted)
            settings = embedder.settings
            known, searched = everything.split_at(len(trials.gallery))
            scores = score_searches(trials, known, searched)
            result = evaluate_searches(scores, targets=targets, ranks=(1, k), seed=seed)
            failed = failures(known, searched)
            title = f"Identification: {Path(trials.source).name}"
            report = IdentificationReport(describe(trials.source, model_settings(settings), title=title), result)
            if output is not None:
                with output.unfinished() as folder:
                    write_identification_report(folder, report, plots=plots)
            record_figures(engine, report, out, record=not no_record)
    if json:
        emit_identification(trials.source, result, failed)
    else:
        print_identification(result, failed)
    note_report(out)
    exit_by_support(strict, [point.flag for point in result.points])


def read_searches(enrolled: Path, probes: Path | None, photos: Path | None, *, split: bool, seed: int) -> SearchTrials:
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
        return split_people(read_people(enrolled), seed)
    if probes is None:
        return read_search_folders(enrolled)
    if is_folder(enrolled) and is_folder(probes):
        known, searched = read_people(enrolled), read_people(probes)
        return require_new_photos(SearchTrials(f"{known.source} and {searched.source}", known, searched))
    return read_manifests(enrolled, probes, photos)


def compare(
    reports: Annotated[
        list[Path], typer.Argument(metavar="REPORT...", help="report.json files; each is set against the first.")
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="HTML", help="Write the page there.")] = None,
    force: ForceOption = False,
    far: Annotated[
        str | None, typer.Option("--far", metavar="RATES", help="FARs to compare TAR at [those all support].")
    ] = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Reports of the same people side by side, with paired differences; no winner where the interval covers 0.

    Example: facesearch eval compare small/report.json large/report.json --out compare.html
    """
    from facesearch.cli.evaluate_search_output import emit_differences, print_differences
    from facesearch.cli.output import note
    from facesearch.evaluation.comparison import compare_reports, comparison_page, winner
    from facesearch.evaluation.report import SCORES
    from facesearch.jobs.outputs import guard_outputs

    inputs = [file for each in reports for file in (each, each.parent / SCORES)]
    with open_engine() as engine, guard_outputs(engine, inputs, force=force).optional_file(out) as page:
        found = compare_reports(reports, parse_rates(far, ()) or None, seed)
        if page is not None:
            page.write(comparison_page(found.reports, found.differences).encode())
            note(f"The comparison is in {out}.")
    for a, b, rows in found.differences:
        winners = [winner(a, b, row) for row in rows]
        (emit_differences if json else print_differences)(a, b, rows, winners)
