"""`facesearch models repair`: a detector's file that takes batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facesearch.cli.options import ForceOption, JsonOption, open_engine
from facesearch.names import is_file

if TYPE_CHECKING:
    from facesearch.recognition.repair_file import RepairedFile

DetectorArgument = Annotated[
    str, typer.Argument(metavar="FILE|PACK", help="An SCRFD's .onnx file, or a pack with one.")
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Where to write it [default: NAME.batched.onnx in this folder]."),
]


def register(models: typer.Typer) -> None:
    """Add the command to `facesearch models`."""
    models.command()(repair)


def repair(
    detector: DetectorArgument, out: OutOption = None, force: ForceOption = False, json: JsonOption = False
) -> None:
    """Make a detector's file take batches of photos of any size, and prove it by running both.

    Each of 32 images alone and in their batch, and the first ones through the file as it was, must agree within 1e-5
    at three sizes, without a warning of onnxruntime; nothing is written otherwise. In a pack.toml the new file may take
    the old one's place: galleries and calibrations know it as the file it was made from.

    Example: facesearch models repair buffalo_l --out det_10g.batched.onnx
    """
    from facesearch.cli.output import emit, note
    from facesearch.jobs.outputs import guard_outputs
    from facesearch.recognition.repair_file import repair_file

    source = Path(detector)
    with open_engine() as engine:
        if not is_file(source):
            source = engine.packs.find(detector).detector.path
        target = out or Path(f"{source.stem}.batched.onnx")
        with guard_outputs(engine, [source], force=force).file(target) as output, output.unfinished() as unfinished:
            note("Running both files on 32 images of three sizes; a large detector takes a minute and 3 GB of memory.")
            made = replace(repair_file(source, unfinished), path=target)
    if json:
        emit(_record(made))
    else:
        _show(made)


def _record(made: RepairedFile) -> dict[str, Any]:
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


def _show(made: RepairedFile) -> None:
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
