"""Merged convolutions give what they gave apart, and what cannot be merged stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from facesearch.recognition.packs.graph import Port, node, parse_model, tensor, write_graph
from facesearch.recognition.packs.surgery import merge_siblings
from facesearch.recognition.runtime import _inference_session

if TYPE_CHECKING:
    from pathlib import Path


def heads(
    *channels: int, opset: int = 17, bias: bool = True, kernels: tuple[int, ...] = (3, 3, 3), group: int = 1
) -> bytes:
    """A model with one convolution of x (1, 4, 8, 8) per entry of `channels`."""
    rng = np.random.default_rng(0)
    nodes: list[Any] = []
    weights: list[Any] = []
    for i, (count, kernel) in enumerate(zip(channels, kernels, strict=True)):
        shape = (count, 4 // group, kernel, kernel)
        weights.append(tensor(f"w{i}", rng.standard_normal(shape, dtype=np.float32)))
        weights.append(tensor(f"b{i}", rng.standard_normal(count, dtype=np.float32)))
        inputs = ["x", f"w{i}", *([f"b{i}"] if bias else [])]
        nodes.append(node("Conv", inputs, [f"out{i}"], group=group))
    outputs = [Port(f"out{i}", (1, count, None, None)) for i, count in enumerate(channels)]
    return write_graph(
        "heads", nodes=nodes, weights=weights, inputs=[Port("x", (1, 4, 8, 8))], outputs=outputs, opset=opset
    )


def run(data: bytes) -> list[Any]:
    photo = np.random.default_rng(1).standard_normal((1, 4, 8, 8), dtype=np.float32)
    outputs: list[Any] = _inference_session(data, "CPUExecutionProvider", 1).run(None, {"x": photo})
    return outputs


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("bias", [True, False])
def test_heads_of_few_channels_become_one_convolution_with_the_same_outputs(opset: int, bias: bool) -> None:
    data = heads(2, 8, 20, opset=opset, bias=bias)
    model = parse_model(data)
    assert merge_siblings(model)
    assert [each.op_type for each in model.graph.node] == ["Conv", "Split"]
    for apart, together in zip(run(data), run(model.SerializeToString()), strict=True):
        np.testing.assert_allclose(together, apart, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "data",
    [
        heads(16, 16, 32),  # full blocks: nothing to gain
        heads(2, 8, kernels=(3, 1)),
        heads(4, 4, kernels=(3, 3), group=4),
    ],
    ids=["full", "unlike", "depthwise"],
)
def test_other_convolutions_stay_as_they_are(data: bytes) -> None:
    model = parse_model(data)
    before = model.SerializeToString(deterministic=True)
    assert not merge_siblings(model)
    assert model.SerializeToString(deterministic=True) == before


def test_computed_kernels_stay_as_they_are() -> None:
    """As in a quantised model, whose kernels come out of DequantizeLinear."""
    nodes = [node("Conv", ["x", f"k{i}"], [f"out{i}"]) for i in range(2)]
    nodes += [node("Identity", [f"w{i}"], [f"k{i}"]) for i in range(2)]
    weights = [tensor(f"w{i}", np.ones((2, 4, 3, 3), np.float32)) for i in range(2)]
    outputs = [Port(f"out{i}", (1, 2, 6, 6)) for i in range(2)]
    model = parse_model(
        write_graph("computed", nodes=nodes, weights=weights, inputs=[Port("x", (1, 4, 8, 8))], outputs=outputs)
    )
    assert not merge_siblings(model)


def test_a_real_detector_gives_the_same_numbers(testpack_dir: Path) -> None:
    data = (testpack_dir / "det_500m.onnx").read_bytes()
    model = parse_model(data)
    assert merge_siblings(model)
    photo = np.random.default_rng(0).uniform(-1, 1, (1, 3, 640, 640)).astype(np.float32)
    outputs = [
        _inference_session(each, "CPUExecutionProvider", 1).run(None, {"input.1": photo})
        for each in (data, model.SerializeToString())
    ]
    for apart, together in zip(*outputs, strict=True):
        np.testing.assert_allclose(together, apart, rtol=0, atol=1e-5)
