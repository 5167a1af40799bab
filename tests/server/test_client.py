"""The client answers what the engine answers, with the same types and errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import facesearch.client
from facesearch import (
    ConfigError,
    FaceSearch,
    GalleryError,
    NoFaceError,
    PhotoError,
    ServerError,
    SubjectExistsError,
    UndoError,
    UnknownSubjectError,
)
from facesearch.client import Client
from facesearch.server.options import ServerOptions
from facesearch.store import audit, people, photos, templates
from facesearch.store.keys import create_key
from tests.server.conftest import serve_on_socket
from tests.server.test_report import evaluate_something, put_calibration_in_force


@pytest.fixture
def client(engine: FaceSearch) -> Iterator[Client]:
    with serve_on_socket(engine, ServerOptions(thumbnails=True)) as url, Client(url) as opened:
        yield opened


def test_what_scores_mean_round_trips(client: Client, engine: FaceSearch) -> None:
    assert (client.calibration, client.evaluations) == (None, {})
    assert (client.threshold, client.threshold_warning) == (engine.threshold, None)
    put_calibration_in_force(engine)
    evaluate_something(engine)
    assert client.calibration == engine.calibration
    assert client.threshold == engine.threshold
    assert client.evaluations == engine.evaluations
    assert client.audit()["templates"] == engine.gallery.read(templates.counts)["templates"]


def test_probes_round_trip(client: Client, engine: FaceSearch, scenes_folder: Path, people_folder: Path) -> None:
    for scene in ("group.jpg", "stranger.jpg", "landscape.jpg"):
        photo = scenes_folder / scene
        for ours, theirs in zip(client.identify(photo, k=3), engine.identify(photo, k=3), strict=True):
            assert (ours.photo, ours.face_number, ours.decision) == (theirs.photo, theirs.face_number, theirs.decision)
            assert (ours.threshold, ours.rejection) == (theirs.threshold, theirs.rejection)
            assert [each.subject for each in ours.candidates] == [each.subject for each in theirs.candidates]
            assert [each.score for each in ours.candidates] == pytest.approx(
                [each.score for each in theirs.candidates], abs=1e-6
            )
            assert ours.margin == (None if theirs.margin is None else pytest.approx(theirs.margin, abs=1e-6))
        for one, other in zip(client.detect(photo), engine.detect(photo), strict=True):
            np.testing.assert_allclose(one.box, other.box, atol=1e-3)
            np.testing.assert_allclose(one.landmarks, other.landmarks, atol=1e-3)
    a, b = people_folder / "Mira Quill" / "1.jpg", people_folder / "Mira Quill" / "2.jpg"
    compared, wanted = client.verify(a, b), engine.verify(a, b)
    assert (compared.a, compared.b, compared.threshold) == (wanted.a, wanted.b, wanted.threshold)
    assert compared.score == pytest.approx(wanted.score, abs=1e-6)
    assert compared.is_match


def test_people_round_trip(client: Client, engine: FaceSearch, scenes_folder: Path) -> None:
    stranger = scenes_folder / "stranger.jpg"
    (outcome,) = client.enroll([stranger], subject="A/B? 50%&", attributes={"team": "x"})
    assert (outcome.photo, outcome.status, outcome.faces) == (str(stranger), "enrolled", 1)
    assert client.subjects() == engine.subjects()
    assert client.subjects({"team": "x"}) == [client.subject("A/B? 50%&")]
    assert client.subjects(search="b? 50") == engine.subjects(search="b? 50") == [client.subject("A/B? 50%&")]
    assert client.counts() == engine.counts()
    (photo,) = client.photos_of_subject("A/B? 50%&")
    (stored,) = engine.gallery.read(photos.photos_of_subject, "A/B? 50%&")
    assert photo == replace(stored, detection_score=photo.detection_score)
    assert photo.detection_score == pytest.approx(stored.detection_score, abs=1e-6)
    assert client.thumbnail(photo.photo_id).startswith(b"\xff\xd8\xff")
    assert client.set_attributes("A/B? 50%&", {"team": None}).attributes == {}
    assert client.rename_subject("A/B? 50%&", "C").name == "C"
    assert client.merge_subjects("C", "Mira Quill").photos == 5
    assert client.remove_photo("Mira Quill", photo.photo_id) == 1
    receipt = client.forget(["Mira Quill"])
    assert (receipt["removed"]["photos"], receipt["clean"]) == (4, True)
    assert client.describe()["subjects"] == 11
    assert client.remove_subject("Otto Bramble").photos == 4
    assert client.undo().action == "remove"
    assert engine.subject("Otto Bramble").photos == 4
    assert all(finding.ok for finding in client.check())


def test_corrections_round_trip(
    client: Client, engine: FaceSearch, scenes_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [each.status for each in client.enroll([scenes_folder / "stranger.jpg"], subject="Ada")] == ["enrolled"]
    assert client.add_alias("Ada", "A. Byron").aliases == ("A. Byron",)
    assert client.subject("A. Byron") == client.subject("Ada") == engine.gallery.read(people.find, "Ada")
    (photo,) = client.photos_of_subject("Ada")
    photo_owner = client.subject("Ada").subject_id
    assert client.move_photo(photo.photo_id, "Mary", create=True).photos == 1
    assert client.photos_of_subject("Mary")[0].origin == "moved"
    client.confirm_photo(photo.photo_id)
    assert client.photos_of_subject("Mary")[0].origin == "confirmed"
    assert client.history() == engine.history()
    assert {each.action for each in client.history(who="Mary")} == {"move", "confirm"}
    assert [each.action for each in client.history(last=1)] == ["confirm"]
    with monkeypatch.context() as patch:
        patch.setattr(facesearch.client, "HISTORY", 1)
        assert client.history() == engine.history(), "page by page"
        assert client.history(last=2) == engine.history(last=2)
    for action in ("confirm", "move"):
        assert client.undo().action == action
    assert [each.photo_id for each in client.photos_of_subject("Ada")] == [photo.photo_id]
    moved = next(each for each in client.history() if each.action == "move")
    with pytest.raises(UndoError, match="already"):
        client.undo(moved.entry_id)
    with pytest.raises(UndoError, match="no entry"):
        client.undo(10_000)
    assert client.remove_alias("Ada", "A. Byron").aliases == ()
    client.remove_photo("Ada", photo.photo_id)
    assert client.history(who="Ada") == client.history(who=photo_owner) == engine.history(who="Ada"), "she is gone"
    with pytest.raises(UnknownSubjectError):
        client.history(who="Nobody")
    with pytest.raises(GalleryError, match="no photo"):
        client.confirm_photo(10_000)


def test_somebody_who_was_forgotten_is_brought_back_when_that_is_asked_for(
    client: Client, engine: FaceSearch, scenes_folder: Path
) -> None:
    stranger = scenes_folder / "stranger.jpg"
    assert [each.status for each in client.enroll([stranger], subject="Ada")] == ["enrolled"]
    client.forget(["Ada"])
    (refused,) = client.enroll([stranger], subject="Ada")
    assert refused.rejection is not None
    assert refused.rejection.reason == "erased"
    assert "bring_back_erased" in refused.rejection.detail
    (back,) = client.enroll([stranger], subject="Ada", bring_back_erased=True)
    assert back.status == "enrolled"
    (event,) = engine.gallery.read(audit.events, action="people.bring_back")
    assert list(event.detail) == ["entries"]


def test_names_are_found_as_the_engine_finds_them(client: Client, engine: FaceSearch) -> None:
    client.rename_subject("Mira Quill", " Zoe\u0308 ")
    for name in ("Zo\u00eb", "Zoe\u0308", " Zo\u00eb\n", "Mira Quill"):
        assert client.subject(name) == engine.gallery.read(people.find, name)


def test_errors_are_the_engines(client: Client, scenes_folder: Path, people_folder: Path, tmp_path: Path) -> None:
    good = people_folder / "Mira Quill" / "1.jpg"
    with pytest.raises(UnknownSubjectError):
        client.subject("Nobody")
    with pytest.raises(UnknownSubjectError):
        client.forget(["Mira Quill", 9999])
    assert client.subject("Mira Quill").photos == 4, "nobody is gone"
    with pytest.raises(SubjectExistsError):
        client.rename_subject("Mira Quill", "Otto Bramble")
    with pytest.raises(NoFaceError):
        client.verify(good, scenes_folder / "landscape.jpg")
    with pytest.raises(PhotoError) as caught:
        client.detect(b"no photo")
    assert caught.value.reason == "unsupported_format"
    with pytest.raises(PhotoError):
        client.identify(tmp_path / "missing.jpg")
    with pytest.raises(ConfigError):
        client.identify(good, k=0)
    assert client.detect(scenes_folder / "landscape.jpg") == []
    with Client("http://127.0.0.1:9") as nobody, pytest.raises(ServerError, match="reached"):
        nobody.describe()


def test_a_key_is_sent(engine: FaceSearch) -> None:
    key = engine.gallery.write(create_key, "client", ["read"])
    with serve_on_socket(engine) as url:
        with Client(url, key=key) as client:
            assert client.describe()["scopes"] == ["read"]
            with pytest.raises(ServerError, match="scope"):
                client.forget([1])
        with Client(url) as stranger, pytest.raises(ServerError, match="key"):
            stranger.describe()
