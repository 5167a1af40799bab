"""The benchmark of detection and embedding runs in every precision; its figures are for idle machines."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks.__main__ import main

pytest.importorskip("onnx")
pytest.importorskip("openvino")


@pytest.mark.slow
def test_every_precision_is_run_and_what_is_not_here_is_told(assets: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    assert main(["embed", "--quick", "--size", "320", "--json", str(out)]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert all(math.isfinite(figure["value"]) for figure in found["figures"].values())
    for part in ("networks alone", "whole photos"):
        for figure in ("times as fast", "by processor time", "lowest cosine with fp32's vector, less than 1 by"):
            ran = {name.split(": ")[0].removeprefix(f"{part}, ") for name in found["figures"]
                   if name.startswith(f"{part}, ") and name.endswith(f": {figure}")}  # fmt: skip
            assert {"cpu int8", "openvino fp32", "openvino bf16", "openvino int8"} == ran | {
                name
                for name in found["skipped"]
                if name == "openvino bf16"  # not every processor has it
            }
            assert {"cuda fp32", "tensorrt fp32"} <= ran | set(found["skipped"])
