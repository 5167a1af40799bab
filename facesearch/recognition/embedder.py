"""Aligned crops -> unit vectors, with an ArcFace-style recogniser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.errors import ModelError, ModelIntegrityError
from facesearch.recognition.alignment import CROP_SIZE
from facesearch.types import Reason, Rejection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facesearch.recognition.runtime import Session
    from facesearch.types import Vector

_UNUSABLE: Final = "The recogniser returned a vector that is zero or not finite."


class Embedder:
    """A recogniser and how its input is made: RGB, NCHW, (pixel - mean) / std. Safe to use from several threads."""

    def __init__(self, session: Session, mean: float, std: float, dimension: int | None = None) -> None:
        """`dimension` is the length the vectors must have; None takes that of the model.

        Raises:
            ModelError: the model does not take 112x112 RGB crops, or gives no usable vector for a grey one.
            ModelIntegrityError: its vectors have another length than `dimension`.
        """
        shape = session.input_shape
        if any(axis not in (None, wanted) for axis, wanted in zip(shape[1:], (3, CROP_SIZE, CROP_SIZE), strict=True)):
            raise ModelError(
                f"The recogniser takes input of shape {shape}, not RGB crops of {CROP_SIZE}x{CROP_SIZE}.",
                "Use an ArcFace-style recogniser.",
            )
        if len(session.output_names) != 1 or shape[0] not in (None, 1):
            raise ModelError(
                f"The recogniser has {len(session.output_names)} outputs and a batch of {shape[0]}.",
                "It must have one output and a free batch axis, or one crop at a time.",
            )
        self._session = session
        self._mean = mean
        self._std = std
        self._one_at_a_time = shape[0] == 1
        grey = self._run(np.full((1, CROP_SIZE, CROP_SIZE, 3), 127, np.uint8))
        if not np.isfinite(grey).all():
            raise ModelError(f"The recogniser fails on a grey picture: {_UNUSABLE}", "Try --provider cpu.")
        self.dimension: int = grey.shape[1]
        """Length of the vectors."""
        if dimension not in (None, self.dimension):
            raise ModelIntegrityError(
                f"The recogniser gives vectors of length {self.dimension}, not {dimension} as its pack says.",
                "Correct the dimension in the pack's pack.toml.",
            )

    def embed(self, crops: NDArray[np.uint8], *, flip: bool = False) -> list[Vector | Rejection]:
        """(n, 112, 112, 3) uint8 RGB -> for each crop its vector (d,) float32 of unit length.

        A Rejection (`model_failure`) stands in the place of a crop for which the model does not run, or gives a vector
        that is zero or not finite. `flip` adds the model's output for the mirrored crop before the length is taken, as
        InsightFace's verification does (recognition/arcface_torch/eval/verification.py).
        """
        if not len(crops):
            return []
        try:
            raw = self._outputs(crops)
            if flip:
                raw = raw + self._outputs(np.ascontiguousarray(crops[:, :, ::-1]))
        except ModelError as error:
            if len(crops) > 1:  # one of them may be the cause, and costs itself only
                return [self.embed(crops[i : i + 1], flip=flip)[0] for i in range(len(crops))]
            return [Rejection(Reason.MODEL_FAILURE, error.message)]
        return [_unit(row) for row in raw]

    def _outputs(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._one_at_a_time:
            return np.concatenate([self._run(crops[i : i + 1]) for i in range(len(crops))])
        return self._run(crops)

    def _run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        (output,) = self._session.run(as_input(crops, self._mean, self._std))
        if output.ndim != 2 or len(output) != len(crops):
            raise ModelError(
                f"The recogniser returned shape {output.shape} for {len(crops)} crops.",
                "Use a recogniser that gives one vector per crop.",
            )
        return output


def _unit(row: NDArray[np.float32]) -> Vector | Rejection:
    """The vector at unit length; no template is made in any other place."""
    norm = float(np.linalg.norm(row.astype(np.float64)))
    if not (np.isfinite(norm) and norm > 0):
        return Rejection(Reason.MODEL_FAILURE, _UNUSABLE)
    return np.asarray(row / norm, dtype=np.float32)


def as_input(crops: NDArray[np.uint8], mean: float, std: float) -> NDArray[np.float32]:
    """(n, 112, 112, 3) uint8 RGB -> (n, 3, 112, 112) float32, (pixel - mean) / std: what a recogniser takes."""
    blob = np.empty((len(crops), 3, CROP_SIZE, CROP_SIZE), np.float32)
    np.subtract(crops.transpose(0, 3, 1, 2), np.float32(mean), out=blob)
    blob /= np.float32(std)
    return blob
