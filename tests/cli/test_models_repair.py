"""`facesearch models repair` writes a proven file, or nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.recognition.models import recognizer_model
from tests.recognition.scrfd_models import scrfd


def test_a_detector_is_repaired_into_a_file(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("det.onnx").write_bytes(scrfd())
    run = command("models", "repair", "det.onnx", "--json")
    assert run.code == 0
    (record,) = run.records
    assert record["file"] == "det.batched.onnx"
    assert record["sha256"] == hashlib.sha256(Path("det.batched.onnx").read_bytes()).hexdigest()
    assert record["repaired_from"] == hashlib.sha256(scrfd()).hexdigest()
    assert all(each["batch_difference"] <= 1e-5 for each in record["checked"])


def test_what_is_no_detector_leaves_no_file(command: Command, tmp_path: Path) -> None:
    (tmp_path / "rec.onnx").write_bytes(recognizer_model())
    run = command("models", "repair", tmp_path / "rec.onnx", "--out", tmp_path / "out.onnx")
    assert run.code == 4
    assert "SCRFD" in run.err
    assert [path.name for path in tmp_path.iterdir()] == ["rec.onnx"]
