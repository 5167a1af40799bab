"""A tiny SCRFD with random weights, in the forms in which exporters leave its heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from facesearch.recognition.networks import ANCHORS, STRIDES
from facesearch.recognition.packs.graph import Port, node, tensor, write_graph

if TYPE_CHECKING:
    from collections.abc import Sequence

ROW_BY_ROW, APART = (2, 3, 0, 1), (0, 2, 3, 1)
COLUMNS = (1, 4, 10)


def scrfd(
    *,
    perm: Sequence[int] = ROW_BY_ROW,
    leading: Sequence[int] = (-1,),
    shape: tuple[int | str, ...] = (1, 3, 64, 64),
    upsampled_from: int | None = None,
    seed: int = 0,
) -> bytes:
    """Heads end in Transpose(`perm`) and Reshape(`leading`, columns); `upsampled_from` writes down a Resize's size."""
    rng = np.random.default_rng(seed)
    nodes: list[Any] = []
    weights: list[Any] = []
    outputs: list[Port] = []
    source = "x"
    if upsampled_from is not None:
        nodes.append(node("AveragePool", ["x"], ["half"], kernel_shape=[2, 2], strides=[2, 2]))
        nodes.append(node("Resize", ["half", "", "", "sizes"], ["whole"], mode="nearest"))
        weights.append(tensor("sizes", np.array([1, 3, 2 * upsampled_from, 2 * upsampled_from], np.int64)))
        source = "whole"
    for columns in COLUMNS:
        weights.append(tensor(f"shape{columns}", np.array([*leading, columns], np.int64)))
        for stride in STRIDES:
            name = f"{columns}_{stride}"
            kernel = rng.standard_normal((ANCHORS * columns, 3, stride, stride)).astype(np.float32) / stride
            weights.append(tensor(f"w{name}", kernel))
            nodes += [
                node("Conv", [source, f"w{name}"], [f"c{name}"], kernel_shape=[stride] * 2, strides=[stride] * 2),
                node("Transpose", [f"c{name}"], [f"t{name}"], perm=list(perm)),
                node("Reshape", [f"t{name}", f"shape{columns}"], [f"r{name}"]),
                node("Sigmoid" if columns == 1 else "Identity", [f"r{name}"], [f"out{name}"]),
            ]
            outputs.append(Port(f"out{name}", ("rows", columns)))
    opset = 11 if upsampled_from is None else 13  # until 12 a Resize cannot leave inputs out
    return write_graph("scrfd", nodes=nodes, weights=weights, inputs=[Port("x", shape)], outputs=outputs, opset=opset)
