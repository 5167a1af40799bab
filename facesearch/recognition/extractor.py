"""Photos -> faces -> crops -> templates, for whoever needs them: one photo, or many in a pipeline."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

from facesearch.errors import PhotoError
from facesearch.machine import usable_cores
from facesearch.names import path_text
from facesearch.recognition.decoding import decode_noted
from facesearch.recognition.detector import NMS_THRESHOLD, Detector, parse_det_size
from facesearch.recognition.embedder import ALIGNMENT_VERSION, CROP_SIZE, Embedder
from facesearch.recognition.packs.precision import in_precision, read_record
from facesearch.recognition.pipeline import Pipeline, budget_for
from facesearch.recognition.quality import (
    NO_FACE,
    NO_LIMITS,
    FaceChoice,
    FacePolicy,
    Limits,
    choose_faces,
    crop_face,
    refusal,
)
from facesearch.recognition.runtime import ProviderChoice, Trust, choose_provider, open_session
from facesearch.types import DETECTION_THRESHOLD, Face, ModelInfo, Pixels, Precision, Quality, Rejection, Template

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from facesearch.recognition.packs.store import ModelPack
    from facesearch.types import Vector

T = TypeVar("T")
Other = TypeVar("Other")

BATCH: Final = 8
"""Crops per run of the recogniser on a CPU. Measured with IResNet-50: alone a crop takes 39.8 ms, with 7 others 39.3,
with 31 others 44.7."""
BATCH_ELSEWHERE: Final = 16
"""On a GPU, whose cores one crop or photo does not fill."""
MOST_WORKERS: Final = 8
"""By default: each holds a photo and what a network keeps between its layers, some 0.1 GB with SCRFD-10G at 640."""


def workers_for_many() -> int:
    """How many photos to have in the models at once where there are many: one a core.

    Measured on two cores with SCRFD-500M: two runs of one thread each take 10 % less processor time than two of two.
    """
    return min(MOST_WORKERS, usable_cores())


@dataclass(frozen=True, slots=True, eq=False)
class Extraction(Generic[T]):
    """A photo with its faces and their templates, or the reason why there are none."""

    source: T
    sha256: str = ""
    """Of the file's bytes, in hex; empty where there are none."""
    size: tuple[int, int] | None = None
    """Width and height of the upright photo in pixels; None where it could not be decoded."""
    faces: tuple[Face, ...] = ()
    """The faces the policy chose, best detection first."""
    made: tuple[Template | Rejection, ...] = ()
    """For each of `faces` its template, or why it has none."""
    rejection: Rejection | None = None
    """Why the photo has no template; None where it has one."""
    faces_found: int = 0
    """Faces the detector found, whether or not they were chosen."""
    note: str | None = None
    """What somebody should know of the photo, although it can be decoded."""

    def of(self, source: Other) -> Extraction[Other]:
        """The same photo of another source."""
        known = {each.name: getattr(self, each.name) for each in fields(self)}
        return Extraction(**{**known, "source": source})

    @property
    def templates(self) -> tuple[Template, ...]:
        """The templates of the faces that have one."""
        return tuple(each for each in self.made if isinstance(each, Template))

    @property
    def reasons(self) -> tuple[Rejection | None, ...]:
        """For each of `faces` why it has no template; None where it has one, or none was asked for."""
        if not self.made:
            return (None,) * len(self.faces)
        return tuple(each if isinstance(each, Rejection) else None for each in self.made)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared(Generic[T]):
    """A photo after detection and alignment: small, as its pixels are gone but for the crops."""

    photo: Extraction[T]
    crops: tuple[tuple[Pixels, Quality] | Rejection, ...] = ()
    """For each of the photo's faces the crop (112, 112, 3) with its quality, or why it is not used."""
    usable: list[Pixels] = field(init=False)
    """The crops to embed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "usable", [each[0] for each in self.crops if not isinstance(each, Rejection)])

    def finished(self, vectors: Iterator[Vector | Rejection], model_id: str) -> Extraction[T]:
        """The photo with the vectors of its usable crops, which are taken from `vectors`."""
        if not self.crops:
            return self.photo
        made: list[Template | Rejection] = []
        for face, crop in zip(self.photo.faces, self.crops, strict=True):
            if isinstance(crop, Rejection):
                made.append(crop)
            else:
                vector = next(vectors)
                made.append(vector if isinstance(vector, Rejection) else Template(vector, model_id, face, crop[1]))
        reasons = [each for each in made if isinstance(each, Rejection)]
        return replace(self.photo, made=tuple(made), rejection=reasons[0] if len(reasons) == len(made) else None)


Decoded: TypeAlias = tuple[Extraction[T], Pixels | None]
"""A photo and its pixels; None where it has a rejection instead."""


class Extractor:
    """A model pack, ready to turn photos into templates. Safe to use from several threads.

    The two models are opened when they are first needed, each once.
    """

    def __init__(
        self,
        pack: ModelPack,
        *,
        provider: str = "auto",
        det_size: str = "auto",
        precision: Precision = Precision.FP32,
        workers: int | None = None,
        batch: int | None = None,
        flip: bool = False,
        model_id: str | None = None,
    ) -> None:
        """`workers` photos go through the models at once in `extract_many`, and share the cores.

        With None each run of a model uses all cores: a single photo is done sooner, many of them later. `batch` faces
        share one run of the recogniser; None takes what was measured to be fastest.

        `flip` sums each crop's vector with that of its mirror image: a little more accurate for twice the time. Such
        templates carry a model id of their own, and so do those of another `precision`, unless `model_id` names that
        of the templates they are to be compared with: `facesearch.types.mixing_shift` says whether they may.

        Raises:
            ConfigError: `det_size` is nothing that `parse_det_size` knows.
            ProviderError: `provider` is unknown or not available here, or does not compute in `precision`.
            ModelNotFoundError: the pack has no files for `precision`.
            ModelIntegrityError: what it has is damaged, or was made from other models.
        """
        self.provider: ProviderChoice = choose_provider(provider, precision)
        """Where the models run, and why there."""
        self._pack = pack
        self._precision = precision
        self._files = in_precision(pack, precision)
        self._model_id = model_id
        self._det_size = det_size
        self._det_sizes = parse_det_size(det_size)
        on_cores = self.provider.name in ("cpu", "openvino")
        self._shared_detections = 1 if on_cores else BATCH_ELSEWHERE
        self._at_once = workers or max(workers_for_many(), self._shared_detections)
        self._budget = budget_for(self._at_once + 1)
        """Of all pipelines together: they hold no more pixels than one alone."""
        self._threads = max(1, usable_cores() // workers) if workers else None
        self._flip = flip
        self._lock = threading.Lock()
        self._detector: Detector | None = None
        self._embedder: Embedder | None = None
        self._detector_trust = Trust(f"The detector of the pack {pack.name}")
        self._recognizer_trust = Trust(f"The recogniser of the pack {pack.name}")
        self._batch: int = batch or (BATCH if on_cores else BATCH_ELSEWHERE)

    @property
    def detector(self) -> Detector:
        """Opened when it is first asked for. Raises `ModelError`."""
        with self._lock:
            if self._detector is None:
                file = self._files.detector
                session = open_session(file.path, self.provider, sha256=file.sha256, threads=self._threads)
                self._detector = Detector(
                    session,
                    self._det_sizes,
                    kind=file.kind,
                    batch=self._shared_detections,
                    trust=self._detector_trust,
                )
            return self._detector

    @property
    def embedder(self) -> Embedder:
        """Opened when it is first asked for. Raises `ModelError`."""
        with self._lock:
            if self._embedder is None:
                file = self._files.recognizer
                self._embedder = Embedder(
                    open_session(file.path, self.provider, sha256=file.sha256, threads=self._threads),
                    file.input_mean,
                    file.input_std,
                    file.dimension,
                    is_bgr=file.channel_order == "BGR",
                    batch=self._batch,
                    flip=self._flip,
                    trust=self._recognizer_trust,
                )
            return self._embedder

    @cached_property
    def info(self) -> ModelInfo:
        """What makes templates comparable; opens the recogniser only where the pack does not tell the dimension."""
        pack, recognizer = self._pack, self._pack.recognizer
        dimension = recognizer.dimension or self.embedder.dimension
        makes_comparable = [
            recognizer.sha256, float(recognizer.input_mean), float(recognizer.input_std), ALIGNMENT_VERSION, dimension,
            *(["flip"] if self._flip else []),
            *([] if recognizer.channel_order == "RGB" else [recognizer.channel_order]),
        ]  # fmt: skip
        name = path_text(recognizer.path.stem)
        fp32_model_id = _model_id(name, makes_comparable)
        arithmetic = self._arithmetic(fp32_model_id)
        own_id = _model_id(name, [*makes_comparable, arithmetic["precision_id"]]) if arithmetic else fp32_model_id
        return ModelInfo(
            model_id=self._model_id or own_id,
            pack=pack.name,
            dimension=dimension,
            detector_sha256=pack.detector.identity,
            recognizer_sha256=recognizer.sha256,
            settings={
                "detector": path_text(pack.detector.path.name),
                "det_size": self._det_size,
                "detection_threshold": DETECTION_THRESHOLD,
                "nms_threshold": NMS_THRESHOLD,
                "recognizer": path_text(recognizer.path.name),
                "input_mean": float(recognizer.input_mean),
                "input_std": float(recognizer.input_std),
                "channels": recognizer.channel_order,
                "crop_size": CROP_SIZE,
                "alignment_version": ALIGNMENT_VERSION,
                **({"flip": True} if self._flip else {}),
                "precision": self._precision.value,
                **arithmetic,
                "terms": {"detector": asdict(pack.detector.terms), "recognizer": asdict(recognizer.terms)},
            },
            threshold=pack.threshold,
            threshold_basis=pack.threshold_basis,
        )

    def _arithmetic(self, fp32_model_id: str) -> dict[str, Any]:
        """What another precision than fp32 adds to the settings."""
        if self._precision is Precision.FP32:
            return {}
        record = read_record(self._pack, self._precision)
        own_files = [sha256 for _, sha256 in record.files.values()] if record else []
        return {
            # Two runtimes round int8 differently: measured, they differ from each other as much as from fp32.
            "precision_id": [self._precision.value, self.provider.name, *own_files],
            "provider": self.provider.name,
            "fp32_model_id": fp32_model_id,
            "score_shift": record.score_shift(self.provider.name) if record else None,
        }

    def prove_by(self, made_with: ModelInfo) -> None:
        """Take it from templates that exist that these models work: photos that they fail on are at fault then."""
        if made_with.detector_sha256 == self.info.detector_sha256:
            self._detector_trust.prove()
        if made_with.recognizer_sha256 == self.info.recognizer_sha256:
            self._recognizer_trust.prove()

    def prepare(
        self, photo: Extraction[T], pixels: Pixels, *, policy: FaceChoice, limits: Limits | None
    ) -> Prepared[T]:
        """Detect, choose and align the faces of an upright RGB photo (height, width, 3). What fails is a rejection.

        Without `limits` there are no crops: the faces get no templates. Raises `ModelError` where the detector cannot
        be opened, or has failed on everything so far.
        """
        size = (pixels.shape[1], pixels.shape[0])
        photo = replace(photo, size=size)
        try:
            found = self.detector.detect(pixels)
        except PhotoError as error:
            return Prepared(replace(photo, rejection=refusal(error)))
        finds = self._pack.detector.finds
        chosen = choose_faces(found, policy, size, f"{NO_FACE} {finds}" if finds else NO_FACE)
        if isinstance(chosen, Rejection):
            return Prepared(replace(photo, rejection=chosen, faces_found=len(found)))
        crops = () if limits is None else tuple(crop_face(pixels, face, limits) for face in chosen)
        return Prepared(replace(photo, faces=tuple(chosen), faces_found=len(found)), crops)

    def finish(self, group: Sequence[Prepared[T]]) -> list[Extraction[T]]:
        """The templates of several photos, whose faces share runs of the recogniser. Raises `ModelError`."""
        crops = [crop for each in group for crop in each.usable]
        if not crops:  # so that photos without faces do not open the recogniser
            return [each.finished(iter(()), "") for each in group]
        vectors = iter(self.embedder.embed(crops))
        return [each.finished(vectors, self.info.model_id) for each in group]

    def extract(self, pixels: Pixels, faces: Sequence[Face] | None = None) -> list[tuple[Face, Template | Rejection]]:
        """`faces`, or all that are detected, of an upright RGB photo (height, width, 3), each with what became of it.

        A face has no template where its landmarks coincide (`extreme_pose`) or the recogniser fails (`model_failure`).
        Raises `ModelError`, and `PhotoError` where the detector fails on the photo.
        """
        chosen = tuple(self.detector.detect(pixels) if faces is None else faces)
        crops = tuple(crop_face(pixels, face, NO_LIMITS) for face in chosen)
        (photo,) = self.finish([Prepared(Extraction(None, faces=chosen), crops)])
        return list(zip(photo.faces, photo.made, strict=True))

    def encode(self, pixels: Pixels, faces: Sequence[Face] | None = None) -> list[Template]:
        """The templates that `extract` gives. Raises `PhotoError` where a face has none, with its reason."""
        templates: list[Template] = []
        for _, made in self.extract(pixels, faces):
            if isinstance(made, Rejection):
                raise PhotoError(made.detail, reason=made.reason)
            templates.append(made)
        return templates

    def extract_many(
        self,
        sources: Iterable[T],
        load: Callable[[T], bytes],
        *,
        policy: FaceChoice = FacePolicy.ALL,
        limits: Limits | None = NO_LIMITS,
    ) -> Generator[Extraction[T], None, None]:
        """One result for every source, in their order; memory does not grow with their number.

        Photos are read and decoded ahead, the workers detect and align, and faces of several photos share a run of the
        recogniser. A `PhotoError` of `load`, decoding or the detector becomes the photo's rejection; any other error
        ends the iteration. Closing the iterator early ends the threads. Without `limits` faces get no templates, and
        the recogniser is not opened. Raises `ModelError`.
        """

        def look(decoded: Decoded[T]) -> Prepared[T]:
            photo, pixels = decoded
            return Prepared(photo) if pixels is None else self.prepare(photo, pixels, policy=policy, limits=limits)

        pipeline = Pipeline(
            partial(_load, load),
            _decode,
            look,
            lambda prepared: len(prepared.usable),
            self.finish,
            workers=self._at_once,
            batch=self._batch,
            budget=self._budget,
        )
        return pipeline.run(sources)


def _load(load: Callable[[T], bytes], source: T) -> tuple[T, bytes | PhotoError]:
    try:
        return source, load(source)
    except PhotoError as error:
        return source, error


def _decode(loaded: tuple[T, bytes | PhotoError], take: Callable[[int], None]) -> Decoded[T]:
    source, data = loaded
    if isinstance(data, PhotoError):
        return Extraction(source, rejection=refusal(data)), None
    digest = hashlib.sha256(data).hexdigest()
    try:
        pixels, note = decode_noted(data, take)
    except PhotoError as error:
        return Extraction(source, digest, rejection=refusal(error)), None
    return Extraction(source, digest, note=note), pixels


def _model_id(name: str, makes_comparable: list[object]) -> str:
    digest = hashlib.sha256(json.dumps(makes_comparable).encode()).hexdigest()
    return f"{name}-{digest[:12]}"
