"""A detector's file repaired into another file, which is written only where it proves itself."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from facesearch.errors import ConfigError, ModelIntegrityError, ModelNotFoundError
from facesearch.recognition.repair import repair
from facesearch.recognition.repair_check import check_graph, check_repair

if TYPE_CHECKING:
    from facesearch.recognition.repair_check import RepairCheck


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
