"""What an engine works with: its gallery and its models, opened when they are first needed."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from facesearch.config import DEFAULT_DET_SIZE, DEFAULT_PRECISION, DEFAULT_PROVIDER
from facesearch.errors import GalleryError, GalleryNotFoundError
from facesearch.names import path_text
from facesearch.recognition.extractor import Extractor
from facesearch.recognition.packs.store import DEFAULT_PACK, KNOWN_PACKS, PackStore
from facesearch.recognition.runtime import choose_provider, parse_precision
from facesearch.store import audit, models
from facesearch.types import MAX_SCORE_SHIFT, mixing_shift
from facesearch.versions import require, require_sqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from facesearch.config import Settings
    from facesearch.recognition.packs.store import ModelPack
    from facesearch.search.gallery import Gallery
    from facesearch.types import ModelInfo, SearchResult


class Parts:
    """The gallery and the models that settings name; where they leave something open, what the gallery was made with.

    Safe to use from several threads.
    """

    def __init__(
        self,
        settings: Settings,
        progress: Callable[[int, int | None], None] | None,
        notice: Callable[[str], None] | None,
        ask_key: Callable[[], str | None] | None,
    ) -> None:
        """As of `FaceSearch`."""
        self.settings = settings
        self._progress = progress
        self._notice = notice
        self._ask_key = ask_key
        self._lock = threading.RLock()
        self._gallery: Gallery | None = None
        self.is_closed = False

    def share(self, gallery: Gallery, pack: ModelPack) -> None:
        """Use these, which somebody else has opened."""
        self._gallery = gallery
        self.pack = pack

    def close(self, last: Callable[[Gallery], None]) -> None:
        """Close the gallery, if it is open, once `last` has had it; closing again does nothing."""
        with self._lock:
            self.is_closed = True
            if self._gallery is not None:
                last(self._gallery)
                self._gallery.close()
                self._gallery = None

    # -- the gallery

    def gallery(self, *, create: bool = False) -> Gallery:
        """The gallery; with `create`, made where there is none, else `GalleryNotFoundError`."""
        with self._lock:
            if self._gallery is None:
                require_gallery_libraries()
                from facesearch.search.gallery import Gallery

                settings = self.settings
                self._gallery = Gallery.open(
                    settings.gallery,
                    create=create,
                    passphrase=self._passphrase(),
                    index=settings.index,
                    milvus=settings.milvus,
                )
            return self._gallery

    def require_named_gallery(self) -> None:
        """Raise `GalleryNotFoundError` where the settings name a gallery that is not there.

        What works without a gallery would otherwise use another model and another threshold than was asked for.
        """
        if self.settings.gallery_is_named:
            self.gallery()

    @property
    def has_gallery(self) -> bool:
        """Whether there is a gallery to search."""
        try:
            self.gallery()
        except GalleryNotFoundError:
            return False
        return True

    def _passphrase(self) -> str | None:
        if self.settings.key is None and self._ask_key is not None and self.is_encrypted:
            return self._ask_key()
        return self.settings.key

    @property
    def is_encrypted(self) -> bool:
        """Whether the gallery is encrypted; finds out without opening it."""
        from facesearch.store.keys import is_encrypted
        from facesearch.store.sqlite import DATABASE_NAME

        folder = self.settings.gallery
        return isinstance(folder, Path) and is_encrypted(folder / DATABASE_NAME)

    @property
    def is_locked(self) -> bool:
        """Whether somebody would have to be asked for the key before the gallery can be read."""
        return self._gallery is None and self.settings.key is None and self.is_encrypted

    def made_with(self) -> ModelInfo | None:
        """The gallery's model, or the one that it had last; None where there is no gallery, or none in it."""
        return self.gallery().read(models.last_model) if self.has_gallery else None

    # -- the models

    @cached_property
    def packs(self) -> PackStore:
        """Where model packs are looked for."""
        return PackStore(self.settings.model_folders, offline=self.settings.offline)

    @property
    def pack_reference(self) -> str:
        """Name of the pack to use, or its folder as text: chosen, else the gallery's, else `buffalo_l`."""
        if self.settings.pack is not None:
            return path_text(self.settings.pack)
        made_with = self.made_with()
        return made_with.pack if made_with else DEFAULT_PACK

    @cached_property
    def pack(self) -> ModelPack:
        """The model pack, pulled if it is a known one that is not here."""
        return self.packs.resolve(self.pack_reference, progress=self._progress, notice=self._notice)

    @cached_property
    def extractor(self) -> Extractor:
        """The pipeline from photo to template."""
        return self.make_extractor()

    def make_extractor(self, *, flip: bool = False) -> Extractor:
        """Another pipeline; with `flip`, each crop's vector is summed with that of its mirror image."""
        settings, made_with = self.settings, self.made_with()
        recorded = made_with.settings if made_with else {}
        precision = parse_precision(settings.precision or recorded.get("precision", DEFAULT_PRECISION))
        provider = settings.provider
        if provider == DEFAULT_PROVIDER and precision == recorded.get("precision"):
            provider = recorded.get("provider", provider)
        choose_provider(provider, precision)  # before a pack is downloaded for one that is not here
        make = partial(
            Extractor,
            self.pack,
            provider=provider,
            det_size=settings.det_size or recorded.get("det_size", DEFAULT_DET_SIZE),
            precision=precision,
            workers=settings.workers,
            batch=settings.batch,
            flip=flip,
        )
        extractor = make()
        if made_with is not None:
            if 0 < mixing_shift(made_with, extractor.info) < MAX_SCORE_SHIFT:
                extractor = make(model_id=made_with.model_id)
            extractor.prove_by(made_with)
        return extractor

    @property
    def model(self) -> ModelInfo:
        """The model in use; `pack` holds what finds it again: a known name, or an absolute folder as text."""
        info = self.extractor.info
        known = self.pack.name in KNOWN_PACKS
        return replace(info, pack=info.pack if known else path_text(self.pack.recognizer.path.parent.absolute()))

    def open_for_search(self) -> None:
        """Open the index while the networks are opened: onnxruntime leaves the interpreter to others meanwhile."""
        gallery = self.gallery()
        if "extractor" not in self.__dict__:
            with ThreadPoolExecutor(1) as other:
                other.submit(gallery.open_index)  # what goes wrong there, the search meets again
                _ = self.extractor


def require_gallery_libraries() -> None:
    """Raise `InstallationError` where FAISS or SQLite is too old to hold a gallery, before either is opened."""
    require("faiss")
    from facesearch.store.drivers import sqlite_module

    require_sqlite(sqlite_module().sqlite_version_info)


log = logging.getLogger("facesearch")


class QueryLog:
    """Counts queries until they are written. Safe to use from several threads."""

    def __init__(self, notice: Callable[[str], None] | None) -> None:
        """`notice` gets what people should read."""
        self._say = notice or log.warning
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        """What the audit log has not been told yet."""

    def count(self, results: Sequence[SearchResult]) -> None:
        """Count what was decided on one photo."""
        with self._lock:
            self._counts.update(each.decision.value for each in results)
            self._counts["photos"] += 1

    def write(self, gallery: Gallery) -> None:
        """Write one event of what was counted since the last."""
        with self._lock:
            counts, self._counts = dict(self._counts), Counter()
        if counts:
            self.record(gallery, "query", counts)

    def record(self, gallery: Gallery, action: str, counts: Mapping[str, int]) -> None:
        """Write an event; a log that cannot be written to goes without, and says so."""
        try:
            gallery.write(audit.record, action, counts)
        except GalleryError as error:
            self._say(f"This {action} is not in the audit log: {error.message}")
