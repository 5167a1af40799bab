"""FaceSearch: enroll, identify, verify. What a program imports, and what the commands and the server call."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from facesearch.config import DEFAULT_DET_SIZE, DEFAULT_PRECISION, DEFAULT_PROVIDER, Settings
from facesearch.engine import probes
from facesearch.engine.enrolment import EnrollOptions, Enrolment
from facesearch.engine.probes import SearchOptions
from facesearch.engine.sources import collect_sources, upload
from facesearch.engine.thresholds import choose_threshold, outgrown, read_calibration, require_calibration_of
from facesearch.errors import ConfigError, CorruptGalleryError, FaceSearchError, GalleryError, GalleryNotFoundError
from facesearch.gallery.check import check_gallery
from facesearch.gallery.decision import DEFAULT_MARGIN
from facesearch.gallery.engines.records import parse_engine
from facesearch.types import (
    MAX_SCORE_SHIFT,
    Comparison,
    EnrollOutcome,
    EnrollStatus,
    Face,
    Finding,
    ModelInfo,
    SearchResult,
    Template,
    Threshold,
    mixing_shift,
)
from facesearch.versions import require, require_sqlite
from facesearch.vision.encoder import Encoder
from facesearch.vision.packs import DEFAULT_PACK, KNOWN_PACKS, PackStore
from facesearch.vision.quality import ENROLL_LIMITS, NO_LIMITS, FaceChoice, FacePolicy
from facesearch.vision.runtime import choose_provider, parse_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from facesearch.engine.evaluation.embeddings import PhotoEmbedder
    from facesearch.engine.probes import Image
    from facesearch.engine.reembedding import ModelChange
    from facesearch.engine.sources import Source, Sources
    from facesearch.evaluation.calibration import Calibration
    from facesearch.gallery.gallery import Gallery
    from facesearch.gallery.location import Location
    from facesearch.vision.packs import ModelPack

log = logging.getLogger("facesearch")


class FaceSearch:
    """An identity search engine over one gallery. Safe to use from several threads.

    >>> with FaceSearch.open("data") as engine:                       # doctest: +SKIP
    ...     for outcome in engine.enroll(["people/"]):
    ...         print(outcome.photo, outcome.status)
    ...     print(engine.identify("photo.jpg")[0].decision)

    The gallery and the models are opened when they are first needed.
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
        self.settings = settings
        self._progress = progress
        self._notice = notice
        self._ask_key = ask_key
        self._lock = threading.RLock()
        self._gallery: Gallery | None = None
        self._queries: Counter[str] = Counter()
        """What the audit log has not been told yet."""

    @classmethod
    def open(
        cls,
        gallery: Location | str | None = None,
        *,
        pack: Path | str | None = None,
        provider: str | None = None,
        det_size: str | int | None = None,
        precision: str | None = None,
        threshold: float | None = None,
        workers: int | None = None,
        batch: int | None = None,
    ) -> Self:
        """An engine over the gallery in that folder, or PostgreSQL database (URL).

        What is not given comes from `FACESEARCH_*` or the gallery. `workers` photos are in the models at once and share
        the cores, which suits enrolling many; without, each photo gets all of them, which suits asking for one. `batch`
        is how many faces share a run of the recogniser.

        Raises `ConfigError` for values that make no sense. A missing gallery is made by the first `enroll`.
        """
        return cls(
            Settings.load(
                gallery=gallery,
                pack=pack,
                provider=provider,
                det_size=det_size,
                precision=precision,
                threshold=threshold,
                workers=workers,
                batch=batch,
            )
        )

    def close(self) -> None:
        """Write the queries into the audit log and the index cache if it is behind, and close the gallery."""
        with self._lock:
            if self._gallery is not None:
                self._record_queries(self._gallery)
                self._gallery.close()
                self._gallery = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- parts

    def beside(self, pack: str | None = None) -> Self:
        """An engine with that pack, or this one's, over the gallery that this one has open and will close.

        Raises `ModelNotFoundError` where the pack is not on this machine: none is downloaded.
        """
        other = type(self)(replace(self.settings, pack=pack) if pack else self.settings)
        other._gallery = self.ensure_gallery()
        other.pack = self.packs.find(pack) if pack else self.pack
        return other

    @property
    def gallery(self) -> Gallery:
        """The gallery; `GalleryNotFoundError` where there is none."""
        return self._open_gallery(create=False)

    def _open_gallery(self, *, create: bool) -> Gallery:
        with self._lock:
            if self._gallery is None:
                require_gallery_libraries()
                from facesearch.gallery.gallery import Gallery

                self._gallery = Gallery.open(
                    self.settings.gallery,
                    create=create,
                    passphrase=self._passphrase(),
                    index=self.settings.index,
                    milvus=self.settings.milvus,
                )
            return self._gallery

    def _passphrase(self) -> str | None:
        if self.settings.key is None and self._ask_key is not None and self._is_encrypted():
            return self._ask_key()
        return self.settings.key

    def _is_encrypted(self) -> bool:
        from facesearch.gallery.encryption import is_encrypted
        from facesearch.gallery.sqlite import DATABASE_NAME

        folder = self.settings.gallery
        return isinstance(folder, Path) and is_encrypted(folder / DATABASE_NAME)

    @property
    def has_gallery(self) -> bool:
        """Whether there is a gallery to search."""
        try:
            self._open_gallery(create=False)
        except GalleryNotFoundError:
            return False
        return True

    def ensure_gallery(self) -> Gallery:
        """The gallery, made where there is none. Raises `GalleryError`."""
        return self._open_gallery(create=True)

    @cached_property
    def packs(self) -> PackStore:
        """Where model packs are looked for."""
        return PackStore(self.settings.model_folders, offline=self.settings.offline)

    @property
    def pack_reference(self) -> str:
        """Name or folder of the pack to use: chosen, else the gallery's, else `buffalo_l`."""
        if self.settings.pack is not None:
            return self.settings.pack
        made_with = self.gallery.model() if self.has_gallery else None
        return made_with.pack if made_with else DEFAULT_PACK

    @cached_property
    def pack(self) -> ModelPack:
        """The model pack, pulled if it is a known one that is not here."""
        return self.packs.resolve(self.pack_reference, progress=self._progress, notice=self._notice)

    @cached_property
    def encoder(self) -> Encoder:
        """The pipeline from photo to template."""
        return self._make_encoder()

    def _make_encoder(self, *, flip: bool = False) -> Encoder:
        settings = self.settings
        made_with = self.gallery.model() if self.has_gallery else None
        recorded = made_with.settings if made_with else {}
        precision = parse_precision(settings.precision or recorded.get("precision", DEFAULT_PRECISION))
        provider = settings.provider
        if provider == DEFAULT_PROVIDER and precision == recorded.get("precision"):
            provider = recorded.get("provider", provider)
        choose_provider(provider, precision)  # before a pack is downloaded for one that is not here
        make = partial(
            Encoder,
            self.pack,
            provider=provider,
            det_size=settings.det_size or self._gallery_det_size() or DEFAULT_DET_SIZE,
            precision=precision,
            workers=settings.workers,
            batch=settings.batch,
            flip=flip,
        )
        encoder = make()
        if made_with is not None and 0 < mixing_shift(made_with, encoder.info) < MAX_SCORE_SHIFT:
            return make(model_id=made_with.model_id)
        return encoder

    def _gallery_det_size(self) -> str | None:
        made_with = self.gallery.model() if self.has_gallery else None
        sizes = made_with.settings.get("det_sizes", []) if made_with else []
        return str(sizes[0]) if len(sizes) == 1 else None

    @property
    def model(self) -> ModelInfo:
        """The model in use; `pack` holds what finds it again: a known name or an absolute folder."""
        info = self.encoder.info
        known = self.pack.name in KNOWN_PACKS
        return replace(info, pack=info.pack if known else str(self.pack.recognizer.path.parent.absolute()))

    @property
    def threshold(self) -> Threshold:
        """The similarity threshold in force and where it comes from: given, calibrated for this gallery, or the pack's.

        Raises `ModelMismatchError` where the calibration was made with other models or settings.
        """
        chosen, info = self.settings.threshold, self.encoder.info
        # Two photos may be compared with another model than the gallery's: its calibration has no say in that.
        concerned = chosen is None and self.has_gallery and self._gallery_model_id() == info.model_id
        return choose_threshold(chosen, info, self.calibration if concerned else None)

    def _gallery_model_id(self) -> str | None:
        made_with = self.gallery.model()
        return made_with.model_id if made_with else None

    @property
    def calibration(self) -> Calibration | None:
        """The gallery's calibration, or None."""
        return read_calibration(self.gallery.calibration()) if self.has_gallery else None

    @property
    def threshold_warning(self) -> str | None:
        """Why the threshold in force no longer holds what it promises, or None."""
        if self.settings.threshold is not None or not self.has_gallery:
            return None
        return outgrown(self.calibration, self.gallery.counts()["subjects"])

    # -- enrolment

    def enroll(
        self,
        photos: Iterable[Path | str] | Path | str,
        *,
        subject: str | None = None,
        faces: str = FacePolicy.SINGLE,
        strict: bool = False,
        sync: bool = False,
    ) -> Iterator[EnrollOutcome]:
        """Enroll folders (one folder per subject), single photos, or CSV manifests; one outcome per photo.

        `subject` names the person in all photos. `faces`: `single`, `largest` or `all`. `strict` rejects photos that
        match another subject; `sync` removes what was enrolled from the folders and is no longer there. An outcome is
        yielded when it is on disk: stop anywhere, and the next run goes on from there.
        """
        paths = [photos] if isinstance(photos, (str, Path)) else photos
        sources = collect_photos([Path(path) for path in paths], subject, sync=sync)
        yield from self.enroll_sources(sources.items, sources.folders if sync else (), faces=faces, strict=strict)

    def enroll_sources(
        self,
        sources: Sequence[Source],
        sync: Iterable[Path] = (),
        *,
        faces: str = FacePolicy.SINGLE,
        strict: bool = False,
    ) -> Iterator[EnrollOutcome]:
        """`enroll` for photos that were collected already; `sync` are the folders to remove vanished photos of."""
        gallery = self._open_gallery(create=True)
        gallery.adopt(self.model)
        options = EnrollOptions(self.threshold.value, faces=parse_policy(faces), strict=strict)
        enrolment = Enrolment(gallery, self.encoder, options)
        counts = dict.fromkeys((status.value for status in EnrollStatus), 0)
        try:
            for outcome in enrolment.run(sources):
                counts[outcome.status] += 1
                yield outcome
            for folder in sync:
                for outcome in enrolment.remove_vanished(folder):
                    counts[outcome.status] += 1
                    yield outcome
        finally:
            gallery.record("enroll", counts)
            gallery.save_cache()

    def enroll_uploads(
        self,
        photos: Sequence[bytes],
        subject: str,
        *,
        attributes: Mapping[str, str] | None = None,
        faces: FaceChoice = FacePolicy.SINGLE,
        strict: bool = False,
        any_quality: bool = False,
    ) -> list[EnrollOutcome]:
        """Enroll photos that have no file as one person: an outcome for each, in their order, all on disk.

        The photos themselves are not kept. `faces` is a policy, or the position of the face that is meant, best
        detection first. `any_quality` takes faces that are too poor for a gallery otherwise.
        """
        gallery = self._open_gallery(create=True)
        gallery.adopt(self.model)
        limits = NO_LIMITS if any_quality else ENROLL_LIMITS
        options = EnrollOptions(self.threshold.value, faces=faces, limits=limits, strict=strict)
        sources = [upload(data, subject, attributes) for data in photos]
        outcomes = {outcome.photo: outcome for outcome in Enrolment(gallery, self.encoder, options).run(sources)}
        counts = Counter(outcome.status.value for outcome in outcomes.values())
        gallery.record("enroll", dict(counts))
        return [outcomes[str(source.path)] for source in sources]

    # -- probes

    def identify(
        self,
        image: Image,
        *,
        k: int = 5,
        where: Mapping[str, str] | None = None,
        margin: float = DEFAULT_MARGIN,
        degraded: bool = False,
    ) -> list[SearchResult]:
        """Who is in a photo: one result per face, best detection first; one `unusable` result where there is none.

        `k` subjects at most come back per face; `where` limits the search to subjects with these attributes. With
        `degraded`, an engine that is down is no error: the newest templates are searched, and results say whether they
        are `complete`. Raises `GalleryError` or `ModelError`; a photo that cannot be used is a result, not an error.
        """
        probes.expect(image)
        gallery = self.gallery
        self._open_for_search(gallery)
        gallery.require_model(self.encoder.info)
        results = probes.identify(
            gallery, self.encoder, image, SearchOptions(self.threshold, k, margin, where, degraded)
        )
        self.count_query(results)
        return results

    def _open_for_search(self, gallery: Gallery) -> None:
        """Open the index while the networks are opened: onnxruntime leaves the interpreter to others meanwhile."""
        if "encoder" not in self.__dict__:
            with ThreadPoolExecutor(1) as other:
                other.submit(gallery.open_index)  # what goes wrong there, the search meets again
                _ = self.encoder

    def count_query(self, results: Sequence[SearchResult]) -> None:
        """Count what was decided on one photo; the counts go into the audit log when the engine is closed."""
        with self._lock:
            self._queries.update(each.decision.value for each in results)
            self._queries["photos"] += 1

    def _record_queries(self, gallery: Gallery) -> None:
        """One audit event for all queries of this engine."""
        if self._queries:
            counts, self._queries = dict(self._queries), Counter()
            self._record(gallery, "query", counts)

    def record_use(self, action: str, counts: Mapping[str, int]) -> None:
        """Write that the gallery was read into its audit log; one that cannot be written to goes without, and says so.

        `counts` holds no names, faces or vectors.
        """
        self._record(self.gallery, action, counts)

    def _record(self, gallery: Gallery, action: str, counts: Mapping[str, int]) -> None:
        try:
            gallery.record(action, counts)
        except GalleryError as error:
            text = f"This {action} is not in the audit log: {error.message}"
            self._notice(text) if self._notice else log.warning(text)

    def verify(self, a: Image, b: Image, *, faces: str = FacePolicy.SINGLE) -> Comparison:
        """Compare the faces of two photos 1:1.

        `faces`: `single` (one face, or one that dominates) or `largest`. Raises `PhotoError`, `NoFaceError` or
        `MultipleFacesError`.
        """
        policy = parse_policy(faces)
        if policy is FacePolicy.ALL:
            raise ConfigError("verify compares one face with one face.", "Use --faces single or --faces largest.")
        probes.expect(a, b)
        return probes.verify(self.encoder, a, b, self.threshold, policy)

    def detect(self, image: Image) -> list[Face]:
        """All faces of a photo, best detection first. Raises `PhotoError`."""
        probes.expect(image)
        return self.encoder.detect(probes.load_image(image))

    def encode(self, image: Image) -> list[Template]:
        """All faces of a photo with their vectors, best detection first. Raises `PhotoError`."""
        probes.expect(image)
        return self.encoder.encode(probes.load_image(image))

    def photo_embedder(
        self, *, faces: str = FacePolicy.LARGEST, flip: bool = False, aligned: bool = False, cache: bool = True
    ) -> PhotoEmbedder:
        """Embeds photos for an evaluation, with the models of this engine.

        `faces`: `largest` or `single`. `flip` sums each crop's vector with that of its mirror image. `aligned` takes
        photos as aligned 112x112 crops. `cache` keeps vectors in the folder of `FACESEARCH_CACHE`.
        """
        from facesearch.engine.evaluation.embeddings import PhotoEmbedder

        encoder = self._make_encoder(flip=True) if flip else self.encoder
        # Plain vectors beside an encrypted gallery would give away what it protects.
        folder = self.settings.cache / "embeddings" if cache and not self._is_encrypted() else None
        return PhotoEmbedder(encoder, faces=parse_policy(faces), aligned=aligned, cache=folder)

    def adopt_calibration(self, calibration: Calibration, source: str = "The calibration") -> None:
        """Put a calibration in force; `ModelMismatchError`, beginning with `source`, where other models made it."""
        info = self.encoder.info
        self.gallery.require_model(info)
        require_calibration_of(calibration, info, source)
        self.gallery.store_calibration(json.loads(calibration.to_json()), info)

    def keep_evaluation(self, document: Mapping[str, Any]) -> bool:
        """Keep what `evaluation.digest.digest` made in the gallery; returns whether it is kept.

        It is not where there is no gallery, where it is locked, or where its templates are of another model.
        """
        locked = self._gallery is None and self.settings.key is None and self._is_encrypted()
        made_with = self.gallery.model() if not locked and self.has_gallery else None
        if made_with is None or made_with.model_id != document["model_id"]:
            return False
        self.gallery.store_evaluation(document["kind"], document, made_with)
        return True

    @property
    def evaluations(self) -> dict[str, dict[str, Any]]:
        """The newest evaluations with the gallery's model by kind, as `evaluation.digest.digest` made them."""
        return self.gallery.evaluations()

    # -- models that go

    @property
    def model_change(self) -> ModelChange:
        """Changing the gallery's model to this engine's: `reembed`, `activate`, `rollback`, `retire`."""
        from facesearch.engine.reembedding import ModelChange

        return ModelChange(self)

    # -- people who go

    def forget(self, who: Sequence[str | int]) -> dict[str, Any]:
        """Erase people, by name or id, from gallery, caches and restored backups; the receipt, as JSON values.

        Raises `UnknownSubjectError` before anything is changed. The receipt holds names, no biometric data; `clean`
        says whether the scan of all files found nothing.
        """
        from facesearch.engine.erasure import forget_people

        return forget_people(self.gallery, self.settings.cache, who)

    # -- health

    def describe(self) -> dict[str, Any]:
        """What `facesearch info` prints: gallery, counts, model, threshold, index, provider, as JSON values."""
        gallery, model, threshold = self.gallery, self.gallery.model(), self.threshold
        return {
            "gallery": gallery.place,
            **gallery.counts(),
            "overdue": len(gallery.overdue()),
            "model": model.model_id if model else None,
            "other_models": self.model_change.models.others(),
            "pack": self.pack_reference,
            "det_sizes": self.model.settings["det_sizes"],
            "precision": self.model.settings["precision"],
            "threshold": threshold.value,
            "threshold_basis": threshold.basis,
            "threshold_warning": self.threshold_warning,
            "encrypted": gallery.is_encrypted,
            "index": gallery.describe_index(),
            "provider": self.encoder.provider.name,
            "database": gallery.database.describe(),
        }

    def reindex(self, kind: str | None = None, progress: Callable[[int, int], None] | None = None) -> int:
        """Build what is searched anew; returns the number of templates. Searches and enrolments go on meanwhile.

        `kind` moves the gallery: `pgvector`, `milvus`, or `auto` for its own index. `progress` hears how many of how
        many templates were handed over. What was interrupted goes on when it is run again. Raises `ConfigError` for
        other kinds, `EngineUnavailableError` where the engine does not answer.
        """
        if kind is None:
            return self.gallery.rebuild_index(progress)
        return self.gallery.move_index(parse_engine(kind), progress)

    def check(self, *, fix: bool = False) -> Iterator[Finding]:
        """Prove that database, templates, index, photos and models agree; `fix` rebuilds the index cache."""
        try:
            yield from check_gallery(self.gallery, fix=fix)
        except CorruptGalleryError as error:
            yield Finding(ok=False, subject="database", detail=f"{error.message} {error.hint or ''}".strip())
            return
        yield from self._check_models()

    def _check_models(self) -> Iterator[Finding]:
        model = self.gallery.model()
        if model is None:
            return
        try:
            checks = self.packs.verify(model.pack)
        except FaceSearchError as error:
            yield Finding(ok=False, subject="models", detail=f"{error.message} {error.hint or ''}".strip())
            return
        for each in checks:
            yield Finding(ok=each.ok, subject="models", detail=f"{each.path}: {each.detail}")
        hashes = {model.detector_sha256, model.recognizer_sha256}
        pack = self.packs.find(model.pack)
        if {pack.detector.identity, pack.recognizer.sha256} != hashes:
            detail = f"the files of {model.pack} are not the ones that made the templates"
            yield Finding(ok=False, subject="models", detail=detail)


def require_gallery_libraries() -> None:
    """Raise `InstallationError` where FAISS or SQLite is too old to hold a gallery, before either is opened."""
    require("faiss")
    from facesearch.gallery.sqlite import sqlite_module

    require_sqlite(sqlite_module().sqlite_version_info)


def collect_photos(paths: Iterable[Path], subject: str | None = None, *, sync: bool = False) -> Sources:
    """What `enroll` would enroll from these paths; raises `ConfigError` as it does."""
    sources = collect_sources(paths, subject)
    if sync and not (sources.folders and sources.items):
        raise ConfigError(
            "--sync needs a folder with photos in it.", "An empty folder would remove everybody: is a disk missing?"
        )
    return sources


def parse_policy(text: str) -> FacePolicy:
    """A face policy by name; `ConfigError` names the choices."""
    try:
        return FacePolicy(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no face policy.", f"Use one of: {', '.join(FacePolicy)}.") from None
