"""Convolutions that look at the same thing, merged into one before a model is opened: the same numbers, sooner.

onnxruntime's CPU kernels compute channels in blocks (16 with AVX-512). An SCRFD's three heads have 2, 8 and 20 channels
at each stride and pay for 64; merged they have 30 and pay for 32. Outputs are equal to the last bit. The detectors of
small packs gain: without this, SCRFD-500M takes 1.14 times as long at 640 pixels and 1.2 times at 128 (one thread,
medians of 60), and SCRFD-2.5G 1.03 times. SCRFD-10G, of buffalo_l, gains nothing.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facesearch.recognition.packs.graph import all_nodes, node, tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from facesearch.recognition.packs.graph import Message

BLOCK: Final = 16
"""Channels that are computed together."""
_FLOAT32: Final = 1  # TensorProto.DataType
_SPLIT_TAKES_INPUT: Final = 13
"""Opset from which Split's sizes are an input, before an attribute (ONNX, Split-13)."""


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
