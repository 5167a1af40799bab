from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facesearch.errors import ConfigError, ModelError, ModelIntegrityError, ModelNotFoundError, ProviderError
from facesearch.recognition import runtime
from facesearch.recognition.packs.graph import Port, node, tensor, write_graph
from facesearch.recognition.runtime import PROVIDERS, ProviderChoice, choose_provider, open_session
from tests.recognition.models import recognizer_model

CPU = choose_provider("cpu")
CUDA = ProviderChoice("cuda", PROVIDERS["cuda"], "")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(recognizer_model())
    return path


def test_a_session_tells_its_shape_and_runs(model: Path) -> None:
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    session = open_session(model, CPU, sha256=digest.upper(), threads=1)
    assert (session.provider, session.input_name, session.output_names) == ("cpu", "x", ("vector",))
    assert session.input_shape == (None, 3, 112, 112)
    (output,) = session.run(np.full((2, 3, 112, 112), 7, np.float32))
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, np.full((2, 3), 7))


def test_a_run_that_fails_is_a_model_error(model: Path) -> None:
    session = open_session(model, CPU, sha256=None, threads=None)
    with pytest.raises(ModelError, match=r"model\.onnx does not run") as caught:
        session.run(np.zeros((1, 4, 5, 5), np.float32))
    assert caught.value.hint


def test_a_file_of_another_digest_is_refused(model: Path) -> None:
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    model.write_bytes(model.read_bytes().replace(b"pooled", b"puuled"))
    with pytest.raises(ModelIntegrityError, match="SHA-256"):
        open_session(model, CPU, sha256=digest, threads=None)


def test_a_file_that_is_missing_or_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        open_session(tmp_path / "missing.onnx", CPU, sha256=None, threads=None)
    (tmp_path / "text.onnx").write_text("no model at all")
    with pytest.raises(ModelIntegrityError):
        open_session(tmp_path / "text.onnx", CPU, sha256=None, threads=None)


def one_node(op_type: str, weights: list[Any], *inputs: Port) -> bytes:
    return write_graph(
        "model",
        nodes=[node(op_type, [port.name for port in inputs] + [weight.name for weight in weights], ["y"])],
        weights=weights,
        inputs=inputs,
        outputs=[Port("y", (None,))],
    )


IMAGE = Port("x", (1, 3, 4, 4))


def test_a_graph_that_contradicts_itself_is_a_model_error(tmp_path: Path) -> None:
    path = tmp_path / "wrong.onnx"
    path.write_bytes(one_node("NoSuchOperator", [], IMAGE))
    with pytest.raises(ModelError, match="cannot be opened"):
        open_session(path, CPU, sha256=None, threads=None)


@pytest.mark.parametrize("inputs", [(IMAGE, Port("z", (1, 3, 4, 4))), (Port("x", (3, 4)), Port("z", (3, 4)))])
def test_a_model_without_one_image_input_is_refused(tmp_path: Path, inputs: tuple[Port, ...]) -> None:
    path = tmp_path / "two.onnx"
    path.write_bytes(one_node("Add", [], *inputs))
    with pytest.raises(ModelError, match="one batch of images"):
        open_session(path, CPU, sha256=None, threads=None)


def test_weights_in_another_file_are_refused_even_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = tensor("w", np.ones(1, np.float32))
    weight.ClearField("raw_data")
    weight.data_location = 1
    weight.external_data.add(key="location", value="w.bin")
    (tmp_path / "w.bin").write_bytes(np.ones(1, np.float32).tobytes())
    (tmp_path / "model.onnx").write_bytes(one_node("Add", [weight], IMAGE))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelIntegrityError, match="other files"):
        open_session(Path("model.onnx"), CPU, sha256=None, threads=None)


def test_a_provider_that_does_not_exist_is_refused_with_the_list() -> None:
    with pytest.raises(ConfigError) as caught:
        choose_provider("gpu")
    assert all(name in (caught.value.hint or "") for name in ("auto", *PROVIDERS))


def test_a_provider_that_is_not_installed_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_listed", lambda: [PROVIDERS["cpu"]])
    for name in set(PROVIDERS) - {"cpu"}:
        with pytest.raises(ProviderError, match=name) as caught:
            choose_provider(name)
        assert "Available: cpu." in (caught.value.hint or "")
        assert "install" in (caught.value.hint or "") or name == "coreml"


def test_a_session_is_not_opened_on_a_provider_that_is_not_installed(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_listed", lambda: [PROVIDERS["cpu"]])
    with pytest.raises(ProviderError, match="cuda is not available"):
        open_session(model, CUDA, sha256=None, threads=None)


def starts_only_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with onnxruntime-gpu on a machine without a GPU: CUDA is listed, and a session ends up on the CPU."""
    real = runtime._inference_session
    monkeypatch.setattr(runtime, "_listed", lambda: [PROVIDERS["cuda"], PROVIDERS["cpu"]])
    monkeypatch.setattr(runtime, "_inference_session", lambda data, _, threads: real(data, PROVIDERS["cpu"], threads))


def test_a_session_never_falls_back_to_another_provider(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts_only_on_the_cpu(monkeypatch)
    with pytest.raises(ProviderError, match="cuda is not available") as caught:
        open_session(model, choose_provider("cuda"), sha256=None, threads=None)
    assert "Available: cpu." in (caught.value.hint or "")


def test_auto_takes_cuda_only_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_works", lambda name: name == "cuda")
    assert choose_provider("auto").name == "cuda"
    monkeypatch.undo()
    starts_only_on_the_cpu(monkeypatch)
    choice = choose_provider("auto")
    assert (choice.name, choice.ort_name) == ("cpu", "CPUExecutionProvider")
    assert choice.note == "Using the CPU, because CUDA is not available."


def test_the_probe_model_runs_on_the_cpu() -> None:
    assert runtime._works("cpu")


@pytest.mark.needs("proc")  # else onnxruntime complains of that, too
def test_a_real_detector_writes_nothing_to_stderr(testpack_dir: Path) -> None:
    program = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from facesearch.recognition.runtime import choose_provider, open_session\n"
        "session = open_session(Path(sys.argv[1]), choose_provider('auto'), sha256=None, threads=None)\n"
        "assert len(session.run(np.zeros((1, 3, 320, 320), np.float32))) == 9\n"
    )
    command = [sys.executable, "-c", program, str(testpack_dir / "det_500m.onnx")]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stderr == b""
    assert done.stdout == b""
