"""YuNet, with OpenCV's own decoder as the oracle, and batches of both kinds of detectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from facesearch import FaceSearch
from facesearch.errors import ModelError
from facesearch.jobs.sources import read_photo_bytes
from facesearch.recognition.decoding import decode_guarded
from facesearch.recognition.detector import DetectionSizes, Detector, parse_det_size
from facesearch.recognition.extractor import Extractor
from facesearch.recognition.networks import YUNET_OUTPUTS, Batched, network_of
from facesearch.recognition.packs.folder import DetectorFile, file_sha256, read_pack_folder
from facesearch.recognition.runtime import choose_provider, open_session
from facesearch.store.models import active_model
from tests.recognition.sessions import Floats, NumpySession

if TYPE_CHECKING:
    from facesearch.recognition.runtime import Session
    from facesearch.types import Pixels

SIDE = 640


@pytest.fixture(scope="module")
def yunet(assets: Path) -> Path:
    return assets / "models" / "detectors" / "face_detection_yunet_2026may.onnx"


@pytest.fixture(scope="module")
def session(yunet: Path) -> Session:
    sha256 = "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0"
    return open_session(yunet, choose_provider("cpu"), sha256=sha256, threads=None)


@pytest.fixture(scope="module")
def photos(assets: Path) -> list[Pixels]:
    """Of the longer side `SIDE`, so that nobody has to scale them."""
    paths = [assets / "faces" / "group" / "t1.jpg", *sorted((assets / "faces" / "lfw").glob("*/*.jpg"))[::60]]
    found = []
    for path in paths:
        pixels = decode_guarded(read_photo_bytes(path))
        height, width = pixels.shape[:2]
        scale = SIDE / max(height, width)
        found.append(np.asarray(cv2.resize(pixels, (round(width * scale), round(height * scale))), np.uint8))
    return found


def test_faces_are_those_of_opencv_box_by_box(yunet: Path, session: Session, photos: list[Pixels]) -> None:
    ours = Detector(session, DetectionSizes((SIDE,)), threshold=0.6)
    faces = 0
    for pixels in photos:
        reference = cv2.FaceDetectorYN.create(str(yunet), "", pixels.shape[1::-1], 0.6, 0.4)
        _, rows = reference.detect(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        found = ours.detect(pixels)
        expected = sorted(rows, key=lambda row: -row[14])
        assert len(found) == len(expected)
        for face, row in zip(found, expected, strict=True):
            np.testing.assert_allclose(face.box, [*row[:2], *(row[:2] + row[2:4])], atol=0.01, rtol=0)
            np.testing.assert_allclose(face.landmarks.ravel(), row[4:14], atol=0.01, rtol=0)
            assert face.detection_score == pytest.approx(float(row[14]), abs=1e-4)
        faces += len(found)
    assert faces >= 6 + 13


@pytest.mark.parametrize("fill", [0.7, 0.9, 1.3])
@pytest.mark.parametrize("model", ["detectors/face_detection_yunet_2026may.onnx", "testpack/det_500m.onnx"])
def test_auto_finds_close_ups_of_every_size(model: str, fill: float, assets: Path) -> None:
    """`fill` is the face's share of the photo's height."""
    session = open_session(assets / "models" / model, choose_provider("cpu"), sha256=None, threads=None)
    detector = Detector(session, parse_det_size("auto"))
    for path in sorted((assets / "faces" / "lfw").glob("*/*.jpg"))[3::200]:
        photo = decode_guarded(read_photo_bytes(path))
        (face, *_) = detector.detect(photo)
        middle = (face.box[:2] + face.box[2:]) / 2
        for side in (112, 2000):
            scale = side * fill / face.height
            shift = side / 2 - middle * scale
            matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
            close = cv2.warpAffine(photo, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
            (found, *_) = detector.detect(np.asarray(close, np.uint8))
            assert 0.6 < found.height / (face.height * scale) < 1.5


@pytest.mark.parametrize("model", ["detectors/face_detection_yunet_2026may.onnx", "testpack/det_500m.onnx"])
def test_a_batch_of_32_gives_what_each_photo_gives_alone(model: str, assets: Path, photos: list[Pixels]) -> None:
    session = open_session(assets / "models" / model, choose_provider("cpu"), sha256=None, threads=None)
    detector = Detector(session, parse_det_size("320"), batch=32)
    assert isinstance(detector._session, Batched)  # the look on open found nothing against it
    square = [pixels for pixels in photos if pixels.shape == photos[-1].shape]
    blobs = np.concatenate([detector.inputs(each)[0] for each in (square * 3)[:32]])
    assert len(blobs) == 32
    together = session.run(blobs)
    for number, blob in enumerate(np.split(blobs, 32)):
        for several, (alone,) in zip(together, session.run(blob), strict=True):
            least = max(1, float(np.abs(alone).max()))
            np.testing.assert_allclose(several[number] / least, alone / least, atol=1e-5, rtol=0)


@pytest.mark.parametrize("detector", ["yunet", "scrfd"])
def test_many_photos_in_shared_runs_give_the_templates_of_single_ones(
    detector: str, yunet: Path, assets: Path, testpack_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = read_pack_folder(testpack_dir)
    if detector == "yunet":
        pack = replace(pack, detector=DetectorFile(yunet, file_sha256(yunet)))
    paths = [assets / "faces" / "group" / "t1.jpg", *sorted((assets / "faces" / "lfw").glob("*/*.jpg"))[::50]]
    alone = list(Extractor(pack, provider="cpu", det_size="320").extract_many(paths, Path.read_bytes))
    together = Extractor(pack, provider="cpu", det_size="320", workers=8)
    monkeypatch.setattr(together, "_shared_detections", 16)  # as on a GPU
    runs: list[int] = []
    session = together.detector._session
    assert isinstance(session, Batched)
    original = session._session.run

    def counting(array: Floats) -> list[Floats]:
        runs.append(len(array))
        return original(array)

    monkeypatch.setattr(session._session, "run", counting)
    for one, other in zip(together.extract_many(paths, Path.read_bytes), alone, strict=True):
        assert one.faces_found == other.faces_found
        for a, b in zip(one.templates, other.templates, strict=True):
            np.testing.assert_allclose(a.vector, b.vector, atol=1e-5, rtol=0)
    assert max(runs) > 1
    assert sum(runs) == len(paths)


def test_a_pack_of_a_yunet_enrolls_and_identifies_and_the_gallery_knows_its_terms(
    assets: Path, yunet: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "yunet_mobileface"
    folder.mkdir()
    for path in (yunet, assets / "models" / "testpack" / "mobileface_v2.onnx"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "pack.toml").write_text(PACK, encoding="utf-8")
    people = [path for path in sorted((assets / "faces" / "lfw").iterdir()) if len(list(path.glob("*.jpg"))) > 1][:4]
    with FaceSearch.open(tmp_path / "gallery", pack=folder, provider="cpu") as engine:
        for person in people:
            first, *_ = sorted(person.glob("*.jpg"))
            (outcome,) = engine.enroll(first, subject=person.name, faces="largest")
            assert outcome.status == "enrolled"
        right = 0
        for person in people:
            results = engine.identify(sorted(person.glob("*.jpg"))[1])
            right += any(result.best is not None and result.best.subject == person.name for result in results)
        assert right == len(people)
        active = engine.gallery.read(active_model)
    assert active is not None
    terms = active[1].settings["terms"]
    assert terms["detector"] == {"licence": "MIT", "data": "WIDER FACE", "use": "any"}


PACK = """
name = "yunet_mobileface"
licence = "MIT"
[detector]
file = "face_detection_yunet_2026may.onnx"
kind = "yunet"
data = "WIDER FACE"
use = "any"
[recognizer]
file = "mobileface_v2.onnx"
input_mean = 127.5
input_std = 127.5
dimension = 256
"""


def test_the_kind_is_told_by_the_outputs_or_by_the_pack() -> None:
    names = tuple(sorted(YUNET_OUTPUTS))
    session = NumpySession(lambda _: [], 12)
    with pytest.raises(ModelError, match="12 outputs"):
        network_of(session, None)
    with pytest.raises(ModelError, match="outputs of a YuNet"):
        network_of(session, "yunet")
    session.output_names = names
    assert network_of(session, None).is_bgr
    assert network_of(session, "yunet").is_bgr
