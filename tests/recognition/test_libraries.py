"""Libraries that tell their makers of their use do not do so in facesearch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FACESEARCH = Path(__file__).resolve().parents[2] / "facesearch"
IMPORT = re.compile(r"^\s*(?:import|from) (onnxruntime|openvino)\b(?!\.)", re.MULTILINE)


def test_no_other_module_imports_them_as_they_come() -> None:
    found = {path.name for path in FACESEARCH.rglob("*.py") if IMPORT.search(path.read_text(encoding="utf-8"))}
    assert found == {"openvino_session.py", "runtime.py"}


def test_onnxruntime_leaves_no_id_of_the_machine_in_the_home_folder(tmp_path: Path) -> None:
    """Version 1.32 does on Linux, unless it is told not to or the variable CI is set."""
    program = "from facesearch.recognition.runtime import import_onnxruntime; import_onnxruntime()"
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(FACESEARCH.parent)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert list(tmp_path.rglob("*")) == []
    assert done.stderr == b""
