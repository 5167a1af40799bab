"""What is interrupted while the index changes leaves none that is searched: the next search starts from the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from facesearch.search import mirror
from facesearch.search.gallery import Gallery
from facesearch.search.mirror import TrackedIndex
from facesearch.store import people
from facesearch.types import IndexKind
from tests.store.makers import DIMENSION, enroll, found_subject, make_gallery

if TYPE_CHECKING:
    from pathlib import Path


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_takeover_of_a_commit_costs_the_index_and_no_result(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    enroll(gallery, "anna", 1)
    assert found_subject(gallery, 1) == "anna"
    with monkeypatch.context() as patch:
        patch.setattr(TrackedIndex, "follow", interrupt)
        with pytest.raises(KeyboardInterrupt):
            enroll(gallery, "bob", 2)
    assert gallery.mirror._live is None
    assert [found_subject(gallery, seed) for seed in (1, 2)] == ["anna", "bob"]


def test_an_interrupted_refresh_costs_the_index_and_no_result(
    gallery: Gallery, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enroll(gallery, "anna", 1)
    assert found_subject(gallery, 1) == "anna"
    with Gallery.open(folder) as other:
        enroll(other, "bob", 2)
    with monkeypatch.context() as patch:
        patch.setattr(TrackedIndex, "refresh", interrupt)
        with pytest.raises(KeyboardInterrupt):
            found_subject(gallery, 2)
    assert gallery.mirror._live is None
    assert [found_subject(gallery, seed) for seed in (1, 2)] == ["anna", "bob"]


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stages from three templates on, written when there are four that no file has."""
    monkeypatch.setattr(mirror, "TWO_STAGE_FROM", 3)
    monkeypatch.setattr(mirror, "UNSAVED", 4 * 4 * DIMENSION)


@pytest.mark.usefixtures("eager")
def test_a_gallery_that_grows_changes_its_index_and_has_few_vectors_in_memory_alone(
    folder: Path,
) -> None:
    with make_gallery(folder) as gallery:
        unsaved = []
        for seed in range(12):
            enroll(gallery, str(seed), seed)
            assert seed or found_subject(gallery, 0) == "0"  # the first search opens the index
            live = gallery.mirror._live
            assert live is not None
            assert live.index.kind == (IndexKind.TWO_STAGE if seed >= 2 else IndexKind.FLAT)
            unsaved.append(live.index.unsaved_bytes // (4 * DIMENSION))
            assert [found_subject(gallery, each) for each in range(seed + 1)] == [str(each) for each in range(seed + 1)]
        assert unsaved == [0, 0, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0]
        gallery.remove(people.remove, "11")
        enroll(gallery, "12", 12)
        assert found_subject(gallery, 11) is None
    with Gallery.open(folder) as gallery:
        assert [found_subject(gallery, each) for each in (0, 10, 11, 12)] == ["0", "10", None, "12"]


@pytest.mark.usefixtures("eager")
def test_what_cannot_be_written_is_not_tried_with_every_commit(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def fail(live: TrackedIndex, *_: object) -> None:
        tried.append(live.index.unsaved_bytes // (4 * DIMENSION))
        raise OSError("no space")

    monkeypatch.setattr(TrackedIndex, "save", fail)
    for seed in range(12):
        enroll(gallery, str(seed), seed)
        assert seed or found_subject(gallery, 0) == "0"  # the first search opens the index
    assert tried == [4, 8, 12]
    assert [found_subject(gallery, each) for each in range(12)] == [str(each) for each in range(12)]
