"""A repaired detector computes for many photos at once what the file computed for each."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facesearch import FaceSearch
from facesearch.errors import ConfigError, ModelError, ModelIntegrityError, ModelNotFoundError
from facesearch.recognition.packs.graph import Port, node, read_graph, write_graph
from facesearch.recognition.packs.repair_file import BATCH, SIZES, check_graph, check_repair, repair_file
from facesearch.recognition.packs.store import PackStore
from facesearch.recognition.packs.surgery import repair
from facesearch.recognition.runtime import import_onnxruntime
from tests.recognition.models import recognizer_model
from tests.recognition.scrfd_models import APART, scrfd

ort = import_onnxruntime()
FORMS: dict[str, dict[str, Any]] = {
    "interleaved": {},
    "interleaved, free in size": {"shape": (1, 3, "?", "?")},
    "a batch of one in the file": {"perm": APART, "leading": (1, -1)},
    "the batch flattened into the rows": {"perm": APART, "leading": (-1,)},
    "sizes of an upsampling written down": {"upsampled_from": 32},
}


def outputs_of(model: bytes, images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # the files that are to be repaired
    found: list[np.ndarray[Any, Any]] = ort.InferenceSession(model, options).run(None, {"x": images})
    return found


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_photos_of_a_batch_are_what_each_is_in_the_file_as_it_was(form: dict[str, Any]) -> None:
    images = np.random.default_rng(1).uniform(-1, 1, (5, 3, 64, 64)).astype(np.float32)
    model = scrfd(**form)
    together = outputs_of(repair(model).data, images)
    for i in range(len(images)):
        for batch, alone in zip(together, outputs_of(model, images[i : i + 1]), strict=True):
            np.testing.assert_allclose(batch[i], alone.reshape(batch[i].shape), atol=1e-6)


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_a_repaired_detector_takes_any_size_and_says_so(form: dict[str, Any]) -> None:
    data = repair(scrfd(**form)).data
    graph = read_graph(data)
    assert graph.inputs[0].shape == ("batch", 3, "height", "width") or form.get("shape") == graph.inputs[0].shape
    assert [output.shape[2] for output in graph.outputs] == [1, 1, 1, 4, 4, 4, 10, 10, 10]
    assert all(output.shape[0] == "batch" for output in graph.outputs)
    assert outputs_of(data, np.zeros((2, 3, 96, 160), np.float32))[0].shape == (2, 12 * 20 * 2, 1)


def test_repairing_twice_changes_nothing_and_keeps_the_origin() -> None:
    model = scrfd()
    once = repair(model)
    again = repair(once.data)
    assert once.changes
    assert (again.data, again.changes) == (once.data, ())
    origin = hashlib.sha256(model).hexdigest()
    assert once.origin_sha256 == again.origin_sha256 == read_graph(once.data).repaired_from == origin


def test_the_same_file_is_repaired_to_the_same_bytes() -> None:
    assert repair(scrfd()).data == repair(scrfd()).data


def test_an_origin_that_is_no_sha256_is_none() -> None:
    model = repair(scrfd()).data
    origin = read_graph(model).repaired_from
    assert origin is not None
    assert read_graph(model.replace(origin.encode(), b"?" * 64)).repaired_from is None


def head_without_reshape() -> bytes:
    nodes = [node("Identity", ["x"], [f"y{i}"]) for i in range(9)]
    return write_graph(
        "m",
        nodes=nodes,
        weights=[],
        inputs=[Port("x", (1, 3, 64, 64))],
        outputs=[Port(f"y{i}", (1,)) for i in range(9)],
    )


@pytest.mark.parametrize(
    "model", [recognizer_model(), head_without_reshape(), scrfd(perm=(0, 1, 2, 3)), scrfd(shape=(1, 1, 64, 64))]
)
def test_what_is_no_scrfd_is_refused_with_what_it_should_be(model: bytes) -> None:
    with pytest.raises(ModelError) as caught:
        repair(model)
    assert "SCRFD" in (caught.value.hint or "")


# The proof


def test_the_check_finds_a_file_that_computes_something_else(tmp_path: Path) -> None:
    original, other = tmp_path / "a.onnx", tmp_path / "b.onnx"
    original.write_bytes(scrfd(shape=(1, 3, "?", "?")))
    other.write_bytes(repair(scrfd(seed=1)).data)
    check = check_repair(original, other)
    assert not check.ok
    assert all(size.batch <= 1e-5 and size.original and size.original > 1e-3 for size in check.sizes)


def test_the_check_finds_photos_that_contaminate_each_other(tmp_path: Path) -> None:
    """Each head looks at the mean of the batch, too: alone and together then differ."""
    path = tmp_path / "a.onnx"
    nodes: list[Any] = [node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1), node("Add", ["x", "mean"], ["both"])]
    nodes += [node("Transpose", ["both"], [f"y{i}"], perm=[0, 2, 3, 1]) for i in range(9)]
    outputs = [Port(f"y{i}", ("n", "h", "w", 3)) for i in range(9)]
    inputs = [Port("x", ("n", 3, "h", "w"))]
    path.write_bytes(write_graph("m", nodes=nodes, weights=[], inputs=inputs, outputs=outputs, opset=13))
    source = tmp_path / "source.onnx"
    source.write_bytes(scrfd())
    check = check_repair(source, path)
    assert not check.ok
    assert all(size.batch > 1e-3 for size in check.sizes)


def test_a_file_that_cannot_take_a_batch_does_not_pass(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(scrfd())
    with pytest.raises(ModelError, match="does not run"):
        check_repair(path, path)


def test_what_is_said_before_the_repaired_file_is_opened_is_no_warning_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without /proc onnxruntime complains of that when it is imported."""
    said = r"import sys; sys.stderr.buffer.write(b'caf\xe9: no /proc here\n')"
    (tmp_path / "sitecustomize.py").write_text(said, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    source, repaired = tmp_path / "a.onnx", tmp_path / "b.onnx"
    source.write_bytes(scrfd())
    repaired.write_bytes(repair(scrfd()).data)
    assert check_repair(source, repaired).warnings == ()


def test_what_onnx_finds_invalid_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    path = tmp_path / "a.onnx"
    path.write_bytes(scrfd().replace(b"Sigmoid", b"Sigmoit"))
    with pytest.raises(ModelIntegrityError, match="onnx refuses"):
        check_graph(path)


def test_nothing_is_written_over_the_source_or_where_nothing_can_be(tmp_path: Path) -> None:
    source = tmp_path / "a.onnx"
    source.write_bytes(scrfd())
    with pytest.raises(ConfigError, match="there already"):
        repair_file(source, source)
    with pytest.raises(ConfigError, match="cannot be written"):
        repair_file(source, tmp_path / "none" / "b.onnx")
    with pytest.raises(ModelNotFoundError):
        repair_file(tmp_path / "none.onnx", tmp_path / "b.onnx")
    assert source.read_bytes() == scrfd()


# Real detectors


@pytest.fixture(scope="module")
def repaired_pack(assets: Path, testpack_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`testpack` with its detector repaired, without a pack.toml's pin."""
    folder = tmp_path_factory.mktemp("repaired")
    made = repair_file(testpack_dir / "det_500m.onnx", folder / "det_500m.batched.onnx")
    assert made.check.ok
    assert [(size.height, size.width) for size in made.check.sizes] == list(SIZES)
    assert BATCH == 32
    declared = (testpack_dir / "pack.toml").read_text(encoding="utf-8")
    declared = declared.replace("det_500m.onnx", made.path.name).replace(made.origin_sha256, made.sha256)
    (folder / "pack.toml").write_text(declared, encoding="utf-8")
    shutil.copy(testpack_dir / "mobileface_v2.onnx", folder)
    return folder


@pytest.mark.slow
def test_templates_made_with_the_repaired_detector_belong_to_the_same_gallery(
    assets: Path, testpack_dir: Path, repaired_pack: Path, tmp_path: Path
) -> None:
    photos = sorted((assets / "faces" / "lfw").glob("*/*.jpg"))[:3]
    with FaceSearch.open(tmp_path / "g", pack=testpack_dir, provider="cpu") as engine:
        assert all(outcome.faces == 1 for outcome in engine.enroll(photos))
        before = [engine.encode(photo)[0] for photo in photos]
        info = engine.model
    with FaceSearch.open(tmp_path / "g", pack=repaired_pack, provider="cpu") as engine:
        assert (engine.model.model_id, engine.model.detector_sha256) == (info.model_id, info.detector_sha256)
        for photo, template in zip(photos, before, strict=True):
            again = engine.encode(photo)[0]
            assert np.array_equal(again.vector, template.vector)
            assert np.array_equal(again.face.box, template.face.box)
            (found,) = engine.identify(photo)
            assert found.best is not None
            assert found.best.score == pytest.approx(1)
        assert all(finding.ok for finding in engine.check())


@pytest.mark.parametrize("name", ["testpack/det_500m.onnx", "detectors/det_2.5g.onnx"])
def test_real_detectors_keep_their_numbers(assets: Path, name: str) -> None:
    model = (assets / "models" / name).read_bytes()
    images = np.random.default_rng(2).uniform(-1, 1, (3, 3, 96, 128)).astype(np.float32)
    input_name = read_graph(model).inputs[0].name
    options = ort.SessionOptions()
    options.log_severity_level = 4
    before, after = ort.InferenceSession(model, options), ort.InferenceSession(repair(model).data)
    together = after.run(None, {input_name: images})
    for i in range(len(images)):
        for batch, alone in zip(together, before.run(None, {input_name: images[i : i + 1]}), strict=True):
            np.testing.assert_allclose(batch[i], alone, atol=1e-5)


@pytest.mark.soak
def test_a_structural_twin_of_det_10g_is_repaired_and_proved(assets: Path, tmp_path: Path) -> None:
    import runpy

    twins = runpy.run_path(str(assets / "tools" / "make_twins.py"))
    twins["det_10g"](tmp_path / "det_10g.onnx")
    assert repair_file(tmp_path / "det_10g.onnx", tmp_path / "batched.onnx").check.ok


def test_a_pack_knows_a_repaired_detector_by_the_file_it_was_made_from(repaired_pack: Path, testpack_dir: Path) -> None:
    store = PackStore([repaired_pack.parent])
    repaired, original = store.find(repaired_pack).detector, store.find(testpack_dir).detector
    assert repaired.sha256 != original.sha256
    assert repaired.identity == original.identity == original.sha256
