"""A small notation for computations as ONNX graphs: `Net` collects nodes and weights, `Value` has arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from facesearch.recognition.packs import graph
from facesearch.recognition.packs.graph import Port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Value:
    """The result of a node, or an input."""

    net: Net
    name: str

    def __add__(self, other: Value | float) -> Value:
        return self.net.op("Add", self, other)

    def __sub__(self, other: Value | float) -> Value:
        return self.net.op("Sub", self, other)

    def __mul__(self, other: Value | float) -> Value:
        return self.net.op("Mul", self, other)

    def __truediv__(self, other: Value | float) -> Value:
        return self.net.op("Div", self, other)

    def squared(self) -> Value:
        return self * self

    def clipped(self, low: float = 0.0, high: float = 1.0) -> Value:
        return self.net.op("Clip", self, low, high)


class Net:
    """Nodes and weights in the order in which they were asked for."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._weights: dict[str, Any] = {}

    def input(self, name: str) -> Value:
        """A value that the caller of the model gives."""
        return Value(self, name)

    def weight(self, array: NDArray[Any]) -> Value:
        """A constant tensor; floats become float32."""
        name = f"w{len(self._weights)}"
        self._weights[name] = graph.tensor(name, array.astype(np.float32) if array.dtype == np.float64 else array)
        return Value(self, name)

    def op(self, kind: str, *inputs: Value | float, **attributes: Any) -> Value:
        """One node with one result; numbers become constants."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, results: int, *inputs: Value | float, **attributes: Any) -> list[Value]:
        """One node with several results."""
        values = [item if isinstance(item, Value) else self._number(item) for item in inputs]
        names = [f"{kind}{len(self._nodes)}_{index}" for index in range(results)]
        self._nodes.append(graph.node(kind, [value.name for value in values], names, **attributes))
        return [Value(self, name) for name in names]

    def named(self, value: Value, name: str, shape: Sequence[str | int | None]) -> Port:
        """Make a value an output of that name."""
        self._nodes.append(graph.node("Identity", [value.name], [name]))
        return Port(name, tuple(shape))

    def serialise(self, name: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> bytes:
        """The model; `outputs` were named before."""
        return graph.write_graph(
            name, nodes=self._nodes, weights=list(self._weights.values()), inputs=inputs, outputs=outputs
        )

    def _number(self, number: float) -> Value:
        name = f"n{number!r}"
        self._weights.setdefault(name, graph.tensor(name, np.array(number, dtype=np.float32)))
        return Value(self, name)
