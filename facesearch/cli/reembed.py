"""`facesearch reembed` and `models retire`: another model for the people who are enrolled."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from facesearch.cli.options import (
    MANY,
    MODEL,
    EngineOptions,
    GalleryOption,
    JsonOption,
    engine_options,
    open_engine,
    refuse_idle,
)
from facesearch.cli.output import emit, note, print_table, progress_bar, say, tell
from facesearch.cli.root import EXIT_NEGATIVE
from facesearch.errors import ConfigError
from facesearch.names import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from facesearch.api import FaceSearch
    from facesearch.jobs.reembedding import ReembedOutcome, Switch

SHOWN = 20
"""Photos listed on a terminal that a template is missing of; `--json` lists all."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reembed)


@engine_options(*MODEL, *MANY)
def reembed(
    context: typer.Context,
    activate: Annotated[
        bool, typer.Option("--activate", help="Then switch: search with the new templates from now on.")
    ] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Switch back to the model that was in use before.")
    ] = False,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing",
            help="Switch although some faces have no new template, so that searches miss them.",
        ),
    ] = False,
    *,
    options: EngineOptions,
    json: JsonOption = False,
) -> None:
    """Embed all enrolled photos with another model, and switch to it.

    Searches use the old model until you give --activate. You can stop it at any time; the same command continues from
    there. Without --pack it makes the templates that the model in use lacks. Uploads have no file: it uses their small
    pictures, which `serve --thumbnails` keeps.

    Exit code: 0 every face has a new template; 1 some have none, and the list names their photos.

    Example: facesearch reembed --pack antelopev2

    Example: facesearch reembed --pack antelopev2 --activate

    Example: facesearch reembed --rollback
    """
    if rollback and (activate or options.pack):
        raise ConfigError("--rollback cannot be given with --activate or --pack.", "Leave them out.")
    if rollback:
        refuse_idle(context, ("det_size", "precision"), "--rollback uses those of the previous model")
    elif not activate:
        refuse_idle(context, ("allow_missing",), "nothing is switched without --activate or --rollback")
    with open_engine(options, many=True) as engine:
        change = engine.model_change
        if rollback:
            missing = _follow(change.complete_previous(), change.previous().missing, json=json)
            _tell_switch(change.rollback(allow_missing=allow_missing), json=json)
        else:
            note(engine.extractor.provider.note)
            missing = _follow(change.reembed(), change.total, json=json)
            if activate:
                _tell_switch(change.activate(allow_missing=allow_missing), json=json)
            else:
                _tell_next(engine, missing)
    if missing:
        raise typer.Exit(EXIT_NEGATIVE)


def _follow(outcomes: Iterable[ReembedOutcome], total: int, *, json: bool) -> int:
    """Show a re-embedding; returns how many faces still lack a template."""
    counts: Counter[str] = Counter()
    listed: list[str] = []
    missing = 0
    with progress_bar("embedding", total, "faces") as advance:
        for outcome in outcomes:
            counts["embedded from a small picture" if outcome.from_crop and outcome.templates else outcome.status] += 1
            missing += outcome.missing
            if outcome.rejection and len(listed) < SHOWN:
                reason = outcome.rejection.reason.value
                listed.append(f"{outcome.status.value:8} {reason:18} {outcome.photo}: {outcome.rejection.detail}")
            advance(outcome.templates + outcome.missing)
            if json:
                record = asdict(outcome)
                emit({**record, **(record.pop("rejection") or {"reason": None, "detail": None})})
    if not json:
        names = ["embedded", *sorted(name for name in counts if name != "embedded")]
        print_table(("photos", "count"), [*((name, counts[name]) for name in names), ("total", counts.total())])
        for line in listed:
            note(line)
        flagged = counts["failed"] + counts["changed"] + counts["gone"]
        if flagged > len(listed):
            note(f"... and {flagged - len(listed)} more; --json lists all of them.")
    return missing


def _tell_next(engine: FaceSearch, missing: int) -> None:
    from facesearch.store.models import options_of

    active, new = engine.gallery.model(), engine.model
    if missing:
        note(f"Enrolled faces without a template of {new.model_id}: {missing}.")
    if active is None or active.model_id == new.model_id:
        return
    note(f"Searches still use {active.model_id}. To compare the two models on labelled photos:")
    note(f"  facesearch eval PEOPLE {options_of(active)} --out old")
    note(f"  facesearch eval PEOPLE {options_of(new)} --out new")
    note("  facesearch eval compare old/report.json new/report.json")
    note(f"To switch to the new one: facesearch reembed {options_of(new)} --activate")


def _tell_switch(switch: Switch, *, json: bool) -> None:
    model_id = switch.model.model_id
    if json:
        emit({"model": model_id, "previous": switch.previous, "missing": switch.missing})
    elif switch.previous == model_id:
        say(f"Searches use {model_id} already.")
    else:
        say(f"Searches now use {model_id} instead of {switch.previous}.")
    if switch.missing:
        note(f"Enrolled faces without a template of it, which searches miss: {switch.missing}.")
    if switch.previous != model_id:
        note("The old model's calibration does not hold for the new one. Calibrate: facesearch calibrate --fpir 0.001")
        note("Running servers switch by themselves. Restart other programs that have the gallery open.")
        note("To go back: facesearch reembed --rollback")
        note(f"To remove the previous model for good: facesearch models retire {shlex.quote(switch.previous)}")


def retire(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="The id of a model, from `facesearch info`, or its pack.")
    ],
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing",
            help="Also remove faces, and people, without a template of another model.",
        ),
    ] = False,
    gallery: GalleryOption = None,
    json: JsonOption = False,
) -> None:
    """Remove the templates and calibrations of a model that is no longer in use, for good.

    The files of the model pack stay. To go back to the model, you would have to embed all photos again.

    Example: facesearch models retire w600k_r50-0123456789ab
    """
    with open_engine(gallery=gallery) as engine:
        retired = engine.model_change.retire(model, allow_missing=allow_missing)
    text = f"Removed {counted(retired.templates, 'template')} of {retired.model_id}"
    if retired.faces:
        faces, people = counted(retired.faces, "face"), counted(retired.subjects, "person", "people")
        text += f", {faces} without another template, and {people} without another face"
    tell(asdict(retired), f"{text}.", json=json)
