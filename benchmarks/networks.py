"""The two networks of an extractor under observation: how long they run, and what random weights find."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np

from facesearch.recognition import extractor, runtime
from facesearch.recognition.embedder import ARCFACE_TEMPLATE
from facesearch.recognition.networks import ANCHORS, STRIDES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from facesearch.recognition.runtime import ProviderChoice, Session
    from facesearch.types import Face

    Floats = NDArray[np.float32]


class Watch:
    """Adds up the time that threads spend inside the networks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Begin again."""
        self.wall = self.processor = 0.0

    def add(self, wall: float, processor: float) -> None:
        """Seconds of one run: by the clock, and of the calling thread's processor time."""
        with self._lock:
            self.wall += wall
            self.processor += processor


class _Watched:
    """A session whose runs are timed; with `one_face` its outputs are replaced by those for a single face."""

    def __init__(self, session: Session, watch: Watch, *, one_face: bool) -> None:
        self._session = session
        self._watch = watch
        self._one_face = one_face and len(session.output_names) > 1
        self.provider = session.provider
        self.input_name = session.input_name
        self.input_shape = session.input_shape
        self.output_names = session.output_names

    def run(self, array: Floats) -> list[Floats]:
        wall, processor = time.perf_counter(), time.thread_time()
        outputs = self._session.run(array)
        self._watch.add(time.perf_counter() - wall, time.thread_time() - processor)
        return one_face(array, outputs) if self._one_face else outputs


@contextmanager
def watched(*, one_face: bool) -> Iterator[Watch]:
    """Models that are opened in this block are watched for as long as they live."""
    watch, original = Watch(), runtime.open_session

    def open_watched(path: Path, provider: ProviderChoice, **options: Any) -> Session:
        return _Watched(original(path, provider, **options), watch, one_face=one_face)

    with mock.patch.object(extractor, "open_session", open_watched):
        yield watch


def one_face(array: Floats, outputs: list[Floats]) -> list[Floats]:
    """An SCRFD's outputs for a face in the middle, in the shapes of `outputs`: random weights find thousands."""
    stride = STRIDES[-1]
    rows, cells = (side // stride for side in array.shape[2:])
    middle = ANCHORS * (rows // 2 * cells + cells // 2)
    side = array.shape[-1] / 5 / stride
    points = (ARCFACE_TEMPLATE / 56 - 1) * side
    values = {1: np.float32(0.9), 4: np.full(4, side, np.float32), 10: points.ravel()}
    replaced = [np.zeros_like(output) for output in outputs]
    for level in range(len(STRIDES) - 1, len(outputs), len(STRIDES)):
        replaced[level].reshape(-1, outputs[level].shape[-1])[middle] = values[outputs[level].shape[-1]]
    return replaced


def difference(ours: list[tuple[Face, Floats]], theirs: list[tuple[Face, Floats]]) -> tuple[float, float]:
    """The largest difference of a box's coordinate in pixels, and the lowest cosine; infinity where faces differ."""
    if len(ours) != len(theirs):
        return float("inf"), -1.0
    boxes = [float(np.abs(a.box - b.box).max()) for (a, _), (b, _) in zip(ours, theirs, strict=True)]
    cosines = [float(a @ b) for (_, a), (_, b) in zip(ours, theirs, strict=True)]
    return max(boxes, default=0.0), min(cosines, default=1.0)
