"""Bundles are written and read in memory that does not grow with them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Only Linux tells the most memory of one process.")


def run(what: str, count: int, folder: Path, bundle: Path) -> float:
    """MB that a process of its own had resident at most."""
    command = [sys.executable, "-m", "tests.gallery.bundling", what, str(count), str(folder), str(bundle)]
    started = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds, most = time.monotonic() - started, float(done.stdout)
    print(f"{what} {count}: {most:.0f} MB resident at most, {seconds:.0f} s")  # noqa: T201
    return most


def most_memory(count: int, work: Path) -> tuple[float, float]:
    """Of an export and of an import."""
    run("make", count, work / "from", work / "bundle")
    return run("export", count, work / "from", work / "bundle"), run("import", count, work / "to", work / "bundle")


def test_memory_does_not_grow_with_the_bundle(tmp_path: Path) -> None:
    small = most_memory(4_000, tmp_path / "small")
    large = most_memory(16_000, tmp_path / "large")
    megabytes_more = 12_000 * 512 * 4 / 1e6
    assert large[0] - small[0] < megabytes_more / 2
    assert large[1] - small[1] < megabytes_more / 2


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_million_templates_are_exported_and_imported_in_half_a_gigabyte(tmp_path: Path) -> None:
    assert max(most_memory(1_000_000, tmp_path)) < 512
