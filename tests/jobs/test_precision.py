"""A real pack in int8 and bf16: made, measured, and kept apart from fp32 where scores move too far."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from facesearch import FaceSearch
from facesearch.errors import ConfigError, ModelMismatchError, ProviderError
from facesearch.jobs.embedding_cache import Embedding
from facesearch.jobs.embeddings import Embedded
from facesearch.jobs.precision import measure, prepare_precision
from facesearch.recognition import openvino_session
from facesearch.recognition.packs.precision import PrecisionRecord, read_record
from facesearch.recognition.packs.store import ModelPack, PackStore
from facesearch.types import Face, Precision, Quality, Template, Vectors
from tests.fixtures_unreadable import Refuse

pytest.importorskip("onnx")
if find_spec("openvino") is None:  # importing it here would tell its makers so
    pytest.skip("openvino is not installed", allow_module_level=True)

PHOTOS = 40


@pytest.fixture(scope="module")
def photos(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """People with two photos each."""
    folder = tmp_path_factory.mktemp("lfw")
    people = [person for person in sorted((assets / "faces" / "lfw").iterdir()) if len(list(person.iterdir())) >= 2]
    for person in people[: PHOTOS // 2]:
        (folder / person.name).mkdir()
        for photo in sorted(person.iterdir())[:2]:
            shutil.copy(photo, folder / person.name)
    return folder


@pytest.fixture(scope="module")
def pack(testpack_dir: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelPack:
    """`testpack` with int8 measured."""
    folder = tmp_path_factory.mktemp("packs") / "testpack"
    shutil.copytree(testpack_dir, folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)  # the one it is copied from may be read-only
    found = PackStore([folder.parent]).find(folder)
    prepare_precision(found, Precision.INT8, photos, det_size="320", workers=1)
    return found


@pytest.fixture(scope="module")
def bf16_pack(pack: ModelPack, photos: Path) -> ModelPack:
    """`pack` with bf16 measured, too."""
    prepare_precision(pack, Precision.BF16, photos, det_size="320", workers=1)
    return pack


def record_of(pack: ModelPack, precision: Precision) -> PrecisionRecord:
    record = read_record(pack, precision)
    assert record is not None
    return record


@pytest.mark.slow
def test_int8_is_measured_on_both_runtimes_with_faces_scores_and_tar(pack: ModelPack) -> None:
    record = record_of(pack, Precision.INT8)
    assert set(record.measured) == {"cpu", "openvino"}
    assert set(record.files) == {"recognizer"}  # SCRFD-500M's depthwise convolutions gain nothing
    for measured in record.measured.values():
        assert (measured.photos, measured.faces, measured.lost, measured.gained) == (PHOTOS, PHOTOS, 0, 0)
        assert 0.97 < measured.cosine_mean < 0.9999  # another arithmetic, and the same faces
        assert measured.cosine_min > 0.9
        assert 0.005 < measured.score_shift < 0.08
        assert measured.score_shift <= measured.score_shift_max
        assert [far for far, _, _ in measured.tar] == [0.1, 0.01]
        assert all(abs(fp32 - int8) <= 0.1 for _, fp32, int8 in measured.tar)


@pytest.mark.slow
@pytest.mark.needs("bf16")
def test_bf16_is_measured_on_openvino_and_closer_to_fp32(bf16_pack: ModelPack) -> None:
    record, int8 = record_of(bf16_pack, Precision.BF16), record_of(bf16_pack, Precision.INT8)
    assert (set(record.measured), record.files) == ({"openvino"}, {})
    assert record.measured["openvino"].score_shift < int8.measured["openvino"].score_shift


def test_bf16_where_the_processor_has_none_is_refused_before_photos_are_read(
    testpack_dir: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_session, "computes_bf16", lambda: False)
    found, told = PackStore([testpack_dir.parent]).find(testpack_dir), list[str]()
    with pytest.raises(ProviderError, match="no bf16 arithmetic"):
        prepare_precision(found, Precision.BF16, photos, notice=told.append)
    assert told == []
    with FaceSearch.open(tmp_path / "g", pack=testpack_dir, precision="bf16") as engine:
        with pytest.raises(ProviderError, match="no bf16 arithmetic") as caught:
            list(engine.enroll(photos))
        assert "--precision fp32" in (caught.value.hint or "")


@pytest.mark.slow
def test_int8_templates_are_kept_out_of_an_fp32_gallery_and_have_their_own(
    pack: ModelPack, photos: Path, tmp_path: Path
) -> None:
    folder = pack.recognizer.path.parent
    first, second = sorted(next(iter(sorted(photos.iterdir()))).iterdir())
    with FaceSearch.open(tmp_path / "fp32", pack=folder, provider="cpu", det_size=320) as engine:
        list(engine.enroll([first], subject="A"))
    with FaceSearch.open(tmp_path / "fp32", precision="int8", provider="cpu") as engine:
        for use in (engine.identify, engine.enroll):
            with pytest.raises(ModelMismatchError, match="int8") as caught:
                list(use(second))
            assert "--precision fp32" in (caught.value.hint or "")
    with FaceSearch.open(tmp_path / "int8", pack=folder, provider="openvino", precision="int8", det_size=320) as engine:
        list(engine.enroll([first], subject="A"))
    with FaceSearch.open(tmp_path / "int8") as engine:  # the gallery knows precision and runtime
        assert (engine.describe()["precision"], engine.describe()["provider"]) == ("int8", "openvino")
        assert engine.identify(second)[0].decision == "match"


@pytest.mark.slow
@pytest.mark.needs("bf16")
def test_a_precision_whose_scores_hardly_move_shares_the_gallery_of_fp32(
    bf16_pack: ModelPack, photos: Path, tmp_path: Path
) -> None:
    folder = bf16_pack.recognizer.path.parent
    path = folder / "bf16" / "precision.json"
    kept = path.read_text(encoding="utf-8")
    first, second = sorted(next(iter(sorted(photos.iterdir()))).iterdir())
    with FaceSearch.open(tmp_path / "g", pack=folder, provider="cpu", det_size=320) as engine:
        list(engine.enroll([first], subject="A"))
    try:
        for shift, shares in ((0.019, True), (0.02, False)):
            data = json.loads(kept)
            data["measured"]["openvino"]["score_shift"] = shift
            path.write_text(json.dumps(data), encoding="utf-8")
            with FaceSearch.open(tmp_path / "g", precision="bf16") as engine:
                if shares:
                    assert engine.identify(second)[0].decision == "match"
                    assert [each.status for each in engine.enroll([second], subject="A")] == ["enrolled"]
                else:
                    with pytest.raises(ModelMismatchError, match=r"0\.020"):
                        engine.identify(second)
    finally:
        path.write_text(kept, encoding="utf-8")


# What is measured


def embedded(vectors: Vectors, missing: tuple[int, ...] = ()) -> Embedded:
    face = Face(np.zeros(4, np.float32), np.zeros((5, 2), np.float32), 1.0)
    made = [Embedding("", Template(vector, "m", face, Quality(1, 1, 0, 0))) for vector in vectors]
    return Embedded(tuple(replace(each, template=None) if i in missing else each for i, each in enumerate(made)), 0)


def unit(vectors: np.ndarray) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_a_measurement_agrees_with_scores_taken_one_by_one() -> None:
    rng = np.random.default_rng(0)
    fp32 = unit(rng.standard_normal((35, 16)))
    other = unit(fp32 + 0.1 * rng.standard_normal((35, 16)))
    found = measure(embedded(fp32, (1, 2)), embedded(other, (2, 3, 4)))
    assert (found.photos, found.faces, found.lost, found.gained) == (35, 31, 2, 1)
    used = [i for i in range(35) if i not in {1, 2, 3, 4}]
    shifts = [abs(float(fp32[i] @ other[j]) - float(fp32[i] @ fp32[j])) for i in used for j in used if i != j]
    assert found.score_shift_max == pytest.approx(max(shifts), abs=1e-6)
    assert found.score_shift == pytest.approx(np.quantile(shifts, 0.99), abs=1e-6)
    assert found.cosine_min == pytest.approx(min(float(fp32[i] @ other[i]) for i in used), abs=1e-6)


def test_the_same_templates_shift_nothing() -> None:
    vectors = embedded(unit(np.random.default_rng(1).standard_normal((30, 8))))
    found = measure(vectors, vectors)
    assert (found.score_shift, found.score_shift_max, found.score_shift_within) == (0, 0, 0)


def test_too_few_faces_are_no_measurement() -> None:
    vectors = embedded(unit(np.random.default_rng(1).standard_normal((30, 8))), (0,))
    with pytest.raises(ConfigError, match="29 photos"):
        measure(vectors, vectors)


def test_a_folder_that_cannot_be_read_is_refused(testpack_dir: Path, tmp_path: Path, refuse: Refuse) -> None:
    (tmp_path / "locked").mkdir()
    refuse(tmp_path / "locked", PermissionError(13, "Permission denied"))
    with pytest.raises(ConfigError, match="locked cannot be read: Permission denied"):
        prepare_precision(PackStore([testpack_dir.parent]).find(testpack_dir), Precision.INT8, tmp_path)


def test_too_few_faces_to_calibrate_on_and_no_folder_are_refused(
    testpack_dir: Path, photos: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(testpack_dir, tmp_path / "testpack", copy_function=shutil.copyfile)
    folder.chmod(0o700)
    found = PackStore([tmp_path]).find(folder)
    person = next(iter(sorted(photos.iterdir())))
    with pytest.raises(ConfigError, match="calibration needs"):
        prepare_precision(found, Precision.INT8, person, det_size="320", workers=1)
    with pytest.raises(ConfigError, match="There is no folder"):
        prepare_precision(found, Precision.INT8, person / "none")
    with pytest.raises(ConfigError, match="compared with"):
        prepare_precision(found, Precision.FP32, person)
