"""Photos -> templates: the steps of vision in order, one photo at a time or many in a pipeline."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import numpy as np

from facesearch.errors import PhotoError
from facesearch.types import DETECTION_THRESHOLD, Face, ModelInfo, Pixels, Quality, Reason, Rejection, Template
from facesearch.vision.alignment import ALIGNMENT_VERSION, CROP_SIZE, align
from facesearch.vision.decoding import decode_guarded
from facesearch.vision.detector import NMS_THRESHOLD, Detector, parse_det_size
from facesearch.vision.embedder import Embedder
from facesearch.vision.quality import FaceChoice, Limits, choose_faces, judge, measure
from facesearch.vision.runtime import ProviderChoice, choose_provider, open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from facesearch.types import Vectors
    from facesearch.vision.packs import ModelPack

T = TypeVar("T")

BATCH: Final = 16
"""Crops per run of the recogniser: beyond that a CPU gains nothing, and memory grows."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPhoto(Generic[T]):
    """What became of one photo: templates, or the reason why there are none."""

    source: T
    sha256: str
    """Of the file's bytes, in hex; empty where they could not be read."""
    size: tuple[int, int] | None
    """Width and height of the upright photo in pixels; None where it could not be decoded."""
    templates: tuple[Template, ...]
    rejection: Rejection | None
    """Set exactly when there are no templates."""
    faces_found: int = 0
    """Faces the detector found, whether or not they were used."""
    unused: tuple[tuple[Face, Rejection], ...] = ()
    """Faces the policy chose and the limits refused."""


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared(Generic[T]):
    """A photo after detection and alignment: small, as its pixels are gone but for the crops."""

    outcome: EncodedPhoto[T]
    faces: tuple[tuple[Face, Quality], ...] = ()
    crops: tuple[Pixels, ...] = ()


class Encoder:
    """A model pack, ready to turn photos into templates. Safe to use from several threads.

    The two models are opened when they are first needed, each once.
    """

    def __init__(
        self,
        pack: ModelPack,
        *,
        provider: str = "auto",
        det_size: str = "auto",
        threads: int | None = None,
        flip: bool = False,
        decode: Callable[[bytes], Pixels] = decode_guarded,
    ) -> None:
        """`threads` bounds the threads of one model run; None leaves it to onnxruntime.

        `flip` sums each crop's vector with that of its mirror image: a little more accurate for twice the time. Such
        templates carry a model id of their own. `decode` turns the bytes of a file into pixels, or raises `PhotoError`.

        Raises:
            ConfigError: `det_size` is neither `auto` nor a multiple of 32.
            ProviderError: `provider` is unknown or not available here.
        """
        self._pack = pack
        self._det_sizes = parse_det_size(det_size)
        self._threads = threads
        self._flip = flip
        self._decode = decode
        self._lock = threading.RLock()
        self._detector: Detector | None = None
        self._embedder: Embedder | None = None
        self._info: ModelInfo | None = None
        self.provider: ProviderChoice = choose_provider(provider)
        """Where the models run, and why there."""

    @property
    def info(self) -> ModelInfo:
        """What makes templates comparable; opens the recogniser only where the pack does not tell the dimension."""
        with self._lock:
            if self._info is None:
                self._info = self._describe(self._pack.recognizer.dimension or self._open_embedder().dimension)
            return self._info

    def detect(self, pixels: Pixels) -> list[Face]:
        """All faces of an upright RGB photo (height, width, 3) uint8, best score first.

        Raises:
            ModelError: the detector cannot be opened or run.
        """
        return self._open_detector().detect(pixels)

    def encode(self, pixels: Pixels, faces: Sequence[Face] | None = None) -> list[Template]:
        """A template for each face in `faces`, in that order; None takes all that are detected.

        Raises:
            ModelError: a model cannot be opened or run, or the detector gives no landmarks.
            PhotoError: `extreme_pose`, the landmarks of a face coincide.
        """
        chosen = self.detect(pixels) if faces is None else faces
        crops = [align(pixels, face.landmarks) for face in chosen]
        qualities = [measure(face, crop) for face, crop in zip(chosen, crops, strict=True)]
        return self._templates(list(zip(chosen, qualities, strict=True)), self._embed(crops, BATCH))

    def embed_crops(self, crops: Sequence[Pixels]) -> Vectors:
        """(n, d) float32 for n faces that are aligned already: crops of (112, 112, 3) uint8 RGB.

        Raises:
            ModelError: the recogniser cannot be opened or run.
        """
        return self._embed(crops, BATCH)

    def encode_many(
        self,
        sources: Iterable[T],
        load: Callable[[T], bytes],
        *,
        policy: FaceChoice,
        limits: Limits,
        batch: int = BATCH,
        workers: int | None = None,
    ) -> Generator[EncodedPhoto[T], None, None]:
        """One result for every source, in their order; memory does not grow with their number.

        Threads (`workers`; None takes up to four) load, decode, detect and align a few photos ahead, and faces of
        several photos share one run of the recogniser (`batch`). A PhotoError, whether `load` or decoding raises it,
        becomes the photo's rejection; any other error ends the iteration. Closing the iterator early ends the
        threads.

        Raises:
            ModelError: a model cannot be opened or run.
        """
        workers = workers or min(4, os.cpu_count() or 1)
        remaining = iter(sources)
        pool = ThreadPoolExecutor(workers, thread_name_prefix="facesearch-photo")
        try:
            ahead: deque[Future[_Prepared[T]]] = deque()
            group: list[_Prepared[T]] = []
            while True:
                ahead.extend(
                    pool.submit(self._prepare, source, load, policy, limits)
                    for source in islice(remaining, 2 * workers - len(ahead))
                )
                if ahead:
                    group.append(ahead.popleft().result())
                if not ahead or len(group) >= batch or sum(len(photo.crops) for photo in group) >= batch:
                    yield from self._finish(group, batch)
                    group = []
                    if not ahead:
                        return
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, source: T, load: Callable[[T], bytes], policy: FaceChoice, limits: Limits) -> _Prepared[T]:
        digest = ""
        size: tuple[int, int] | None = None
        try:
            data = load(source)
            digest = hashlib.sha256(data).hexdigest()
            pixels = self._decode(data)
            size = (pixels.shape[1], pixels.shape[0])
            found = self.detect(pixels)
        except PhotoError as error:
            rejection = Rejection(Reason(error.reason), error.message)
            return _Prepared(EncodedPhoto(source, digest, size, (), rejection))
        chosen = choose_faces(found, policy, size)
        if isinstance(chosen, Rejection):
            return _Prepared(EncodedPhoto(source, digest, size, (), chosen, len(found)))
        return _crop(EncodedPhoto(source, digest, size, (), None, len(found)), pixels, chosen, limits)

    def _finish(self, group: Sequence[_Prepared[T]], batch: int) -> Iterator[EncodedPhoto[T]]:
        vectors = self._embed([crop for photo in group for crop in photo.crops], batch)
        start = 0
        for photo in group:
            end = start + len(photo.crops)
            yield replace(photo.outcome, templates=tuple(self._templates(photo.faces, vectors[start:end])))
            start = end

    def _embed(self, crops: Sequence[Pixels], batch: int) -> Vectors:
        if not crops:  # so that photos without faces do not open the recogniser
            return np.empty((0, 0), np.float32)
        embedder = self._open_embedder()
        starts = range(0, len(crops), batch)
        return np.concatenate([embedder.embed(np.stack(crops[i : i + batch]), flip=self._flip) for i in starts])

    def _templates(self, faces: Sequence[tuple[Face, Quality]], vectors: Vectors) -> list[Template]:
        return [
            Template(vector, self.info.model_id, face, quality)
            for (face, quality), vector in zip(faces, vectors, strict=True)
        ]

    def _open_detector(self) -> Detector:
        with self._lock:
            if self._detector is None:
                file = self._pack.detector
                session = open_session(file.path, self.provider, sha256=file.sha256, threads=self._threads)
                self._detector = Detector(session, self._det_sizes)
            return self._detector

    def _open_embedder(self) -> Embedder:
        with self._lock:
            if self._embedder is None:
                file = self._pack.recognizer
                session = open_session(file.path, self.provider, sha256=file.sha256, threads=self._threads)
                self._embedder = Embedder(session, file.input_mean, file.input_std, file.dimension)
            return self._embedder

    def _describe(self, dimension: int) -> ModelInfo:
        pack, recognizer = self._pack, self._pack.recognizer
        makes_comparable = [
            recognizer.sha256, float(recognizer.input_mean), float(recognizer.input_std), ALIGNMENT_VERSION, dimension,
            *(["flip"] if self._flip else []),
        ]  # fmt: skip
        digest = hashlib.sha256(json.dumps(makes_comparable).encode()).hexdigest()
        return ModelInfo(
            model_id=f"{recognizer.path.stem}-{digest[:12]}",
            pack=pack.name,
            dimension=dimension,
            detector_sha256=pack.detector.identity,
            recognizer_sha256=recognizer.sha256,
            settings={
                "detector": pack.detector.path.name,
                "det_sizes": list(self._det_sizes),
                "detection_threshold": DETECTION_THRESHOLD,
                "nms_threshold": NMS_THRESHOLD,
                "recognizer": recognizer.path.name,
                "input_mean": float(recognizer.input_mean),
                "input_std": float(recognizer.input_std),
                "channels": "RGB",
                "crop_size": CROP_SIZE,
                "alignment_version": ALIGNMENT_VERSION,
                **({"flip": True} if self._flip else {}),
            },
            threshold=pack.threshold,
            threshold_basis=pack.threshold_basis,
        )


def _crop(outcome: EncodedPhoto[T], pixels: Pixels, chosen: Sequence[Face], limits: Limits) -> _Prepared[T]:
    """Aligns and judges the chosen faces; where none is good enough, the first one's reason is the photo's."""
    faces: list[tuple[Face, Quality]] = []
    crops: list[Pixels] = []
    unused: list[tuple[Face, Rejection]] = []
    for face in chosen:
        try:
            crop = align(pixels, face.landmarks)
        except PhotoError as error:
            unused.append((face, Rejection(Reason(error.reason), error.message)))
            continue
        quality = measure(face, crop)
        rejection = judge(face, quality, limits)
        if rejection is None:
            faces.append((face, quality))
            crops.append(crop)
        else:
            unused.append((face, rejection))
    rejection = None if faces else unused[0][1]
    result = replace(outcome, rejection=rejection, unused=tuple(unused))
    return _Prepared(result, tuple(faces), tuple(crops))
