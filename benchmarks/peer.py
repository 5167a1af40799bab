"""InsightFace, as its documentation uses it: the same models, photos, threads and detection size in the same run."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facesearch.types import Face

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

HOW: Final = (
    "pip install --no-deps insightface==2.1 "
    "onnx ml_dtypes scikit-image lazy-loader networkx tifffile imageio tqdm requests"
)
"""Without its dependencies, of which opencv-python would overwrite opencv-python-headless."""


def is_here() -> bool:
    """Whether it can be imported."""
    return importlib.util.find_spec("insightface") is not None


class InsightFace:
    """`FaceAnalysis` over the models of a pack, on the CPU."""

    def __init__(self, pack: Path, size: int) -> None:
        """`pack` is a folder with a detector and a recogniser as ONNX files; `size` that of detection, in pixels."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            analysis = importlib.import_module("insightface.app").FaceAnalysis
            self._app: Any = analysis(str(pack), providers=["CPUExecutionProvider"])
            self._app.prepare(0, det_thresh=0.5, det_size=(size, size))
        self._imread = importlib.import_module("cv2").imread

    def replace_outputs(self, of: Callable[[NDArray[np.float32], list[Any]], list[Any]]) -> None:
        """Let the detector's outputs be what `of` makes of its input and them; the network runs all the same."""
        session = self._app.det_model.session

        class Replaced:
            def run(self, names: Sequence[str], feed: dict[str, NDArray[np.float32]]) -> list[Any]:
                return of(next(iter(feed.values())), session.run(names, feed))

        self._app.det_model.session = Replaced()

    def faces(self, photo: Path) -> list[tuple[Face, NDArray[np.float32]]]:
        """All faces of a photo with their unit vectors, best first."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-image's, of a function that it uses
            found = self._app.get(self._imread(str(photo)))
        return [
            (Face(face.bbox, face.kps, float(face.det_score)), face.embedding / np.linalg.norm(face.embedding))
            for face in found
        ]
