"""Small models written in NumPy, for tests that need known outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facesearch.recognition.networks import ANCHORS, STRIDES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Floats: TypeAlias = NDArray[np.float32]


def floats(values: ArrayLike) -> Floats:
    return np.array(values, dtype=np.float32)


class NumpySession:
    """A `Session` whose model is a function of its input."""

    provider = "cpu"
    input_name = "input"

    def __init__(
        self,
        model: Callable[[Floats], list[Floats]],
        outputs: int,
        shape: tuple[int | None, ...] = (None, 3, None, None),
    ) -> None:
        self._model = model
        self.input_shape = shape
        self.output_names = tuple(f"output{i}" for i in range(outputs))
        self.runs: list[tuple[int, ...]] = []

    def run(self, array: Floats) -> list[Floats]:
        assert array.dtype == np.float32
        self.runs.append(array.shape)
        return self._model(array)


def scrfd_outputs(
    size: int | tuple[int, ...],
    hits: Mapping[tuple[int, int], tuple[float, Floats, Floats]],
    *,
    landmarks: bool = True,
    batch: bool = False,
) -> list[Floats]:
    """Outputs of an SCRFD for an input of one side, or (height, width).

    `hits` maps (stride, row) to score, sides and landmark offsets.
    """
    height, width = (size, size) if isinstance(size, int) else size
    outputs: list[Floats] = []
    for columns in (1, 4, 10) if landmarks else (1, 4):
        for stride in STRIDES:
            rows = np.zeros(((height // stride) * (width // stride) * ANCHORS, columns), np.float32)
            for (at, row), (score, sides, offsets) in hits.items():
                if at == stride:
                    values = {1: floats([score]), 4: sides, 10: offsets.ravel()}
                    rows[row] = values[columns]
            outputs.append(rows[None] if batch else rows)
    return outputs
