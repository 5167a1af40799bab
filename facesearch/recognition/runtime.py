"""Opens an ONNX model on the execution provider that was asked for, and on no other."""

from __future__ import annotations

import hashlib
import math
import os
import threading
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from facesearch.errors import (
    ConfigError,
    ModelError,
    ModelIntegrityError,
    ModelNotFoundError,
    ProviderError,
)
from facesearch.machine import usable_cores
from facesearch.recognition import openvino_session
from facesearch.recognition.packs.surgery import prepared
from facesearch.types import Precision
from facesearch.versions import require

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

PROVIDERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cpu": "CPUExecutionProvider",
        "cuda": "CUDAExecutionProvider",
        "tensorrt": "TensorrtExecutionProvider",
        "openvino": "openvino",
        "coreml": "CoreMLExecutionProvider",
        "directml": "DmlExecutionProvider",
    }
)
"""Name on the command line -> name in onnxruntime; OpenVINO runs without it. `auto` stands beside them and chooses one.
"""

PRECISIONS: Final[Mapping[str, frozenset[Precision]]] = MappingProxyType(
    {
        **dict.fromkeys(PROVIDERS, frozenset({Precision.FP32})),
        "cpu": frozenset({Precision.FP32, Precision.INT8}),
        "openvino": frozenset(Precision),
    }
)
"""What each provider computes in: what could be measured."""

_INSTALL: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cpu": "pip install onnxruntime",
        "cuda": "pip uninstall onnxruntime; pip install onnxruntime-gpu (and an NVIDIA driver)",
        "tensorrt": "pip uninstall onnxruntime; pip install onnxruntime-gpu tensorrt (and an NVIDIA driver)",
        "openvino": "pip install 'facesearch[openvino]'",
        "coreml": "CoreML comes with onnxruntime on macOS only",
        "directml": "pip uninstall onnxruntime; pip install onnxruntime-directml (Windows only)",
    }
)
_FATAL: Final = 4
"""onnxruntime's log level for fatal errors only; everything else reaches us as an exception, not on stderr."""

FEWEST: Final = 8
"""Failures without any success after which a model is at fault, and not the photos."""

# The smallest valid model, y = Identity(x) over one float: IR version 8, opset 13. Opening it on a provider shows
# whether the provider works on this machine, which its being listed does not: onnxruntime-gpu lists CUDA on
# machines without a GPU.
_PROBE_MODEL: Final = (
    b'\x08\x08:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)


class Session(Protocol):
    """A model that is open and ready to run; safe to call from several threads at once."""

    @property
    def provider(self) -> str:
        """Name of the provider it runs on, as in `PROVIDERS`."""

    @property
    def input_name(self) -> str:
        """Of its only input."""

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Of its only input, NCHW; None for an axis that is free."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """In the order in which `run` returns them."""

    def run(self, array: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """One output per name.

        Raises:
            ModelError: the model does not run on this input.
        """


class Trust:
    """What one model has shown so far. Safe to use from several threads."""

    def __init__(self, model: str) -> None:
        """`model` names it in errors, as in "The detector of the pack buffalo_l"."""
        self._model = model
        self._lock = threading.Lock()
        self.has_worked = False
        """Whether it gave a result that can be used: whatever fails from then on fails by itself."""
        self._failures = 0
        self._most_failures = float(FEWEST)

    def prove(self) -> None:
        """The model has worked elsewhere: however many photos it fails on, the photos are at fault."""
        self._most_failures = math.inf

    def failed(self, detail: str, fails_on_another: Callable[[], bool] = lambda: False) -> None:
        """The model gave nothing usable for one photo or face.

        `fails_on_another` runs it on something that is surely sound.

        Raises:
            ModelError: it fails on that as well, or is not proven, has failed on `FEWEST` and worked on none.
        """
        if self.has_worked:
            return
        with self._lock:
            self._failures += 1
            failures = self._failures
        if failures >= self._most_failures or fails_on_another():
            raise ModelError(
                f"{self._model} fails on everything it was given: {detail}", "Try --provider cpu, or another pack."
            )


@dataclass(frozen=True, slots=True)
class ProviderChoice:
    """An execution provider and how it came to be chosen."""

    name: str
    """As in `PROVIDERS`."""
    ort_name: str
    """onnxruntime's name."""
    note: str
    """One line for a person: what was taken and why."""
    precision: Precision = Precision.FP32


def import_onnxruntime() -> Any:
    """Return onnxruntime. Raises `InstallationError` where it is missing or too old.

    When onnxruntime is imported, it writes an id of the machine into the user's cache and sends Microsoft what it runs
    on (seen with 1.32 on Linux). Only a variable that is set before the import keeps it from both.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    require("onnxruntime")
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # for Windows, where the variable has no effect
    return onnxruntime


def parse_precision(text: str) -> Precision:
    """`fp32`, `bf16` or `int8`; `ConfigError` for anything else."""
    try:
        return Precision(text)
    except ValueError:
        raise ConfigError(f"There is no precision {text!r}.", f"Use one of: {', '.join(Precision)}.") from None


def choose_provider(requested: str, precision: Precision = Precision.FP32) -> ProviderChoice:
    """The provider to run on: the one named, or with `auto` CUDA where it works and the CPU elsewhere.

    With another precision than fp32 `auto` takes the provider that has it: OpenVINO for bf16, the CPU for int8.

    `auto` never takes TensorRT (it spends minutes building an engine for each input size), CoreML or DirectML (they
    compute in half precision or without free input sizes, so scores would depend on the machine) or OpenVINO; they
    are there for whoever names them.

    Raises:
        ConfigError: no such provider, or it does not compute in this precision.
        ProviderError: it is not available here, or this processor has no bf16 arithmetic.
    """
    if requested == "auto":
        return _choose_automatically(precision)
    if requested not in PROVIDERS:
        raise ConfigError(f"There is no provider {requested!r}.", f"Use one of: auto, {', '.join(PROVIDERS)}.")
    if precision not in PRECISIONS[requested]:
        others = ", ".join(name for name in PROVIDERS if precision in PRECISIONS[name])
        raise ConfigError(
            f"The provider {requested} does not compute in {precision}.",
            f"Use --precision {' or '.join(sorted(PRECISIONS[requested]))}, or for {precision} --provider {others}.",
        )
    _require_here(requested, precision)
    return ProviderChoice(requested, PROVIDERS[requested], f"Using {requested}.", precision)


def _choose_automatically(precision: Precision) -> ProviderChoice:
    if precision is Precision.BF16:
        _require_here("openvino", precision)
        return ProviderChoice("openvino", PROVIDERS["openvino"], "Using OpenVINO, which computes in bf16.", precision)
    if precision is Precision.INT8:
        return ProviderChoice("cpu", PROVIDERS["cpu"], "Using the CPU, which computes in int8.", precision)
    if _works("cuda"):
        return ProviderChoice("cuda", PROVIDERS["cuda"], "Using CUDA.")
    return ProviderChoice("cpu", PROVIDERS["cpu"], "Using the CPU, because CUDA is not available.")


def _require_here(name: str, precision: Precision) -> None:
    """`ProviderError` where the provider is not installed, or this processor lacks the precision."""
    if PROVIDERS[name] not in _listed():
        raise _unavailable(name)
    if precision is Precision.BF16 and not openvino_session.computes_bf16():
        raise ProviderError("This processor has no bf16 arithmetic.", "Use --precision fp32 or int8.")


def open_session(path: Path, provider: ProviderChoice, *, sha256: str | None, threads: int | None) -> Session:
    """A session for the model file at `path`, on `provider` and never on another in its stead.

    The file is read once, and what was verified is what runs. A model with weights in other files is refused here,
    because onnxruntime looks for them in the working directory when it is given bytes. `threads` bounds the threads
    of one run; None leaves it to onnxruntime (one per physical core).

    Raises:
        ModelNotFoundError: there is no such file.
        ModelIntegrityError: its SHA-256 is not `sha256`, or it is no self-contained ONNX model.
        ProviderError: the provider does not start on this machine.
        ModelError: the file is no model onnxruntime can run.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelNotFoundError(
            f"The model file {path.name} cannot be read: {error.strerror}.",
            "Fetch it again: facesearch models pull PACK",
        ) from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256.lower():
        raise ModelIntegrityError(
            f"{path.name} is not the file that was expected: its SHA-256 differs.", "Delete it and fetch it again."
        )
    data = prepared(data)
    if provider.name == "openvino":
        at_once = max(1, usable_cores() // threads) if threads is not None else 1
        return openvino_session.OpenVinoSession(data, path.name, provider.precision, threads, at_once)
    return _OnnxSession(_open(data, path.name, provider, threads), path.name, provider.name)


class _OnnxSession:
    """`Session` over onnxruntime."""

    def __init__(self, session: Any, file: str, provider: str) -> None:
        inputs = session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type != "tensor(float)":
            raise ModelError(
                f"{file} does not take one batch of images (float32, NCHW).",
                "Use an SCRFD detector or an ArcFace-style recogniser.",
            )
        self._session = session
        self._file = file
        self.provider = provider
        self.input_name: str = inputs[0].name
        self.input_shape = tuple(axis if isinstance(axis, int) and axis > 0 else None for axis in inputs[0].shape)
        self.output_names: tuple[str, ...] = tuple(output.name for output in session.get_outputs())

    def run(self, array: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        try:
            outputs: Sequence[Any] = self._session.run(self.output_names, {self.input_name: array})
        except Exception as error:  # onnxruntime's errors have no base of their own
            raise ModelError(f"{self._file} does not run: {_first_line(error)}", "Try --provider cpu.") from error
        return [np.asarray(output, dtype=np.float32) for output in outputs]


def _open(data: bytes, file: str, provider: ProviderChoice, threads: int | None) -> Any:
    if provider.ort_name not in _listed():
        raise _unavailable(provider.name)
    try:
        session = _inference_session(data, provider.ort_name, threads)
    except Exception as error:  # onnxruntime's errors have no base of their own
        if not _works(provider.name):
            raise _unavailable(provider.name) from error
        raise ModelError(
            f"{file} cannot be opened: {_first_line(error)}", "It must be one self-contained ONNX file."
        ) from error
    if session.get_providers()[0] != provider.ort_name:  # listed, but without its driver or device
        raise _unavailable(provider.name)
    return session


def _inference_session(data: bytes, ort_name: str, threads: int | None) -> Any:
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    # Threads that wait in a loop for the next operator starve those that decode photos and other runs: measured on
    # two busy cores, 13 to 20 photos/s with and 57 to 66 without, and on idle ones no slower without.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    if ort_name == PROVIDERS["directml"]:  # required by that provider
        options.enable_mem_pattern = False
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    providers = dict.fromkeys([ort_name, PROVIDERS["cpu"]])  # the CPU for operators the provider does not know
    session = ort.InferenceSession(data, options, providers=list(providers))
    session.disable_fallback()  # or a failing run would be repeated on the CPU without a word
    return session


def _works(name: str) -> bool:
    if PROVIDERS[name] not in _listed():
        return False
    if name == "openvino":  # pure software: where it is installed, it works
        return True
    try:
        session = _inference_session(_PROBE_MODEL, PROVIDERS[name], None)
    except Exception:  # noqa: BLE001 - whatever it is, the provider does not work here
        return False
    return bool(session.get_providers()[0] == PROVIDERS[name])


def _listed() -> list[str]:
    return [*import_onnxruntime().get_available_providers(), *(["openvino"] if find_spec("openvino") else [])]


def _unavailable(name: str) -> ProviderError:
    usable = ", ".join(known for known in PROVIDERS if known != name and _works(known))
    return ProviderError(
        f"The provider {name} is not available here.", f"Available: {usable}. To get {name}: {_INSTALL[name]}."
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
