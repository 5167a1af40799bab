"""The engine of the gallery's active model, for whoever goes on while others switch it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from facesearch.errors import ConfigError, ModelMismatchError, ModelNotFoundError
from facesearch.recognition.packs import KNOWN_PACKS

if TYPE_CHECKING:
    from facesearch.api import FaceSearch
    from facesearch.types import ModelInfo


def engine_of_active_model(engine: FaceSearch) -> FaceSearch:
    """An engine for the active model over `engine`'s gallery; with its pack where the gallery has no model yet.

    The pack is the one that `engine` was given, if that makes the gallery's templates, else the one that the gallery
    names. Nothing is downloaded. Raises `ModelNotFoundError` where it is not on this machine, `ModelMismatchError`
    where it makes other templates by now, or in the precision that was asked for.
    """
    active = engine.gallery.model()
    if active is None:
        return engine.beside()
    given = engine.settings.pack
    if given is not None and given != active.pack:
        try:
            return _with_pack(engine, given, active)
        except (ConfigError, ModelMismatchError, ModelNotFoundError):
            pass
    return _with_pack(engine, active.pack, active)


def _with_pack(engine: FaceSearch, pack: str, active: ModelInfo) -> FaceSearch:
    try:
        found = engine.beside(pack)
    except (ConfigError, ModelNotFoundError) as error:
        how = f"Run `facesearch models pull {shlex.quote(pack)}` here" if pack in KNOWN_PACKS else "Copy it there"
        raise ModelNotFoundError(
            f"The gallery's model is {active.model_id}, and its pack {pack} is not on this machine.",
            f"{how}, and it is taken up by itself; or start again with --pack and the folder of that pack.",
        ) from error
    made = found.encoder.info
    if made.model_id != active.model_id:
        engine.gallery.require_model(made)
    return found
