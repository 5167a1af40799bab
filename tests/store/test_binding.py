"""A gallery is bound to a model by its first face, and free again when the last one is gone."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from facesearch.errors import ModelMismatchError
from facesearch.search.checks import check_gallery
from facesearch.store import models, people, subjects, templates
from tests.store.makers import (
    MODEL,
    OTHER_MODEL,
    commit,
    enroll,
    found_subject,
    new_photo,
    photo_of_other_model,
    refused_photo,
    unit,
)

if TYPE_CHECKING:
    from facesearch.search.gallery import Gallery
    from facesearch.store.changes import Change

pytestmark = pytest.mark.both_databases


def test_the_first_template_binds_a_gallery_and_nothing_before_it(gallery: Gallery, second: Gallery) -> None:
    commit(gallery, [refused_photo("blurred.jpg")])
    assert gallery.model() is gallery.read(models.last_model) is None
    second.adopt(OTHER_MODEL)  # of a run with another pack at the same time
    enroll(gallery, "anna", 1)
    assert gallery.model() == gallery.read(models.last_model) == MODEL
    with pytest.raises(ModelMismatchError):
        commit(second, [photo_of_other_model("bob", "b.jpg", 2)])
    with pytest.raises(ModelMismatchError):
        second.adopt(OTHER_MODEL)
    assert [subject.name for subject in gallery.read(subjects.list_subjects)] == ["anna"]


def test_a_gallery_that_lost_everybody_takes_another_model(gallery: Gallery, second: Gallery) -> None:
    enroll(gallery, "anna", 1)
    gallery.write(models.put_calibration, {"threshold": 0.5}, MODEL)
    assert found_subject(gallery, 1) == found_subject(second, 1) == "anna"
    gallery.remove(people.remove, "anna")
    assert (gallery.model(), gallery.read(models.last_model)) == (None, MODEL)
    for each in (gallery, second):
        each.adopt(OTHER_MODEL)
        assert each.search(unit(1)[None], 1, model_id=OTHER_MODEL.model_id) == [()]
    commit(gallery, [photo_of_other_model("bob", "b.jpg", 2)])
    assert gallery.model() == OTHER_MODEL
    assert found_subject(gallery, 2) == found_subject(second, 2) == "bob"
    assert gallery.read(models.calibration) is None
    with pytest.raises(ModelMismatchError):
        enroll(second, "anna", 1)
    assert all(finding.ok for finding in check_gallery(gallery))


def test_a_calibration_stays_with_its_model_and_comes_back_with_it(gallery: Gallery) -> None:
    enroll(gallery, "anna", 1)
    gallery.write(models.put_calibration, {"threshold": 0.5}, MODEL)
    gallery.remove(people.remove, "anna")
    assert gallery.read(models.calibration) is None
    gallery.adopt(OTHER_MODEL)
    commit(gallery, [photo_of_other_model("bob", "b.jpg", 2)])
    gallery.remove(people.remove, "bob")
    gallery.adopt(MODEL)
    enroll(gallery, "anna", 1)
    assert gallery.read(models.calibration) == {"threshold": 0.5}
    assert found_subject(gallery, 1) == "anna"


@pytest.mark.parametrize("emptied", [False, True])
def test_two_first_enrolments_at_once_with_two_models_leave_one(
    gallery: Gallery, second: Gallery, emptied: bool
) -> None:
    if emptied:
        enroll(gallery, "anna", 1)
        gallery.remove(people.remove, "anna")
    second.adopt(OTHER_MODEL)
    start, failed = threading.Barrier(2), []

    def enroll_first(opened: Gallery, photo: Change) -> None:
        start.wait()
        try:
            commit(opened, [photo])
        except ModelMismatchError:
            failed.append(opened)

    both: list[tuple[Gallery, Change]] = [
        (gallery, new_photo("bob", "b.jpg", [unit(2)])),
        (second, photo_of_other_model("carl", "c.jpg", 3)),
    ]
    threads = [threading.Thread(target=enroll_first, args=each) for each in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) == 1
    assert len(gallery.read(subjects.list_subjects)) == gallery.read(templates.counts)["templates"] == 1
    assert all(finding.ok for finding in check_gallery(gallery))
