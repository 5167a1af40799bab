"""A gallery is bound to a model by its first face, and free again when the last one is gone."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from facesearch.errors import ModelMismatchError
from facesearch.store.check import check_gallery
from tests.store.makers import (
    MODEL,
    OTHER_MODEL,
    enroll,
    found_subject,
    new_photo,
    photo_of_other_model,
    refused_photo,
    unit,
)

if TYPE_CHECKING:
    from facesearch.search.changes import Change
    from facesearch.search.gallery import Gallery

pytestmark = pytest.mark.both_databases


def test_the_first_template_binds_a_gallery_and_nothing_before_it(gallery: Gallery, second: Gallery) -> None:
    gallery.commit([refused_photo("blurred.jpg")])
    assert gallery.model() is gallery.last_model() is None
    second.adopt(OTHER_MODEL)  # of a run with another pack at the same time
    enroll(gallery, "anna", 1)
    assert gallery.model() == gallery.last_model() == MODEL
    with pytest.raises(ModelMismatchError):
        second.commit([photo_of_other_model("bob", "b.jpg", 2)])
    with pytest.raises(ModelMismatchError):
        second.adopt(OTHER_MODEL)
    assert [subject.name for subject in gallery.subjects()] == ["anna"]


def test_a_gallery_that_lost_everybody_takes_another_model(gallery: Gallery, second: Gallery) -> None:
    enroll(gallery, "anna", 1)
    gallery.store_calibration({"threshold": 0.5}, MODEL)
    assert found_subject(gallery, 1) == found_subject(second, 1) == "anna"
    gallery.remove_subject("anna")
    assert (gallery.model(), gallery.last_model()) == (None, MODEL)
    for each in (gallery, second):
        each.adopt(OTHER_MODEL)
        assert each.search(unit(1)[None], 1, model_id=OTHER_MODEL.model_id) == [()]
    gallery.commit([photo_of_other_model("bob", "b.jpg", 2)])
    assert gallery.model() == OTHER_MODEL
    assert found_subject(gallery, 2) == found_subject(second, 2) == "bob"
    assert gallery.calibration() is None
    with pytest.raises(ModelMismatchError):
        enroll(second, "anna", 1)
    assert all(finding.ok for finding in check_gallery(gallery))


def test_a_calibration_stays_with_its_model_and_comes_back_with_it(gallery: Gallery) -> None:
    enroll(gallery, "anna", 1)
    gallery.store_calibration({"threshold": 0.5}, MODEL)
    gallery.remove_subject("anna")
    assert gallery.calibration() is None
    gallery.adopt(OTHER_MODEL)
    gallery.commit([photo_of_other_model("bob", "b.jpg", 2)])
    gallery.remove_subject("bob")
    gallery.adopt(MODEL)
    enroll(gallery, "anna", 1)
    assert gallery.calibration() == {"threshold": 0.5}
    assert found_subject(gallery, 1) == "anna"


@pytest.mark.parametrize("emptied", [False, True])
def test_two_first_enrolments_at_once_with_two_models_leave_one(
    gallery: Gallery, second: Gallery, emptied: bool
) -> None:
    if emptied:
        enroll(gallery, "anna", 1)
        gallery.remove_subject("anna")
    second.adopt(OTHER_MODEL)
    start, failed = threading.Barrier(2), []

    def commit(opened: Gallery, photo: Change) -> None:
        start.wait()
        try:
            opened.commit([photo])
        except ModelMismatchError:
            failed.append(opened)

    both: list[tuple[Gallery, Change]] = [
        (gallery, new_photo("bob", "b.jpg", [unit(2)])),
        (second, photo_of_other_model("carl", "c.jpg", 3)),
    ]
    threads = [threading.Thread(target=commit, args=each) for each in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) == 1
    assert len(gallery.subjects()) == gallery.counts()["templates"] == 1
    assert all(finding.ok for finding in check_gallery(gallery))
