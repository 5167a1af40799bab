"""The networks that find faces, behind one protocol: SCRFD (Guo et al., ICLR 2022) and YuNet (Wu et al., MIR 2023)."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

import numpy as np

from facesearch.errors import ConfigError, ModelError, PhotoError
from facesearch.types import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from facesearch.recognition.runtime import Session

    Floats: TypeAlias = NDArray[np.float32]

STRIDES: Final = (8, 16, 32)
"""Pixels per cell of the three output grids."""
ANCHORS: Final = 2
"""Of an SCRFD per cell, both on its corner."""
YUNET_OUTPUTS: Final = frozenset(f"{part}_{stride}" for part in ("cls", "obj", "bbox", "kps") for stride in STRIDES)
KINDS: Final = ("scrfd", "yunet")
"""What `kind` in a pack.toml may say of the detector."""
_LANDMARKS: Final = 5
BATCH_TOLERANCE: Final = 1e-5
"""Largest difference of an output alone and in a batch, of outputs up to 1; of larger ones in proportion."""


class Candidates(NamedTuple):
    """Detections before suppression, in pixels of the network's input."""

    scores: NDArray[np.float32]
    """(n,)"""
    boxes: NDArray[np.float32]
    """(n, 4)"""
    landmarks: NDArray[np.float32]
    """(n, 5, 2), NaN where the model has none."""


class Network(Protocol):
    """How a model's input is made, and what its outputs mean."""

    is_bgr: bool
    """Whether the model takes blue first."""
    mean: np.float32
    scale: np.float32
    """The input is (pixel - mean) * scale."""
    has_landmarks: bool
    """Without, faces have landmarks of NaN: they can be found and counted, but not aligned."""

    def decode(self, outputs: Sequence[NDArray[np.float32]], size: tuple[int, int], threshold: float) -> Candidates:
        """One photo's detections from `threshold` on; `outputs` are its own, `size` is the input's height and width.

        Raises:
            PhotoError: `model_failure`, the outputs are not finite.
            ModelError: they are not of this network's form.
        """


def network_of(session: Session, kind: str | None) -> Network:
    """What `kind` says, or the outputs of the model where it is None. Raises `ModelError` for any other model."""
    if kind == "yunet" or (kind is None and set(session.output_names) == YUNET_OUTPUTS):
        return Yunet(session.output_names)
    return Scrfd(len(session.output_names))


class Scrfd:
    """Nine outputs (for each stride scores, boxes, landmarks), or six, without landmarks."""

    is_bgr = False
    mean = np.float32(127.5)
    scale = np.float32(1 / 128)

    def __init__(self, outputs: int) -> None:
        if outputs not in (2 * len(STRIDES), 3 * len(STRIDES)):
            raise ModelError(
                f"The detector has {outputs} outputs; an SCRFD has 6 or 9, a YuNet 12.",
                "Use an SCRFD or a YuNet as the detector.",
            )
        self.has_landmarks = outputs == 3 * len(STRIDES)

    def decode(self, outputs: Sequence[NDArray[np.float32]], size: tuple[int, int], threshold: float) -> Candidates:
        """As of `Network`."""
        return _together([self._level(outputs, level, size, threshold) for level in range(len(STRIDES))])

    def _level(
        self, outputs: Sequence[NDArray[np.float32]], level: int, size: tuple[int, int], threshold: float
    ) -> Candidates:
        stride = STRIDES[level]
        centres = np.repeat(cells(size, stride) * stride, ANCHORS, axis=0)
        scores = _rows(outputs[level], len(centres), 1)[:, 0]
        hits = _hits(scores, threshold)
        at = centres[hits]
        sides = _rows(outputs[level + len(STRIDES)], len(centres), 4)[hits] * np.float32(stride)
        boxes = np.concatenate([at - sides[:, :2], at + sides[:, 2:]], axis=1)
        if not self.has_landmarks:
            return Candidates(scores[hits], boxes, np.full((len(hits), _LANDMARKS, 2), np.nan, np.float32))
        offsets = _rows(outputs[level + 2 * len(STRIDES)], len(centres), 2 * _LANDMARKS)[hits] * np.float32(stride)
        return Candidates(scores[hits], boxes, at[:, None, :] + offsets.reshape(-1, _LANDMARKS, 2))


class Yunet:
    """Twelve outputs, told apart by name: class, object, box and key points at each stride.

    Decoded as OpenCV does (modules/objdetect/src/face_detect.cpp). The points are the person's right eye, left eye,
    nose, and right and left corner of the mouth, which is left to right in the photo.
    """

    is_bgr = True
    mean = np.float32(0)
    scale = np.float32(1)
    has_landmarks = True

    def __init__(self, names: Sequence[str]) -> None:
        if set(names) != YUNET_OUTPUTS:
            raise ModelError(
                "The detector has not the outputs of a YuNet: cls, obj, bbox and kps at 8, 16 and 32.",
                'Use a YuNet of OpenCV\'s model zoo, or leave kind = "yunet" out of the pack.toml.',
            )
        self._at = {name: position for position, name in enumerate(names)}

    def decode(self, outputs: Sequence[NDArray[np.float32]], size: tuple[int, int], threshold: float) -> Candidates:
        """As of `Network`."""
        return _together([self._level(outputs, stride, size, threshold) for stride in STRIDES])

    def _level(
        self, outputs: Sequence[NDArray[np.float32]], stride: int, size: tuple[int, int], threshold: float
    ) -> Candidates:
        corners = cells(size, stride)

        def rows(part: str, columns: int) -> NDArray[np.float32]:
            return _rows(outputs[self._at[f"{part}_{stride}"]], len(corners), columns)

        scores = np.sqrt(np.clip(rows("cls", 1), 0, 1) * np.clip(rows("obj", 1), 0, 1))[:, 0]
        hits = _hits(scores, threshold)
        at, shape = corners[hits], rows("bbox", 4)[hits]
        centres = (at + shape[:, :2]) * np.float32(stride)
        halves = np.exp(shape[:, 2:]) * np.float32(stride / 2)
        points = (at[:, None, :] + rows("kps", 2 * _LANDMARKS)[hits].reshape(-1, _LANDMARKS, 2)) * np.float32(stride)
        return Candidates(scores[hits], np.concatenate([centres - halves, centres + halves], axis=1), points)


class Batched:
    """A `Session` whose runs on single photos, by several threads at once, become runs on several photos of one shape.

    Whoever finds the model free takes what waits for it: alone a photo waits for nobody.
    """

    def __init__(self, session: Session, most: int) -> None:
        """At most `most` photos share a run."""
        self.provider, self.input_name = session.provider, session.input_name
        self.input_shape, self.output_names = session.input_shape, session.output_names
        self._session = session
        self._most = most
        self._lock = threading.Lock()
        self._free = threading.Lock()
        self._waiting: list[tuple[Floats, Future[list[Floats]]]] = []

    def run(self, array: Floats) -> list[Floats]:
        """As of `Session`, for one photo (1, 3, height, width)."""
        done: Future[list[Floats]] = Future()
        with self._lock:
            self._waiting.append((array, done))
        with self._free:
            while not done.done():
                self._run_some()
        return done.result()

    def _run_some(self) -> None:
        """Of the photos of the shape that has waited longest."""
        with self._lock:
            shape = self._waiting[0][0].shape
            taken = [each for each in self._waiting if each[0].shape == shape][: self._most]
            numbers = set(map(id, taken))
            self._waiting = [each for each in self._waiting if id(each) not in numbers]
        try:
            outputs = self._session.run(np.concatenate([array for array, _ in taken]))
            for i, (_, done) in enumerate(taken):
                done.set_result([each[i : i + 1] for each in outputs] if len(taken) > 1 else outputs)
        except ModelError as error:
            for array, done in taken:  # one of several may be the cause, and costs itself only
                if len(taken) > 1:
                    self._run_alone(array, done)
                else:
                    done.set_exception(error)

    def _run_alone(self, array: Floats, done: Future[list[Floats]]) -> None:
        try:
            done.set_result(self._session.run(array))
        except ModelError as error:
            done.set_exception(error)


def keeps_photos_apart(session: Session, network: Network) -> bool:
    """Whether two photos in one run give what each gives alone: published exports mix them."""
    if session.input_shape[0] is not None:
        return False
    blob = np.random.default_rng(0).uniform(0, 255, (2, 3, 64, 96)).astype(np.float32)
    blob = (blob - network.mean) * network.scale
    together = session.run(blob)
    for i in range(len(blob)):
        for mixed, alone in zip(together, session.run(blob[i : i + 1]), strict=True):
            own = alone.reshape(alone.shape[-2:])
            most = BATCH_TOLERANCE * max(1, np.abs(own).max())
            if mixed.shape != (len(blob), *own.shape) or np.abs(mixed[i] - own).max() > most:
                return False
    return True


@lru_cache(maxsize=256)
def cells(size: tuple[int, int], stride: int) -> NDArray[np.float32]:
    """(n, 2) x, y of each cell of the grid over an input of (height, width), row by row; read-only."""
    x, y = np.meshgrid(*(np.arange(side // stride, dtype=np.float32) for side in reversed(size)))
    grid = np.stack([x.ravel(), y.ravel()], axis=1)
    grid.flags.writeable = False
    return grid


def _hits(scores: NDArray[np.float32], threshold: float) -> NDArray[np.intp]:
    """Before anything else is decoded: few of thousands pass."""
    if not np.isfinite(scores).all():  # compared with the threshold, NaN would be no face
        raise failure("The detector returned scores that are not finite.")
    return np.flatnonzero(scores >= threshold)


def _together(levels: Sequence[Candidates]) -> Candidates:
    scores, boxes, landmarks = (np.concatenate(parts) for parts in zip(*levels, strict=True))
    return Candidates(scores, boxes, landmarks)


def failure(message: str) -> PhotoError:
    """The model failed on this photo."""
    return PhotoError(message, reason=Reason.MODEL_FAILURE, hint="Try --provider cpu.")


def _rows(output: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    if output.shape != (rows, columns):
        raise ModelError(
            f"The detector returned an output of shape {output.shape} where ({rows}, {columns}) was expected.",
            "Use an SCRFD with strides 8, 16, 32 and two anchors, or a YuNet.",
        )
    return output


def require_sizes(shape: tuple[int | None, ...], sizes: Sequence[int]) -> None:
    """Raise `ModelError` where the input is no RGB photo, `ConfigError` where it takes one size only, and another."""
    if shape[0] not in (None, 1) or shape[1] not in (None, 3):
        raise ModelError(f"The detector takes input of shape {shape}, not RGB photos.", "Use an SCRFD or a YuNet.")
    for size in sizes:
        if shape[2] not in (None, size) or shape[3] not in (None, size):
            raise ConfigError(
                f"This detector takes {shape[3]}x{shape[2]} pixels only, not {size}x{size}.",
                f"Set the detection size to {shape[2]}.",
            )
