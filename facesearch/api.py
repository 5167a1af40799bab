"""FaceSearch: enroll, identify, verify. What a program imports, and what the commands and the server call."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from facesearch import arguments
from facesearch.config import Settings
from facesearch.errors import ConfigError
from facesearch.jobs import probes
from facesearch.jobs.checking import check_parts
from facesearch.jobs.enrolment import EnrollOptions, Enrolment
from facesearch.jobs.folders import settle_folders
from facesearch.jobs.probes import SearchOptions
from facesearch.jobs.sources import Sources, collect_sources, upload
from facesearch.jobs.thresholds import NON_MATED, require_calibration_of
from facesearch.names import path_text
from facesearch.people import PeopleOperations
from facesearch.recognition.quality import ENROLL_LIMITS, NO_LIMITS, FaceChoice, FacePolicy
from facesearch.search.matching import DEFAULT_MARGIN
from facesearch.search.vector_databases import parse_vector_database
from facesearch.store import audit, models, people, templates
from facesearch.types import Comparison, EnrollOutcome, EnrollStatus, Face, Finding, Pixels, SearchResult, Template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from facesearch.evaluation.calibration import Calibration
    from facesearch.jobs.embeddings import PhotoEmbedder
    from facesearch.jobs.reembedding import ModelChange
    from facesearch.operations import Image
    from facesearch.recognition.extractor import Extraction
    from facesearch.search.gallery import Gallery
    from facesearch.store.location import Location
    from facesearch.types import Rejection


class FaceSearch(PeopleOperations):
    """An identity search engine over one gallery, opened when it is first needed. Safe to use from several threads.

    >>> with FaceSearch.open("data") as engine:                       # doctest: +SKIP
    ...     for outcome in engine.enroll(["people/"]):
    ...         print(outcome.photo, outcome.status)
    ...     print(engine.identify("photo.jpg")[0].decision)
    """

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
        fpir: float | None = None,
        fusion: str | None = None,
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
                fpir=fpir,
                fusion=fusion,
                workers=workers,
                batch=batch,
            )
        )

    # -- enrolment

    def enroll(
        self,
        photos: Iterable[Path | str] | Path | str | Sources,
        *,
        subject: str | None = None,
        one_per_file: bool = False,
        faces: str = FacePolicy.SINGLE,
        strict: bool = False,
        sync: bool = False,
        bring_back_erased: bool = False,
        bring_back_removed: bool = False,
    ) -> Iterator[EnrollOutcome]:
        """Enroll folders (one folder per subject), single photos, or CSV manifests; one outcome per file.

        `photos` may also be what `jobs.sources.collect_sources` found. `subject` names the person in all photos; with
        `one_per_file`, each photo shows the person that its file is named after. A folder without sub-folders is one
        person where its name is a subject's, or where its photos agree with each other; `ConfigError` where that is
        unclear. `faces`: `single`, `largest` or `all`. `strict` rejects photos that match another subject; `sync`
        removes what was enrolled from the folders and is no longer there.

        Files that are no photos by their names are `passed_over`; a folder that cannot be read is rejected as
        `inaccessible`, and nothing below it is removed. An outcome is yielded when it is on disk: stop anywhere, and
        the next run goes on from there. People who were forgotten stay out without `bring_back_erased`, and photos that
        a person removed without `bring_back_removed`.
        """
        self.require_open()
        policy = parse_policy(faces)
        arguments.flags(
            one_per_file=one_per_file,
            strict=strict,
            sync=sync,
            bring_back_erased=bring_back_erased,
            bring_back_removed=bring_back_removed,
        )
        if not isinstance(photos, Sources):
            paths = arguments.paths("photos", photos)
            if subject is not None:
                arguments.text("subject", subject)
            photos = collect_sources(paths, subject, one_per_file=one_per_file, sync=sync)
        items = settle_folders(photos, self, policy, lambda: self.threshold.value)
        gallery = self.ensure_gallery()
        gallery.adopt(self.model)
        # That of the gallery to be: most first runs fill one, and few people allow a lower threshold than many.
        threshold = self.threshold_among(len({item.subject for item in items}))
        options = EnrollOptions(
            threshold.value,
            faces=policy,
            strict=strict,
            bring_back_erased=bring_back_erased,
            bring_back_removed=bring_back_removed,
        )
        enrolment = Enrolment(gallery, self.extractor, options)
        counts = dict.fromkeys((status.value for status in EnrollStatus), 0)
        run = enrolment.run(items, photos.folders if sync else (), photos.may_hold)
        try:
            for outcome in itertools.chain(photos.set_aside(), run):
                counts[outcome.status] += 1
                yield outcome
        finally:
            gallery.write(audit.record, "enroll", counts)
            gallery.mirror.save()
        self.settle_threshold()

    def enroll_uploads(
        self,
        photos: Sequence[bytes],
        subject: str,
        *,
        attributes: Mapping[str, str] | None = None,
        faces: str | int = FacePolicy.SINGLE,
        strict: bool = False,
        any_quality: bool = False,
        bring_back_erased: bool = False,
    ) -> list[EnrollOutcome]:
        """Enroll photos that have no file as one person: an outcome for each, in their order, all on disk.

        The photos themselves are not kept. `faces` is a policy, or the number of the face that is meant, from 1 on,
        best detection first. `any_quality` takes faces that are too poor for a gallery otherwise. `bring_back_erased`
        takes somebody who was forgotten.
        """
        _require_uploads(photos)
        arguments.text("subject", subject)
        if attributes is not None:
            arguments.texts("attributes", attributes)
        choice: FaceChoice = parse_policy(faces) if isinstance(faces, str) else arguments.whole("faces", faces, 1)
        arguments.flags(strict=strict, any_quality=any_quality, bring_back_erased=bring_back_erased)
        limits = NO_LIMITS if any_quality else ENROLL_LIMITS
        gallery = self.ensure_gallery()
        gallery.adopt(self.model)
        options = EnrollOptions(
            self.threshold.value, faces=choice, limits=limits, strict=strict, bring_back_erased=bring_back_erased
        )
        sources = [upload(data, subject, attributes) for data in photos]
        outcomes = {outcome.photo: outcome for outcome in Enrolment(gallery, self.extractor, options).run(sources)}
        counts = Counter(outcome.status.value for outcome in outcomes.values())
        gallery.write(audit.record, "enroll", dict(counts))
        self.settle_threshold()
        return [outcomes[path_text(source.path)] for source in sources]

    # -- probes

    def identify(
        self,
        image: Image,
        *,
        k: int = 5,
        where: Mapping[str, str] | None = None,
        margin: float | None = None,
        degraded: bool = False,
        threshold: float | None = None,
    ) -> list[SearchResult]:
        gallery, options = self._open_for_search([image], k, where, margin, threshold, degraded=degraded)
        results = probes.identify(gallery, self.extractor, image, options)
        self._count(results)
        return results

    def identify_many(
        self,
        photos: Iterable[Path | bytes],
        *,
        k: int = 5,
        where: Mapping[str, str] | None = None,
        margin: float | None = None,
        degraded: bool = False,
        threshold: float | None = None,
    ) -> Iterator[list[SearchResult]]:
        """`identify` for files, in their order: read, decoded, detected and embedded side by side.

        Memory does not grow with their number. Raises as `identify`.
        """
        images = list(photos)
        gallery, options = self._open_for_search(images, k, where, margin, threshold, degraded=degraded)
        for results in probes.identify_many(gallery, self.extractor, images, options):
            self._count(results)
            yield results

    def _open_for_search(
        self,
        images: Sequence[Image],
        k: int,
        where: Mapping[str, str] | None,
        margin: float | None,
        threshold: float | None,
        *,
        degraded: bool,
    ) -> tuple[Gallery, SearchOptions]:
        """Check what was given, and open what a search needs."""
        arguments.search(k, where, margin, degraded=degraded)
        probes.expect(images)
        gallery, in_force = self.open_for_search(threshold)
        return gallery, SearchOptions(in_force, k, DEFAULT_MARGIN if margin is None else margin, where, degraded)

    def count_query(self, results: Sequence[SearchResult]) -> None:
        """Count what was decided on one photo; the counts go into the audit log when the engine is closed."""
        self.require_open()
        self._count(results)

    def _count(self, results: Sequence[SearchResult]) -> None:
        with self._lock:
            self._queries.update(each.decision.value for each in results)
            self._queries["photos"] += 1

    def verify(
        self, a: Image, b: Image, *, faces: str = FacePolicy.SINGLE, threshold: float | None = None
    ) -> Comparison:
        self.require_named_gallery()
        policy = parse_policy(faces)
        if policy is FacePolicy.ALL:
            raise ConfigError("verify compares one face with one face.", "Use --faces single or --faces largest.")
        probes.expect([a, b])
        return probes.verify(self.extractor, a, b, self._threshold_for(threshold), policy)

    def detect(self, image: Image) -> list[Face]:
        """All faces of a photo, best detection first. Raises `PhotoError`, and `GalleryNotFoundError` as `verify`."""
        return self.extractor.detector.detect(self._load(image))

    def detect_many(
        self, photos: Iterable[Path | bytes], *, templates: bool = False
    ) -> Iterator[Extraction[Path | bytes]]:
        """The faces of files, in their order, with `templates` or without; what cannot be used has a rejection.

        Raises `GalleryNotFoundError` as `verify`.
        """
        images = list(photos)
        probes.expect(images)
        self.require_named_gallery()
        return self.extractor.extract_many(images, probes.photo_bytes, limits=NO_LIMITS if templates else None)

    def encode(self, image: Image) -> list[Template]:
        """All faces of a photo with their vectors, best detection first.

        Raises `PhotoError`, also where a face has no vector (`extreme_pose`, `model_failure`): `encode_faces` tells
        which one, and gives the others. Raises `GalleryNotFoundError` as `verify`.
        """
        return self.extractor.encode(self._load(image))

    def encode_faces(self, image: Image) -> list[tuple[Face, Template | Rejection]]:
        """All faces of a photo, best detection first, each with its vector or why it has none. Raises as `detect`."""
        return self.extractor.extract(self._load(image))

    def _load(self, image: Image) -> Pixels:
        probes.expect([image])
        self.require_named_gallery()
        _ = self.extractor  # opened while the decoder starts
        return probes.load_image(image)

    def photo_embedder(
        self, *, faces: str = FacePolicy.SINGLE, flip: bool = False, aligned: bool = False, cache: bool = True
    ) -> PhotoEmbedder:
        """Embeds photos for an evaluation, with the models of this engine.

        `faces`: `largest` or `single`. `flip` sums each crop's vector with that of its mirror image. `aligned` takes
        photos as aligned 112x112 crops. `cache` keeps vectors in the folder of `FACESEARCH_CACHE`. Raises
        `GalleryNotFoundError` where a gallery is named and not there.
        """
        self.require_named_gallery()
        from facesearch.jobs.embeddings import PhotoEmbedder

        policy = parse_policy(faces)
        arguments.flags(flip=flip, aligned=aligned, cache=cache)
        extractor = self.make_extractor(flip=True) if flip else self.extractor
        # Plain vectors beside an encrypted gallery would give away what it protects.
        folder = self.settings.cache / "embeddings" if cache and not self.is_encrypted else None
        return PhotoEmbedder(extractor, faces=policy, aligned=aligned, cache=folder)

    def adopt_calibration(self, calibration: Calibration, source: str = "The calibration") -> None:
        """Put a calibration in force; `ModelMismatchError`, beginning with `source`, where other models made it."""
        from facesearch.evaluation.calibration import Calibration

        if not isinstance(calibration, Calibration):
            raise ConfigError(
                f"The calibration is {arguments.shown(calibration)}.", "Read one: Calibration.from_json(text)"
            )
        info = self.extractor.info
        self.gallery.require_model(info)
        require_calibration_of(calibration, info, self.settings.fusion, source)
        self.gallery.write(models.put_calibration, json.loads(calibration.to_json()), info)

    def keep_evaluation(self, document: Mapping[str, Any]) -> bool:
        """Keep what `evaluation.report.digest` made in the gallery; returns whether it is kept.

        It is not where there is no gallery, where it is locked, or where its templates are of another model.
        """
        if not {"model_id", "kind"} <= arguments.mapping("The evaluation", document).keys():
            raise ConfigError("The evaluation names no model.", "Give what evaluation.report.digest returns.")
        made_with = None if self.is_locked else self.made_with()
        if made_with is None or made_with.model_id != document["model_id"]:
            return False
        self.gallery.write(models.put_evaluation, document["kind"], document, made_with)
        return True

    @property
    def evaluations(self) -> dict[str, dict[str, Any]]:
        """The newest evaluations with the gallery's model by kind, as `evaluation.report.digest` made them."""
        found = self.gallery.read(models.evaluations)
        return {kind: document for kind, document in found.items() if kind != NON_MATED}

    @property
    def model_change(self) -> ModelChange:
        """Changing the gallery's model to this engine's: `reembed`, `activate`, `rollback`, `retire`."""
        from facesearch.jobs.reembedding import ModelChange

        self.require_open()
        return ModelChange(self)

    # -- the gallery

    def describe(self) -> dict[str, Any]:
        """What `facesearch info` prints: gallery, counts, model, threshold, index, provider, as JSON values."""
        gallery, model, threshold = self.gallery, self.gallery.model(), self.threshold
        return {
            "gallery": gallery.place,
            **gallery.read(templates.counts),
            "overdue": len(gallery.read(people.overdue)),
            "model": model.model_id if model else None,
            "other_models": gallery.read(models.other_models),
            "pack": self.pack_reference,
            "det_size": self.model.settings["det_size"],
            "precision": self.model.settings["precision"],
            "threshold": threshold.value,
            "threshold_basis": threshold.basis,
            "expected_fpir": threshold.expected_fpir,
            "expected_fpir_basis": threshold.expected_basis,
            "threshold_warning": self.threshold_warning,
            "encrypted": gallery.is_encrypted,
            "index": gallery.describe_index(),
            "provider": self.extractor.provider.name,
            "database": gallery.database.describe(),
        }

    def reindex(self, kind: str | None = None, progress: Callable[[int, int], None] | None = None) -> int:
        """Build what is searched anew; returns the number of templates. Searches and enrolments go on meanwhile.

        `kind` moves the gallery: `pgvector`, `milvus`, or `auto` for its own index. `progress` hears how many of how
        many templates were handed over. What was interrupted goes on when it is run again. Raises `ConfigError` for
        other kinds, `VectorDatabaseError` where the engine does not answer.
        """
        if kind is None:
            return self.gallery.rebuild_index(progress)
        return self.gallery.move_index(parse_vector_database(arguments.text("kind", kind)), progress)

    def check(self, *, fix: bool = False) -> Iterator[Finding]:
        """Prove that database, templates, index, photos and models agree; `fix` mends what `check_gallery` can."""
        return check_parts(self, fix=arguments.flag("fix", fix))


def _require_uploads(photos: object) -> None:
    if isinstance(photos, (str, bytes)) or not isinstance(photos, Sequence):
        raise ConfigError(f"photos is {arguments.shown(photos)}.", "Give a list with the bytes of each photo.")
    for each in photos:
        if not isinstance(each, bytes):
            raise ConfigError(f"An item of photos is {arguments.shown(each)}.", "Give the bytes of the photo's file.")


def parse_policy(text: str) -> FacePolicy:
    """A face policy by name; `ConfigError` names the choices."""
    try:
        return FacePolicy(text)
    except ValueError:
        raise ConfigError(f"There is no face policy {text!r}.", f"Use one of: {', '.join(FacePolicy)}.") from None
