"""Runs ONNX models on OpenVINO's CPU plugin, which computes in bf16 and int8 too, on processors of Intel and AMD."""

from __future__ import annotations

import sys
from functools import cache
from queue import Empty, SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from facesearch.errors import ModelError
from facesearch.types import Precision
from facesearch.versions import require

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

_DEVICE: Final = "CPU"
_opening: Final = Lock()
_HINT: Final = "Try --provider cpu."


def import_openvino() -> Any:
    """Return OpenVINO. Raises `InstallationError` where it is missing or too old.

    When OpenVINO is imported, it tells Google Analytics so through a package that it requires (seen with 2026.4). Here
    that package cannot be imported.
    """
    sys.modules.setdefault("openvino_telemetry", cast("ModuleType", None))
    require("openvino")
    import openvino

    return openvino


@cache
def computes_bf16() -> bool:
    """Whether this processor has bf16 arithmetic, as OpenVINO tells."""
    return "BF16" in import_openvino().Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")


class OpenVinoSession:
    """A `facesearch.recognition.runtime.Session` over OpenVINO."""

    provider = "openvino"

    def __init__(self, data: bytes, file: str, precision: Precision, threads: int | None, at_once: int = 1) -> None:
        """Compile the ONNX model `data`, called `file` in messages.

        `at_once` runs can go on beside each other with `threads` each; None takes all cores for one.

        Operators that a model has quantised run in int8 whatever `precision` is; it is that of all others.

        Raises:
            ModelError: it is no model OpenVINO can run, or it does not take one batch of images.
        """
        ov = import_openvino()
        import openvino.properties as properties
        import openvino.properties.hint as hint

        with _opening:
            # The first array that becomes a tensor initialises pybind11's view of NumPy. Two threads that do that at
            # once wait for each other for ever (seen with OpenVINO 2026.4: one has the GIL, one the initialisation).
            ov.Tensor(np.zeros(1, np.float32), shared_memory=True)
        core = ov.Core()
        settings: dict[Any, Any] = {
            # What is not said would follow from the processor: some take bf16 without being asked.
            hint.inference_precision: ov.Type.bf16 if precision is Precision.BF16 else ov.Type.f32,
            hint.performance_mode: hint.PerformanceMode.LATENCY,
            hint.enable_cpu_pinning: False,  # other threads decode photos and run the other model meanwhile
            properties.num_streams: at_once,
        }
        if threads is not None:
            settings[properties.inference_num_threads] = threads * at_once
        try:
            model = core.read_model(data)
            self._compiled = core.compile_model(model, _DEVICE, settings)
        except RuntimeError as error:
            raise ModelError(
                f"{file} cannot be opened by OpenVINO: {_last_line(error)}", "Try --provider cpu."
            ) from error
        shape = model.input(0).partial_shape if len(model.inputs) == 1 else None
        if shape is None or shape.rank.is_dynamic or len(shape) != 4 or model.input(0).element_type != ov.Type.f32:
            raise ModelError(
                f"{file} does not take one batch of images (float32, NCHW).",
                "Use an SCRFD detector or an ArcFace-style recogniser.",
            )
        self._file = file
        self._idle: SimpleQueue[Any] = SimpleQueue()
        """Requests nobody uses now; one serves one thread at a time."""
        self.input_name: str = model.input(0).any_name
        self.input_shape = tuple(None if axis.is_dynamic else int(axis.get_length()) for axis in shape)
        self.output_names: tuple[str, ...] = tuple(output.any_name for output in model.outputs)

    def run(self, array: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """One output per name, copied. Raises `ModelError` where the model does not run on this input."""
        try:
            request = self._idle.get_nowait()
        except Empty:
            request = self._compiled.create_infer_request()
        try:
            outputs = request.infer([array], share_inputs=True)
        except RuntimeError as error:
            raise ModelError(f"{self._file} does not run: {_last_line(error)}", _HINT) from error
        self._idle.put(request)
        return [np.asarray(outputs[i], dtype=np.float32) for i in range(len(self.output_names))]


def _last_line(error: BaseException) -> str:
    """OpenVINO's messages begin with the places in its sources that they passed."""
    return ([line for line in str(error).splitlines() if line.strip()] or [type(error).__name__])[-1].strip()
