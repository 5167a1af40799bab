"""Reads and writes ONNX graphs with the protobuf runtime alone, without the heavy `onnx` package.

The messages below are the subset of `onnx.proto3` that facesearch looks at, with the field numbers of the ONNX
specification (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3). They live in a descriptor pool and a package
of their own, so the real `onnx` may be imported in the same process. Fields that are not listed survive a round trip.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from facesearch.errors import ModelIntegrityError, ModelNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

Message: TypeAlias = Any
"""A protobuf message made at run time: its fields are not known to the type checker."""
Shape: TypeAlias = tuple[int | str | None, ...]
"""One entry per axis: its size, the name of a symbolic size, or None where nothing is said."""

_PACKAGE = "facesearch_onnx_subset"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_EXTERNAL = 1  # TensorProto.DataLocation.EXTERNAL
_RUNTIME_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Operator domains that onnxruntime itself brings; any other one needs a library of native code."""
_OPENING_NODES = 8
REPAIRED_FROM = "facesearch.repaired_from"
"""Key of a model's metadata: the SHA-256 of the file that `facesearch.recognition.packs.surgery` made it from."""
_HINT = "Fetch the file again with `facesearch models pull PACK`, or export the model without it."

# message -> (field, number, type); "[]" marks a repeated field, a capital a message of this table, enums are int32.
_SCHEMA: dict[str, tuple[tuple[str, int, str], ...]] = {
    "ModelProto": (
        ("ir_version", 1, "int64"),
        ("producer_name", 2, "string"),
        ("graph", 7, "GraphProto"),
        ("opset_import", 8, "OperatorSetIdProto[]"),
        ("metadata_props", 14, "StringStringEntryProto[]"),
        ("functions", 25, "FunctionProto[]"),
    ),
    "GraphProto": (
        ("node", 1, "NodeProto[]"),
        ("name", 2, "string"),
        ("initializer", 5, "TensorProto[]"),
        ("input", 11, "ValueInfoProto[]"),
        ("output", 12, "ValueInfoProto[]"),
        ("value_info", 13, "ValueInfoProto[]"),
        ("sparse_initializer", 15, "SparseTensorProto[]"),
    ),
    "FunctionProto": (("name", 1, "string"), ("node", 7, "NodeProto[]"), ("domain", 10, "string")),
    "NodeProto": (
        ("input", 1, "string[]"),
        ("output", 2, "string[]"),
        ("name", 3, "string"),
        ("op_type", 4, "string"),
        ("attribute", 5, "AttributeProto[]"),
        ("domain", 7, "string"),
    ),
    "AttributeProto": (
        ("name", 1, "string"),
        ("f", 2, "float"),
        ("i", 3, "int64"),
        ("s", 4, "bytes"),
        ("t", 5, "TensorProto"),
        ("g", 6, "GraphProto"),
        ("floats", 7, "float[]"),
        ("ints", 8, "int64[]"),
        ("strings", 9, "bytes[]"),
        ("tensors", 10, "TensorProto[]"),
        ("graphs", 11, "GraphProto[]"),
        ("type", 20, "int32"),
        ("sparse_tensor", 22, "SparseTensorProto"),
        ("sparse_tensors", 23, "SparseTensorProto[]"),
    ),
    "TensorProto": (
        ("dims", 1, "int64[]"),
        ("data_type", 2, "int32"),
        ("float_data", 4, "float[]"),
        ("int32_data", 5, "int32[]"),
        ("int64_data", 7, "int64[]"),
        ("name", 8, "string"),
        ("raw_data", 9, "bytes"),
        ("external_data", 13, "StringStringEntryProto[]"),
        ("data_location", 14, "int32"),
    ),
    "SparseTensorProto": (("values", 1, "TensorProto"), ("indices", 2, "TensorProto"), ("dims", 3, "int64[]")),
    "ValueInfoProto": (("name", 1, "string"), ("type", 2, "TypeProto")),
    "TypeProto": (("tensor_type", 1, "TensorTypeProto"),),
    "TensorTypeProto": (("elem_type", 1, "int32"), ("shape", 2, "TensorShapeProto")),
    "TensorShapeProto": (("dim", 1, "DimensionProto[]"),),
    "DimensionProto": (("dim_value", 1, "int64"), ("dim_param", 2, "string")),
    "OperatorSetIdProto": (("domain", 1, "string"), ("version", 2, "int64")),
    "StringStringEntryProto": (("key", 1, "string"), ("value", 2, "string")),
}

# TensorProto.DataType and AttributeProto.AttributeType of the specification.
_DATA_TYPES: dict[str, int] = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9}
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_STRING, _ATTRIBUTE_FLOATS, _ATTRIBUTE_INTS = 1, 2, 3, 6, 7


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a graph."""

    name: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class GraphSummary:
    """What can be told about a model without running it."""

    inputs: tuple[Port, ...]
    """Without the initialisers that old files list among the inputs."""
    outputs: tuple[Port, ...]
    opening: tuple[str, ...]
    """Operators of the first eight nodes that compute, constants left out."""
    opset: int
    """Version of the standard operator set."""
    repaired_from: str | None = None
    """SHA-256 of the file that this one was repaired from; None for all others."""


@cache
def _classes() -> dict[str, type[Message]]:
    """The message classes of `_SCHEMA`, in a descriptor pool of their own."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field_proto = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3")
    for message_name, fields in _SCHEMA.items():
        message = file.message_type.add(name=message_name)
        for name, number, kind in fields:
            base = kind.removesuffix("[]")
            label = field_proto.LABEL_OPTIONAL if base == kind else field_proto.LABEL_REPEATED
            field = message.field.add(name=name, number=number, label=label)
            if base in _SCHEMA:
                field.type = field_proto.TYPE_MESSAGE
                field.type_name = f".{_PACKAGE}.{base}"
            else:
                field.type = field_proto.Type.Value(f"TYPE_{base.upper()}")
                if base == kind:  # explicit presence, as in ONNX: a zero that was written is written again
                    field.proto3_optional = True
                    field.oneof_index = len(message.oneof_decl)
                    message.oneof_decl.add(name=f"_{name}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _SCHEMA}


def parse_model(data: bytes) -> Message:
    """The `ModelProto` in `data`, self-contained and of known operators.

    Raises:
        ModelIntegrityError: no ONNX model, external data, or operators that need a library of native code.
    """
    from google.protobuf.message import DecodeError

    model = _classes()["ModelProto"]()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ModelIntegrityError("The file is not an ONNX model: it cannot be read as one.", _HINT) from error
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise ModelIntegrityError("The file is not an ONNX model: it lacks a graph, outputs or an operator set.", _HINT)
    _refuse_code_and_external_data(model)
    return model


def read_graph(source: Path | bytes) -> GraphSummary:
    """What `source`, an ONNX file or its bytes, says about itself.

    Raises:
        ModelNotFoundError: the file cannot be read.
        ModelIntegrityError: as in `parse_model`.
    """
    if isinstance(source, Path):
        try:
            data = source.read_bytes()
        except OSError as error:
            raise ModelNotFoundError(f"{source} cannot be read: {error.strerror}.") from error
    else:
        data = source
    model = parse_model(data)
    weights = {tensor.name for tensor in model.graph.initializer}
    computing = (node.op_type for node in model.graph.node if node.op_type != "Constant")
    return GraphSummary(
        inputs=tuple(_port(value) for value in model.graph.input if value.name not in weights),
        outputs=tuple(_port(value) for value in model.graph.output),
        opening=tuple(op for op, _ in zip(computing, range(_OPENING_NODES), strict=False)),
        opset=next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0),
        repaired_from=repaired_from(model),
    )


def repaired_from(model: Message) -> str | None:
    """The SHA-256 of the file that `model` was repaired from; None where it was not, or says nothing sensible."""
    named = next((entry.value for entry in model.metadata_props if entry.key == REPAIRED_FROM), "")
    return named if _SHA256.fullmatch(named) else None


def _port(value: Message) -> Port:
    axes = value.type.tensor_type.shape.dim
    return Port(value.name, tuple(axis.dim_param or axis.dim_value or None for axis in axes))


def _refuse_code_and_external_data(model: Message) -> None:
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        for node in all_nodes(nodes):
            if node.domain not in _RUNTIME_DOMAINS:
                raise ModelIntegrityError(f"The model uses custom operators ({node.domain}::{node.op_type}).", _HINT)
    if any(tensor.data_location == _EXTERNAL or tensor.external_data for tensor in _all_tensors(model)):
        raise ModelIntegrityError("The model keeps weights in other files (external data).", _HINT)


def all_nodes(nodes: Iterable[Message]) -> Iterator[Message]:
    """`nodes` and those of the graphs in their attributes; protobuf bounds how deep these go."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from all_nodes(graph.node)


def _all_tensors(model: Message) -> Iterator[Message]:
    graphs = [model.graph]
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        for node in all_nodes(nodes):
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)
                graphs += (attribute.g, *attribute.graphs)
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)


def tensor(name: str, array: NDArray[Any]) -> Message:
    """A `TensorProto` holding `array` (float32, uint8, int8, int32, int64 or bool) as raw little-endian bytes."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return _classes()["TensorProto"](
        name=name, dims=array.shape, data_type=_DATA_TYPES[array.dtype.name], raw_data=little.tobytes()
    )


def node(
    op_type: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    **attributes: float | str | Sequence[int] | Sequence[float],
) -> Message:
    """A `NodeProto`; an attribute's type follows from its value (int, float, str, or a sequence of int or float)."""
    proto = _classes()["NodeProto"](op_type=op_type, input=inputs, output=outputs, name=outputs[0])
    for name, value in attributes.items():
        if isinstance(value, str):
            proto.attribute.add(name=name, s=value.encode(), type=_ATTRIBUTE_STRING)
        elif isinstance(value, int):
            proto.attribute.add(name=name, i=value, type=_ATTRIBUTE_INT)
        elif isinstance(value, float):
            proto.attribute.add(name=name, f=value, type=_ATTRIBUTE_FLOAT)
        elif all(isinstance(item, int) for item in value):
            proto.attribute.add(name=name, ints=value, type=_ATTRIBUTE_INTS)
        else:
            proto.attribute.add(name=name, floats=value, type=_ATTRIBUTE_FLOATS)
    return proto


def write_graph(
    name: str,
    *,
    nodes: Sequence[Message],
    weights: Sequence[Message],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    opset: int = 17,
) -> bytes:
    """A serialised model whose inputs and outputs are float32; the same arguments give the same bytes."""
    model = _classes()["ModelProto"](ir_version=8, producer_name="facesearch")
    model.opset_import.add(domain="", version=opset)
    model.graph.name = name
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(weights)
    for ports, target in ((inputs, model.graph.input), (outputs, model.graph.output)):
        for port in ports:
            kind = target.add(name=port.name).type.tensor_type
            kind.elem_type = _DATA_TYPES["float32"]
            for size in port.shape:
                kind.shape.dim.add(**_dimension(size))
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _dimension(size: int | str | None) -> dict[str, int | str]:
    if size is None:
        return {}
    return {"dim_param": size} if isinstance(size, str) else {"dim_value": size}
