"""Finding known faces again in their photo, as another detector sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from facesearch.types import Reason, Rejection, told_apart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from facesearch.types import Face

Box: TypeAlias = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the upright photo."""

SAME_FACE: Final = 0.5
"""Intersection over union from which two boxes show one face: what detectors are compared by (PASCAL VOC, WIDER FACE).
Between SCRFD-500M and SCRFD-2.5G, on every eighth photo of LFW's 807, it was 0.89 or more.
"""
CLEARLY: Final = 0.2
"""How far the best overlap has to be ahead of the next, so that it is no question which face is meant: on the same
photos it was 0.55 or more."""


def overlaps(boxes: Sequence[Box], faces: Sequence[Face]) -> NDArray[np.float64]:
    """(len(boxes), len(faces)) float64: intersection over union, 0..1."""
    a = np.array(boxes, np.float64).reshape(-1, 1, 4)
    b = np.array([face.box for face in faces], np.float64).reshape(1, -1, 4)
    inside = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(inside, 0), axis=-1)
    both = np.prod(a[..., 2:] - a[..., :2], axis=-1) + np.prod(b[..., 2:] - b[..., :2], axis=-1) - shared
    ratios: NDArray[np.float64] = np.divide(shared, both, out=np.zeros_like(shared), where=both > 0)
    return ratios


def refind(boxes: Sequence[Box], faces: Sequence[Face]) -> list[int | Rejection]:
    """For each known box the position in `faces` of the face it shows, or why none is taken.

    Nothing is guessed: a face that two boxes claim is given to neither, and where two faces overlap a box about
    equally, none is taken.
    """
    if not faces:
        return [Rejection(Reason.FACE_NOT_FOUND, "No face was found.")] * len(boxes)
    found = [_choose(row) for row in overlaps(boxes, faces)]
    claimed = [each for each in found if isinstance(each, int)]
    return [
        Rejection(Reason.MULTIPLE_FACES, "Two enrolled faces overlap one that was found.")
        if isinstance(each, int) and claimed.count(each) > 1
        else each
        for each in found
    ]


def _choose(row: NDArray[np.float64]) -> int | Rejection:
    best = int(row.argmax())
    if row[best] < SAME_FACE:
        overlap, needed = told_apart(float(row[best]), SAME_FACE, 2)
        return Rejection(
            Reason.FACE_NOT_FOUND,
            f"No face was found where the enrolled one is: the best overlap is {overlap}; at least {needed} is needed.",
        )
    if len(row) > 1 and row[best] - np.delete(row, best).max() < CLEARLY:
        return Rejection(Reason.MULTIPLE_FACES, "It is not clear which of the faces found is the enrolled one.")
    return best
