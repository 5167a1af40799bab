"""What is interrupted while the index changes leaves none that is searched: the next search starts from the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from facesearch.gallery.changes import Effect
from facesearch.gallery.gallery import Gallery
from facesearch.gallery.live_index import LiveIndex
from tests.gallery.makers import enroll, found_subject

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
        patch.setattr(Effect, "take_over", interrupt)
        with pytest.raises(KeyboardInterrupt):
            enroll(gallery, "bob", 2)
    assert gallery.own_index._live is None
    assert [found_subject(gallery, seed) for seed in (1, 2)] == ["anna", "bob"]


def test_an_interrupted_refresh_costs_the_index_and_no_result(
    gallery: Gallery, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enroll(gallery, "anna", 1)
    assert found_subject(gallery, 1) == "anna"
    with Gallery.open(folder) as other:
        enroll(other, "bob", 2)
    with monkeypatch.context() as patch:
        patch.setattr(LiveIndex, "refresh", interrupt)
        with pytest.raises(KeyboardInterrupt):
            found_subject(gallery, 2)
    assert gallery.own_index._live is None
    assert [found_subject(gallery, seed) for seed in (1, 2)] == ["anna", "bob"]
