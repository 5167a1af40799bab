"""The whole way from bytes to templates, on tiny models with known answers."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from facesearch.errors import ConfigError, ModelError, ModelIntegrityError, PhotoError
from facesearch.recognition.extractor import Extraction, Extractor
from facesearch.recognition.pipeline import AHEAD
from facesearch.recognition.quality import FacePolicy, Limits
from facesearch.types import Reason
from tests.recognition.models import SIZE, detector_model, write_pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from facesearch.recognition.packs.store import ModelPack

ANY = Limits(min_size=0, min_detection_score=0, min_sharpness=0, max_yaw=math.inf, max_roll=180)
ONE_FACE = [(8.0, 8.0, 48.0)]
THREE_FACES = [(0.0, 0.0, 30.0), (34.0, 0.0, 28.0), (0.0, 40.0, 10.0)]
NOT_A_PHOTO = b"this is text"


def photo(colour: tuple[int, int, int]) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (SIZE, SIZE), colour).save(buffer, "PNG")
    return buffer.getvalue()


def colour(i: int) -> tuple[int, int, int]:
    return (i * 37 % 250, 200, i * 91 % 250)


BLACK = photo((0, 0, 0))


@pytest.fixture
def pack(tmp_path: Path) -> ModelPack:
    return write_pack(tmp_path, detector_model(ONE_FACE))


@pytest.fixture
def extractor(pack: ModelPack) -> Extractor:
    return Extractor(pack, provider="cpu", det_size=str(SIZE))


def with_faces(folder: Path, faces: list[tuple[float, float, float]], batch: int | None = None) -> Extractor:
    return Extractor(write_pack(folder, detector_model(faces)), provider="cpu", det_size=str(SIZE), batch=batch)


def same(data: bytes) -> bytes:
    return data


def run(
    extractor: Extractor,
    photos: Iterable[bytes],
    policy: FacePolicy = FacePolicy.SINGLE,
    limits: Limits = ANY,
    load: Callable[[bytes], bytes] = same,
) -> list[Extraction[bytes]]:
    return list(extractor.extract_many(photos, load, policy=policy, limits=limits))


def photo_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("facesearch-photo")]


def test_a_template_is_the_models_vector_of_the_aligned_face(extractor: Extractor) -> None:
    pixels = np.full((SIZE, SIZE, 3), (200, 100, 50), np.uint8)
    (template,) = extractor.encode(pixels)
    expected = (np.array([200, 100, 50]) - 127.5) / 127.5
    np.testing.assert_allclose(template.vector, expected / np.linalg.norm(expected), atol=1e-4)
    assert template.vector.shape == (3,)
    np.testing.assert_allclose(template.face.box, [8, 8, 56, 56], atol=1e-4)
    assert template.quality.size == pytest.approx(48)
    assert template.model_id == extractor.info.model_id


def test_given_faces_are_encoded_in_their_order(tmp_path: Path) -> None:
    extractor = with_faces(tmp_path, THREE_FACES)
    pixels = np.random.default_rng(2).integers(60, 256, (SIZE, SIZE, 3), np.uint8)
    faces = extractor.detector.detect(pixels)
    assert [round(face.width) for face in faces] == [30, 28, 10]
    backwards = extractor.encode(pixels, faces[::-1])
    for template, face, alone in zip(backwards, faces[::-1], extractor.encode(pixels)[::-1], strict=True):
        assert template.face is face
        np.testing.assert_allclose(template.vector, alone.vector, atol=1e-6)
    assert extractor.encode(pixels, []) == []


@pytest.mark.parametrize(("workers", "batch"), [(None, 7), (1, 1), (3, None)])
def test_many_photos_come_back_in_order_with_the_vectors_of_single_ones(
    pack: ModelPack, workers: int | None, batch: int | None
) -> None:
    extractor = Extractor(pack, provider="cpu", det_size=str(SIZE), workers=workers, batch=batch)

    def slow_at_first(data: bytes) -> bytes:
        time.sleep(0.02 if data[len(data) // 2] % 2 else 0)
        return data

    photos = [photo(colour(i)) for i in range(40)]
    photos[5:9] = [BLACK, NOT_A_PHOTO, photos[0][:-60], BLACK]
    results = run(extractor, photos, load=slow_at_first)
    assert [result.source for result in results] == photos
    for i, result in enumerate(results):
        assert result.sha256 == hashlib.sha256(photos[i]).hexdigest()
        assert (result.rejection is None) is (len(result.templates) == 1)
        if result.templates:
            (single,) = extractor.encode(np.full((SIZE, SIZE, 3), colour(i), np.uint8))
            np.testing.assert_allclose(result.templates[0].vector, single.vector, atol=1e-5)
            assert result.size == (SIZE, SIZE)
    reasons = [result.rejection.reason for result in results if result.rejection is not None]
    assert reasons == [
        Reason.FACE_NOT_FOUND, Reason.UNSUPPORTED_FORMAT, Reason.UNREADABLE, Reason.FACE_NOT_FOUND,
    ]  # fmt: skip


def test_a_photo_that_cannot_be_loaded_is_a_rejection(extractor: Extractor) -> None:
    def load(data: bytes) -> bytes:
        if data == b"gone":
            raise PhotoError("It is gone.", reason=Reason.UNREADABLE)
        return data

    gone, good = run(extractor, [b"gone", photo(colour(1))], load=load)
    assert gone.rejection is not None
    assert (gone.rejection.reason, gone.rejection.detail) == (Reason.UNREADABLE, "It is gone.")
    assert (gone.sha256, gone.size, gone.templates) == ("", None, ())
    assert good.rejection is None


def test_no_photos_give_no_results(extractor: Extractor) -> None:
    assert run(extractor, []) == []


def test_the_policy_and_the_limits_decide_per_photo(tmp_path: Path) -> None:
    extractor = with_faces(tmp_path, THREE_FACES)
    grey = photo((140, 140, 140))

    (single,) = run(extractor, [grey])
    assert single.rejection is not None
    assert single.rejection.reason is Reason.MULTIPLE_FACES
    assert single.faces_found == 3

    (largest,) = run(extractor, [grey], FacePolicy.LARGEST)
    assert [round(template.face.width) for template in largest.templates] == [30]

    (several,) = run(extractor, [grey], FacePolicy.ALL, replace(ANY, min_size=20))
    assert [round(template.face.width) for template in several.templates] == [30, 28]
    refused = [(round(face.width), why.reason) for face, why in zip(several.faces, several.reasons, strict=True) if why]
    assert refused == [(10, Reason.FACE_TOO_SMALL)]
    assert several.rejection is None

    (none,) = run(extractor, [grey], FacePolicy.ALL, replace(ANY, min_sharpness=5))
    assert none.rejection is not None
    assert none.rejection.reason is Reason.BLURRED
    assert [why and why.reason for why in none.reasons] == [Reason.BLURRED] * 3


def test_more_faces_than_a_batch_in_one_photo_are_all_embedded(tmp_path: Path) -> None:
    extractor = with_faces(tmp_path, THREE_FACES, batch=2)
    results = run(extractor, [photo(colour(i)) for i in range(3)], FacePolicy.ALL)
    assert [len(result.templates) for result in results] == [3, 3, 3]


def test_photos_are_read_a_bounded_way_ahead_and_closing_ends_the_threads(extractor: Extractor) -> None:
    loaded = itertools.count()
    last = 0

    def load(i: int) -> bytes:
        nonlocal last
        last = next(loaded)
        return photo(colour(i))

    results = extractor.extract_many(itertools.count(), load, policy=FacePolicy.SINGLE, limits=ANY)
    for i in range(100):
        assert next(results).source == i
        assert last <= i + AHEAD
    assert photo_threads()
    results.close()
    assert not photo_threads()


def test_an_error_that_is_no_photos_fault_ends_the_run_and_the_threads(extractor: Extractor) -> None:
    def load(i: int) -> bytes:
        if i == 3:
            raise ZeroDivisionError
        return photo(colour(i))

    results = extractor.extract_many(range(100), load, policy=FacePolicy.SINGLE, limits=ANY)
    assert [next(results).source for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not photo_threads()


def test_threads_may_share_an_encoder(extractor: Extractor) -> None:
    pictures = [np.full((SIZE, SIZE, 3), colour(i), np.uint8) for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(extractor.encode, pictures))
    for picture, templates in zip(pictures, together, strict=True):
        np.testing.assert_array_equal(templates[0].vector, extractor.encode(picture)[0].vector)


def test_the_recogniser_is_not_opened_where_nothing_is_embedded(pack: ModelPack) -> None:
    extractor = Extractor(pack, provider="cpu", det_size=str(SIZE))
    pack.recognizer.path.unlink()
    (result,) = run(extractor, [BLACK])
    assert result.rejection is not None
    assert extractor.info.dimension == 3
    with pytest.raises(ModelError):
        run(extractor, [photo(colour(1))])


def test_a_pack_without_a_dimension_takes_that_of_the_model(tmp_path: Path) -> None:
    assert Extractor(write_pack(tmp_path, detector_model(ONE_FACE), None), provider="cpu").info.dimension == 3


def test_the_model_id_names_what_makes_templates_comparable_and_nothing_else(pack: ModelPack, tmp_path: Path) -> None:
    def model_id(changed: ModelPack, det_size: str = "auto") -> str:
        return Extractor(changed, provider="cpu", det_size=det_size).info.model_id

    own = model_id(pack)
    stem, digest = own.rsplit("-", 1)
    assert stem == "colour"
    assert len(digest) == 12
    assert int(digest, 16) >= 0
    file = pack.recognizer
    for other in (
        replace(file, sha256="0" * 64),
        replace(file, input_mean=0.0),
        replace(file, input_std=128.0),
        replace(file, dimension=4),
    ):
        assert model_id(replace(pack, recognizer=other)) != own
    moved = replace(file, path=tmp_path / "elsewhere" / "colour.onnx", input_mean=127.5)
    assert model_id(replace(pack, recognizer=moved, name="x", threshold=0.9)) == own
    assert model_id(replace(pack, detector=replace(pack.detector, sha256="1" * 64)), "320") == own


def test_the_info_tells_the_settings_as_plain_json(extractor: Extractor, pack: ModelPack) -> None:
    info = extractor.info
    assert json.loads(json.dumps(info.settings)) == info.settings
    assert info.settings["det_size"] == str(SIZE)
    assert info.settings["detector"] == "finder.onnx"
    assert (info.pack, info.threshold, info.threshold_basis) == ("tiny", 0.4, "a test")
    assert (info.detector_sha256, info.recognizer_sha256) == (pack.detector.sha256, pack.recognizer.sha256)


def test_files_that_changed_since_they_were_pinned_are_refused(pack: ModelPack) -> None:
    pixels = np.full((SIZE, SIZE, 3), 200, np.uint8)
    with pytest.raises(ModelIntegrityError):
        Extractor(replace(pack, detector=replace(pack.detector, sha256="0" * 64)), provider="cpu").detector.detect(
            pixels
        )
    wrong = Extractor(replace(pack, recognizer=replace(pack.recognizer, dimension=512)), provider="cpu", det_size="64")
    with pytest.raises(ModelIntegrityError, match="length 3, not 512"):
        wrong.encode(pixels)


def test_wrong_settings_are_refused_at_once(pack: ModelPack) -> None:
    with pytest.raises(ConfigError):
        Extractor(pack, det_size="641")
    with pytest.raises(ConfigError):
        Extractor(pack, provider="abacus")


def test_faces_without_landmarks_are_found_but_not_encoded(tmp_path: Path) -> None:
    detector = detector_model(ONE_FACE, landmarks=False)
    extractor = Extractor(write_pack(tmp_path, detector), provider="cpu", det_size=str(SIZE))
    assert len(extractor.detector.detect(np.full((SIZE, SIZE, 3), 200, np.uint8))) == 1
    with pytest.raises(ModelError, match="no landmarks"):
        run(extractor, [photo(colour(1))])
