"""Five landmarks -> the crop that a recogniser was trained on -> a vector of unit length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.errors import ModelError, ModelIntegrityError, PhotoError
from facesearch.recognition.runtime import Trust
from facesearch.types import Pixels, Reason, Rejection
from facesearch.versions import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from facesearch.recognition.runtime import Session
    from facesearch.types import Vector

CROP_SIZE: Final = 112
"""Side of the crop in pixels."""
ALIGNMENT_VERSION: Final = 2
"""Part of the model id: to be raised with any change here that changes crops, as templates then no longer compare."""

ARCFACE_TEMPLATE: Final[NDArray[np.float32]] = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    dtype=np.float32,
)
"""(5, 2): where the landmarks lie in the crop, in pixels; from ArcFace (Deng et al., CVPR 2019), after SphereFace."""
ARCFACE_TEMPLATE.flags.writeable = False
_UNUSABLE: Final = "The recogniser returned a vector that is zero or not finite."


def similarity_transform(src: NDArray[np.floating], dst: NDArray[np.floating]) -> NDArray[np.float64]:
    """The rotation, uniform scale and shift that bring `src` (n, 2) closest to `dst` (n, 2), as a (2, 3) matrix.

    The least-squares solution of Umeyama (PAMI 1991). In the plane, with points as complex numbers about their
    means, it is the single factor sum(conj(s) d) / sum(|s|^2), which cannot mirror.

    Raises:
        ValueError: `src` has no extent or is not finite, so that no transform is best.
    """
    s = src.astype(np.float64) @ (1, 1j)
    d = dst.astype(np.float64) @ (1, 1j)
    s_mean, d_mean = s.mean(), d.mean()
    s_centred = s - s_mean
    extent = float(np.vdot(s_centred, s_centred).real)
    if not extent > np.finfo(np.float32).eps * float(np.abs(s).max()) ** 2:
        raise ValueError("The points coincide or are not finite.")
    factor = np.vdot(s_centred, d - d_mean) / extent
    shift = d_mean - factor * s_mean
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def align(pixels: Pixels, landmarks: NDArray[np.float32]) -> Pixels:
    """The face with these landmarks (5, 2) as a (112, 112, 3) uint8 crop; black where the photo ends.

    Raises:
        ModelError: there are no landmarks (NaN), as from a detector that finds boxes only.
        PhotoError: `extreme_pose`, the landmarks coincide.
    """
    if not np.isfinite(landmarks).all():
        raise ModelError(
            "The detector gives no landmarks, so faces cannot be aligned for the recogniser.",
            "Use a pack whose SCRFD detector has landmarks (nine outputs).",
        )
    try:
        matrix = similarity_transform(landmarks, ARCFACE_TEMPLATE)
    except ValueError as error:
        raise PhotoError("The landmarks of the face coincide.", reason=Reason.EXTREME_POSE) from error
    require("cv2")
    import cv2

    return np.asarray(cv2.warpAffine(pixels, matrix, (CROP_SIZE, CROP_SIZE)), dtype=np.uint8)


def work_in_calling_thread() -> None:
    """Have OpenCV start no threads in this process.

    For a crop they are not worth waking, and they wait for the next one in a loop: in a server that was measured to
    cost as much processor time as aligning does. Sizing large photos takes a little longer alone.
    """
    require("cv2")
    import cv2

    cv2.setNumThreads(1)


class Embedder:
    """A recogniser and how its input is made: NCHW, (pixel - mean) / std. Safe to use from several threads."""

    def __init__(
        self,
        session: Session,
        mean: float,
        std: float,
        dimension: int | None = None,
        *,
        is_bgr: bool = False,
        batch: int = 8,
        flip: bool = False,
        trust: Trust | None = None,
    ) -> None:
        """`dimension` is the length the vectors must have; None takes that of the model. `is_bgr`: it takes blue first.

        `batch` crops share a run. `flip` adds the model's output for the mirrored crop before the length is taken, as
        InsightFace's verification does (recognition/arcface_torch/eval/verification.py).

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
        self._is_bgr = is_bgr
        self._batch = 1 if shape[0] == 1 else batch
        self._flip = flip
        self._trust = trust or Trust("The recogniser")
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

    def embed(self, crops: Sequence[Pixels]) -> list[Vector | Rejection]:
        """(112, 112, 3) uint8 RGB -> for each crop its vector (d,) float32 of unit length.

        A Rejection (`model_failure`) stands in the place of a crop for which the model does not run, or gives a vector
        that is zero or not finite. Raises `ModelError` where the model has failed on everything so far.
        """
        vectors: list[Vector | Rejection] = []
        for start in range(0, len(crops), self._batch):
            vectors += self._together(np.stack(crops[start : start + self._batch]))
        failures = [each for each in vectors if isinstance(each, Rejection)]
        if len(failures) < len(vectors):
            self._trust.has_worked = True
        for each in failures:
            self._trust.failed(each.detail)
        return vectors

    def _together(self, crops: NDArray[np.uint8]) -> list[Vector | Rejection]:
        """Of one run, or of one each where that fails: one of them may be the cause, and costs itself only."""
        try:
            raw = self._run(crops)
            if self._flip:
                raw = raw + self._run(np.ascontiguousarray(crops[:, :, ::-1]))
        except ModelError as error:
            if len(crops) > 1:
                return [self._together(crops[i : i + 1])[0] for i in range(len(crops))]
            return [Rejection(Reason.MODEL_FAILURE, error.message)]
        return [_unit(row) for row in raw]

    def _run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        (output,) = self._session.run(as_input(crops[..., ::-1] if self._is_bgr else crops, self._mean, self._std))
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
