"""The benchmark of precisions still runs; its figures are for idle machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main

pytest.importorskip("onnx")
pytest.importorskip("openvino")


@pytest.mark.slow
def test_every_precision_is_run_and_what_is_not_here_is_told(assets: Path, tmp_path: Path) -> None:
    out = tmp_path / "precision.json"
    assert main(["precision", "--quick", "--size", "320", "--json", str(out)]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    ran = {name.removesuffix(": times as fast") for name in found["figures"] if name.endswith(": times as fast")}
    assert {"cpu int8", "openvino fp32", "openvino bf16", "openvino int8"} == ran | {
        name
        for name in found["skipped"]
        if name == "openvino bf16"  # not every processor has it
    }
    assert {"cuda fp32", "tensorrt fp32"} <= ran | set(found["skipped"])
