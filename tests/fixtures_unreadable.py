"""Folders and files that cannot be read, for tests that run as root as well."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Refuse = Callable[[Path, OSError], None]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Makes a folder one that the system does not list, for the walks of this process."""
    honest, refused = os.scandir, dict[Path, OSError]()

    def scandir(path: Any) -> Iterator[os.DirEntry[str]]:
        if isinstance(path, str | Path) and Path(path) in refused:
            raise refused[Path(path)]
        return honest(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return refused.__setitem__


def run_without_privileges(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """`facesearch ARGS...` in a process that permissions hold for; skips the test where root cannot give them up."""
    command = [sys.executable, "-m", "facesearch", *map(str, args)]
    if not hasattr(os, "geteuid"):
        pytest.skip("this system has no permissions of files")
    if os.geteuid() == 0:
        tool = shutil.which("setpriv")
        if tool is None:
            pytest.skip("root may read everything, and there is no setpriv")
        powers = "-dac_override,-dac_read_search"
        command = [tool, f"--bounding-set={powers}", f"--inh-caps={powers}", *command]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=120)
