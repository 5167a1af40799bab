"""Tiny ONNX models for tests of the whole way through onnxruntime, and a pack made of them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from facesearch.recognition.embedder import ARCFACE_TEMPLATE
from facesearch.recognition.networks import STRIDES
from facesearch.recognition.packs.graph import Port, node, tensor, write_graph
from facesearch.recognition.packs.store import DetectorFile, ModelPack, RecognizerFile
from tests.recognition.sessions import Floats, floats, scrfd_outputs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SIZE = 64
"""Input size of the detector."""


def detector_model(
    faces: Sequence[tuple[float, float, float]], *, landmarks: bool = True, nan_above: float = 2
) -> bytes:
    """An SCRFD that finds square faces (left, top, side) with scores from 0.9 downwards in any photo that is not black.

    A score rises with the photo's brightness: below 0.5 for a black one, and NaN where the mean of the input, -1..1, is
    above `nan_above`.
    """
    hits: dict[tuple[int, int], tuple[float, Floats, Floats]] = {}
    for i, (left, top, side) in enumerate(faces):
        sides = floats(
            [i - left / 8, -top / 8, (left + side) / 8 - i, (top + side) / 8]
        )  # in strides, from cell (i, 0)
        points = floats(((left, top) + ARCFACE_TEMPLATE * (side / 112)) / 8 - (i, 0))
        hits[8, 2 * i] = (0.9 + 0.5 - 0.1 * i, sides, points)
    outputs = scrfd_outputs(SIZE, hits, landmarks=landmarks)
    names = [f"out{i}" for i in range(len(outputs))]
    nodes = [
        node("ReduceMean", ["x"], ["plain"], keepdims=0),
        node("Sub", ["limit", "plain"], ["below"]),
        node("Sqrt", ["below"], ["root"]),
        node("Mul", ["root", "nothing"], ["nan"]),
        node("Add", ["plain", "nan"], ["mean"]),
    ]
    for i, name in enumerate(names):
        if i < len(STRIDES):
            outputs[i][outputs[i] == 0] = -10
            nodes.append(node("Add", [f"w{i}", "mean"], [name]))
        else:
            nodes.append(node("Identity", [f"w{i}"], [name]))
    return write_graph(
        "detector",
        nodes=nodes,
        weights=[
            *(tensor(f"w{i}", array) for i, array in enumerate(outputs)),
            tensor("limit", floats(nan_above)),
            tensor("nothing", floats(0)),
        ],
        inputs=[Port("x", (1, 3, "height", "width"))],
        outputs=[Port(name, tuple(array.shape)) for name, array in zip(names, outputs, strict=True)],
    )


def recognizer_model(nan_above: float | None = None) -> bytes:
    """The crop's mean colour: three numbers. They are NaN where the mean of red, -1..1, is above `nan_above`."""
    failing = [
        node("MatMul", ["flat", "red"], ["redness"]),
        node("Sub", ["limit", "redness"], ["below"]),
        node("Sqrt", ["below"], ["root"]),
        node("Div", ["root", "root"], ["one"]),
        node("Mul", ["flat", "one"], ["vector"]),
    ]
    flat = "vector" if nan_above is None else "flat"
    return write_graph(
        "recognizer",
        nodes=[
            node("GlobalAveragePool", ["x"], ["pooled"]),
            node("Flatten", ["pooled"], [flat]),
            *([] if nan_above is None else failing),
        ],
        weights=[tensor("red", floats([[1], [0], [0]])), tensor("limit", floats(nan_above or 0))],
        inputs=[Port("x", ("batch", 3, 112, 112))],
        outputs=[Port("vector", ("batch", 3))],
    )


def write_pack(
    folder: Path, detector: bytes, dimension: int | None = 3, *, recognizer: bytes | None = None
) -> ModelPack:
    recognizer = recognizer or recognizer_model()
    (folder / "finder.onnx").write_bytes(detector)
    (folder / "colour.onnx").write_bytes(recognizer)
    return ModelPack(
        name="tiny",
        detector=DetectorFile(folder / "finder.onnx", hashlib.sha256(detector).hexdigest()),
        recognizer=RecognizerFile(
            folder / "colour.onnx", hashlib.sha256(recognizer).hexdigest(), 127.5, 127.5, dimension
        ),
        threshold=0.4,
        threshold_basis="a test",
    )
