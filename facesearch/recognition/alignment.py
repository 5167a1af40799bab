"""Five landmarks -> the 112x112 crop a recogniser was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.errors import ModelError, PhotoError
from facesearch.types import Pixels, Reason
from facesearch.versions import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

CROP_SIZE: Final = 112
"""Side of the crop in pixels."""
ALIGNMENT_VERSION: Final = 1
"""Part of the model id: to be raised with any change here that changes crops, as templates then no longer compare."""

ARCFACE_TEMPLATE: Final[NDArray[np.float32]] = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    dtype=np.float32,
)
"""(5, 2): where the landmarks lie in the crop, in pixels; from ArcFace (Deng et al., CVPR 2019), after SphereFace."""
ARCFACE_TEMPLATE.flags.writeable = False


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
