"""The two models of a pack, opened when they are first needed, and what identifies the templates they make."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from facesearch.errors import ModelError, PhotoError
from facesearch.machine import usable_cores
from facesearch.names import path_text
from facesearch.recognition.alignment import ALIGNMENT_VERSION, CROP_SIZE
from facesearch.recognition.detector import NMS_THRESHOLD, Detector, parse_det_size
from facesearch.recognition.embedder import Embedder
from facesearch.recognition.packs.precision import in_precision, read_record
from facesearch.recognition.pipeline import budget_for
from facesearch.recognition.quality import NO_FACE
from facesearch.recognition.runtime import ProviderChoice, choose_provider, open_session
from facesearch.types import (
    DETECTION_THRESHOLD,
    Face,
    ModelInfo,
    Pixels,
    Precision,
    Rejection,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from facesearch.recognition.packs.store import ModelPack
    from facesearch.types import Vector

T = TypeVar("T")

FEWEST: Final = 8
"""Failures without any success after which the model is at fault, and not the photos."""


BATCH: Final = 8
"""Crops per run of the recogniser on a CPU. Measured with IResNet-50: alone a crop takes 39.8 ms, with 7 others 39.3,
with 31 others 44.7."""
BATCH_ELSEWHERE: Final = 16
"""On a GPU, whose cores one crop does not fill."""
_GREY: Final = np.full((64, 64, 3), 127, np.uint8)
"""A photo that no detector has a reason to fail on."""
MOST_WORKERS: Final = 8
"""By default: each holds a photo and what a network keeps between its layers, some 0.1 GB with SCRFD-10G at 640."""


class Trust:
    """What one model has shown so far. Safe to use from several threads."""

    def __init__(self, model: str) -> None:
        """`model` names it in errors, as in "The detector of the pack buffalo_l"."""
        self._model = model
        self._lock = threading.Lock()
        self._worked = False
        self._failures = 0
        self._most_failures = float(FEWEST)

    def prove(self) -> None:
        """The model has worked elsewhere: however many photos it fails on, the photos are at fault."""
        self._most_failures = math.inf

    def worked(self) -> None:
        """The model gave a result that can be used: whatever fails from now on fails by itself."""
        self._worked = True

    def failed(self, detail: str, try_another: Callable[[], object] | None = None) -> None:
        """The model gave nothing usable for one photo or face.

        `try_another` runs it on something that is surely sound.

        Raises:
            ModelError: it fails on that as well, or is not proven, has failed on `FEWEST` and worked on none.
        """
        if self._worked:
            return
        with self._lock:
            self._failures += 1
            failures = self._failures
        if failures >= self._most_failures or (try_another is not None and _fails(try_another)):
            raise ModelError(
                f"{self._model} fails on everything it was given: {detail}", "Try --provider cpu, or another pack."
            )


def _fails(run: Callable[[], object]) -> bool:
    try:
        run()
    except PhotoError:
        return True
    return False


class Models:
    """The detector and the recogniser of a pack. Safe to use from several threads.

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
        """`workers` photos go through the models at once in `Extractor.extract_many`, and share the cores.

        With None each run of a model uses all cores: a single photo is done sooner, many of them later. `batch` faces
        share one run of the recogniser; None takes what was measured to be fastest.

        `flip` sums each crop's vector with that of its mirror image: a little more accurate for twice the time. Such
        templates carry a model id of their own, and so do those of another `precision`, unless `model_id` names that
        of the templates they are to be compared with: `facesearch.types.mixing_shift` says whether they may.

        Raises:
            ConfigError: `det_size` is neither `auto`, `fast` nor a multiple of 32.
            ProviderError: `provider` is unknown or not available here, or does not compute in `precision`.
            ModelNotFoundError: the pack has no files for `precision`.
            ModelIntegrityError: what it has is damaged, or was made from other models.
        """
        self.provider: ProviderChoice = choose_provider(provider, precision)
        """Where the models run, and why there."""
        self._pack = pack
        self.none_found: Final = f"{NO_FACE} {pack.detector.finds}" if pack.detector.finds else NO_FACE
        """What to say of a photo in which the detector finds no face."""
        self._precision = precision
        self._files = in_precision(pack, precision)
        self._model_id = model_id
        self._det_size = det_size
        self._det_sizes = parse_det_size(det_size)
        self.workers = workers
        """Photos in the models at once; None leaves all cores to each."""
        self.budget = budget_for((workers or workers_for_many()) + 1)
        """Of all pipelines together: they hold no more pixels than one alone."""
        self._threads = max(1, usable_cores() // workers) if workers else None
        self._flip = flip
        self._lock = threading.RLock()
        self._detector: Detector | None = None
        self._embedder: Embedder | None = None
        self._detector_trust = Trust(f"The detector of the pack {pack.name}")
        self._recognizer_trust = Trust(f"The recogniser of the pack {pack.name}")
        self._info: ModelInfo | None = None
        self.batch: int = batch or (BATCH if self.provider.name in ("cpu", "openvino") else BATCH_ELSEWHERE)
        """Faces per run of the recogniser."""

    @property
    def info(self) -> ModelInfo:
        """What makes templates comparable; opens the recogniser only where the pack does not tell the dimension."""
        with self._lock:
            if self._info is None:
                self._info = self._describe(self._pack.recognizer.dimension or self._open_embedder().dimension)
            return self._info

    def prove_by(self, made_with: ModelInfo) -> None:
        """Take it from templates that exist that these models work: photos that they fail on are at fault then."""
        if made_with.detector_sha256 == self.info.detector_sha256:
            self._detector_trust.prove()
        if made_with.recognizer_sha256 == self.info.recognizer_sha256:
            self._recognizer_trust.prove()

    def detect(self, pixels: Pixels) -> list[Face]:
        """All faces of an upright RGB photo (height, width, 3) uint8, best score first.

        Raises:
            PhotoError: `model_failure`, the detector fails on this photo.
            ModelError: the detector cannot be opened, or has failed on everything so far.
        """
        detector = self._open_detector()
        try:
            faces = detector.detect(pixels)
        except PhotoError as error:
            self._detector_trust.failed(error.message, lambda: detector.detect(_GREY))
            raise
        self._detector_trust.worked()
        return faces

    def embed_crops(self, crops: Sequence[Pixels]) -> list[Vector | Rejection]:
        """The vector of each face that is aligned already, or why it has none: crops of (112, 112, 3) uint8 RGB.

        Raises:
            ModelError: the recogniser cannot be opened, or has failed on everything so far.
        """
        if not crops:  # so that photos without faces do not open the recogniser
            return []
        embedder, batch = self._open_embedder(), self.batch
        vectors = [
            vector
            for start in range(0, len(crops), batch)
            for vector in embedder.embed(np.stack(crops[start : start + batch]), flip=self._flip)
        ]
        if not all(isinstance(vector, Rejection) for vector in vectors):
            self._recognizer_trust.worked()
        for vector in vectors:
            if isinstance(vector, Rejection):
                self._recognizer_trust.failed(vector.detail)
        return vectors

    def _open_detector(self) -> Detector:
        with self._lock:
            if self._detector is None:
                file = self._files.detector
                session = open_session(file.path, self.provider, sha256=file.sha256, threads=self._threads)
                self._detector = Detector(session, self._det_sizes)
            return self._detector

    def _open_embedder(self) -> Embedder:
        with self._lock:
            if self._embedder is None:
                file = self._files.recognizer
                session = open_session(file.path, self.provider, sha256=file.sha256, threads=self._threads)
                self._embedder = Embedder(session, file.input_mean, file.input_std, file.dimension)
            return self._embedder

    def _describe(self, dimension: int) -> ModelInfo:
        pack, recognizer = self._pack, self._pack.recognizer
        makes_comparable = [
            recognizer.sha256, float(recognizer.input_mean), float(recognizer.input_std), ALIGNMENT_VERSION, dimension,
            *(["flip"] if self._flip else []),
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
                "channels": "RGB",
                "crop_size": CROP_SIZE,
                "alignment_version": ALIGNMENT_VERSION,
                **({"flip": True} if self._flip else {}),
                "precision": self._precision.value,
                **arithmetic,
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


def _model_id(name: str, makes_comparable: list[object]) -> str:
    digest = hashlib.sha256(json.dumps(makes_comparable).encode()).hexdigest()
    return f"{name}-{digest[:12]}"


def workers_for_many() -> int:
    """How many photos to have in the models at once where there are many: one a core.

    Measured on two cores with SCRFD-500M: two runs of one thread each take 10 % less processor time than two of two.
    """
    return min(MOST_WORKERS, usable_cores())
