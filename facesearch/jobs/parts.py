"""What an engine works with: its gallery and its models, opened when they are first needed."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from facesearch import arguments
from facesearch.config import DEFAULT_DET_SIZE, DEFAULT_PRECISION, DEFAULT_PROVIDER, Settings
from facesearch.errors import ConfigError, GalleryError, GalleryNotFoundError
from facesearch.jobs.thresholds import is_due, judge, measure, read_calibration, read_facts, record_step
from facesearch.names import path_text
from facesearch.recognition.extractor import Extractor
from facesearch.recognition.packs.store import DEFAULT_PACK, KNOWN_PACKS, PackStore
from facesearch.recognition.runtime import choose_provider, parse_precision
from facesearch.store import audit, models
from facesearch.types import MAX_SCORE_SHIFT, mixing_shift
from facesearch.versions import require, require_sqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from facesearch.evaluation.calibration import Calibration
    from facesearch.jobs.thresholds import Facts, Judged
    from facesearch.recognition.packs.store import ModelPack
    from facesearch.search.gallery import Gallery
    from facesearch.types import ModelInfo, Threshold


log = logging.getLogger("facesearch")


class Parts:
    """The gallery and the models that settings name; where they leave something open, what the gallery was made with.

    The base of `FaceSearch`. Safe to use from several threads.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        progress: Callable[[int, int | None], None] | None = None,
        notice: Callable[[str], None] | None = None,
        ask_key: Callable[[], str | None] | None = None,
    ) -> None:
        """`progress` hears of a model download (bytes so far, bytes in all); `notice` gets what people should read.

        `ask_key` is asked for the key of an encrypted gallery where the settings have none.
        """
        if not isinstance(settings, Settings):
            raise ConfigError(
                f"The settings are {arguments.shown(settings)}.", 'Open an engine with FaceSearch.open("data").'
            )
        self._settings = settings
        self._progress = progress
        self._notice = notice
        self._ask_key = ask_key
        self._lock = threading.RLock()
        self._gallery: Gallery | None = None
        self._queries: Counter[str] = Counter()
        """What was decided since the audit log was told."""
        self._facts: Facts | None = None
        self._facts_at: int | None = None
        """The version of the database that told them."""
        self._is_closed = False

    @property
    def settings(self) -> Settings:
        """What a user chose. Everything else needs it: it raises `ConfigError` once the engine is closed."""
        self.require_open()
        return self._settings

    def require_open(self) -> None:
        """Raise `ConfigError` once the engine is closed."""
        if self._is_closed:
            raise ConfigError("The engine is closed.", "Open another: FaceSearch.open(...)")

    def close(self) -> None:
        """Write the queries into the audit log and the index cache if it is behind, and close the gallery.

        Closing again does nothing; any other use of a closed engine raises `ConfigError`.
        """
        with self._lock:
            self._is_closed = True
            for name in ("packs", "pack", "extractor"):
                self.__dict__.pop(name, None)
            if self._gallery is not None:
                if self._queries:
                    self._record(self._gallery, "query", self._queries)
                self._gallery.close()
                self._gallery = None

    def beside(self, pack: str | None = None) -> Self:
        """An engine with that pack, or this one's, over the gallery that this one has open and will close.

        Raises `ModelNotFoundError` where the pack is not on this machine: none is downloaded.
        """
        if pack is not None:
            arguments.text("pack", pack)
        other = type(self)(replace(self.settings, pack=pack) if pack else self.settings)
        other._gallery = self.ensure_gallery()
        other.pack = self.packs.find(pack) if pack else self.pack
        return other

    # -- the gallery

    @property
    def gallery(self) -> Gallery:
        """The gallery; `GalleryNotFoundError` where there is none."""
        return self._open_gallery(create=False)

    def ensure_gallery(self) -> Gallery:
        """The gallery, made where there is none. Raises `GalleryError`."""
        return self._open_gallery(create=True)

    def _open_gallery(self, *, create: bool) -> Gallery:
        with self._lock:
            if self._gallery is None:
                settings = self.settings
                require_gallery_libraries()
                from facesearch.search.gallery import Gallery

                self._gallery = Gallery.open(
                    settings.gallery,
                    create=create,
                    passphrase=self._passphrase(),
                    index=settings.index,
                    servers=settings.servers,
                    fusion=settings.fusion,
                )
            return self._gallery

    @contextmanager
    def whole_gallery(self) -> Iterator[Gallery]:
        """The gallery; where there is none, a new one that is there when the block ends without an error."""
        if self.has_gallery:
            yield self.gallery
            return
        from facesearch.search.gallery import new_gallery

        with new_gallery(self.settings.gallery, self.settings.key) as gallery:
            yield gallery

    def require_named_gallery(self) -> None:
        """Raise `GalleryNotFoundError` where the settings name a gallery that is not there.

        What works without a gallery would otherwise use another model and another threshold than was asked for.
        """
        if self.settings.gallery_is_named:
            _ = self.gallery

    @property
    def has_gallery(self) -> bool:
        """Whether there is a gallery to search."""
        try:
            _ = self.gallery
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
        return self.gallery.read(models.last_model) if self.has_gallery else None

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

    # -- what scores mean

    @property
    def threshold(self) -> Threshold:
        """The similarity threshold in force, where it comes from, and the FPIR that is to be expected at it.

        Raises `ModelMismatchError` where the calibration was made with other settings or files, `ConfigError` where an
        FPIR was asked for and the pack has no table to choose by.
        """
        return self._judged().threshold

    @property
    def threshold_warning(self) -> str | None:
        """Why the threshold in force no longer holds what it promises, or None."""
        return self._judged().warning

    def threshold_among(self, people: int) -> Threshold:
        """The threshold in force once the gallery has that many people, if it has fewer now."""
        return self._judged(people=people).threshold

    def _judged(self, given: float | None = None, people: int = 0) -> Judged:
        settings, facts = self.settings, self._known_facts()
        chosen = (settings.threshold if given is None else given, settings.fpir)
        if facts is not None:
            facts = replace(facts, people=max(facts.people, people))
        return judge(chosen, self.pack.table, self.extractor.info, settings.fusion, facts)

    def _known_facts(self) -> Facts | None:
        """What the gallery tells, read anew when it has changed; None without one."""
        if not self.has_gallery:
            return None
        version = self.gallery.database.version()
        if version is None or version != self._facts_at:
            self._facts, self._facts_at = self.gallery.read(read_facts), version
        return self._facts

    def _threshold_for(self, given: float | None) -> Threshold:
        """The threshold that one call was given, else the one in force."""
        return self._judged(None if given is None else arguments.number("threshold", given, -1, 1)).threshold

    def settle_threshold(self) -> None:
        """After people came or went: measure the gallery where that is due, and record and say a changed threshold."""
        facts, info, fusion = self._known_facts(), self.extractor.info, self.settings.fusion
        if facts is None or facts.model_id != info.model_id:
            return
        if is_due(facts, info, fusion):
            measure(self.gallery, info, facts.people)
        step = record_step(self.gallery, self._judged(), facts.people)
        if step is not None:
            (self._notice or log.warning)(step)

    @property
    def calibration(self) -> Calibration | None:
        """The gallery's calibration, or None."""
        document = self.gallery.read(models.calibration) if self.has_gallery else None
        return None if document is None else read_calibration(document)

    def open_for_search(self, threshold: float | None = None) -> tuple[Gallery, Threshold]:
        """The gallery with its index and the models opened, and the threshold to search with.

        Raises `ModelMismatchError` where the gallery's templates are of another model.
        """
        gallery = self.gallery
        if "extractor" not in self.__dict__:
            with ThreadPoolExecutor(1) as other:  # onnxruntime leaves the interpreter to others meanwhile
                other.submit(gallery.mirror.open)  # what goes wrong there, the search meets again
                _ = self.extractor
        gallery.require_model(self.extractor.info)
        return gallery, self._threshold_for(threshold)

    # -- the audit log

    def record_use(self, action: str, counts: Mapping[str, int]) -> None:
        """Write that the gallery was read into its audit log; one that cannot be written to goes without, and says so.

        `counts` holds no names, faces or vectors.
        """
        self._record(self.gallery, action, counts)

    def _record(self, gallery: Gallery, action: str, counts: Mapping[str, int]) -> None:
        try:
            gallery.write(audit.record, action, dict(counts))
        except GalleryError as error:
            (self._notice or log.warning)(f"This {action} is not in the audit log: {error.message}")


def require_gallery_libraries() -> None:
    """Raise `InstallationError` where FAISS or SQLite is too old to hold a gallery, before either is opened."""
    require("faiss")
    from facesearch.store.drivers import sqlite_module

    require_sqlite(sqlite_module().sqlite_version_info)
