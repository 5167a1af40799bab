"""What stays fp32 in a detector is its last convolutions, and nothing else, whether or not its nodes have names."""

from __future__ import annotations

import pytest

from facesearch.recognition.packs.graph import Port, node, parse_model, write_graph
from facesearch.recognition.packs.quantize import _last_convolutions, _named


def test_nodes_without_names_are_told_apart() -> None:
    pytest.importorskip("onnx")
    nodes = [
        node("Conv", ["x", "w"], ["inner"]),
        node("Conv", ["inner", "w"], ["last"]),
        node("Sigmoid", ["last"], ["y"]),
    ]
    for each in nodes:
        each.name = ""
    image = (1, 3, 8, 8)
    data = write_graph("m", nodes=nodes, weights=[], inputs=[Port("x", image)], outputs=[Port("y", image)])
    model = _named(parse_model(data))
    assert len({each.name for each in model.graph.node}) == 3
    assert _last_convolutions(model.graph) == [model.graph.node[1].name]
