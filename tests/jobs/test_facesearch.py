"""FaceSearch as a program uses it."""

from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from facesearch import (
    ConfigError,
    FaceSearch,
    GalleryNotFoundError,
    ModelMismatchError,
    MultipleFacesError,
    NoFaceError,
    PhotoError,
)
from facesearch.demo.portraits import PEOPLE, STRANGER, draw_group, draw_landscape, draw_portrait
from facesearch.demo.standin import build_standin_pack
from facesearch.jobs.sources import Sources
from facesearch.names import path_text
from facesearch.recognition.decoding import decode_guarded
from facesearch.store import people


def test_each_person_is_found_by_a_photo_that_was_not_enrolled(enrolled: FaceSearch) -> None:
    for person, name in enumerate(PEOPLE):
        (result,) = enrolled.identify(draw_portrait(person, 6))
        assert result.decision == "match"
        assert result.best is not None
        assert result.best.subject == name
        assert result.margin is not None
        assert result.margin > 0.05


def test_a_stranger_is_unknown_and_a_landscape_unusable(enrolled: FaceSearch) -> None:
    (stranger,) = enrolled.identify(draw_portrait(STRANGER, 0))
    assert (stranger.decision, stranger.rejection) == ("unknown", None)
    assert stranger.candidates
    (landscape,) = enrolled.identify(draw_landscape())
    assert landscape.decision == "unusable"
    assert landscape.rejection is not None
    assert landscape.rejection.reason == "face_not_found"


def test_every_face_of_a_group_is_searched(enrolled: FaceSearch) -> None:
    results = enrolled.identify(draw_group((0, 3, STRANGER, 8)))
    found = {result.best.subject for result in results if result.best and result.decision == "match"}
    assert found == {PEOPLE[0], PEOPLE[3], PEOPLE[8]}
    assert [result.face_number for result in results] == [1, 2, 3, 4]


def test_paths_bytes_and_arrays_give_the_same_result(enrolled: FaceSearch, people_folder: Path) -> None:
    path = people_folder / PEOPLE[0] / "1.jpg"
    scores = [
        enrolled.identify(image)[0].best
        for image in (path, str(path), path.read_bytes(), decode_guarded(path.read_bytes()))
    ]
    assert len({each.score for each in scores if each}) == 1
    assert scores[0] is not None
    assert scores[0].best_template_score == pytest.approx(1, abs=1e-6)


def test_many_photos_are_searched_as_each_alone_and_in_their_order(
    enrolled: FaceSearch, people_folder: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no photo")
    photos = [path for name in PEOPLE[:3] for path in sorted((people_folder / name).iterdir())[:2]]
    photos[3:3] = [broken, tmp_path / "missing.jpg"]

    many = list(enrolled.identify_many(photos))
    assert [results[0].photo for results in many] == [path_text(path) for path in photos]
    for photo, results in zip(photos, many, strict=True):
        alone = enrolled.identify(photo)
        shown = [(each.decision, each.rejection, each.best and each.best.subject) for each in results]
        assert shown == [(each.decision, each.rejection, each.best and each.best.subject) for each in alone]
        scores = [[other.score for other in each.candidates] for each in results]
        assert scores == [pytest.approx([other.score for other in each.candidates], abs=1e-5) for each in alone]

    found = list(enrolled.detect_many(photos, templates=True))
    assert [each.source for each in found] == photos
    assert [len(each.templates) for each in found] == [0 if photo in photos[3:5] else 1 for photo in photos]
    assert [each.templates for each in enrolled.detect_many(photos)] == [()] * len(photos)


def test_many_photos_that_are_left_early_leave_no_thread(enrolled: FaceSearch, people_folder: Path) -> None:
    before = set(threading.enumerate())
    answers = enrolled.identify_many([people_folder / PEOPLE[0] / "1.jpg"] * 200)
    assert isinstance(answers, Generator)
    assert next(answers)[0].decision == "match"
    answers.close()
    left = [each.name for each in set(threading.enumerate()) - before]
    assert [name for name in left if name.startswith("facesearch-photo")] == []


def test_a_runner_up_within_the_margin_makes_a_match_ambiguous(enrolled: FaceSearch) -> None:
    image = draw_portrait(0, 6)
    (result,) = enrolled.identify(image, margin=2)
    assert result.decision == "ambiguous"
    (result,) = enrolled.identify(image, k=1)
    assert result.decision == "match"
    assert result.margin is not None
    assert len(result.candidates) == 1


def test_a_search_can_be_limited_by_attributes(enrolled: FaceSearch) -> None:
    enrolled.gallery.write(people.set_attributes, PEOPLE[1], {"team": "ink"})
    (result,) = enrolled.identify(draw_portrait(0, 6), where={"team": "ink"})
    assert [each.subject for each in result.candidates] == [PEOPLE[1]]
    assert result.decision == "unknown"
    (nobody,) = enrolled.identify(draw_portrait(0, 6), where={"team": "none"})
    assert (nobody.decision, nobody.candidates) == ("unknown", ())


def test_the_threshold_given_is_the_threshold_used(enrolled: FaceSearch) -> None:
    with FaceSearch.open(enrolled.settings.gallery, threshold=0.999) as strict:
        (result,) = strict.identify(draw_portrait(0, 6))
    assert result.decision == "unknown"
    assert (result.threshold.value, result.threshold.basis) == (0.999, "given")


@pytest.mark.parametrize("value", [1.5, -2, float("nan")])
def test_a_threshold_that_is_no_cosine_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match="cosine"):
        FaceSearch.open("anywhere", threshold=value)


def test_arrays_that_are_no_photos_are_refused(enrolled: FaceSearch) -> None:
    for array in (np.zeros((10, 10), np.uint8), np.zeros((10, 10, 3), np.float32), np.zeros((0, 10, 3), np.uint8)):
        with pytest.raises(ConfigError, match="not a photo"):
            enrolled.identify(array)  # type: ignore[arg-type]  # on purpose


def test_wrong_questions_are_refused(enrolled: FaceSearch) -> None:
    with pytest.raises(ConfigError, match="k is 0"):
        enrolled.identify(draw_landscape(), k=0)
    with pytest.raises(ConfigError, match="margin"):
        enrolled.identify(draw_landscape(), margin=-1)
    with pytest.raises(ConfigError, match="face policy"):
        enrolled.verify(draw_landscape(), draw_landscape(), faces="some")


def test_verify_compares_two_photos_without_a_gallery(
    tmp_path: Path, standin_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with FaceSearch.open(pack=standin_pack) as engine:
        same = engine.verify(draw_portrait(2, 0), draw_portrait(2, 5))
        different = engine.verify(draw_portrait(2, 0), draw_portrait(4, 0))
        assert same.is_match
        assert not different.is_match
        with pytest.raises(NoFaceError):
            engine.verify(draw_portrait(2, 0), draw_landscape())
        with pytest.raises(MultipleFacesError):
            engine.verify(draw_portrait(2, 0), draw_group((2, 3)))
        with pytest.raises(PhotoError):
            engine.verify(draw_portrait(2, 0), b"not a photo")
    assert list(tmp_path.iterdir()) == []


def test_searching_without_a_gallery_says_how_to_make_one(tmp_path: Path, standin_pack: Path) -> None:
    with FaceSearch.open(tmp_path / "none", pack=standin_pack) as engine, pytest.raises(GalleryNotFoundError) as caught:
        engine.identify(draw_portrait(0, 0))
    assert caught.value.hint is not None
    assert "facesearch enroll" in caught.value.hint
    assert not (tmp_path / "none").exists()


def test_the_gallery_remembers_its_pack_and_refuses_another(enrolled: FaceSearch, tmp_path: Path) -> None:
    other = build_standin_pack(tmp_path / "other")
    text = (other / "pack.toml").read_text()
    (other / "pack.toml").write_text(text.replace("input_std = 127.5", "input_std = 128.0"))
    with FaceSearch.open(enrolled.settings.gallery, pack=other) as engine:
        with pytest.raises(ModelMismatchError, match="holds templates of"):
            engine.identify(draw_portrait(0, 0))
        with pytest.raises(ModelMismatchError):
            list(engine.enroll(Sources()))


def test_one_engine_answers_from_many_threads(enrolled: FaceSearch) -> None:
    wrong: list[str] = []

    def ask(person: int) -> None:
        for variation in range(5, 8):
            (result,) = enrolled.identify(draw_portrait(person, variation))
            if result.best is None or result.best.subject != PEOPLE[person]:
                wrong.append(PEOPLE[person])

    threads = [threading.Thread(target=ask, args=(person,)) for person in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_removed_person_is_never_found_again(enrolled: FaceSearch) -> None:
    image = draw_portrait(0, 6)
    with FaceSearch.open(enrolled.settings.gallery) as bystander:
        assert bystander.identify(image)[0].decision == "match"
        enrolled.gallery.remove(people.remove, PEOPLE[0])
        for engine in (enrolled, bystander):
            (result,) = engine.identify(image)
            assert PEOPLE[0] not in {each.subject for each in result.candidates}
    with FaceSearch.open(enrolled.settings.gallery) as reopened:
        assert PEOPLE[0] not in {each.subject for each in reopened.identify(image)[0].candidates}


def test_check_proves_photos_index_and_models(enrolled: FaceSearch, standin_pack: Path) -> None:
    findings = list(enrolled.check())
    assert all(finding.ok for finding in findings)
    assert {finding.subject for finding in findings} >= {"database", "templates", "models", "photos", "index"}
    assert any(str(standin_pack) in finding.detail for finding in findings)


def test_check_names_a_pack_that_is_gone(tmp_path: Path, people_folder: Path) -> None:
    pack = build_standin_pack(tmp_path / "pack")
    with FaceSearch.open(tmp_path / "gallery", pack=pack) as engine:
        list(engine.enroll(people_folder / PEOPLE[0], subject=PEOPLE[0]))
    for file in pack.iterdir():
        file.unlink()
    pack.rmdir()
    with FaceSearch.open(tmp_path / "gallery") as engine:
        faults = [finding for finding in engine.check() if not finding.ok]
    assert [fault.subject for fault in faults] == ["models"]


def test_detect_and_encode_give_faces_best_first(enrolled: FaceSearch) -> None:
    image = draw_group((0, 3, 5))
    faces, templates = enrolled.detect(image), enrolled.encode(image)
    assert [face.detection_score for face in faces] == sorted((face.detection_score for face in faces), reverse=True)
    assert [template.face.detection_score for template in templates] == [face.detection_score for face in faces]
    for template in templates:
        assert np.linalg.norm(template.vector) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("det_size", ["fast", "320"])
@pytest.mark.parametrize("by_environment", [False, True])
def test_a_gallery_remembers_the_detection_size_it_was_made_with(
    tmp_path: Path,
    standin_pack: Path,
    people_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    det_size: str,
    by_environment: bool,
) -> None:
    photo = next(iter(sorted(people_folder.glob("*/*.jpg"))))
    with monkeypatch.context() as patch:
        if by_environment:
            patch.setenv("FACESEARCH_DET_SIZE", det_size)
        given = None if by_environment else det_size
        with FaceSearch.open(tmp_path / "g", pack=standin_pack, provider="cpu", det_size=given) as engine:
            assert [each.status for each in engine.enroll(photo)] == ["enrolled"]
    with FaceSearch.open(tmp_path / "g", provider="cpu") as engine:
        assert engine.describe()["det_size"] == det_size
        assert engine.identify(photo)[0].decision == "match"
