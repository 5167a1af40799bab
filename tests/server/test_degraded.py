"""While the gallery's vector engine is down: a clear error, or on demand an answer that says what it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from facesearch import FaceSearch, VectorDatabaseError
from facesearch.client import Client
from tests.server.conftest import serve_on_socket


@pytest.fixture
def client(bereft: FaceSearch) -> Iterator[Client]:
    with serve_on_socket(bereft) as url, Client(url) as opened:
        yield opened


def test_only_who_asks_for_it_gets_an_answer_without_the_engine(
    client: Client, bereft: FaceSearch, people_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = people_folder / "Mira Quill" / "1.jpg"
    with pytest.raises(VectorDatabaseError, match="Milvus"):
        client.identify(photo)
    (whole,) = client.identify(photo, degraded=True)
    assert whole.best is not None
    assert (whole.best.subject, whole.complete) == ("Mira Quill", True), "all are among the newest"
    monkeypatch.setattr("facesearch.search.exact.LOCAL", 4)
    (some,) = client.identify(photo, degraded=True)
    (here,) = bereft.identify(photo, degraded=True)
    assert some.complete is here.complete is False
    assert [each.subject for each in some.candidates] == [each.subject for each in here.candidates]
    assert len(some.candidates) == 1, "of four templates"


def test_a_photo_without_a_face_is_no_incomplete_answer(
    client: Client, scenes_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facesearch.search.exact.LOCAL", 4)
    (result,) = client.identify(scenes_folder / "landscape.jpg", degraded=True)
    assert (result.decision, result.complete) == ("unusable", True)
