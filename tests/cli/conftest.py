"""Running commands, and a gallery to run them on."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from facesearch.cli.app import app


@dataclass(frozen=True)
class Run:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The NDJSON lines on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Run]


_get_command = functools.cache(typer.main.get_command)
"""Making the command tree takes 60 ms: once for the run, not once for each command."""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `facesearch ARGS...`; a traceback is a failure."""
    monkeypatch.setattr("typer.testing._get_command", _get_command)

    def run(*args: str | Path) -> Run:
        result = CliRunner().invoke(app, [str(arg) for arg in args])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Run(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def gallery(enrolled_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the gallery of all the drawn people, which commands use without being told."""
    folder = tmp_path / "gallery"
    shutil.copytree(enrolled_folder, folder)
    monkeypatch.setenv("FACESEARCH_GALLERY", str(folder))
    return folder
