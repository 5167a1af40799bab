"""`facesearch models` and `doctor`: model packs, and what of this machine can run them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facesearch.cli.options import (
    DetSizeOption,
    EngineOptions,
    ForceOption,
    JsonOption,
    complete_packs,
    engine_options,
    open_engine,
)
from facesearch.cli.reembed import retire
from facesearch.cli.root import EXIT_NEGATIVE, new_group
from facesearch.names import is_file

if TYPE_CHECKING:
    from facesearch.jobs.doctor import ProviderTrial
    from facesearch.recognition.packs.precision import Measurement
    from facesearch.recognition.packs.repair_file import RepairedFile

PackArgument = Annotated[
    str, typer.Argument(metavar="PACK", autocompletion=complete_packs, help="A pack's name, or a folder.")
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    models = new_group("Model packs: list, pull, verify, info, repair, quantize, retire.")
    models.command("list")(list_packs)
    for command in (pull, verify, info, repair, quantize, retire):
        models.command()(command)
    app.add_typer(models, name="models")
    app.command()(doctor)


def list_packs(json: JsonOption = False) -> None:
    """List the packs that can be pulled, and those that are on this machine.

    Example: facesearch models list
    """
    from facesearch.cli.output import print_records

    with open_engine() as engine:
        installed = {each.name: each for each in engine.packs.installed()}
        known = {each.name: each for each in engine.packs.known()}
    records = []
    rows = []
    for name in [*known, *(name for name in installed if name not in known)]:
        here, pack = installed.get(name), known.get(name)
        use = sorted({file.terms.use for file in pack.files}) if pack else []
        summary = pack.summary if pack else "your own"
        records.append(
            {
                "pack": name,
                "summary": summary,
                "use": use,
                "download_bytes": pack.download_size if pack else None,
                "folder": here.folder if here else None,
                "problem": here.problem if here else None,
            }
        )
        place = (here.problem or str(here.folder)) if here else "not here"
        rows.append((name, summary, "; ".join(use), place))
    print_records(records, ("pack", "what it is", "use (not legal advice)", "on this machine"), rows, json=json)


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
    """Show a pack's files, their licences, training data and permitted use, preprocessing and threshold.

    Example: facesearch models info buffalo_l
    """
    from facesearch.cli.output import emit, print_table
    from facesearch.jobs.precision import recorded

    with open_engine() as engine:
        found = engine.packs.find(pack)
    record = {
        "pack": found.name,
        "detector": found.detector.path,
        "detector_sha256": found.detector.sha256,
        **{f"detector_{key}": value for key, value in asdict(found.detector.terms).items()},
        "recognizer": found.recognizer.path,
        "recognizer_sha256": found.recognizer.sha256,
        **{f"recognizer_{key}": value for key, value in asdict(found.recognizer.terms).items()},
        "channel_order": found.recognizer.channel_order,
        "input_mean": found.recognizer.input_mean,
        "input_std": found.recognizer.input_std,
        "dimension": found.recognizer.dimension,
        "thresholds": [{"fmr": each.fmr, "score": each.score, "basis": each.basis} for each in found.table],
        "threshold": found.threshold,
        "threshold_basis": found.threshold_basis,
        "precisions": recorded(found),
    }
    if json:
        emit(record)
    else:
        table = ", ".join(f"{each.score:g} at FMR {each.fmr:g}" for each in found.table)
        shown = {**record, "thresholds": table or "none was measured"}
        print_table(("", ""), [(key, "" if value is None else value) for key, value in shown.items()])


def repair(
    detector: Annotated[str, typer.Argument(metavar="FILE|PACK", help="An SCRFD's .onnx file, or a pack with one.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Where to write it [default: NAME.batched.onnx in this folder]."),
    ] = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Make a detector's file take batches of photos of any size, and prove it by running both.

    Each of 32 images alone and in their batch, and the first ones through the file as it was, must agree within 1e-5
    at three sizes, without a warning of onnxruntime; nothing is written otherwise. In a pack.toml the new file may take
    the old one's place: galleries and calibrations know it as the file it was made from.

    Example: facesearch models repair buffalo_l --out det_10g.batched.onnx
    """
    from facesearch.cli.output import emit, note
    from facesearch.cli.outputs import guard_outputs
    from facesearch.recognition.packs.repair_file import repair_file

    source = Path(detector)
    with open_engine() as engine:
        if not is_file(source):
            source = engine.packs.find(detector).detector.path
        target = out or Path(f"{source.stem}.batched.onnx")
        with guard_outputs(engine, [source], force=force).file(target) as output, output.unfinished() as unfinished:
            note("Running both files on 32 images of three sizes; a large detector takes a minute and 3 GB of memory.")
            made = replace(repair_file(source, unfinished), path=target)
    if json:
        emit(_repair_record(made))
    else:
        _show_repair(made)


def _repair_record(made: RepairedFile) -> dict[str, Any]:
    return {
        "file": made.path,
        "sha256": made.sha256,
        "repaired_from": made.origin_sha256,
        "changes": list(made.changes),
        "checked": [
            {"height": each.height, "width": each.width, "batch_difference": each.batch, "difference": each.original}
            for each in made.check.sizes
        ],
        "onnx": made.onnx_version,
    }


def _show_repair(made: RepairedFile) -> None:
    from facesearch.cli.output import print_table, say

    for change in made.changes or ("nothing had to be changed",):
        say(f"  {change}")
    rows = [
        (f"{each.height} x {each.width}", f"{each.batch:.1e}", "" if each.original is None else f"{each.original:.1e}")
        for each in made.check.sizes
    ]
    print_table(("size", "alone or among 32", "before or after"), rows)
    judged = f"onnx {made.onnx_version} finds it valid" if made.onnx_version else "not judged by onnx: not installed"
    say(f"{made.path}: {judged}")
    say(f'sha256 = "{made.sha256}"')


def quantize(
    pack: PackArgument,
    photos: Annotated[
        Path,
        typer.Argument(metavar="PHOTOS", help="A folder of photos like yours; best with one folder per person."),
    ],
    precision: Annotated[
        str, typer.Option("--precision", metavar="NAME", help="int8, which gets files of its own, or bf16.")
    ] = "int8",
    pairs: Annotated[
        Path | None, typer.Option("--pairs", metavar="FILE", help="Pairs of these photos, in a format that eval reads.")
    ] = None,
    force: ForceOption = False,
    det_size: DetSizeOption = None,
    json: JsonOption = False,
) -> None:
    """Make int8 files of a pack, calibrated on your photos, and measure on them what that changes.

    The files and the measurement are kept in the pack's folder; `--precision int8` then uses them. bf16 runs the pack's
    own files with OpenVINO, so that it is only measured. Galleries take templates of two precisions where 99 of 100
    scores move by less than 0.02.

    Example: facesearch models quantize buffalo_l people/
    """
    from facesearch.cli.output import emit, note
    from facesearch.config import DEFAULT_DET_SIZE
    from facesearch.jobs.precision import prepare_precision
    from facesearch.recognition.runtime import parse_precision

    wanted = parse_precision(precision)
    with open_engine(EngineOptions(pack=pack, det_size=det_size)) as engine:
        record = prepare_precision(
            engine.packs.find(pack),
            wanted,
            photos,
            pairs=pairs,
            force=force,
            det_size=engine.settings.det_size or DEFAULT_DET_SIZE,
            notice=note,
        )
    if json:
        emit(asdict(record))
        return
    for provider, measured in record.measured.items():
        _show_measurement(f"{wanted} on {provider}", measured)


def _show_measurement(title: str, measured: Measurement) -> None:
    from facesearch.cli.output import print_table
    from facesearch.types import MAX_SCORE_SHIFT

    may = "may" if measured.score_shift < MAX_SCORE_SHIFT else "may not"
    rows = [
        ("photos with a face", f"{measured.faces} of {measured.photos}"),
        ("faces lost, gained", f"{measured.lost}, {measured.gained}"),
        ("cosine to fp32", f"mean {measured.cosine_mean:.4f}, least {measured.cosine_min:.4f}"),
        ("scores against fp32", f"99 % move by less than {measured.score_shift:.4f}, none by over "
                                f"{measured.score_shift_max:.4f}: they {may} share a gallery"),
        ("scores among themselves", f"99 % move by less than {measured.score_shift_within:.4f}"),
        *((f"TAR at FAR {far:g}", f"fp32 {before:.4f}, now {after:.4f}") for far, before, after in measured.tar),
    ]  # fmt: skip
    print_table((title, ""), rows)


@engine_options("pack")
def doctor(
    *,
    options: EngineOptions,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="N", min=0, help="Time for each provider and precision.")
    ] = 10.0,
    json: JsonOption = False,
) -> None:
    """Try every provider and precision on this machine, measure those that run, and recommend one.

    The time is that of detection and one template of a photo of 1280 x 960 pixels, one photo at a time on all cores.

    Exit code: 4 the model pack is not here.

    Example: facesearch doctor --seconds 2
    """
    from facesearch.cli.output import print_records, progress_bar, say
    from facesearch.jobs.doctor import recommend, try_providers

    with open_engine(options) as engine:
        pack = engine.packs.find(engine.pack_reference)
        trials = []
        with progress_bar("Measuring", total=None, unit="providers") as advance:
            for each in try_providers(pack, seconds):
                trials.append(each)
                advance()
    rows = (
        (each.provider, each.precision, f"{each.milliseconds:.1f} ms" if each.milliseconds else "", _why(each))
        for each in trials
    )
    records = [asdict(each) for each in trials]
    print_records(records, ("provider", "precision", "a photo", "why not"), rows, json=json)
    if not json:
        for sentence in recommend(trials):
            say(sentence)


def _why(trial: ProviderTrial) -> str:
    return f"{trial.problem} {trial.hint}".strip()
