"""ONNX graphs without the onnx package: what is read agrees with onnxruntime, and what is dangerous is refused."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facesearch.errors import ModelIntegrityError, ModelNotFoundError
from facesearch.recognition.packs.graph import Port, node, parse_model, read_graph, tensor, write_graph
from facesearch.recognition.runtime import import_onnxruntime

if TYPE_CHECKING:
    from pathlib import Path

ort = import_onnxruntime()


def affine(**changes: Any) -> bytes:
    """y = x * 2 + 1 over (n, 3), as a valid model unless `changes` say otherwise."""
    arguments: dict[str, Any] = {
        "nodes": [node("Mul", ["x", "two"], ["doubled"]), node("Add", ["doubled", "one"], ["y"])],
        "weights": [tensor("two", np.full(3, 2, np.float32)), tensor("one", np.ones(3, np.float32))],
        "inputs": [Port("x", ("n", 3))],
        "outputs": [Port("y", ("n", 3))],
    }
    return write_graph("affine", **(arguments | changes))


def test_a_written_graph_computes_what_it_says() -> None:
    session = ort.InferenceSession(affine())
    x = np.array([[1, 2, 3], [-1, 0, 0.5]], np.float32)
    (y,) = session.run(None, {"x": x})
    assert np.array_equal(y, x * 2 + 1)


def test_a_graph_is_summarised() -> None:
    graph = read_graph(affine())
    assert graph.inputs == (Port("x", ("n", 3)),)
    assert graph.outputs == (Port("y", ("n", 3)),)
    assert graph.opening == ("Mul", "Add")
    assert graph.opset == 17


def test_weights_listed_among_the_inputs_are_left_out() -> None:
    data = affine(inputs=[Port("x", ("n", 3)), Port("two", (3,))])
    assert [port.name for port in read_graph(data).inputs] == ["x"]


def test_a_size_can_be_known_named_or_open() -> None:
    data = affine(inputs=[Port("x", (None, 3))])
    assert read_graph(data).inputs == (Port("x", (None, 3)),)


@pytest.mark.parametrize(
    "value",
    [3, 0.5, "text", [1, 2], [0.5, 1.0]],
)
def test_every_kind_of_attribute_is_written(value: Any) -> None:
    model = parse_model(affine(nodes=[node("Identity", ["x"], ["y"], key=value)]))
    (attribute,) = model.graph.node[0].attribute
    held = {1: attribute.f, 2: attribute.i, 3: attribute.s.decode(), 6: list(attribute.floats), 7: list(attribute.ints)}
    assert held[attribute.type] == value


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int8, np.int32, np.int64, np.bool_])
def test_a_tensor_holds_its_array(dtype: Any) -> None:
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    held = tensor("t", array)
    assert list(held.dims) == [2, 3]
    assert np.array_equal(np.frombuffer(held.raw_data, dtype).reshape(2, 3), array)


def test_the_same_graph_gives_the_same_bytes() -> None:
    assert affine() == affine()


def test_fields_nobody_looks_at_survive_a_round_trip() -> None:
    unknown = b"\xa2\x06\x03abc"  # field 100, three bytes
    assert parse_model(affine() + unknown).SerializeToString().endswith(unknown)


def test_a_zero_that_was_written_survives_a_round_trip() -> None:
    data = affine(nodes=[node("Flatten", ["x"], ["y"], axis=0)])
    again = parse_model(parse_model(data).SerializeToString())
    assert again.graph.node[0].attribute[0].HasField("i")


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="cannot be read"):
        read_graph(tmp_path / "none.onnx")


@pytest.mark.parametrize("data", [b"", b"<html></html>", b"\x00" * 100, affine()[:-20]])
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(ModelIntegrityError, match="not an ONNX model"):
        read_graph(data)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(ModelIntegrityError):
        read_graph(data)


@given(position=st.integers(0, len(affine()) - 1), bit=st.integers(0, 7))
@settings(max_examples=200, deadline=None)
def test_a_damaged_model_is_read_or_refused(position: int, bit: int) -> None:
    data = bytearray(affine())
    data[position] ^= 1 << bit
    with contextlib.suppress(ModelIntegrityError):
        read_graph(bytes(data))


def test_graphs_nested_too_deep_are_refused() -> None:
    model = parse_model(affine())
    graph = model.graph
    for _ in range(200):
        graph = graph.node.add(op_type="If").attribute.add(name="then_branch").g
    with pytest.raises(ModelIntegrityError):
        read_graph(model.SerializeToString())


def test_operators_that_need_native_code_are_refused() -> None:
    model = parse_model(affine())
    model.graph.node[0].domain = "com.evil"
    with pytest.raises(ModelIntegrityError, match=r"com\.evil::Mul"):
        read_graph(model.SerializeToString())


def test_operators_hidden_in_a_branch_or_a_function_are_refused() -> None:
    in_branch = parse_model(affine())
    in_branch.graph.node[0].attribute.add(name="then_branch").g.node.add(op_type="Run", domain="com.evil")
    in_function = parse_model(affine())
    in_function.functions.add(name="f").node.add(op_type="Run", domain="com.evil")
    for model in (in_branch, in_function):
        with pytest.raises(ModelIntegrityError, match="custom operators"):
            read_graph(model.SerializeToString())


def _external(where: str) -> bytes:
    model = parse_model(affine())
    graph = model.graph
    tensors = {
        "initializer": lambda: graph.initializer[0],
        "sparse": lambda: graph.sparse_initializer.add().values,
        "attribute": lambda: graph.node[0].attribute.add(name="value").t,
        "branch": lambda: graph.node[0].attribute.add(name="then_branch").g.initializer.add(),
        "nested branch": lambda: (
            graph.node[0].attribute.add().g.node.add().attribute.add().graphs.add().node.add().attribute.add().t
        ),
        "function": lambda: model.functions.add().node.add().attribute.add().tensors.add(),
    }
    held = tensors[where]()
    held.data_location = 1
    held.external_data.add(key="location", value="../../etc/passwd")
    data: bytes = model.SerializeToString()
    return data


@pytest.mark.parametrize("where", ["initializer", "sparse", "attribute", "branch", "nested branch", "function"])
def test_weights_in_other_files_are_refused(where: str) -> None:
    with pytest.raises(ModelIntegrityError, match="external data"):
        read_graph(_external(where))


@pytest.mark.parametrize("name", ["testpack/det_500m", "testpack/mobileface_v2", "detectors/det_2.5g"])
def test_real_models_are_read_as_onnxruntime_reads_them(assets: Path, name: str) -> None:
    path = assets / "models" / f"{name}.onnx"
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(path.read_bytes(), options)
    graph = read_graph(path)
    assert [port.name for port in graph.inputs] == [port.name for port in session.get_inputs()]
    assert [port.name for port in graph.outputs] == [port.name for port in session.get_outputs()]
    assert [list(port.shape) for port in graph.inputs] == [port.shape for port in session.get_inputs()]


def test_a_real_model_survives_a_round_trip(testpack_dir: Path) -> None:
    data = (testpack_dir / "mobileface_v2.onnx").read_bytes()
    again = parse_model(data).SerializeToString()
    x = np.random.default_rng(0).normal(size=(2, 3, 112, 112)).astype(np.float32)
    before, after = (ort.InferenceSession(model).run(None, {"data": x})[0] for model in (data, again))
    assert np.array_equal(before, after)
