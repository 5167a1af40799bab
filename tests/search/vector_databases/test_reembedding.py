"""Galleries whose vectors are in an engine change their model, and are filled by an import, as any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import reembedding
from facesearch.store.bundle.reading import read_bundle
from facesearch.store.bundle.writing import write_bundle
from tests.search.vector_databases.conftest import Place
from tests.store.makers import MODEL, enroll, found_subject, make_gallery
from tests.store.test_reembedding import WIDE, embed_all, wide

pytestmark = pytest.mark.slow


def people(gallery: Gallery) -> None:
    for seed in range(1, 6):
        enroll(gallery, str(seed), seed)


def test_a_model_comes_into_use_and_goes(place: Place) -> None:
    with place.make(people) as gallery:
        embed_all(gallery)
        assert found_subject(gallery, 3) == "3"
        reembedding.activate(gallery, WIDE.model_id)
        (candidates,) = gallery.search(wide(3)[None], 1)
        assert (candidates[0].subject, len(candidates)) == ("3", 2)
        assert candidates[0].score == pytest.approx(1)
        reembedding.activate(gallery, MODEL.model_id)
        assert found_subject(gallery, 3) == "3"
        reembedding.activate(gallery, WIDE.model_id)
        assert reembedding.retire(gallery, MODEL.model_id).templates == 5
        (candidates,) = gallery.search(wide(4)[None], 1)
        assert candidates[0].subject == "4"
        assert "wait" not in gallery.describe_index()  # the engine was told at once
        assert all(finding.ok for finding in check_gallery(gallery))


def test_an_import_reaches_the_engine(place: Place, tmp_path: Path) -> None:
    with make_gallery(tmp_path / "source") as source:
        enroll(source, "Dan", 7, 8)
        write_bundle(source, tmp_path / "bundle")
    with place.make(people) as gallery:
        assert read_bundle(gallery, tmp_path / "bundle", merge=True).templates == 2
        assert [found_subject(gallery, seed) for seed in (1, 7, 8)] == ["1", "Dan", "Dan"]
        assert "wait" not in gallery.describe_index()
        assert all(finding.ok for finding in check_gallery(gallery))
