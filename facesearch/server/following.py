"""The model in force: the gallery's active one, also when `facesearch reembed` makes another active while this runs.

Each request works with one snapshot from its beginning to its end. A search, and what is written, is refused by the
gallery in the transaction itself where another model became active meanwhile; then the request starts over with that
one. So an answer is the old model's or the new one's, never made of both.
"""

from __future__ import annotations

import logging
import shlex
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from anyio.to_thread import run_sync

from facesearch.errors import ConfigError, ModelMismatchError, ModelNotFoundError
from facesearch.recognition.packs.store import KNOWN_PACKS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from facesearch.api import FaceSearch
    from facesearch.types import ModelInfo, Threshold

log = logging.getLogger("facesearch.server")

Answer = TypeVar("Answer")

SECONDS: Final = 1.0
"""How long a snapshot is used: a calibration is in force, and photos are compared with another model, by then."""
ATTEMPTS: Final = 3
"""Of a request: between two of them the model was switched."""


@dataclass(frozen=True, slots=True, eq=False)
class InForce:
    """What one request works with."""

    engine: FaceSearch
    """With the networks of the model; its gallery is the server's."""
    model_id: str
    threshold: Threshold


class ModelInForce:
    """Follows the gallery of an engine. Safe to use from several threads."""

    def __init__(self, engine: FaceSearch) -> None:
        """Raises `ModelError` where the models cannot be used, or as `look`."""
        engine.extractor.info  # noqa: B018  # pulls a known pack: later none is
        self._own = engine
        self._lock = threading.Lock()
        self._snapshot: InForce | None = None
        self._read_at = 0.0
        self.look()

    async def current(self) -> InForce:
        """The snapshot, at most `SECONDS` old. Raises as `look`."""
        snapshot = self._fresh()
        return await run_sync(self.look) if snapshot is None else snapshot

    def look(self) -> InForce:
        """A new snapshot, with the pack of the model that is active now.

        Raises `ModelNotFoundError` where it is not on this machine, `ModelMismatchError` where it or the calibration
        does not fit the gallery.
        """
        with self._lock:
            while True:
                engine = self._engine()
                model_id = engine.extractor.info.model_id
                snapshot = InForce(engine, model_id, engine.threshold)
                active = self._own.gallery.model()
                if active is None or active.model_id == model_id:  # else it was switched while the rest was read
                    break
            self._snapshot, self._read_at = snapshot, time.monotonic()
            return snapshot

    def _engine(self) -> FaceSearch:
        """The engine in force, or one with another pack where that is needed."""
        active, snapshot = self._own.gallery.model(), self._snapshot
        if snapshot is not None and (active is None or active.model_id == snapshot.model_id):
            return snapshot.engine
        engine = _engine_of_active_model(self._own)
        if snapshot is not None:
            log.warning("The gallery's model is %s now: it is in force here.", engine.extractor.info.model_id)
        return engine

    async def answer(self, work: Callable[[InForce], Awaitable[Answer]]) -> Answer:
        """What `work` gives, with the model that is in force when it ends."""
        for _ in range(ATTEMPTS - 1):
            try:
                return await work(await self.current())
            except ModelMismatchError:
                await run_sync(self.look)
        return await work(await self.current())

    def run(self, work: Callable[[InForce], Answer]) -> Answer:
        """As `answer`, for threads."""
        for _ in range(ATTEMPTS - 1):
            try:
                return work(self._fresh() or self.look())
            except ModelMismatchError:
                self.look()
        return work(self.look())

    def require_still(self, now: InForce) -> None:
        """Raise `ModelMismatchError` where another model became active: what was read may be of both."""
        active = self._own.gallery.model()
        if active is not None and active.model_id != now.model_id:
            raise ModelMismatchError(f"The gallery's model is {active.model_id} by now.", "Ask again.")

    def _fresh(self) -> InForce | None:
        return self._snapshot if time.monotonic() - self._read_at <= SECONDS else None


def _engine_of_active_model(engine: FaceSearch) -> FaceSearch:
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
        hint = "Copy the pack's folder to this place, or start again with --pack and the folder."
        if pack in KNOWN_PACKS:
            offline = error.hint if engine.settings.offline else None
            hint = offline or f"Run `facesearch models pull {shlex.quote(pack)}` here; the server notices it by itself."
        raise ModelNotFoundError(
            f"The gallery's model is {active.model_id}, and its pack {pack} is not on this machine.", hint
        ) from error
    made = found.extractor.info
    if made.model_id != active.model_id:
        engine.gallery.require_model(made)
    return found
