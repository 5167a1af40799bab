"""Options that several commands share, and the engine they describe."""

from __future__ import annotations

import glob
import inspect
import re
import sys
from contextvars import ContextVar
from dataclasses import asdict, dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer

from facesearch.cli.output import Typed, typed
from facesearch.errors import ConfigError, FaceSearchError
from facesearch.names import is_file, is_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from facesearch.api import FaceSearch
    from facesearch.config import Settings

# -- what a shell completes; an error completes nothing, and so does an unprintable name


def complete_packs(incomplete: str) -> list[str]:
    """Return the names of packs that can be pulled and of those on this machine."""
    from facesearch.api import FaceSearch

    try:
        with FaceSearch(_offline_settings(None)) as engine:
            known, installed = engine.packs.known(), engine.packs.installed()
            return _beginning(incomplete, [*(each.name for each in known), *(each.name for each in installed)])
    except (FaceSearchError, OSError):
        return []


def complete_people(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return names and aliases of people in the gallery that the command line or the environment names."""
    from facesearch.api import FaceSearch

    try:
        with FaceSearch(_offline_settings(ctx.params.get("gallery"))) as engine:
            found = engine.subjects()
            return _beginning(incomplete, (name for each in found for name in (each.name, *each.aliases)))
    except (FaceSearchError, OSError):
        return []


def complete_galleries(incomplete: str) -> list[str]:
    """Return folders that hold a gallery, and with a slash those that may hold one further down."""
    from facesearch.store.sqlite import DATABASE_NAME

    paths = glob.glob(f"{glob.escape(incomplete)}*")  # noqa: PTH207  # keeps a leading ./ as it was typed
    folders = [path for path in paths if is_folder(Path(path))]
    return _beginning(incomplete, (each if is_file(Path(each, DATABASE_NAME)) else f"{each}/" for each in folders))


def _offline_settings(gallery: str | None) -> Settings:
    """Load settings that download nothing. The key of an encrypted gallery comes from the environment or is missing."""
    from facesearch.config import Settings

    return replace(Settings.load(gallery=gallery), offline=True)


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    from facesearch.config import completes_for_bash

    found = sorted({name for name in names if name.startswith(incomplete) and name.isprintable()})
    return [re.sub(r"([^\w@%+=:,./-])", r"\\\1", name) for name in found] if completes_for_bash() else found


# -- options

GalleryOption = Annotated[
    str | None,
    typer.Option(
        "--gallery",
        "-g",
        metavar="DIR|URL",
        autocompletion=complete_galleries,
        help="The gallery's folder, or its PostgreSQL database [FACESEARCH_GALLERY; default: data].",
    ),
]
PackOption = Annotated[
    str | None,
    typer.Option(
        "--pack",
        metavar="NAME|DIR",
        autocompletion=complete_packs,
        help="Model pack [FACESEARCH_PACK; default: the gallery's, else buffalo_l].",
    ),
]
ProviderOption = Annotated[
    str | None,
    typer.Option(
        "--provider",
        metavar="NAME",
        help="auto, cpu, cuda, tensorrt, openvino, coreml or directml [FACESEARCH_PROVIDER; default: auto].",
    ),
]
DetSizeOption = Annotated[
    str | None,
    typer.Option(
        "--det-size",
        metavar="SIZE",
        help="Size in pixels at which faces are looked for: a multiple of 32, auto (128 and 640 together), fast "
        "(320, then 640 if that finds no face or small ones only), or insightface (as InsightFace does) "
        "[FACESEARCH_DET_SIZE; default: the gallery's, else auto].",
    ),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="NAME",
        help="fp32, bf16 or int8 [FACESEARCH_PRECISION; default: the gallery's, else fp32].",
    ),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        "-t",
        metavar="SCORE",
        help="Score from which two faces match, -1 to 1 [FACESEARCH_THRESHOLD].",
    ),
]
FpirOption = Annotated[
    float | None,
    typer.Option(
        "--fpir",
        metavar="RATE",
        help="Share of strangers that may match: chooses the threshold by the pack's table and the gallery's size "
        "[FACESEARCH_FPIR; default: 0.01, unless the gallery is calibrated].",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        help="Photos processed at once [default: one per core, at most 8].",
    ),
]
BatchOption = Annotated[
    int | None, typer.Option("--batch", metavar="N", help="Faces per run of the recogniser [default: 8; 16 on a GPU].")
]
IndexOption = Annotated[
    str | None,
    typer.Option(
        "--index",
        metavar="KIND",
        help="How to search: flat, two-stage, or auto: two-stage from 50,000 templates on [FACESEARCH_INDEX; default: "
        "auto].",
    ),
]
FusionOption = Annotated[
    str | None,
    typer.Option(
        "--fusion",
        metavar="RULE",
        help="How a person's templates make one score: mean (half the best, half their mean) or max (the best) "
        "[FACESEARCH_FUSION; default: mean].",
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace existing files, but never inputs or files of a gallery.")
]
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", autocompletion=complete_people, help="A person's name or alias.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object per line (NDJSON).")]


_key_file: ContextVar[Path | None] = ContextVar("facesearch_key_file", default=None)


def use_key_file(file: Path | None) -> None:
    """Take the gallery's key from this file, in whatever command follows."""
    _key_file.set(file)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """The options that say what an engine works with, in the order of `--help`; None where one was not typed."""

    gallery: GalleryOption = None
    pack: PackOption = None
    provider: ProviderOption = None
    det_size: DetSizeOption = None
    precision: PrecisionOption = None
    threshold: ThresholdOption = None
    fpir: FpirOption = None
    workers: WorkersOption = None
    batch: BatchOption = None
    index: IndexOption = None
    fusion: FusionOption = None


MODEL: Final = ("gallery", "pack", "provider", "det_size", "precision")
"""Options of every command that embeds photos."""
MANY: Final = ("workers", "batch")
"""Options of commands that embed many photos into the gallery."""


def engine_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these engine options; its parameter `options` receives them as one `EngineOptions`."""
    return grouped_options(EngineOptions, names, "options")


def grouped_options(
    kind: type[Any], names: Sequence[str], parameter: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that are these fields of the dataclass `kind`; it receives one in `parameter`.

    They stand in `--help` where `parameter` stands in the signature.
    """
    hints = get_type_hints(kind, include_extras=True)
    defaults = {each.name: each.default for each in fields(kind)}
    taken = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=hints[name])
        for name in names
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [
            each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for one in own
            for each in (taken if one.name == parameter else [one])
        ]

        @wraps(command)
        def run(**given: Any) -> None:
            chosen = kind(**{name: given.pop(name) for name in names})
            command(**given, **{parameter: chosen})

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def load_settings(options: EngineOptions) -> Settings:
    """Combine what was typed with the environment."""
    from facesearch.config import Settings

    settings = Settings.load(**asdict(options), key_file=_key_file.get())
    typed.set(Typed(str(settings.gallery) if options.gallery else None, _key_file.get()))
    return settings


def load_gallery_settings(gallery: str | None) -> Settings:
    """`load_settings` for work on a gallery that is not opened as one. Raises `InstallationError`."""
    from facesearch.jobs.parts import require_gallery_libraries

    require_gallery_libraries()
    return load_settings(EngineOptions(gallery=gallery))


def ask_key(question: str = "Key of the gallery", *, confirm: bool = False) -> str | None:
    """Ask for a key where somebody can answer; None where nobody can."""
    if not sys.stdin.isatty():
        return None
    answer: str = typer.prompt(question, hide_input=True, confirmation_prompt=confirm, err=True)
    return answer


def open_engine(options: EngineOptions | None = None, *, gallery: str | None = None, many: bool = False) -> FaceSearch:
    """Open the engine that `options` describe, or one over `gallery`, with a progress bar for a model download.

    `many` makes it one for many photos rather than for one soon, unless `options.workers` says how many at once.
    """
    from facesearch.api import FaceSearch
    from facesearch.cli.output import DownloadProgress, note

    chosen = options or EngineOptions(gallery=gallery)
    if many and chosen.workers is None:
        from facesearch.recognition.extractor import workers_for_many

        chosen = replace(chosen, workers=workers_for_many())
    return FaceSearch(load_settings(chosen), progress=DownloadProgress(), notice=note, ask_key=ask_key)


def refuse_idle(context: typer.Context, names: Collection[str], why: str) -> None:
    """Raise `ConfigError` where one of these parameters was typed, because it would do nothing. `why` ends a sentence.

    Variables are let be: they are set for many commands.
    """
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            metavar = str(parameter.metavar or parameter.name).strip("[]")
            called = parameter.opts[0] if parameter.opts[0].startswith("-") else metavar
            raise ConfigError(f"{called} would do nothing: {why}.", "Leave it out.")


def refuse_idle_index(options: EngineOptions, engine: FaceSearch) -> None:
    """Raise `ConfigError` where --index was typed and a vector database searches the gallery."""
    if options.index is not None and engine.has_gallery and (kind := engine.gallery.vector_databases.describe()):
        raise ConfigError(
            f"--index would do nothing: the gallery is searched by {kind}.",
            "Leave it out, or move the gallery with `facesearch reindex`.",
        )


def require_there(paths: Iterable[Path]) -> None:
    """Raise `ConfigError` for a path that is not there, before any work. What cannot be read is another matter."""
    from facesearch.names import path_text
    from facesearch.walking import is_gone

    for path in paths:
        if is_gone(path):
            raise ConfigError(f"There is no {path_text(path)}.", "Check the path.")
