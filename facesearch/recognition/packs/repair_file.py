"""A detector's file repaired into another file, which is written only where it proves itself."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facesearch.errors import ConfigError, InstallationError, ModelError, ModelIntegrityError, ModelNotFoundError
from facesearch.recognition.packs.surgery import repair
from facesearch.recognition.runtime import import_onnxruntime
from facesearch.versions import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


SIZES: Final = ((128, 128), (192, 320), (640, 640))
"""Height and width: those of `--det-size auto`, and one that is not square."""
BATCH: Final = 32
TOLERANCE: Final = 1e-5
"""Largest difference allowed, of outputs up to 1; of larger ones in proportion."""
_WITH_ORIGINAL: Final = 2
"""Photos of each size that go through the original file too."""
_WARNING: Final = 2
"""onnxruntime's log level."""
_REPAIRED_FROM_HERE: Final = "\nfacesearch opens the repaired file\n"
"""Line on stderr between what onnxruntime says before it has the repaired file and what it says of that file."""
_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from facesearch.recognition.packs.repair_file import main; main(*sys.argv[2:])"
)


@dataclass(frozen=True, slots=True)
class SizeCheck:
    """Largest differences at one input size, in proportion to the outputs where these exceed 1."""

    height: int
    width: int
    batch: float
    """Between each of 32 images alone and in their batch."""
    original: float | None
    """Between the file it was made from and this one; None where that file does not take this size."""

    @property
    def ok(self) -> bool:
        """Whether both are within `TOLERANCE`."""
        return self.batch <= TOLERANCE and (self.original is None or self.original <= TOLERANCE)


@dataclass(frozen=True, slots=True)
class RepairCheck:
    """What running the repaired file showed."""

    sizes: tuple[SizeCheck, ...]
    warnings: tuple[str, ...]
    """Of onnxruntime, while the repaired file was opened and run."""

    @property
    def ok(self) -> bool:
        """Whether all sizes agree and nothing was warned of."""
        return not self.warnings and all(size.ok for size in self.sizes)


def check_repair(original: Path, repaired: Path) -> RepairCheck:
    """Run both files on 32 random images of each of `SIZES`, on the CPU.

    That takes up to 3 GB of memory, and seconds (SCRFD-500M) to a minute (SCRFD-10G).

    Raises:
        ModelError: the repaired file does not open or run.
    """
    command = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), str(original), str(repaired)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        last = (done.stderr.splitlines() or ["without a word"])[-1]
        raise ModelError(f"The repaired detector does not run: {last}", "Report the model it was made from.")
    sizes = tuple(SizeCheck(**each) for each in json.loads(done.stdout))
    warnings = done.stderr.partition(_REPAIRED_FROM_HERE)[2]
    return RepairCheck(sizes, tuple(line for line in warnings.splitlines() if line.strip()))


def check_graph(path: Path) -> str | None:
    """Let the `onnx` package judge the file; its version, or None where it is not installed.

    Raises:
        ModelIntegrityError: it is no valid ONNX model.
    """
    try:
        require("onnx")
    except InstallationError:
        return None
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelIntegrityError(f"onnx refuses the model: {str(error).splitlines()[0]}") from error
    return str(onnx.__version__)


def main(original: str, repaired: str) -> None:
    """Print the differences as JSON."""
    # Warnings about the original are what the repair is for, and others are about the machine.
    before = _open(original, _WARNING + 1)
    sys.stderr.write(_REPAIRED_FROM_HERE)
    sys.stderr.flush()
    after = _open(repaired, _WARNING)
    sys.stdout.write(json.dumps([_compare(before, after, height, width) for height, width in SIZES]))


def _open(path: str, log_level: int) -> Any:
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = log_level
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(Path(path).read_bytes(), options, providers=["CPUExecutionProvider"])


def _compare(before: Any, after: Any, height: int, width: int) -> dict[str, float | int | None]:
    images = np.random.default_rng(height).uniform(-1, 1, (BATCH, 3, height, width)).astype(np.float32)
    together = _run(after, images)
    apart = original = 0.0
    fixed = before.get_inputs()[0].shape[2:]
    takes_size = all(
        not isinstance(have, int) or have == want for have, want in zip(fixed, images.shape[2:], strict=True)
    )
    for i in range(BATCH):
        alone = _run(after, images[i : i + 1])
        apart = max(apart, _difference([each[i] for each in together], [each[0] for each in alone]))
        if takes_size and i < _WITH_ORIGINAL:
            rows = [each.reshape(each.shape[-2:]) for each in _run(before, images[i : i + 1])]
            original = max(original, _difference(rows, [each[0] for each in alone]))
    return {"height": height, "width": width, "batch": apart, "original": original if takes_size else None}


def _run(session: Any, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    outputs: list[NDArray[np.float32]] = session.run(None, {session.get_inputs()[0].name: images})
    return outputs


def _difference(a: Sequence[NDArray[np.float32]], b: Sequence[NDArray[np.float32]]) -> float:
    return max(float(np.max(np.abs(x - y)) / max(1.0, float(np.max(np.abs(y))))) for x, y in zip(a, b, strict=True))


@dataclass(frozen=True, slots=True)
class RepairedFile:
    """The file that was written, and what was found out about it."""

    path: Path
    sha256: str
    origin_sha256: str
    changes: tuple[str, ...]
    check: RepairCheck
    onnx_version: str | None
    """Of the package that found the graph valid; None where it is not installed."""


def repair_file(source: Path, out: Path) -> RepairedFile:
    """Repair the detector `source` into `out`, run both, and keep `out` where they agree.

    Raises:
        ConfigError: `out` exists, or cannot be written.
        ModelNotFoundError: `source` cannot be read.
        ModelIntegrityError: it is no ONNX model, or the result does not prove itself.
        ModelError: its graph is not that of an SCRFD.
    """
    try:
        data = source.read_bytes()
    except OSError as error:
        raise ModelNotFoundError(f"{source} cannot be read: {error.strerror}.") from error
    if out.exists():
        raise ConfigError(f"{out} is there already.", "Name another file.")
    repaired = repair(data)
    try:
        with tempfile.TemporaryDirectory(prefix=".facesearch-", dir=out.parent) as folder:
            unproven = Path(folder) / "detector.onnx"
            unproven.write_bytes(repaired.data)
            version = check_graph(unproven)
            check = check_repair(source, unproven)
            _require_proof(check)
            unproven.replace(out)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}.", "Name another file with --out.") from error
    sha256 = hashlib.sha256(repaired.data).hexdigest()
    return RepairedFile(out, sha256, repaired.origin_sha256, repaired.changes, check, version)


def _require_proof(check: RepairCheck) -> None:
    for size in check.sizes:
        if not size.ok:
            raise ModelIntegrityError(
                f"At {size.height} x {size.width} the repaired detector does not agree with itself in a batch "
                f"({size.batch:.1e}) or with the file it was made from ({size.original}).",
                "Nothing was written. Keep the file as it is: it is run photo by photo.",
            )
    if check.warnings:
        raise ModelIntegrityError(
            f"onnxruntime warns of the repaired detector: {check.warnings[0]}", "Nothing was written."
        )
