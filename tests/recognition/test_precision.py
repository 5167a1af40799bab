"""Precisions and runtimes: what computes in what, and how far apart their templates are."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facesearch.errors import ConfigError, ModelError, ModelIntegrityError, ModelNotFoundError, ProviderError
from facesearch.recognition import openvino_session, runtime
from facesearch.recognition.extractor import Extractor
from facesearch.recognition.packs.precision import (
    Measurement,
    PrecisionRecord,
    folder_of,
    in_precision,
    read_record,
    write_record,
)
from facesearch.recognition.packs.store import ModelPack
from facesearch.recognition.runtime import PRECISIONS, PROVIDERS, choose_provider, open_session, parse_precision
from facesearch.types import ModelInfo, Precision, mixing_shift
from tests.recognition.models import detector_model, recognizer_model, write_pack
from tests.recognition.scrfd_models import scrfd

MEASURED = Measurement(40, 40, 0, 0, 0.99, 0.98, 0.01, 0.02, 0.015, ((0.1, 0.9, 0.9),))


@pytest.fixture
def pack(tmp_path: Path) -> ModelPack:
    return write_pack(tmp_path, detector_model([(10, 10, 30)]))


def with_openvino() -> None:
    if find_spec("openvino") is None:
        pytest.skip("openvino is not installed")


@pytest.fixture
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO on a processor that has bf16, for tests that compute nothing in it."""
    with_openvino()
    monkeypatch.setattr(openvino_session, "computes_bf16", lambda: True)


# Choosing


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("precision", Precision)
def test_a_provider_that_does_not_compute_so_is_refused_with_one_that_does(provider: str, precision: Precision) -> None:
    if precision in PRECISIONS[provider]:
        return
    with pytest.raises(ConfigError, match=f"{provider} does not compute in {precision}") as caught:
        choose_provider(provider, precision)
    assert "openvino" in (caught.value.hint or "")


@pytest.mark.usefixtures("bf16")
def test_auto_takes_the_provider_that_computes_so() -> None:
    assert choose_provider("auto", Precision.BF16).name == "openvino"
    assert choose_provider("auto", Precision.INT8).name == "cpu"


def test_a_processor_without_bf16_is_refused_it_with_the_precisions_that_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_openvino()
    monkeypatch.setattr(openvino_session, "computes_bf16", lambda: False)
    for provider in ("auto", "openvino"):
        with pytest.raises(ProviderError, match="no bf16 arithmetic") as caught:
            choose_provider(provider, Precision.BF16)
        assert caught.value.hint == "Use --precision fp32 or int8."
    assert choose_provider("openvino", Precision.INT8).name == "openvino"


def test_without_openvino_bf16_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_listed", lambda: [PROVIDERS["cpu"]])
    for provider in ("auto", "openvino"):
        with pytest.raises(ProviderError) as caught:
            choose_provider(provider, Precision.BF16)
        assert "facesearch[openvino]" in (caught.value.hint or "")


def test_a_precision_that_does_not_exist_is_refused_with_the_list() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_precision("fp64")
    assert all(precision in (caught.value.hint or "") for precision in Precision)


# OpenVINO


def test_openvino_computes_what_onnxruntime_does(tmp_path: Path) -> None:
    with_openvino()
    path = tmp_path / "model.onnx"
    path.write_bytes(scrfd(shape=("batch", 3, "height", "width"), perm=(0, 2, 3, 1), leading=(0, -1)))
    ours, theirs = (open_session(path, choose_provider(name), sha256=None, threads=1) for name in ("openvino", "cpu"))
    assert (ours.provider, ours.input_name, ours.input_shape) == ("openvino", "x", (None, 3, None, None))
    assert ours.output_names == theirs.output_names
    for shape in ((1, 3, 64, 64), (3, 3, 96, 128)):
        images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
        for a, b in zip(ours.run(images), theirs.run(images), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)


def test_opening_a_model_on_openvino_tells_nobody(tmp_path: Path) -> None:
    with_openvino()
    (tmp_path / "openvino_telemetry").mkdir()
    (tmp_path / "openvino_telemetry" / "__init__.py").write_text("print('telling')")
    (tmp_path / "model.onnx").write_bytes(recognizer_model())
    opening = (
        "from facesearch.recognition.runtime import choose_provider, open_session\nfrom pathlib import Path\n"
        "print(open_session(Path('model.onnx'), choose_provider('openvino'), sha256=None, threads=1).provider)"
    )

    def printed(program: str) -> list[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        return done.stdout.split()

    assert printed(opening) == ["openvino"]
    assert "telling" in printed("import openvino")  # which is what it does by itself


def test_openvino_serves_threads_at_once_with_outputs_of_their_own(tmp_path: Path) -> None:
    with_openvino()
    path = tmp_path / "model.onnx"
    path.write_bytes(recognizer_model())
    session = open_session(path, choose_provider("openvino"), sha256=None, threads=1)

    def means(value: int) -> Any:
        return session.run(np.full((1, 3, 112, 112), value, np.float32))[0]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(means, range(100)))  # all are kept until the end: none may be overwritten
    assert [each.tolist() for each in found] == [[[value] * 3] for value in range(100)]


def test_openvino_refuses_what_it_cannot_open_or_run(tmp_path: Path) -> None:
    with_openvino()
    provider = choose_provider("openvino")
    path = tmp_path / "wrong.onnx"
    path.write_bytes(scrfd().replace(b"Sigmoid", b"Sigmoit"))
    with pytest.raises(ModelError, match="cannot be opened by OpenVINO"):
        open_session(path, provider, sha256=None, threads=None)
    path.write_bytes(recognizer_model())
    session = open_session(path, provider, sha256=None, threads=None)
    with pytest.raises(ModelError, match="does not run") as caught:
        session.run(np.zeros((1, 4, 5, 5), np.float32))
    assert caught.value.hint


# Records


def int8_record(pack: ModelPack, **changes: Any) -> PrecisionRecord:
    folder = folder_of(pack, Precision.INT8)
    folder.mkdir(exist_ok=True)
    shutil.copy(pack.recognizer.path, folder / "small.onnx")
    made_from = (pack.detector.sha256, pack.recognizer.sha256)
    files = {"recognizer": ("small.onnx", pack.recognizer.sha256)}
    record = PrecisionRecord(Precision.INT8, made_from, files, {"cpu": MEASURED})
    return replace(record, **changes)


def test_a_record_is_read_as_it_was_written(pack: ModelPack) -> None:
    assert read_record(pack, Precision.INT8) is None
    record = int8_record(pack)
    write_record(pack, record)
    assert read_record(pack, Precision.INT8) == record
    assert (record.score_shift("cpu"), record.score_shift("openvino")) == (0.01, None)


def test_int8_runs_its_own_files_and_the_packs_where_it_has_none(pack: ModelPack) -> None:
    write_record(pack, int8_record(pack))
    found = in_precision(pack, Precision.INT8)
    assert found.recognizer.path == folder_of(pack, Precision.INT8) / "small.onnx"
    assert found.recognizer.input_mean == pack.recognizer.input_mean
    assert found.detector == pack.detector
    assert in_precision(pack, Precision.BF16) == pack


def test_int8_without_files_is_not_found_with_the_command_that_makes_them(pack: ModelPack) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        in_precision(pack, Precision.INT8)
    assert "models quantize" in (caught.value.hint or "")
    write_record(pack, int8_record(pack))
    (folder_of(pack, Precision.INT8) / "small.onnx").unlink()
    with pytest.raises(ModelNotFoundError):
        in_precision(pack, Precision.INT8)


def test_files_made_of_other_models_are_refused(pack: ModelPack) -> None:
    write_record(pack, int8_record(pack, made_from=("0" * 64, pack.recognizer.sha256)))
    with pytest.raises(ModelIntegrityError, match="other models"):
        read_record(pack, Precision.INT8)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "{",
        lambda _: json.dumps([]),
        lambda data: json.dumps({**data, "files": {"recognizer": ["../up.onnx", "0" * 64]}}),
        lambda data: json.dumps({**data, "files": {"recognizer": ["a.onnx", "no digest"]}}),
        lambda data: json.dumps({**data, "files": {"other": ["a.onnx", "0" * 64]}}),
        lambda data: json.dumps({**data, "precision": "int4"}),
        lambda data: json.dumps({**data, "measured": {"cpu": {"photos": 1}}}),
    ],
)
def test_a_damaged_record_is_refused(pack: ModelPack, damage: Any) -> None:
    write_record(pack, int8_record(pack))
    path = folder_of(pack, Precision.INT8) / "precision.json"
    path.write_text(damage(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")
    with pytest.raises(ModelIntegrityError, match="damaged"):
        read_record(pack, Precision.INT8)


def test_an_int8_file_of_another_digest_is_not_opened(pack: ModelPack) -> None:
    write_record(pack, int8_record(pack, files={"recognizer": ("small.onnx", "0" * 64)}))
    extractor = Extractor(pack, provider="cpu", precision=Precision.INT8)
    with pytest.raises(ModelIntegrityError, match="SHA-256"):
        extractor.embedder.embed([np.zeros((112, 112, 3), np.uint8)])


# Which templates may meet


def info(pack: ModelPack, precision: Precision, provider: str = "cpu") -> ModelInfo:
    return Extractor(pack, provider=provider, precision=precision).info


@pytest.mark.usefixtures("bf16")
def test_a_precision_has_a_model_id_of_its_own_on_each_runtime_and_says_which(pack: ModelPack) -> None:
    write_record(pack, int8_record(pack))
    fp32, cpu = info(pack, Precision.FP32), info(pack, Precision.INT8)
    openvino, bf16 = info(pack, Precision.INT8, "openvino"), info(pack, Precision.BF16, "openvino")
    assert len({each.model_id for each in (fp32, cpu, openvino, bf16)}) == 4
    assert [each.settings["precision"] for each in (fp32, cpu, openvino, bf16)] == ["fp32", "int8", "int8", "bf16"]
    assert {each.recognizer_sha256 for each in (fp32, cpu, openvino, bf16)} == {pack.recognizer.sha256}
    assert info(pack, Precision.FP32, "openvino").model_id == fp32.model_id


@pytest.mark.usefixtures("bf16")
def test_the_shift_of_two_precisions_is_what_was_measured_and_unknown_where_nothing_was(pack: ModelPack) -> None:
    write_record(pack, int8_record(pack))
    write_record(pack, PrecisionRecord(Precision.BF16, int8_record(pack).made_from, {}, {"openvino": MEASURED}))
    fp32, cpu = info(pack, Precision.FP32), info(pack, Precision.INT8)
    openvino, bf16 = info(pack, Precision.INT8, "openvino"), info(pack, Precision.BF16, "openvino")
    assert mixing_shift(cpu, cpu) == 0
    assert mixing_shift(fp32, cpu) == mixing_shift(cpu, fp32) == 0.01
    assert mixing_shift(cpu, bf16) == 0.02
    assert mixing_shift(fp32, openvino) == math.inf
    assert mixing_shift(fp32, replace(fp32, model_id="other")) == math.inf
