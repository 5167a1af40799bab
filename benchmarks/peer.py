"""InsightFace, as its documentation uses it: the same models, photos, threads and detection size in the same run."""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facesearch.recognition.packs.folder import read_pack_folder
from facesearch.recognition.runtime import import_onnxruntime
from facesearch.types import Face

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
        """`pack` is a folder of a model pack; `size` that of detection, in pixels."""
        found = read_pack_folder(pack)
        self._folder = tempfile.TemporaryDirectory()  # it reads them again for other sizes
        for model in (found.detector, found.recognizer):  # it takes the first files that it finds, int8 ones too
            (Path(self._folder.name) / model.path.name).symlink_to(model.path.absolute())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_onnxruntime()  # which InsightFace would import with its telemetry
            analysis = importlib.import_module("insightface.app").FaceAnalysis
            self._app: Any = analysis(self._folder.name, providers=["CPUExecutionProvider"])
            self._app.prepare(0, det_thresh=0.5, det_size=(size, size))
        self._imread = importlib.import_module("cv2").imread

    def replace_outputs(self, of: Callable[[NDArray[np.float32], list[Any]], list[Any]]) -> None:
        """Let the detector's outputs be what `of` makes of its input and them; the network runs all the same."""
        detector = self._app.det_model
        session_for = detector._session_for_input_size  # it has one for each size, of which `session` is the model

        class Replaced:
            def __init__(self, session: Any) -> None:
                self._session = session

            def run(self, names: Sequence[str], feed: dict[str, NDArray[np.float32]]) -> list[Any]:
                return of(next(iter(feed.values())), self._session.run(names, feed))

        detector._session_for_input_size = lambda size: Replaced(session_for(size))

    def faces(self, photo: Path) -> list[tuple[Face, NDArray[np.float32]]]:
        """All faces of a photo with their unit vectors, best first."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-image's, of a function that it uses
            found = self._app.get(self._imread(str(photo)))
        return [
            (Face(face.bbox, face.kps, float(face.det_score)), face.embedding / np.linalg.norm(face.embedding))
            for face in found
        ]
