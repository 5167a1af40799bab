"""What searches read from one end to the other is asked to be in huge pages, wherever it moves to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facesearch.index.flat import FlatIndex
from facesearch.index.quantizer import FINE, CodeScan
from tests.store.makers import units

MAPS = Path("/proc/self/smaps")
pytestmark = [
    pytest.mark.needs("proc"),
    pytest.mark.skipif(
        not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="This system has no transparent huge pages."
    ),
]


def is_asked_for(address: int) -> bool:
    """Whether the mapping of this address has the flag."""
    inside = False
    for line in MAPS.read_text(encoding="utf-8").splitlines():
        first, *rest = line.split()
        if "-" in first:
            start, end = (int(part, 16) for part in first.split("-"))
            inside = start <= address < end
        elif inside and first == "VmFlags:":
            return "hg" in rest
    raise AssertionError("no such address")


def test_vectors_of_a_flat_index_are_in_huge_pages_also_after_it_grew() -> None:
    index = FlatIndex(512)
    vectors = units(0, 1 << 15, 512)
    for part in range(2):
        index.add(np.arange(len(vectors)) + len(vectors) * part, vectors)
        assert is_asked_for(int(index._flat.get_xb()) + (1 << 22))


def test_codes_are_in_huge_pages() -> None:
    scan = CodeScan(512, FINE)
    scan.unpack(np.zeros(64 << 20, np.uint8), 1 << 20)
    scan.append(units(0, 1000, 512))
    for segment in scan._segments[:-1]:
        assert is_asked_for(int(segment.codes.get()) + (1 << 22))
