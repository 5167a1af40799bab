"""A server goes on while `facesearch reembed` switches its gallery to another model: no answer is made of both."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from facesearch import FaceSearch
from facesearch.jobs.reembedding import ModelChange
from facesearch.recognition.extractor import Extractor
from tests.server.conftest import serve_here


@pytest.fixture(scope="module")
def pack_here(new_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The new pack in a folder that is sometimes taken away."""
    return Path(shutil.copytree(new_pack, tmp_path_factory.mktemp("packs") / "new"))


@pytest.fixture(scope="module")
def with_both(
    tmp_path_factory: pytest.TempPathFactory, standin_pack: Path, pack_here: Path, people_folder: Path
) -> Path:
    """A gallery of four people with templates of two models, of which the stand-in's are searched."""
    folder = tmp_path_factory.mktemp("both") / "gallery"
    people = [people_folder / name for name in NAMES]
    with FaceSearch.open(folder, pack=standin_pack, provider="cpu") as engine:
        for each in people:
            assert all(
                outcome.status == "enrolled"
                for number in (1, 2)
                for outcome in engine.enroll(each / f"{number}.jpg", subject=each.name)
            )
    with FaceSearch.open(folder, pack=pack_here, provider="cpu") as engine:
        assert all(outcome.status == "embedded" for outcome in engine.model_change.reembed())
    return folder


@pytest.fixture
def gallery(with_both: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(with_both, tmp_path / "gallery"))


@pytest.fixture
def change(gallery: Path, pack_here: Path) -> Iterator[ModelChange]:
    """Switches the model as another process does."""
    with FaceSearch.open(gallery, pack=pack_here, provider="cpu") as other:
        yield other.model_change


@contextmanager
def without(folder: Path) -> Iterator[None]:
    away = folder.rename(folder.parent / "away")
    try:
        yield
    finally:
        away.rename(folder)


NAMES = ("Felix Thistle", "Kofi Ember", "Mira Quill", "Tobi Lantern")


@pytest.fixture(autouse=True)
def _best_templates(_clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A photo finds itself with a score of 1, whatever else is enrolled of the person."""
    monkeypatch.setenv("FACESEARCH_FUSION", "max")


@pytest.fixture
def photo(people_folder: Path) -> bytes:
    return (people_folder / "Mira Quill" / "1.jpg").read_bytes()


def best(answer: httpx.Response) -> tuple[str, float]:
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    return result["subject"], result["score"]


def everything(api: httpx.Client, photo: bytes, other: bytes) -> list[Any]:
    """What every kind of request answers."""
    return [
        best(api.post("/v1/identify", files={"photo": photo})),
        api.post("/v1/verify", files={"a": photo, "b": other}).json()["score"],
        [each["score"] for each in api.get("/v1/subjects/1/lookalikes").json()["results"]],
        api.get("/v1/info").json()["model"],
        api.get("/v1/audit").json()["totals"],
        api.get("/v1/health/ready").status_code,
    ]


def test_it_answers_as_a_server_that_was_started_after_the_switch(
    api: httpx.Client, change: ModelChange, gallery: Path, photo: bytes, people_folder: Path
) -> None:
    other = (people_folder / "Mira Quill" / "2.jpg").read_bytes()
    before = api.get("/v1/info").json()
    switch = change.activate()
    assert best(api.post("/v1/identify", files={"photo": photo})) == ("Mira Quill", 1.0)  # at once
    after = everything(api, photo, other)
    assert after[3] == switch.model.model_id != before["model"]
    with FaceSearch.open(gallery, provider="cpu") as engine, serve_here(engine) as fresh:
        assert everything(fresh, photo, other) == after
    change.rollback()
    assert best(api.post("/v1/identify", files={"photo": photo})) == ("Mira Quill", 1.0)
    assert api.get("/v1/info").json() == before


def test_who_is_enrolled_after_the_switch_is_found(api: httpx.Client, change: ModelChange, scenes_folder: Path) -> None:
    stranger = (scenes_folder / "stranger.jpg").read_bytes()
    change.activate()
    answer = api.post("/v1/subjects", files={"photo": stranger}, data={"subject": "New"})
    assert (answer.status_code, answer.json()["results"][0]["status"]) == (201, "enrolled")
    assert best(api.post("/v1/identify", files={"photo": stranger})) == ("New", 1.0)
    assert change.previous().missing == 1, "the template is the new model's"


def test_a_request_that_the_switch_overtakes_starts_over(
    api: httpx.Client, change: ModelChange, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The switch comes when a photo is embedded already, and not searched yet."""
    finish = Extractor.finish
    models: list[str] = []

    def embedded(extractor: Any, those: Any) -> Any:
        photos = finish(extractor, those)
        if not models:
            change.activate()
        models.append(extractor.info.model_id)
        return photos

    monkeypatch.setattr(Extractor, "finish", embedded)
    assert best(api.post("/v1/identify", files={"photo": photo})) == ("Mira Quill", 1.0)
    assert models == [change.previous().info.model_id, api.get("/v1/info").json()["model"]]


def test_a_pack_that_is_not_here_is_asked_for_until_it_is(
    api: httpx.Client, change: ModelChange, pack_here: Path, photo: bytes
) -> None:
    change.activate()
    with without(pack_here):
        refused = [
            api.post("/v1/identify", files={"photo": photo}),
            api.post("/v1/subjects", files={"photo": photo}, data={"subject": "New"}),
            api.get("/v1/health/ready"),
        ]
        for answer in refused:
            assert (answer.status_code, answer.json()["reason"]) == (503, "model_not_found")
            assert str(pack_here) in answer.json()["detail"]
            assert "--pack" in answer.json()["hint"]
        assert api.get("/v1/subjects").status_code == 200, "what needs no model goes on"
    assert api.get("/v1/health/ready").status_code == 200
    assert best(api.post("/v1/identify", files={"photo": photo})) == ("Mira Quill", 1.0)


def test_a_pack_that_was_given_is_taken_where_it_makes_the_models_templates(
    gallery: Path, change: ModelChange, pack_here: Path, new_pack: Path, photo: bytes
) -> None:
    """The gallery names a folder that this machine does not have."""
    change.activate()
    with (
        without(pack_here),
        FaceSearch.open(gallery, pack=new_pack, provider="cpu") as engine,
        serve_here(engine) as api,
    ):
        assert best(api.post("/v1/identify", files={"photo": photo})) == ("Mira Quill", 1.0)
        change.rollback()
        assert best(api.post("/v1/identify", files={"photo": photo})) == ("Mira Quill", 1.0)


@pytest.mark.parametrize("times", [1, pytest.param(30, marks=pytest.mark.soak)])
def test_under_load_every_answer_is_one_models(
    api: httpx.Client, change: ModelChange, people_folder: Path, times: int
) -> None:
    """Each photo is enrolled, and finds itself with a score of 1 in templates of the model that embedded it alone."""
    photos = {name: (people_folder / name / "1.jpg").read_bytes() for name in NAMES[:2]}
    files = [("photo", data) for data in photos.values()]
    answers: list[list[tuple[str, float]]] = []
    ended = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=api.base_url, timeout=60) as mine:
            while not ended.is_set():
                answer = mine.post("/v1/identify", files=files)
                assert answer.status_code == 200, answer.text
                answers.append([(each["subject"], each["score"]) for each in answer.json()["results"]])

    with pytest.MonkeyPatch.context() as patch:
        failures: list[Any] = []
        patch.setattr(threading, "excepthook", failures.append)
        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        switches: list[Callable[[], object]] = [change.activate, change.rollback] * times
        for switch in switches:
            asked = len(answers)
            switch()
            while len(answers) < asked + 3 and not failures:
                ended.wait(0.005)
        ended.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert {tuple(each) for each in answers} == {tuple((name, 1.0) for name in photos)}
