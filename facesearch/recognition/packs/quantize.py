"""Makes int8 files of a pack: onnxruntime's static quantisation, calibrated on photos.

Convolutions and matrix products get int8 weights (per output channel) and uint8 activations, in the QDQ form that
onnxruntime and OpenVINO both run. The ranges of activations are what the photos show. Two things stay fp32, as was
measured: a detector's last convolutions (SCRFD-2.5G: landmarks are twice as far off with them), and a detector of
depthwise convolutions (SCRFD-500M: onnxruntime is 12 % slower in int8, not faster).
"""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from facesearch.errors import ConfigError, ModelError, PhotoError
from facesearch.recognition.decoding import decode_guarded
from facesearch.recognition.embedder import align, as_input
from facesearch.recognition.packs.folder import file_sha256
from facesearch.recognition.packs.graph import parse_model
from facesearch.recognition.packs.precision import PrecisionRecord, folder_of, write_record
from facesearch.recognition.packs.surgery import repair
from facesearch.recognition.runtime import import_onnxruntime
from facesearch.types import Precision
from facesearch.versions import require

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from facesearch.recognition.extractor import Extractor
    from facesearch.recognition.packs.folder import ModelPack

DETECTOR_PHOTOS: Final = 32
"""Photos at each detection size that the detector is calibrated on."""
CROPS: Final = 128
"""Faces that the recogniser is calibrated on. 400 changed its scores no less (MobileFace, LFW)."""
FEWEST_CROPS: Final = 16
OPSET: Final = 13
"""The first in which weights can be quantised per channel (ONNX, DequantizeLinear-13)."""
_OPERATORS: Final = {"detector": ["Conv"], "recognizer": None}
"""None: all that onnxruntime can. An IResNet's BatchNormalization stands before its convolution: left in fp32 it
costs a conversion there and back each time."""


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationSet:
    """Inputs of both models, made of photos."""

    detector: tuple[NDArray[np.float32], ...]
    """(1, 3, height, width) each."""
    recognizer: tuple[NDArray[np.float32], ...]
    """(1, 3, 112, 112) each."""


def collect_calibration(extractor: Extractor, pack: ModelPack, photos: Iterable[bytes]) -> CalibrationSet:
    """Inputs from photos, until there are enough; photos that cannot be decoded are left out.

    Raises:
        ConfigError: fewer than 16 faces.
        ModelError: a model cannot be opened or run.
    """
    found: list[NDArray[np.float32]] = []
    crops: list[NDArray[np.float32]] = []
    mean, std = pack.recognizer.input_mean, pack.recognizer.input_std
    for data in photos:
        try:
            pixels = decode_guarded(data)
            aligned = [align(pixels, face.landmarks) for face in extractor.detector.detect(pixels)]
        except PhotoError:
            continue
        inputs = extractor.detector.inputs(pixels)
        if len(found) < DETECTOR_PHOTOS * len(inputs):
            found += inputs
        crops += [as_input(crop[None], mean, std) for crop in aligned]
        if len(crops) >= CROPS:
            break
    if len(crops) < FEWEST_CROPS:
        raise ConfigError(
            f"{len(crops)} faces were found, and calibration needs {FEWEST_CROPS} at the very least.",
            f"Name a folder with {CROPS} or more photos of faces like those you search.",
        )
    return CalibrationSet(tuple(found), tuple(crops[:CROPS]))


def quantize_pack(pack: ModelPack, calibration: CalibrationSet) -> PrecisionRecord:
    """Write int8 files of the models and their record into the pack's folder `int8`.

    Raises:
        InstallationError: the `onnx` package is not installed, or too old.
        ConfigError: the folder cannot be written to.
        ModelError: a model cannot be quantised.
    """
    require("onnx")
    folder = folder_of(pack, Precision.INT8)
    try:
        folder.mkdir(exist_ok=True)
        files = {}
        for role, path, inputs in (
            ("detector", pack.detector.path, calibration.detector),
            ("recognizer", pack.recognizer.path, calibration.recognizer),
        ):
            data = path.read_bytes() if role == "recognizer" else _worth_quantizing(path.read_bytes())
            if data is None:
                continue
            target = folder / f"{path.stem}.int8.onnx"
            with tempfile.TemporaryDirectory(prefix=".facesearch-", dir=folder) as work:
                _quantize(data, role, inputs, Path(work)).replace(target)
            files[role] = target.name, file_sha256(target)
        record = PrecisionRecord(Precision.INT8, (pack.detector.sha256, pack.recognizer.sha256), files)
        write_record(pack, record)
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written to: {error.strerror}.", "Copy the pack to a folder of your own, and name that."
        ) from error
    return record


def _worth_quantizing(detector: bytes) -> bytes | None:
    """The detector, batch-safe, so that its int8 file is; None where int8 gains nothing."""
    graph = parse_model(detector).graph
    if any(attribute.name == "group" and attribute.i > 1 for node in graph.node for attribute in node.attribute):
        return None
    return repair(detector).data


def _quantize(data: bytes, role: str, inputs: Sequence[NDArray[np.float32]], work: Path) -> Path:
    import onnx

    import_onnxruntime()
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    newer, fused, quantized = (work / f"{name}.onnx" for name in ("newer", "fused", "quantized"))
    is_detector = role == "detector"
    model = onnx.load_from_string(data)
    try:
        with _quiet():
            onnx.save(_in_newer_opset(model), newer)
            quant_pre_process(newer, fused, skip_symbolic_shape=True)
            onnx.save(_named(onnx.load(fused)), fused)
            quantize_static(
                fused,
                quantized,
                _Reader(model.graph.input[0].name, inputs),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=_OPERATORS[role],
                nodes_to_exclude=_last_convolutions(onnx.load(fused).graph) if is_detector else [],
            )
    except OSError:
        raise
    except Exception as error:  # onnx and onnxruntime raise what they like
        raise ModelError(
            f"The {role} cannot be quantised: {(str(error).splitlines() or [type(error).__name__])[0]}",
            "Use --precision bf16 or fp32.",
        ) from error
    return quantized


def _in_newer_opset(model: Any) -> Any:
    from onnx import version_converter

    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    return model if opset >= OPSET else version_converter.convert_version(model, OPSET)


def _named(model: Any) -> Any:
    """The model with a name on every node: by names some are left out, and an empty one would be all that have none."""
    for i, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}.{i}"
    return model


def _last_convolutions(graph: Any) -> list[str]:
    """Names of the convolutions that outputs come from."""
    made_by = {name: node for node in graph.node for name in node.output}
    last = []
    for output in graph.output:
        node = made_by.get(output.name)
        while node is not None and node.op_type != "Conv":
            node = made_by.get(node.input[0])
        if node is not None:
            last.append(str(node.name))
    return last


class _Reader:
    """onnxruntime's `CalibrationDataReader` over arrays."""

    def __init__(self, name: str, inputs: Iterable[NDArray[np.float32]]) -> None:
        self._feeds: Iterator[dict[str, NDArray[np.float32]]] = ({name: each} for each in inputs)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next input, or None after the last."""
        return next(self._feeds, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime's quantiser advises on the root logger what was done already."""

    def of_others(record: logging.LogRecord) -> bool:
        return "onnxruntime" not in record.pathname

    root = logging.getLogger()
    root.addFilter(of_others)
    try:
        yield
    finally:
        root.removeFilter(of_others)
