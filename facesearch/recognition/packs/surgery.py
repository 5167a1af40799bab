"""Graph surgery before a model is opened: detectors take any number of photos of any size, convolutions are merged.

InsightFace's exports declare a batch of one and the outputs of 640 x 640. Worse, every head ends in Transpose(2,3,0,1)
and Reshape(-1,k): a batch then comes out interleaved row by row, one photo's faces among another's. Ended in
Transpose(0,2,3,1) and Reshape(0,-1,k) a head computes the same numbers for one photo, and keeps several apart. A YuNet
needs the latter alone. A detector is opened this way wherever its graph allows it; `facesearch models repair` makes it
a file.

A repaired file names the file it was made from: as it gives the same detections, it stands for that file wherever it
is recorded which detector made something.

onnxruntime's CPU kernels compute channels in blocks (16 with AVX-512). An SCRFD's three heads have 2, 8 and 20 channels
at each stride and pay for 64; merged they have 30 and pay for 32. Outputs are equal to the last bit. The detectors of
small packs gain: without this, SCRFD-500M takes 1.14 times as long at 640 pixels and 1.2 times at 128 (one thread,
medians of 60), and SCRFD-2.5G 1.03 times. SCRFD-10G, of buffalo_l, gains nothing.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facesearch.errors import ModelError
from facesearch.recognition.packs.graph import (
    REPAIRED_FROM,
    Message,
    all_nodes,
    node,
    parse_model,
    repaired_from,
    tensor,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

HEADS: Final = (6, 9, 12)
"""Outputs of an SCRFD of three strides: scores and boxes, or those and landmarks; and of a YuNet."""
_BATCH, _HEIGHT, _WIDTH = "batch", "height", "width"
_ROW_BY_ROW: Final = [2, 3, 0, 1]
_APART: Final = [0, 2, 3, 1]
_ELEMENTWISE: Final = frozenset({"Sigmoid", "Identity", "Mul"})
"""What may stand between a head's Reshape and its output: it looks at one number at a time."""
_HINT: Final = "It must be an SCRFD of three strides with square, unpadded heads, such as det_10g.onnx, or a YuNet."
BLOCK: Final = 16
"""Channels that are computed together."""
_FLOAT32: Final = 1  # TensorProto.DataType
_SPLIT_TAKES_INPUT: Final = 13
"""Opset from which Split's sizes are an input, before an attribute (ONNX, Split-13)."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """A detector that takes batches, and what was changed for that."""

    data: bytes
    changes: tuple[str, ...]
    """In words; empty where the file needed none, and `data` is the file's own bytes."""
    origin_sha256: str
    """Of the file it was made from, in hex."""


def prepared(data: bytes) -> bytes:
    """The model as it is opened. Raises `ModelIntegrityError` for no self-contained ONNX model."""
    model = parse_model(data)
    changed = False
    if len(model.graph.output) in HEADS:
        with suppress(ModelError):  # another form: it is run photo by photo, at the size that it has
            repaired = repair(data)
            if repaired.changes:
                model, changed = parse_model(repaired.data), True
    if merge_siblings(model):
        changed = True
    return model.SerializeToString() if changed else data


def repair(data: bytes) -> Repaired:
    """The detector `data` with a free batch, height and width, and outputs (batch, rows, columns).

    Raises:
        ModelIntegrityError: no self-contained ONNX model.
        ModelError: its graph has not the form of an SCRFD or a YuNet.
    """
    model = parse_model(data)
    surgery = _Surgery(model)
    surgery.free_input()
    for output in model.graph.output:
        surgery.separate_head(output)
    surgery.free_resizes()
    origin = repaired_from(model) or hashlib.sha256(data).hexdigest()
    if not surgery.changes:
        return Repaired(data, (), origin)
    surgery.drop_stale_shapes()
    surgery.drop_unused_weights()
    if repaired_from(model) is None:
        model.metadata_props.add(key=REPAIRED_FROM, value=origin)
    return Repaired(model.SerializeToString(deterministic=True), tuple(surgery.changes), origin)


class _Surgery:
    """The changes to one graph, and their list."""

    def __init__(self, model: Message) -> None:
        graph = model.graph
        weights = {weight.name for weight in graph.initializer}
        inputs = [value for value in graph.input if value.name not in weights]
        if len(inputs) != 1 or len(graph.output) not in HEADS:
            raise ModelError(f"The model has {len(inputs)} inputs and {len(graph.output)} outputs.", _HINT)
        self.changes: list[str] = []
        self._graph = graph
        self._input = inputs[0]
        self._made_by = {name: node for node in graph.node for name in node.output}
        self._weights = {weight.name: weight for weight in graph.initializer}

    def free_input(self) -> None:
        """Let batch, height and width be of any size."""
        axes = self._input.type.tensor_type.shape.dim
        if len(axes) != 4 or axes[1].dim_value not in (0, 3):
            raise ModelError("The model's input is not a batch of RGB photos.", _HINT)
        if not axes[0].dim_value and not axes[2].dim_value and not axes[3].dim_value:
            return
        before = _shown(axes)
        for axis, name in zip(axes, (_BATCH, None, _HEIGHT, _WIDTH), strict=True):
            if name is not None:
                _rename(axis, name)
        self.changes.append(f"input {self._input.name}: {before} -> {_shown(axes)}")

    def separate_head(self, output: Message) -> None:
        """Let the head that ends in `output` keep the rows of each photo together."""
        reshape = self._walk_back(output.name, lambda node: node.op_type == "Reshape")
        transpose = self._made_by.get(reshape.input[0])
        if transpose is None or transpose.op_type != "Transpose":
            raise ModelError(f"The output {output.name} does not end in Transpose and Reshape.", _HINT)
        (perm,) = (attribute for attribute in transpose.attribute if attribute.name == "perm")
        shape = self._constant(reshape.input[1])
        if list(perm.ints) not in (_ROW_BY_ROW, _APART) or shape is None or len(shape) not in (2, 3) or shape[-1] < 1:
            raise ModelError(f"The output {output.name} is not arranged as in an SCRFD.", _HINT)
        columns = int(shape[-1])
        if list(perm.ints) == _APART and list(shape) == [0, -1, columns]:
            return
        perm.ints[:] = _APART
        reshape.input[1] = self._rows_of(columns)
        axes = output.type.tensor_type.shape.dim
        del axes[:]
        axes.add(dim_param=_BATCH)
        axes.add(dim_param=f"{output.name}_rows")
        axes.add(dim_value=columns)
        self.changes.append(f"output {output.name}: photos apart, {_shown(axes)}")

    def free_resizes(self) -> None:
        """Let the two upsamplings double any size, where their sizes were written down for one input size."""
        for each in self._graph.node:
            if each.op_type != "Resize" or len(each.input) < 4 or self._constant(each.input[3]) is None:
                continue
            scales = "facesearch.double"
            self._add_weight(scales, np.array([1, 1, 2, 2], np.float32))
            each.input[2] = scales
            del each.input[3:]
            self.changes.append(f"upsampling {each.output[0]}: twice its input instead of one size")

    def drop_stale_shapes(self) -> None:
        """Forget the shapes inside the graph: they are of one photo of one size, and onnxruntime finds its own."""
        if self._graph.value_info:
            self.changes.append(f"{len(self._graph.value_info)} shapes of inner values left out")
            del self._graph.value_info[:]

    def drop_unused_weights(self) -> None:
        """Leave out constants that no operator reads any more: onnxruntime warns of each."""
        used = {name for node in all_nodes(self._graph.node) for name in node.input}
        kept = [weight for weight in self._graph.initializer if weight.name in used]
        if len(kept) < len(self._graph.initializer):
            del self._graph.initializer[:]
            self._graph.initializer.extend(kept)

    def _walk_back(self, name: str, wanted: Callable[[Message], bool]) -> Message:
        node = self._made_by.get(name)
        while node is not None and not wanted(node):
            node = self._made_by.get(node.input[0]) if node.op_type in _ELEMENTWISE else None
        if node is None:
            raise ModelError(f"The output {name} does not end in Transpose and Reshape.", _HINT)
        return node

    def _constant(self, name: str) -> Any:
        """The whole numbers of a constant (n,); None for what is computed."""
        weight = self._weights.get(name)
        made_by = self._made_by.get(name)
        if weight is None and made_by is not None and made_by.op_type == "Constant":
            weight = next((each.t for each in made_by.attribute if each.name == "value"), None)
        if weight is None:
            return None
        return np.frombuffer(weight.raw_data, "<i8") if weight.raw_data else np.array(weight.int64_data, np.int64)

    def _rows_of(self, columns: int) -> str:
        name = f"facesearch.rows_of_{columns}"
        self._add_weight(name, np.array([0, -1, columns], np.int64))  # 0 copies the batch axis
        return name

    def _add_weight(self, name: str, array: np.ndarray[Any, Any]) -> None:
        if name not in self._weights:
            weight = tensor(name, array)
            self._graph.initializer.append(weight)
            self._weights[name] = weight


def _rename(axis: Message, name: str) -> None:
    axis.ClearField("dim_value")
    axis.dim_param = name


def _shown(axes: Any) -> str:
    return f"({', '.join(str(axis.dim_param or axis.dim_value or '?') for axis in axes)})"


def merge_siblings(model: Message) -> bool:
    """Merge such convolutions of a `ModelProto` in place, where fewer blocks come of it; whether any were."""
    graph = model.graph
    weights = {weight.name: weight for weight in graph.initializer}
    siblings: dict[tuple[Any, ...], list[Message]] = defaultdict(list)
    for each in graph.node:
        if _can_be_merged(each, weights):
            siblings[_likeness(each, weights)].append(each)
    merged = [group for group in siblings.values() if _saves([_channels(each, weights) for each in group])]
    if merged:
        opset = next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
        _replace(graph, weights, merged, opset)
    return bool(merged)


def _can_be_merged(each: Message, weights: dict[str, Message]) -> bool:
    """An ungrouped convolution whose kernel and bias are float32 constants."""
    if each.op_type != "Conv" or any(attribute.name == "group" and attribute.i != 1 for attribute in each.attribute):
        return False
    constants = [weights.get(name) for name in each.input[1:]]
    return all(constant is not None and constant.data_type == _FLOAT32 for constant in constants)


def _likeness(each: Message, weights: dict[str, Message]) -> tuple[Any, ...]:
    """Equal for convolutions that do the same to the same input, but for the numbers in their kernels."""
    attributes = sorted(attribute.SerializeToString(deterministic=True) for attribute in each.attribute)
    return each.input[0], len(each.input), tuple(weights[each.input[1]].dims[1:]), *attributes


def _channels(each: Message, weights: dict[str, Message]) -> int:
    return int(weights[each.input[1]].dims[0])


def _saves(channels: Sequence[int]) -> bool:
    return _blocks(sum(channels)) < sum(_blocks(count) for count in channels)


def _blocks(channels: int) -> int:
    return -(-channels // BLOCK)


def _replace(graph: Message, weights: dict[str, Message], groups: Iterable[Sequence[Message]], opset: int) -> None:
    """One convolution and a Split where the first of each group was; the others go, and so do their constants."""
    instead: dict[str, list[Message]] = {}
    for number, group in enumerate(groups):
        name = f"facesearch.siblings{number}"
        constants = [
            tensor(f"{name}.{at}", np.concatenate([_values(weights[each.input[at]]) for each in group]))
            for at in range(1, len(group[0].input))
        ]
        together = node("Conv", [group[0].input[0], *(constant.name for constant in constants)], [name])
        together.attribute.extend(group[0].attribute)
        sizes = [_channels(each, weights) for each in group]
        outputs = [each.output[0] for each in group]
        if opset >= _SPLIT_TAKES_INPUT:
            constants.append(tensor(f"{name}.sizes", np.array(sizes, np.int64)))
            split = node("Split", [name, constants[-1].name], outputs, axis=1)
        else:
            split = node("Split", [name], outputs, axis=1, split=sizes)
        graph.initializer.extend(constants)
        instead |= {output: [] for output in outputs}
        instead[outputs[0]] = [together, split]
    nodes = [new for each in graph.node for new in instead.get(each.output[0], [each])]
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for each in all_nodes(graph.node) for name in each.input}
    kept = [constant for constant in graph.initializer if constant.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _values(weight: Message) -> NDArray[np.float32]:
    """A float32 constant, in either of the two forms that files keep it in."""
    flat = np.frombuffer(weight.raw_data, "<f4") if weight.raw_data else np.array(weight.float_data, np.float32)
    return flat.reshape(tuple(weight.dims)).astype(np.float32)
