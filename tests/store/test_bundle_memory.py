"""Bundles are written and read in memory that does not grow with them."""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest

from facesearch.search.gallery import Gallery
from facesearch.store.bundle import file as bundle_file
from facesearch.store.bundle import writing as bundle_writing
from facesearch.store.bundle.reading import read_bundle
from facesearch.store.bundle.writing import write_bundle
from tests.store.bundling import DIMENSION, make

COUNT = 6_000


def test_memory_does_not_grow_with_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (bundle_file, bundle_writing):
        monkeypatch.setattr(module, "ROWS", 256)  # so that a small gallery has many batches
    make(tmp_path / "from", COUNT)
    held: list[int] = []

    def look(_: int) -> None:
        held.append(tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes())

    with Gallery.open(tmp_path / "from") as source, Gallery.open(tmp_path / "to", create=True) as target:
        tracemalloc.start()
        try:
            write_bundle(source, tmp_path / "bundle", progress=look)
            read_bundle(target, tmp_path / "bundle", progress=look)
        finally:
            tracemalloc.stop()
    assert len(held) == 2 * -(-COUNT // 256)
    assert max(held) - min(held) < COUNT * DIMENSION * 4 / 3


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.needs("proc")
def test_a_million_templates_are_exported_and_imported_in_half_a_gigabyte(tmp_path: Path) -> None:
    make(tmp_path / "from", 1_000_000)
    for what, folder in (("export", "from"), ("import", "to")):
        command = [sys.executable, "-m", "tests.store.bundling", what, "1000000"]
        started = time.monotonic()
        done = subprocess.run(
            [*command, str(tmp_path / folder), str(tmp_path / "bundle")], stdout=subprocess.PIPE, text=True, check=True
        )
        print(f"{what}: {done.stdout.strip()} MB resident at most, {time.monotonic() - started:.0f} s")  # noqa: T201
        assert float(done.stdout) < 512
