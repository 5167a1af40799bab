"""A model pack that knows the drawn portraits and nothing else: real ONNX graphs of the real shapes, under 1 MB.

With it the demo and the tests run the whole pipeline without a download. It says nothing about photos of people.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from facesearch.demo.network import Net, Value
from facesearch.recognition.packs.folder import PACK_FILE
from facesearch.recognition.packs.graph import Port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

PACK_NAME = "standin"
THRESHOLD = 0.48
"""Cosine: of 12 people x 6 photos the lowest mated score is 0.63 and the highest non-mated one 0.35."""

_DETECTOR = "standin_detector.onnx"
_RECOGNIZER = "standin_embedder.onnx"


def build_standin_pack(folder: Path) -> Path:
    """Write the pack into `folder`, made where it is missing, and return the folder.

    The same version writes the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    detector, recognizer = detector_bytes(), embedder_bytes()
    (folder / _DETECTOR).write_bytes(detector)
    (folder / _RECOGNIZER).write_bytes(recognizer)
    text = f"""\
# Written by facesearch: a stand-in that knows drawn portraits only. It recognises no photo of a person.
name = "{PACK_NAME}"
licence = "part of facesearch; not trained on anyone"

[detector]
file = "{_DETECTOR}"
sha256 = "{hashlib.sha256(detector).hexdigest()}"
finds = "The stand-in model finds drawn faces only."

[recognizer]
file = "{_RECOGNIZER}"
sha256 = "{hashlib.sha256(recognizer).hexdigest()}"
input_mean = {INPUT_MEAN}
input_std = {INPUT_STD}
dimension = {DIMENSION}

[threshold]
score = {THRESHOLD}
basis = "stand-in pack: synthetic portraits only"
"""
    (folder / PACK_FILE).write_text(text, encoding="utf-8")
    return folder


# -- the detector
#
# The stand-in for SCRFD: finds the faces of the drawn portraits, with SCRFD's inputs and outputs.
#
# It weighs three colour evidences (the bluish white of eyes, the red of lips, skin) in windows about every anchor where
# a face of the anchor's size would have its eyes and its mouth. The centroids of the evidence in the windows are the
# landmarks; the score says how well their arrangement fits a face of that size at that place. For drawn faces only.

_STRIDES = (8, 16, 32)
_EYE_DISTANCES = {8: (20.0, 30.0), 16: (45.0, 67.0), 32: (100.0, 150.0)}
"""Pixels of the input, for the two anchors of each stride; between two of them every size is near enough to one."""
_NOSE = 0.494
"""How far down from the eyes to the mouth the nose tip lies: (71.7 - 51.6) / (92.3 - 51.6) of the ArcFace template."""
_EYES_TO_MOUTH = 1.17
"""In eye distances, as drawn."""
_CORNER = 2.15
"""Half the width of the drawn lips, in standard deviations of their area along it."""
_TINY = 1e-6

# Where an anchor looks, in its eye distances from the anchor, which is the nose tip: left, top, right, bottom.
_LEFT_EYE = (-1.0, -1.15, 0.0, -0.1)
_RIGHT_EYE = (0.0, -1.15, 1.0, -0.1)
_LIPS = (-0.8, 0.1, 0.8, 1.2)
_SKIN = (-0.35, -0.35, 0.35, 0.35)


class _Blob(NamedTuple):
    """Evidence in a window: its area in squared eye distances, its centroid and its variance along one axis."""

    area: Value
    x: Value
    y: Value
    variance: Value


def detector_bytes() -> bytes:
    """The ONNX file: input (1, 3, height, width), multiples of 32, RGB as (x - 127.5) / 128; SCRFD's nine outputs."""
    net = Net()
    evidence = _evidence(net)
    levels = {stride: _level(net, evidence, stride) for stride in _STRIDES}
    ports = []
    for kind, (name, columns) in enumerate((("score", 1), ("box", 4), ("landmarks", 10))):
        for stride, level in levels.items():
            ports.append(net.named(level[kind], f"{name}_{stride}", (None, columns)))
    return net.serialise("standin-detector", [Port("input", (1, 3, "height", "width"))], ports)


def _evidence(net: Net) -> Value:
    """(1, 3, height, width): how much each pixel looks like the white of an eye, lips, skin; 0 to 1."""
    slopes = np.array([[-1.0, 0.0, 1.0], [1.0, -1.9, 0.0], [1.0, 0.0, -1.12]])  # of r, g, b
    thresholds, ranges = np.array([8.0, 8.0, 4.0]), np.array([14.0, 25.0, 15.0])  # grey levels
    weights = slopes * 128 / ranges[:, None]
    offsets = (slopes.sum(axis=1) * 127.5 - thresholds) / ranges
    colours = net.op("Conv", net.input("input"), net.weight(weights[:, :, None, None]), net.weight(offsets))
    return colours.clipped()


def _level(net: Net, evidence: Value, stride: int) -> tuple[Value, Value, Value]:
    """Scores (n, 1), boxes (n, 4) and landmarks (n, 10) of one stride."""
    cell = stride // 2
    cells = net.op("Conv", evidence, net.weight(_moment_kernels(cell)), strides=[cell, cell])
    white, red, skin = net.ops("Split", 3, cells, net.weight(np.array([3, 3, 1], dtype=np.int64)), axis=1)
    left = _blob(net, white, stride, _LEFT_EYE, axis=1)
    right = _blob(net, white, stride, _RIGHT_EYE, axis=1)
    lips = _blob(net, red, stride, _LIPS, axis=0)
    tan = _windows(net, skin, stride, lambda distance: _window(cell, distance, _SKIN, mean=True)[None, None])

    vx, vy = right.x - left.x, right.y - left.y
    middle_x, middle_y = (left.x + right.x) * 0.5, (left.y + right.y) * 0.5
    ux, uy = lips.x - middle_x, lips.y - middle_y
    length2 = vx.squared() + vy.squared() + _TINY
    length = net.op("Sqrt", length2)
    nose_x, nose_y = middle_x + ux * _NOSE, middle_y + uy * _NOSE

    misfit = (
        ((length - 1.0) / 0.6).squared()
        + (nose_x.squared() + nose_y.squared()) / 0.8**2
        + ((ux * vx + uy * vy) / length2 / 0.18).squared()
        + (((vx * uy - vy * ux) / length2 - _EYES_TO_MOUTH) / 0.2).squared()
        + ((left.area - right.area) / (left.area + right.area + _TINY) / 0.4).squared()
        + net.op("Relu", (left.variance + right.variance) / length2 - 0.03) / 0.01
        + net.op("Relu", lips.variance / length2 - 0.09) / 0.02
    )
    present = (left.area / 0.01).clipped() * (right.area / 0.01).clipped() * (lips.area / 0.03).clipped()
    score = net.op("Exp", misfit * -0.5) * present * ((tan - 0.45) / 0.15).clipped()

    half_mouth = net.op("Sqrt", net.op("Relu", lips.variance) + _TINY) * _CORNER / length
    dx, dy = vx * half_mouth, vy * half_mouth
    landmarks = [left.x, left.y, right.x, right.y, nose_x, nose_y, lips.x - dx, lips.y - dy, lips.x + dx, lips.y + dy]
    box = [length * 1.1 - nose_x, length * 1.5 - nose_y, length * 1.1 + nose_x, length * 1.4 + nose_y]
    in_strides = np.array(_EYE_DISTANCES[stride])[None, :, None, None] / stride
    return (
        _rows(net, [score]),
        _rows(net, [side * net.weight(in_strides) for side in box]),
        _rows(net, [coordinate * net.weight(in_strides) for coordinate in landmarks]),
    )


def _rows(net: Net, columns: list[Value]) -> Value:
    """Columns of shape (1, 2, rows, cols), one value per anchor, as (rows * cols * 2, columns) in SCRFD's order."""
    axis = net.weight(np.array([4], dtype=np.int64))
    stacked = net.op("Concat", *(net.op("Unsqueeze", column, axis) for column in columns), axis=4)
    ordered = net.op("Transpose", stacked, perm=[0, 2, 3, 1, 4])
    return net.op("Reshape", ordered, net.weight(np.array([-1, len(columns)], dtype=np.int64)))


def _blob(net: Net, moments: Value, stride: int, bounds: tuple[float, float, float, float], axis: int) -> _Blob:
    """What lies in a window of every anchor, from the cells' (mass, x moment, y moment); the variance along `axis`."""
    cell = stride // 2

    def kernels(distance: float) -> NDArray[np.float64]:
        window = _window(cell, distance, bounds) * cell**2 / distance**2
        x, y = _offsets(cell, distance)
        along = (x, y)[axis]
        within = np.zeros((4, 3, *window.shape))
        within[0, 0] = window
        within[1, 0], within[1, 1] = window * x, window / distance
        within[2, 0], within[2, 2] = window * y, window / distance
        within[3, 0], within[3, 1 + axis] = window * along**2, 2 * window * along / distance
        return within

    area, sum_x, sum_y, sum_squares = net.ops("Split", 4, _windows(net, moments, stride, kernels), axis=1)
    x, y = sum_x / (area + _TINY), sum_y / (area + _TINY)
    return _Blob(area, x, y, sum_squares / (area + _TINY) - (x, y)[axis].squared())


def _windows(net: Net, cells: Value, stride: int, kernels: Callable[[float], NDArray[np.float64]]) -> Value:
    """`kernels` for both anchors, laid over every anchor: (1, features * 2, rows, cols), the anchors innermost."""
    stack = np.stack([kernels(distance) for distance in _EYE_DISTANCES[stride]], axis=1)
    reach, weights = stack.shape[-1] // 2, net.weight(stack.reshape(-1, *stack.shape[2:]))
    return net.op("Conv", cells, weights, strides=[2, 2], pads=[reach, reach, reach - 1, reach - 1])


def _moment_kernels(cell: int) -> NDArray[np.float64]:
    """(7, 3, cell, cell): mean, x moment and y moment of the first two evidences in a cell, mean of the third."""
    offsets = np.arange(cell) - (cell - 1) / 2
    kernels = np.zeros((7, 3, cell, cell))
    for channel in range(2):
        kernels[3 * channel, channel] = 1
        kernels[3 * channel + 1, channel] = offsets[None, :]
        kernels[3 * channel + 2, channel] = offsets[:, None]
    kernels[6, 2] = 1
    return kernels / cell**2


def _offsets(cell: int, distance: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x (1, n) and y (n, 1) of the cells about an anchor, in eye distances; the same n for both anchors of a stride."""
    reach = math.ceil(1.15 * max(_EYE_DISTANCES[cell * 2]) / cell)
    steps: NDArray[np.float64] = (np.arange(-reach, reach, dtype=np.float64) + 0.5) * (cell / distance)
    return steps[None, :], steps[:, None]


def _window(
    cell: int, distance: float, bounds: tuple[float, float, float, float], *, mean: bool = False
) -> NDArray[np.float64]:
    """(n, n): 1 for the cells within the bounds, 0 elsewhere; with `mean` they sum to 1."""
    x, y = _offsets(cell, distance)
    left, top, right, bottom = bounds
    inside = ((x > left) & (x < right) & (y > top) & (y < bottom)).astype(np.float64)
    return inside / inside.sum() if mean else inside


# -- the recogniser
#
# The stand-in for an ArcFace recogniser: tells the drawn faces apart, with ArcFace's input and a 128-d output.
#
# The crop is averaged over cells of 8 x 8 pixels, so that small misalignments do not matter; the logarithm makes the
# strength of the light a constant and its fall across the face a slope, and both go away when each face's mean is
# taken off and left and right are averaged. What is left is compared by random Fourier features (Rahimi and Recht,
# NIPS 2007): the cosine of two vectors is about exp(-distance^2 / 2 width^2), near 0 for people who differ.

DIMENSION = 128
INPUT_MEAN = INPUT_STD = 127.5

_CROP = 112
_CELL = 8
_CELLS = _CROP // _CELL
_DARKEST = 1.15
"""Added to pixels of -1 to 1, so that black has a logarithm and weighs no more than it should."""
_FACE = (56.0, 64.0, 40.0, 50.0)
"""The ellipse of the crop that counts, in pixels: centre x and y, half width and height."""
_WIDTH = 1.25
"""Of the kernel: the distance of two crops at which their cosine has fallen to 0.6."""
_SEED = 1


def embedder_bytes() -> bytes:
    """The ONNX file: input (n, 3, 112, 112), RGB as (x - 127.5) / 127.5; output (n, 128), of equal lengths."""
    net = Net()
    pooled = net.op("AveragePool", net.input("input"), kernel_shape=[_CELL, _CELL], strides=[_CELL, _CELL])
    flat = net.op("Flatten", net.op("Log", pooled + _DARKEST))
    phases = net.op("MatMul", flat, net.weight(_projection()))
    waves = net.op("Concat", net.op("Cos", phases), net.op("Sin", phases), axis=1)
    vector = net.named(waves, "vector", ("n", DIMENSION))
    return net.serialise("standin-embedder", [Port("input", ("n", 3, _CROP, _CROP))], [vector])


def _projection() -> NDArray[np.float64]:
    """(3 * cells^2, 64): mirror average, mean over the face, mask and random directions, all linear, in one matrix."""
    centre_x, centre_y, half_width, half_height = _FACE
    at = (np.arange(_CELLS) + 0.5) * _CELL
    inside = ((at[None, :] - centre_x) / half_width) ** 2 + ((at[:, None] - centre_y) / half_height) ** 2 < 1
    mask = np.broadcast_to(inside, (3, _CELLS, _CELLS)).astype(np.float64)
    frequencies = np.random.default_rng(_SEED).normal(size=(3, _CELLS, _CELLS, DIMENSION // 2)) / _WIDTH
    masked = frequencies * mask[..., None]
    centred = masked - mask[..., None] * masked.sum(axis=(0, 1, 2)) / mask.sum()
    mirrored = (centred + centred[:, :, ::-1]) / 2
    projection: NDArray[np.float64] = mirrored.reshape(-1, DIMENSION // 2)
    return projection
