"""`facesearch calibrate`: a threshold for this gallery with a stated error rate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facesearch.cli.evaluate_options import EvaluationOptions, embed_photos, evaluation_options, paths_in
from facesearch.cli.options import (
    MODEL,
    EngineOptions,
    ForceOption,
    JsonOption,
    engine_options,
    open_engine,
    refuse_idle,
    require_there,
)
from facesearch.cli.output import emit, note
from facesearch.cli.outputs import guard_outputs
from facesearch.errors import ConfigError
from facesearch.names import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facesearch.api import FaceSearch
    from facesearch.evaluation.calibrating import Request
    from facesearch.evaluation.calibration import Metric
    from facesearch.evaluation.trials.types import PhotoSet
    from facesearch.jobs.calibrate import Calibrated
    from facesearch.jobs.embeddings import Embedded

WORK = (
    "people", "unknown", "subjects", "confidence", "leave_out", "split", "extrapolate", "out", "dry_run", "faces",
    "seed", "no_cache", "provider",
)  # fmt: skip
"""Parameters that say how a new threshold is found."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(calibrate)


@engine_options(*MODEL, "fusion")
@evaluation_options("faces", "seed", "no_cache")
def calibrate(
    context: typer.Context,
    people: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PEOPLE]",
            help="Labelled photos, one folder per person [default: the gallery's own templates].",
        ),
    ] = None,
    fpir: Annotated[
        float | None, typer.Option("--fpir", metavar="RATE", help="Let at most this share of strangers match somebody.")
    ] = None,
    far: Annotated[
        float | None, typer.Option("--far", metavar="RATE", help="Let at most this share of 1:1 comparisons match.")
    ] = None,
    unknown: Annotated[
        Path | None,
        typer.Option("--unknown", metavar="DIR", help="Photos of strangers: search the gallery with them."),
    ] = None,
    subjects: Annotated[
        int | None,
        typer.Option(
            "--subjects",
            metavar="N",
            help="Number of people for which the rate has to hold [default: the gallery's].",
        ),
    ] = None,
    confidence: Annotated[
        float,
        typer.Option(
            "--confidence", metavar="SHARE", help="How sure the rate is kept; 0.5 keeps the estimate, a coin flip."
        ),
    ] = 0.9,
    leave_out: Annotated[
        list[str] | None,
        typer.Option("--leave-out", metavar="PHOTO", help="A photo with a wrong label, as audit names it; repeatable."),
    ] = None,
    split: Annotated[
        bool,
        typer.Option(
            "--split/--no-split",
            help="Find the threshold with half of the people, and check it with the others.",
        ),
    ] = True,
    extrapolate: Annotated[
        bool,
        typer.Option(
            "--extrapolate",
            help="For a rate beyond what the data show, fit the tail of the scores and take its safe limit.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="JSON", help="Also write the calibration to this file.")
    ] = None,
    force: ForceOption = False,
    use: Annotated[
        Path | None, typer.Option("--use", metavar="JSON", help="Use the calibration in this file, which --out wrote.")
    ] = None,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget",
            help="Remove the calibration: use the model pack's threshold again.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the calibration, and change nothing.")] = False,
    *,
    asked: EvaluationOptions,
    options: EngineOptions,
    json: JsonOption = False,
) -> None:
    """Find the threshold for an error rate in this gallery. query, verify and enroll use it from then on.

    Data that are too few for a rate are an error, which says how many people it takes.

    Example: facesearch calibrate --fpir 0.001
    """
    from facesearch.cli.evaluate_output import print_calibration
    from facesearch.evaluation.calibrating import Request
    from facesearch.jobs.calibrate import describe

    if sum((fpir is not None, far is not None, use is not None, forget)) != 1:
        raise ConfigError(
            "calibrate needs one of --fpir, --far, --use and --forget, and no more.",
            "For example: facesearch calibrate --fpir 0.001",
        )
    _refuse_idle(context, people, unknown, settled=forget or use is not None)
    require_there(path for path in (people, unknown) if path is not None)
    with open_engine(options, many=True) as engine:
        if forget or use is not None:
            _adopt_or_forget(engine, use, json=json)
            return
        with guard_outputs(engine, paths_in(people, unknown), force=force).optional_file(out) as file:
            engine.gallery.require_model(engine.extractor.info)
            metric, target, size = _target(engine, fpir, far, subjects, extrapolate=extrapolate)
            request = Request(metric, target, size, confidence, split, extrapolate, asked.seed, engine.settings.fusion)
            found = _calibrated(engine, request, people, unknown, asked, leave_out or ())
            if not dry_run:
                engine.adopt_calibration(found.calibration)
            if file is not None:
                text = found.calibration.to_json() + "\n"
                file.write(text.encode(), done="" if dry_run else "The threshold is in force")
    if json:
        emit(describe(found))
    else:
        print_calibration(found)
    note("Nothing was changed (--dry-run)." if dry_run else "The new threshold is in use. `facesearch info` shows it.")


def _refuse_idle(context: typer.Context, people: Path | None, unknown: Path | None, *, settled: bool) -> None:
    """Refuse what would do nothing; `settled` says that no threshold is looked for."""
    if settled:
        refuse_idle(context, WORK, "with --use and --forget no threshold is looked for")
    if people is not None and unknown is not None:
        raise ConfigError("PEOPLE and --unknown cannot be given together.", "Leave one out.")
    if people is None and unknown is None:
        refuse_idle(context, ("faces", "no_cache", "provider"), "without PEOPLE and --unknown no photos are read")


def _adopt_or_forget(engine: FaceSearch, use: Path | None, *, json: bool) -> None:
    from facesearch.jobs.calibrate import read_calibration_file
    from facesearch.records import ThresholdRecord

    if use is None:
        from facesearch.store import models

        removed = engine.gallery.write(models.forget_calibrations)
        if json:
            emit({"removed": removed, **dict(ThresholdRecord.of(engine.threshold))})
        note(f"Removed {counted(removed, 'calibration')}. The model pack's threshold is used again.")
        return
    engine.adopt_calibration(read_calibration_file(use), str(use))
    in_force = engine.threshold
    if json:
        emit(ThresholdRecord.of(in_force))
    note(f"The threshold is {in_force.value:g} now ({in_force.basis}).")


def _target(
    engine: FaceSearch, fpir: float | None, far: float | None, subjects: int | None, *, extrapolate: bool
) -> tuple[Metric, float, int]:
    """The metric, the rate it may reach, and the gallery size it is to hold for."""
    from facesearch.evaluation.calibration import Metric
    from facesearch.store import templates

    if fpir is None and (extrapolate or subjects is not None):
        raise ConfigError(
            "--subjects and --extrapolate are for --fpir: a FAR does not depend on the gallery's size.",
            "Leave them out.",
        )
    target = fpir if fpir is not None else far
    if target is None or not 0 < target < 1:
        raise ConfigError(f"The rate {target:g} is not between 0 and 1.", "Give a rate above 0 and below 1, as 0.001.")
    size = engine.gallery.read(templates.counts)["subjects"] if subjects is None else subjects
    return Metric.FAR if fpir is None else Metric.FPIR, target, size


def _calibrated(
    engine: FaceSearch,
    request: Request,
    people: Path | None,
    unknown: Path | None,
    asked: EvaluationOptions,
    leave_out: Sequence[str],
) -> Calibrated:
    from facesearch.evaluation.trials.folders import read_people, read_strangers
    from facesearch.jobs.calibrate import (
        calibrate_on_labelled,
        calibrate_on_strangers,
        gallery_templates,
        labelled_templates,
        require_unknown,
        stranger_templates,
        without,
    )

    info, gallery = engine.extractor.info, engine.gallery

    def embedded(photos: PhotoSet) -> Embedded:
        return embed_photos(engine.photo_embedder(faces=asked.faces, cache=not asked.no_cache), photos.photos)

    if unknown is not None:
        strangers = read_strangers(unknown)
        require_unknown(strangers, gallery)
        probes = stranger_templates(strangers, embedded(strangers), gallery, info.dimension)
        found = calibrate_on_strangers(without(gallery_templates(gallery), leave_out), probes, request)
    else:
        labelled = None if people is None else read_people(people)
        known = gallery_templates(gallery) if labelled is None else labelled_templates(labelled, embedded(labelled))
        found = calibrate_on_labelled(without(known, leave_out), request)
    return replace(found, calibration=found.calibration.bound_to(info, request.fusion))
