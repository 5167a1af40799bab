"""Run the blocks that a page marks as runnable, and compare what they print with what the page says."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from facesearch.cli.app import app
from tests.docs.pages import ROOT, Block, simple_commands, transcript

TOLERANCE = 2e-3
"""Scores may differ by that much between processors."""
SECONDS = 120


@dataclass(frozen=True, slots=True)
class Playground:
    """The demo's folder, as `facesearch demo --keep` leaves it."""

    folder: Path

    def run(self, block: Block) -> list[str]:
        """Run a block; return how its output differs from the page, a text for each command that does."""
        if block.language == "python":
            done = self._call([sys.executable, "-c", block.text])
            return [done.stdout] if done.returncode else []
        differences = []
        for command, expected in transcript(block):
            printed = self._print(command)
            if not agree(self._normal(printed), self._normal(expected)):
                differences.append(f"$ {command}\n{self._normal(printed)}\nThe page says:\n{self._normal(expected)}")
        return differences

    def _print(self, line: str) -> str:
        """Return what a line prints. `facesearch` alone runs in this process: starting others takes longer."""
        commands = simple_commands(line)
        if [words[0] for words in commands] == ["facesearch"] and not set(line) & set("<>$"):
            with contextlib.chdir(self.folder), pytest.MonkeyPatch.context() as patch:
                for name, value in self._environment.items():
                    patch.setenv(name, value)
                return CliRunner().invoke(app, commands[0][1:]).output
        function = f'facesearch() {{ "{sys.executable}" -m facesearch "$@"; }}'
        return self._call(["bash", "-c", f"{function}\n{line}"]).stdout

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "COLUMNS": "400",  # pages show tables as wide as they are
            "FACESEARCH_CACHE": os.fspath(self.folder / "cache"),
            "FACESEARCH_OFFLINE": "1",
            "FACESEARCH_PROVIDER": "cpu",
        }

    def _call(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        more = {
            "PYTHONPATH": os.fspath(ROOT),
            "PYTHONUNBUFFERED": "1",
            "PYTHONUTF8": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        return subprocess.run(
            words,
            cwd=self.folder,
            env={**os.environ, **self._environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )

    def _normal(self, text: str) -> str:
        return normal(text.replace(os.fspath(self.folder), "/tmp/playground"))


def normal(text: str) -> str:
    """Return an output without what differs from run to run: times, sizes, users, widths of tables."""
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:+]+", "TIME", text)
    text = re.sub(r"[\d.,]+ (MB|s)\b", r"N \1", text)
    text = re.sub(r"^Using .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\d+ files \(", "N files (", text)
    text = re.sub(rf"\b{re.escape(getpass.getuser())}\b", "root", text)
    return "\n".join(filter(None, (" ".join(re.sub("─+", "─", line).split()) for line in text.splitlines())))


def agree(printed: str, expected: str) -> bool:
    """Whether two normalised outputs are the same, decimal numbers within `TOLERANCE` of their size."""
    decimal = r"-?\d+\.\d+"
    if re.sub(decimal, "D", printed) != re.sub(decimal, "D", expected):
        return False
    pairs = zip(re.findall(decimal, printed), re.findall(decimal, expected), strict=True)
    return all(abs(float(a) - float(b)) <= TOLERANCE * max(1, abs(float(b))) for a, b in pairs)
