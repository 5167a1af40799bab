"""What an engine finds among real faces, at its default settings and next to an exact search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.crowd import crowd, probes
from facesearch import FaceSearch
from facesearch.search.exact import search_exactly
from facesearch.store import templates
from facesearch.types import Ids, Vectors
from tests.index.backends import EXTERNAL, make_backend

THRESHOLD = 0.45
"""Of the test pack, calibrated on LFW."""
TOGETHER = 16
SCALES = [
    pytest.param((50, 1500, 300), id="few"),
    pytest.param((435, 20_000, 10_000), id="many", marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
]
"""People whose photos are embedded, templates, probes."""


class Everybody:
    """The templates as a database would have them."""

    def __init__(self, ids: Ids, stored: Vectors) -> None:
        self.ids = ids
        self.stored = stored

    def vectors(self, ids: Ids) -> tuple[Ids, Vectors]:
        found = np.intersect1d(ids, self.ids)
        return found, self.stored[found - 1]

    def blocks(self) -> Iterator[tuple[Ids, Vectors]]:
        yield self.ids, self.stored


def embed(assets: Path, pack: Path, folder: Path, people: int) -> tuple[Vectors, NDArray[np.int64]]:
    """Templates of LFW's first people, and whose they are."""
    with FaceSearch.open(folder, pack=pack, provider="cpu") as engine:
        for _ in engine.enroll(sorted((assets / "faces" / "lfw").iterdir())[:people], faces="largest"):
            pass
        ids, vectors = engine.gallery.read(templates.all_templates)
        described = engine.gallery.read(templates.describe_templates, ids.tolist())
        return vectors, np.unique([described[key].subject for key in ids.tolist()], return_inverse=True)[1]


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_whom_an_exact_search_finds_every_engine_finds(
    scale: tuple[int, int, int], assets: Path, testpack_dir: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    people, count, searches = scale
    real, names = embed(assets, testpack_dir, tmp_path / "gallery", people)
    stored, subjects = crowd(real, names, count, seed=1)
    queries, sources = probes(stored, real, searches, seed=2)
    everybody = Everybody(np.arange(1, len(stored) + 1), stored)
    exact = np.concatenate([(part @ stored.T) for part in np.array_split(queries, -(-searches // 100))])
    best = exact.argmax(axis=1)
    mated = (subjects[best] == subjects[sources]) & (exact.max(axis=1) >= THRESHOLD)
    for name in EXTERNAL:
        backend = make_backend(name, request, stored.shape[1])
        backend.add(everybody.ids, stored)
        assert backend.external is not None
        found = [
            search_exactly(backend.external, everybody, queries[start : start + TOGETHER], 10)
            for start in range(0, searches, TOGETHER)
        ]
        backend.close()
        scores, ids = (np.concatenate(parts) for parts in zip(*found, strict=True))
        assert np.abs(scores - np.take_along_axis(exact, ids - 1, axis=1)).max() <= 1e-6
        again = (subjects[ids[:, 0] - 1] == subjects[sources]) & (scores[:, 0] >= THRESHOLD)
        share = (again & mated).sum() / mated.sum()
        print(f"{name}: {len(stored)} templates, {mated.sum()} found by an exact search, of which {share:.6f}")  # noqa: T201
        assert share >= 0.9999
