"""`facesearch models quantize`: a pack in another precision, made and measured on the user's own photos."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facesearch.cli.options import DetSizeOption, ForceOption, JsonOption, open_engine

if TYPE_CHECKING:
    from facesearch.recognition.precision import Measurement

PhotosArgument = Annotated[
    Path, typer.Argument(metavar="PHOTOS", help="A folder of photos like yours; best with one folder per person.")
]


def register(models: typer.Typer) -> None:
    """Add the command to `facesearch models`."""
    models.command()(quantize)


def quantize(
    pack: Annotated[str, typer.Argument(metavar="PACK", help="A pack's name, or a folder.")],
    photos: PhotosArgument,
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
    with open_engine(pack=pack, det_size=det_size) as engine:
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
        _show(f"{wanted} on {provider}", measured)


def _show(title: str, measured: Measurement) -> None:
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
