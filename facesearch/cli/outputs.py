"""What commands write: the guard with all that an engine works with, and where drawings of photos go."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from facesearch.errors import ConfigError
from facesearch.names import is_folder, is_there
from facesearch.outputs import Outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from facesearch.api import FaceSearch
    from facesearch.config import Settings


def guard_outputs(engine: FaceSearch, inputs: Iterable[Path] = (), *, force: bool = False) -> Outputs:
    """A guard that also protects the engine's gallery, enrolled photos, model packs and key file.

    Raises `ConfigError` for an input that is a file of the gallery.
    """
    settings = engine.settings

    def kept() -> Iterator[Path]:
        yield from settings.model_folders
        if settings.pack is not None:
            yield Path(settings.pack).expanduser()
        if engine.has_gallery:
            from facesearch.store import photos as stored_photos

            yield from engine.gallery.read(stored_photos.photo_paths)

    return _guarded(settings, inputs, kept, force=force)


def require_not_of_gallery(settings: Settings, inputs: Iterable[Path]) -> None:
    """`ConfigError` for an input or a key file that is a file of the gallery: the gallery may write it anew."""
    _guarded(settings, inputs, tuple, force=False)


def _guarded(settings: Settings, inputs: Iterable[Path], kept: Callable[[], Iterable[Path]], *, force: bool) -> Outputs:
    gallery = settings.gallery if isinstance(settings.gallery, Path) else settings.gallery.folder
    key_file = () if settings.key_file is None else (settings.key_file,)
    outputs = Outputs(inputs=(*inputs, *key_file), gallery=gallery, kept=kept, force=force)
    outputs.check_gallery()
    return outputs


def place_drawings(out: Path | None, given: Sequence[Path], photos: Sequence[Path]) -> dict[Path, Path]:
    """Where the drawing of each photo goes; nowhere where `out` is None.

    `given` are the photos and folders that `photos` were found by. One photo is drawn to the file `out`. Several, or
    those of a folder, are drawn into the folder `out` below their paths from the folder that all of `given` share, so
    that equal names do not meet. Raises `ConfigError` for a file where a folder is needed, and for a suffix that no
    drawing has.
    """
    if out is None:
        return {}
    from facesearch.recognition.annotate import can_draw_as

    one_photo = len(given) == 1 and not is_folder(given[0])
    if one_photo and out.suffix and not is_folder(out):
        if not can_draw_as(out.suffix):
            raise ConfigError(
                f"A photo cannot be written as {out.suffix}.", "Use .jpg, .png or .webp, or a folder that exists."
            )
        return {given[0]: out}
    if is_there(out) and not is_folder(out):
        raise ConfigError(f"{out} is a file, and drawings of a folder or several photos need one folder.", _FOLDER)
    if not one_photo and can_draw_as(out.suffix) and not is_folder(out):
        raise ConfigError(f"{out} is named like one photo, but a folder or several photos were given.", _FOLDER)
    top = _shared_folder(given)
    places: dict[Path, Path] = {}
    taken: set[Path] = set()
    for photo in dict.fromkeys(photos):
        place = out / Path(os.path.relpath(photo, top) if top else _without_anchor(photo))
        if not can_draw_as(place.suffix):
            place = _with_jpg(place)
        while place in taken:
            place = _with_jpg(place)
        taken.add(place)
        places[photo] = place
    return places


_FOLDER = "Name a folder."


def _with_jpg(place: Path) -> Path:
    return place.with_name(f"{place.name}.jpg")


def _shared_folder(given: Sequence[Path]) -> str | None:
    """The deepest folder that all of these are in, or are; None where they are on several drives."""
    folders = [each if each.is_dir() else each.parent for each in given]
    try:
        return os.path.commonpath([os.path.abspath(folder) for folder in folders])  # noqa: PTH100  # links keep their names
    except ValueError:
        return None


def _without_anchor(photo: Path) -> Path:
    absolute = Path(os.path.abspath(photo))  # noqa: PTH100  # likewise
    return absolute.relative_to(absolute.anchor)
