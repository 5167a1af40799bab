"""Real faces and real models: the same numbers as insightface 2.1, and what the quality limits do to them."""

from __future__ import annotations

import json
from collections import defaultdict
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from facesearch.jobs.sources import read_photo_bytes
from facesearch.recognition.decoding import decode_guarded
from facesearch.recognition.detector import Detector, parse_det_size
from facesearch.recognition.embedder import Embedder, align
from facesearch.recognition.extractor import Extractor
from facesearch.recognition.packs.folder import read_pack_folder
from facesearch.recognition.quality import ENROLL_LIMITS, FacePolicy, choose_faces, judge, refind
from facesearch.recognition.runtime import choose_provider, open_session
from facesearch.types import Face, Reason, Rejection
from tests.recognition.test_embedder import embedded

if TYPE_CHECKING:
    from pathlib import Path

    from facesearch.types import Pixels, Template


@pytest.fixture(scope="module")
def extractors(testpack_dir: Path) -> dict[str, Extractor]:
    pack = read_pack_folder(testpack_dir)
    return {size: Extractor(pack, provider="cpu", det_size=size) for size in ("640", "320", "auto", "fast")}


@pytest.fixture(scope="module")
def as_insightface(testpack_dir: Path) -> dict[str, Extractor]:
    """By the detection size of the golden outputs."""
    pack = read_pack_folder(testpack_dir)
    rules = {"640": "insightface:640", "320": "insightface:320", "auto": "insightface"}
    return {size: Extractor(pack, provider="cpu", det_size=rule) for size, rule in rules.items()}


@pytest.fixture(scope="module")
def golden(assets: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Detection size -> photo -> its faces in order."""
    by_photo: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for face in json.loads((assets / "golden" / "insightface.json").read_text())["faces"]:
        by_photo[face["det_size"]][face["photo"]].append(face)
    return by_photo


@pytest.mark.parametrize("det_size", ["640", "320", "auto"])
def test_faces_and_vectors_are_those_of_insightface(
    det_size: str,
    assets: Path,
    as_insightface: dict[str, Extractor],
    golden: dict[str, dict[str, list[dict[str, Any]]]],
) -> None:
    vectors = np.load(assets / "golden" / "insightface.npy")
    assert golden[det_size]
    for photo, expected in golden[det_size].items():
        templates = as_insightface[det_size].encode(decode_guarded(read_photo_bytes(assets / photo)))
        assert len(templates) == len(expected), photo
        for index, (template, face) in enumerate(zip(templates, expected, strict=True)):
            assert face["face"] == index
            np.testing.assert_allclose(template.face.box, face["box"], atol=0.01, rtol=0)
            np.testing.assert_allclose(template.face.landmarks, face["landmarks"], atol=0.01, rtol=0)
            assert template.face.detection_score == pytest.approx(face["score"], abs=1e-4)
            assert template.vector @ vectors[face["row"]] >= 0.9999


def test_fast_finds_the_faces_that_640_finds(assets: Path, extractors: dict[str, Extractor]) -> None:
    for photo in sorted((assets / "faces" / "lfw").glob("*/*.jpg"))[:12]:
        pixels = decode_guarded(read_photo_bytes(photo))
        found, closer = extractors["fast"].detector.detect(pixels), extractors["640"].detector.detect(pixels)
        (place,) = refind([tuple(closer[0].box.tolist())], found)
        assert isinstance(place, int), photo


@pytest.fixture(scope="module")
def group(assets: Path) -> Pixels:
    return decode_guarded(read_photo_bytes(assets / "faces" / "group" / "t1.jpg"))


def test_batched_vectors_equal_single_ones(testpack_dir: Path, extractors: dict[str, Extractor], group: Pixels) -> None:
    file = read_pack_folder(testpack_dir).recognizer
    session = open_session(file.path, choose_provider("cpu"), sha256=file.sha256, threads=None)
    embedder = Embedder(session, file.input_mean, file.input_std, file.dimension)
    crops = np.stack([align(group, face.landmarks) for face in extractors["auto"].detector.detect(group)])
    assert len(crops) > 4
    singles = np.concatenate([embedded(embedder, crops[i : i + 1]) for i in range(len(crops))])
    np.testing.assert_allclose(embedded(embedder, crops), singles, atol=1e-5, rtol=0)


def test_many_at_once_equal_one_at_a_time(assets: Path, testpack_dir: Path, extractors: dict[str, Extractor]) -> None:
    photos = [*sorted((assets / "faces" / "lfw").glob("*/*.jpg"))[:20], assets / "faces" / "group" / "t1.jpg"]
    extractor = extractors["320"]
    many = Extractor(read_pack_folder(testpack_dir), provider="cpu", det_size="320", workers=2, batch=5)
    results = list(many.extract_many(photos, read_photo_bytes, policy=FacePolicy.ALL, limits=ENROLL_LIMITS))
    assert [result.source for result in results] == photos
    for result in results:
        alone = [
            template
            for template in extractor.encode(decode_guarded(read_photo_bytes(result.source)))
            if judge(template.face, template.quality, ENROLL_LIMITS) is None
        ]
        assert len(result.templates) == len(alone)
        for together, single in zip(result.templates, alone, strict=True):
            np.testing.assert_allclose(together.vector, single.vector, atol=1e-5, rtol=0)
            assert together.quality == single.quality


def best(extractor: Extractor, pixels: Pixels) -> Template:
    chosen = choose_faces(extractor.detector.detect(pixels), FacePolicy.LARGEST, (pixels.shape[1], pixels.shape[0]))
    assert not isinstance(chosen, Rejection)
    return extractor.encode(pixels, chosen)[0]


def test_orientation_does_not_change_who_it_is(assets: Path, extractors: dict[str, Extractor]) -> None:
    source = sorted((assets / "faces" / "lfw").glob("*/*.jpg"))[3]
    upright = Image.open(source).convert("RGB")
    vectors = []
    for orientation, undo in zip(range(1, 9), (1, 2, 3, 4, 5, 8, 7, 6), strict=True):
        exif = Image.Exif()
        exif[0x0112] = undo
        turned = upright.copy()
        turned.getexif()[0x0112] = undo
        stored = ImageOps.exif_transpose(turned)
        exif[0x0112] = orientation
        buffer = BytesIO()
        stored.save(buffer, "JPEG", quality=95, exif=exif)
        vectors.append(best(extractors["320"], decode_guarded(buffer.getvalue())).vector)
    assert (np.stack(vectors) @ np.stack(vectors).T).min() >= 0.99


def test_a_format_or_a_mode_does_not_change_who_it_is(assets: Path, extractors: dict[str, Extractor]) -> None:
    photo = Image.open(sorted((assets / "faces" / "lfw").glob("*/*.jpg"))[3]).convert("RGB")
    grey = photo.convert("L")
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    least: list[tuple[str, Image.Image, float]] = [  # measured on four faces, rounded down
        ("JPEG", photo.convert("CMYK"), 0.999),
        ("PNG", photo.convert("RGBA"), 0.999),
        ("PNG", photo.quantize(256), 0.98),
        ("WEBP", photo, 0.98),
        ("AVIF", photo, 0.99),
        ("BMP", photo, 0.999),
        ("TIFF", photo, 0.999),
        ("JPEG", grey, 0.93),
        ("PNG", sixteen, 0.93),
    ]
    original = best(extractors["320"], np.asarray(photo)).vector
    for kind, image, cosine in least:
        buffer = BytesIO()
        image.save(buffer, kind, **({"quality": 95} if kind in ("JPEG", "WEBP", "AVIF") else {}))
        again = best(extractors["320"], decode_guarded(buffer.getvalue())).vector
        assert float(original @ again) >= cosine, (kind, image.mode)


@pytest.mark.slow
def test_the_enrolment_limits_refuse_next_to_none_of_lfw(assets: Path, extractors: dict[str, Extractor]) -> None:
    photos = sorted((assets / "faces" / "lfw").glob("*/*.jpg"))[::4]
    results = extractors["320"].extract_many(photos, read_photo_bytes, policy=FacePolicy.LARGEST, limits=ENROLL_LIMITS)
    assert sum(result.rejection is not None for result in results) <= len(photos) // 50


def test_a_photo_made_tiny_or_blurred_is_refused_for_that(assets: Path, extractors: dict[str, Extractor]) -> None:
    photo = Image.open(sorted((assets / "faces" / "lfw").glob("*/*.jpg"))[3]).convert("RGB")
    tiny = np.asarray(photo.resize((60, 60), Image.Resampling.BOX))
    smooth = np.asarray(photo.resize((30, 30), Image.Resampling.BOX).resize((250, 250), Image.Resampling.BICUBIC))

    def reason(pixels: Pixels) -> Reason | None:
        template = best(extractors["auto"], pixels)
        rejection = judge(template.face, template.quality, ENROLL_LIMITS)
        return None if rejection is None else rejection.reason

    assert reason(np.asarray(photo)) is None
    assert reason(tiny) is Reason.FACE_TOO_SMALL
    assert reason(smooth) is Reason.BLURRED


def test_another_scrfd_finds_the_same_faces(assets: Path, extractors: dict[str, Extractor], group: Pixels) -> None:
    session = open_session(
        assets / "models" / "detectors" / "det_2.5g.onnx",
        choose_provider("cpu"),
        sha256="041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9",
        threads=None,
    )
    ours, theirs = extractors["640"].detector.detect(group), Detector(session, parse_det_size("640")).detect(group)
    assert len(ours) == len(theirs) == 6
    assert all(min(centre_distance(face, other) for other in theirs) < 15 for face in ours)


def centre_distance(a: Face, b: Face) -> float:
    return float(np.hypot(*((a.box[:2] + a.box[2:]) - (b.box[:2] + b.box[2:])) / 2))
