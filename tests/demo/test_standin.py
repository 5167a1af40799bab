"""The stand-in pack finds every drawn face, places its landmarks, and tells the people apart."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from facesearch.demo.drawing import Brush
from facesearch.demo.portraits import PEOPLE, STRANGER, draw_group, draw_landscape, draw_portrait
from facesearch.demo.standin import THRESHOLD, build_standin_pack
from facesearch.recognition.extractor import Extractor
from facesearch.recognition.packs.graph import read_graph
from facesearch.recognition.packs.store import PackStore
from facesearch.recognition.quality import ENROLL_LIMITS, FacePolicy
from tests.fixtures_standin import GROUP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facesearch.types import Vectors

VARIATIONS = 6


@pytest.fixture(scope="module")
def extractor(standin_pack: Path) -> Extractor:
    return Extractor(PackStore([standin_pack.parent]).find(standin_pack), provider="cpu", workers=1)


@pytest.fixture(scope="module")
def vectors(extractor: Extractor) -> Vectors:
    """(people, variations, d); fails where a portrait does not show exactly one face."""
    rows = []
    for person in range(len(PEOPLE)):
        for variation in range(VARIATIONS):
            (template,) = extractor.encode(draw_portrait(person, variation))
            rows.append(template.vector)
    return np.stack(rows).reshape(len(PEOPLE), VARIATIONS, -1)


def test_the_pack_is_small_and_always_the_same(standin_pack: Path, tmp_path: Path) -> None:
    def digests(folder: Path) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}

    assert digests(build_standin_pack(tmp_path / "again")) == digests(standin_pack)
    assert all(path.stat().st_size < 1_000_000 for path in standin_pack.iterdir())


def test_the_graphs_look_like_scrfd_and_arcface(standin_pack: Path) -> None:
    pack = PackStore([standin_pack.parent]).find(standin_pack)
    detector, recognizer = read_graph(pack.detector.path), read_graph(pack.recognizer.path)
    assert [port.shape[-1] for port in detector.outputs] == [1, 1, 1, 4, 4, 4, 10, 10, 10]
    assert detector.inputs[0].shape[:2] == (1, 3)
    assert recognizer.inputs[0].shape == ("n", 3, 112, 112)
    assert recognizer.outputs[0].shape == ("n", 128)


@pytest.mark.parametrize("det_size", ["auto", "640", "320"])
def test_landmarks_lie_where_they_were_drawn(standin_pack: Path, det_size: str) -> None:
    extractor = Extractor(PackStore([standin_pack.parent]).find(standin_pack), provider="cpu", det_size=det_size)
    drawn = _drawn_landmarks()
    for person in range(len(PEOPLE)):
        (face,) = extractor.detector.detect(draw_portrait(person, 0))
        eye_distance = drawn[1, 0] - drawn[0, 0]
        off = np.linalg.norm(face.landmarks - drawn, axis=1) / eye_distance
        assert off[:3].max() < 0.08, PEOPLE[person]
        assert off[3:].max() < 0.15, PEOPLE[person]  # mouths differ in width
        assert face.detection_score > ENROLL_LIMITS.min_detection_score


def _drawn_landmarks() -> NDArray[np.float32]:
    """Of an untilted portrait of 240 x 280 pixels, for a mouth of ordinary width: (5, 2)."""
    brush = Brush(Image.new("RGB", (1, 1)), (120, 0.42 * 280), 0.19 * 240)
    return np.array(brush.pixels([(-0.5, 0), (0.5, 0), (0, 0.57), (-0.43, 1.16), (0.43, 1.16)]), dtype=np.float32)


def test_every_person_of_a_group_is_found_and_recognised(extractor: Extractor, vectors: Vectors) -> None:
    templates = sorted(extractor.encode(draw_group(GROUP)), key=lambda template: template.face.box[0])
    best = [int(np.max(vectors @ template.vector, axis=1).argmax()) for template in templates]
    assert best == list(GROUP)


def test_a_landscape_has_no_face(extractor: Extractor) -> None:
    assert extractor.detector.detect(draw_landscape()) == []


@pytest.mark.parametrize("seed", range(5))
def test_noise_has_no_face(extractor: Extractor, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, size=(240, 320, 3), dtype=np.uint8)
    assert extractor.detector.detect(noise) == []


def test_the_threshold_separates_mated_from_non_mated_scores(vectors: Vectors) -> None:
    flat = vectors.reshape(-1, vectors.shape[-1])
    scores = flat @ flat.T
    people = np.repeat(np.arange(len(PEOPLE)), VARIATIONS)
    pairs = np.triu_indices(len(people), k=1)
    mated = (people[:, None] == people[None])[pairs]
    assert scores[pairs][mated].min() > THRESHOLD + 0.1
    assert scores[pairs][~mated].max() < THRESHOLD - 0.1


def test_the_stranger_is_like_nobody(extractor: Extractor, vectors: Vectors) -> None:
    for variation in range(VARIATIONS):
        (template,) = extractor.encode(draw_portrait(STRANGER, variation))
        assert float(np.max(vectors @ template.vector)) < THRESHOLD - 0.1


def test_every_photo_written_is_good_enough_to_enroll(extractor: Extractor, people_folder: Path) -> None:
    photos = sorted(people_folder.rglob("*.jpg"))
    results = list(extractor.extract_many(photos, Path.read_bytes, policy=FacePolicy.SINGLE, limits=ENROLL_LIMITS))
    assert len(results) == 48
    assert [(result.source, result.rejection) for result in results if result.rejection is not None] == []
