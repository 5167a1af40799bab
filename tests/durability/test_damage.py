"""Damage to the files of a gallery: no wrong result, no crash, and nothing mended from what is not proven whole."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from facesearch.errors import FaceSearchError
from facesearch.files import INDEX_CACHE_NAME, INDEX_VECTORS_NAME
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store.sqlite import DATABASE_NAME
from tests.store.makers import enroll, found_subject, make_gallery
from tests.store.test_model import GalleryMachine

if TYPE_CHECKING:
    from pathlib import Path

PEOPLE = 20


def gallery_with_cache(folder: Path) -> dict[str, bytes]:
    """Make a gallery; return the files of its index cache."""
    with make_gallery(folder) as gallery:
        for seed in range(PEOPLE):
            enroll(gallery, str(seed), seed)
        found_subject(gallery, 0)
    return {name: (folder / name).read_bytes() for name in (INDEX_CACHE_NAME, INDEX_VECTORS_NAME)}


@pytest.mark.parametrize("count", [40, pytest.param(400, marks=pytest.mark.soak)])
def test_a_damaged_database_is_never_mended_nor_is_its_sound_cache(tmp_path: Path, count: int) -> None:
    """`check --fix` beside a sound cache: neither is made from the other, in whichever part the damage lies."""
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201
    rng = random.Random(seed)
    folder = tmp_path / "gallery"
    cache = gallery_with_cache(folder)
    database = (folder / DATABASE_NAME).read_bytes()
    used = [place for place, byte in enumerate(database) if byte]
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        flipped = bytearray(database)
        flipped[rng.choice(used)] ^= 1 << rng.randrange(8)
        for path in folder.iterdir():
            path.unlink()
        (folder / DATABASE_NAME).write_bytes(flipped)
        for name, data in cache.items():
            (folder / name).write_bytes(data)
        outcomes[fix(folder)] += 1
        assert all((folder / name).read_bytes() == data for name, data in cache.items()), "a sound cache was replaced"
    print(dict(outcomes))  # noqa: T201
    assert outcomes["faults stay"] > count / 5  # about half of them; the others refuse to open or touch nothing


def fix(folder: Path) -> str:
    """What `check --fix` comes to, twice: what it could not prove whole the first time is no better the second time."""
    try:
        with Gallery.open(folder) as gallery:
            first = [finding.ok for finding in check_gallery(gallery, fix=True)]
            second = [finding.ok for finding in check_gallery(gallery, fix=True)]
    except FaceSearchError:
        return "does not open"
    assert all(first) == all(second)
    return "no fault" if all(first) else "faults stay"


class GalleryAtLength(GalleryMachine):
    """The gallery against a dict, as in the ordinary run, for longer and with new examples each time."""


TestGalleryAtLength = pytest.mark.soak(pytest.mark.timeout(900)(GalleryAtLength.TestCase))
TestGalleryAtLength.settings = settings(
    max_examples=100, stateful_step_count=50, deadline=None, derandomize=False, suppress_health_check=list(HealthCheck)
)
