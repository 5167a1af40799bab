"""The stand-in for an ArcFace recogniser: tells the drawn faces apart, with ArcFace's input and a 128-d output.

The crop is averaged over cells of 8 x 8 pixels, so that small misalignments do not matter; the logarithm makes the
strength of the light a constant and its fall across the face a slope, and both go away when each face's mean is
taken off and left and right are averaged. What is left is compared by random Fourier features (Rahimi and Recht,
NIPS 2007): the cosine of two vectors is about exp(-distance^2 / 2 width^2), near 0 for people who differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from facesearch.demo.network import Net
from facesearch.recognition.packs.graph import Port

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    phases = net.op("MatMul", flat, net.weight(_projection().astype(np.float32)))
    net.named(net.op("Concat", net.op("Cos", phases), net.op("Sin", phases), axis=1), "vector")
    return net.serialise(
        "standin-embedder", [Port("input", ("n", 3, _CROP, _CROP))], [Port("vector", ("n", DIMENSION))]
    )


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
