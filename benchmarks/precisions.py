"""The precisions of the providers that are here: their networks alone, and whole photos, against fp32 on onnxruntime.

int8 files are made of a copy of the pack, calibrated on photos without looking for faces in them: models of random
weights find none.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from benchmarks.timing import Taken, alternate, taken
from facesearch.errors import FaceSearchError
from facesearch.jobs.sources import read_photo_bytes
from facesearch.recognition.decoding import decode_guarded
from facesearch.recognition.detector import Letterbox, fit
from facesearch.recognition.embedder import CROP_SIZE, as_input
from facesearch.recognition.extractor import Extractor
from facesearch.recognition.networks import Scrfd
from facesearch.recognition.packs.folder import read_pack_folder
from facesearch.recognition.packs.precision import in_precision
from facesearch.recognition.packs.quantize import CalibrationSet, quantize_pack
from facesearch.recognition.quality import NO_LIMITS, FacePolicy
from facesearch.recognition.runtime import PRECISIONS, choose_provider, open_session
from facesearch.types import Precision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.reporting import Report
    from facesearch.recognition.packs.folder import ModelPack
    from facesearch.recognition.runtime import Session

BASE: Final = "cpu fp32"
"""What InsightFace runs."""
PROVIDERS: Final = ("cpu", "openvino", "cuda", "tensorrt")


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A precision of a provider."""

    provider: str
    precision: Precision
    detector: Session
    recognizer: Session

    @property
    def name(self) -> str:
        return f"{self.provider} {self.precision}"


@dataclass(frozen=True, slots=True)
class Precisions:
    """Those that run here, and what they are run on."""

    pack: ModelPack
    inputs: CalibrationSet
    found: tuple[Arithmetic, ...]


def open_precisions(
    source: Path, folder: Path, photos: Sequence[Path], size: int, threads: int, report: Report
) -> Precisions:
    """Copies the pack of the folder `source` into `folder`; what cannot be run here is told in `report`.

    `photos` are calibrated on and run, at `size` pixels, by runs of `threads` threads.
    """
    pack = _copied(read_pack_folder(source), source, folder)
    inputs = _inputs(photos, size, pack)
    try:
        quantize_pack(pack, inputs)
    except FaceSearchError as error:
        report.skipped["int8"] = _why(error)
    found = []
    for provider in PROVIDERS:
        for precision in (each for each in Precision if each in PRECISIONS[provider]):
            try:
                found.append(_open(pack, provider, precision, threads))
            except FaceSearchError as error:
                report.skipped[f"{provider} {precision}"] = _why(error)
    return Precisions(pack, inputs, tuple(found))


def measure_networks(precisions: Precisions, rounds: int, report: Report, prefix: str = "") -> None:
    """Detector and recogniser once for each photo, in turn; then the vectors of the same crops compared."""
    inputs = precisions.inputs
    contenders = {each.name: partial(_run_networks, each, inputs) for each in precisions.found}
    for once in contenders.values():
        once()  # the first run compiles
    _tell(alternate(contenders, rounds), len(inputs.detector), report, prefix)
    vectors = {each.name: _vectors(each, inputs) for each in precisions.found}
    for name in vectors:
        if name != BASE:
            _tell_cosines(name, np.sum(vectors[name] * vectors[BASE], axis=1), report, prefix)


def measure_photos(
    precisions: Precisions, paths: Sequence[Path], size: int, workers: int, rounds: int, report: Report, prefix: str
) -> None:
    """Files to vectors through `extract_many`, in turn; then the vectors of faces that both found compared."""
    extractors = {
        each.name: Extractor(
            precisions.pack, provider=each.provider, precision=each.precision, det_size=str(size), workers=workers
        )
        for each in precisions.found
    }
    outputs = {name: encode_photos(extractor, paths) for name, extractor in extractors.items()}  # and so they are warm
    contenders: dict[str, Callable[[], Taken]] = {
        name: partial(taken, partial(encode_photos, extractor, paths)) for name, extractor in extractors.items()
    }
    _tell(alternate(contenders, rounds), len(paths), report, prefix)
    for name, found in outputs.items():
        if name != BASE:
            pairs = [(a, b) for a, b in zip(outputs[BASE], found, strict=True) if a is not None and b is not None]
            _tell_cosines(name, np.array([float(a @ b) for a, b in pairs]), report, prefix)
            lost = sum((a is None) != (b is None) for a, b in zip(outputs[BASE], found, strict=True))
            report.add(f"{prefix}{name}: photos with a face in one of both alone", lost, f"of {len(paths)}")


def encode_photos(extractor: Extractor, paths: Sequence[Path]) -> list[NDArray[np.float32] | None]:
    """For each photo the vector of its best face."""
    encoded = extractor.extract_many(paths, read_photo_bytes, policy=FacePolicy.ALL, limits=NO_LIMITS)
    return [photo.templates[0].vector if photo.templates else None for photo in encoded]


def _open(pack: ModelPack, provider: str, precision: Precision, threads: int) -> Arithmetic:
    files, choice = in_precision(pack, precision), choose_provider(provider, precision)
    detector, recognizer = (
        open_session(file.path, choice, sha256=file.sha256, threads=threads)
        for file in (files.detector, files.recognizer)
    )
    return Arithmetic(provider, precision, detector, recognizer)


def _run_networks(arithmetic: Arithmetic, inputs: CalibrationSet) -> Taken:
    def photos() -> None:
        for blob, crop in zip(inputs.detector, inputs.recognizer, strict=True):
            arithmetic.detector.run(blob)
            arithmetic.recognizer.run(crop)

    return taken(photos)


def _vectors(arithmetic: Arithmetic, inputs: CalibrationSet) -> NDArray[np.float32]:
    found = np.concatenate([arithmetic.recognizer.run(crop)[0] for crop in inputs.recognizer])
    units: NDArray[np.float32] = found / np.linalg.norm(found, axis=1, keepdims=True)
    return units


def _tell(runs: Mapping[str, list[Taken]], count: int, report: Report, prefix: str) -> None:
    for name, each in runs.items():
        report.add_median(
            f"{prefix}{name}: processor time a photo", [1e3 * one.processor / count for one in each], "ms"
        )
        report.add_median(f"{prefix}{name}: time a photo", [1e3 * one.wall / count for one in each], "ms")
    base = runs[BASE]
    for name, each in runs.items():
        if name != BASE:
            report.add_ratio(f"{prefix}{name}: times as fast", [a.wall for a in base], [a.wall for a in each])
            processors = [one.processor for one in base], [one.processor for one in each]
            report.add_ratio(f"{prefix}{name}: by processor time", *processors)


def _tell_cosines(name: str, cosines: NDArray[np.float32], report: Report, prefix: str) -> None:
    if len(cosines):
        report.add(f"{prefix}{name}: lowest cosine with fp32's vector, less than 1 by", 1 - float(cosines.min()), "")
        report.add(f"{prefix}{name}: the median, less than 1 by", 1 - float(np.median(cosines)), "")


def _why(error: FaceSearchError) -> str:
    return f"{error.message} {error.hint or ''}"


def _copied(pack: ModelPack, source: Path, target: Path) -> ModelPack:
    target.mkdir()
    for path in (pack.detector.path, pack.recognizer.path, source / "pack.toml"):
        if path.is_file():
            shutil.copy(path, target)
    return read_pack_folder(target)


def _inputs(paths: Sequence[Path], size: int, pack: ModelPack) -> CalibrationSet:
    network = Scrfd(9)
    photos = [decode_guarded(read_photo_bytes(path)) for path in paths]
    crops = [np.asarray(cv2.resize(photo, (CROP_SIZE, CROP_SIZE)), np.uint8)[None] for photo in photos]
    mean, std = pack.recognizer.input_mean, pack.recognizer.input_std
    inputs = [Letterbox(network).put(photo, fit(photo, size), (size, size)) for photo in photos]
    return CalibrationSet(tuple(inputs), tuple(as_input(crop, mean, std) for crop in crops))
