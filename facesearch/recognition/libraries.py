"""Imports of the libraries that tell their makers of their use, which is turned off here."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, cast

from facesearch.versions import require

if TYPE_CHECKING:
    from types import ModuleType


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


def import_openvino() -> Any:
    """Return OpenVINO. Raises `InstallationError` where it is missing or too old.

    When OpenVINO is imported, it tells Google Analytics so through a package that it requires (seen with 2026.4).
    """
    sys.modules.setdefault("openvino_telemetry", cast("ModuleType", None))
    require("openvino")
    import openvino

    return openvino
