"""Two models in one gallery, on made-up vectors: nothing but the active one counts, and no switch loses anybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from facesearch.errors import GalleryError, ModelMismatchError
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import erasure, models, reembedding, templates
from facesearch.store import people as stored_people
from facesearch.store import photos as stored_photos
from facesearch.store import subjects as stored_subjects
from facesearch.store.location import Location
from facesearch.types import Candidate, ModelInfo, Vector
from tests.store.makers import MODEL, ROOT, commit, enroll, new_photo, unit, units

pytestmark = pytest.mark.both_databases
WIDE = ModelInfo("model-w", "w-pack", 16, "d" * 64, "9" * 64, {"det_size": "640"})
"""A model of another dimension."""


def wide(seed: int) -> Vector:
    return unit(seed, WIDE.dimension)


def embed_all(gallery: Gallery, *, but: int | None = None) -> None:
    """Give every face the vector `wide(its photo's name)` of `WIDE`."""
    gallery.write(reembedding.add_model, WIDE)
    for photo in gallery.read(reembedding.lacking_photos, WIDE.model_id, after=0, limit=1000):
        seed = int(photo.path.stem)
        if seed != but:
            pairs = [(face.face_id, wide(seed)) for face in photo.faces]
            gallery.change(reembedding.add_templates, WIDE.model_id, pairs)


def search_all(gallery: Gallery) -> list[tuple[Candidate, ...]]:
    return gallery.search(units(1, 20), 3) + gallery.search(units(2, 20), 3, {"team": "a"})


@pytest.fixture
def people(gallery: Gallery) -> Gallery:
    enroll(gallery, "Ada", 1, 2, attributes={"team": "a"})
    enroll(gallery, "Ben", 3)
    enroll(gallery, "Cleo", 4, 5, attributes={"team": "a"})
    return gallery


def test_templates_of_another_model_change_nothing_until_they_are_activated(people: Gallery) -> None:
    found, subjects = search_all(people), people.read(stored_subjects.list_subjects)
    listed, counts = people.read(stored_photos.details_of_subject, "Ada"), people.read(templates.counts)
    enrolled = people.read(stored_photos.find_photos, [ROOT / "1.jpg"])
    embed_all(people)
    assert search_all(people) == found
    assert (people.read(stored_subjects.list_subjects), people.read(templates.counts)) == (subjects, counts)
    assert people.read(stored_photos.details_of_subject, "Ada") == listed
    assert people.read(stored_photos.find_photos, [ROOT / "1.jpg"]) == enrolled
    assert [*people.read(stored_photos.photos_of_contents, {enrolled[ROOT / "1.jpg"].file.sha256}).values()] == [
        [*enrolled.values()]
    ]
    assert [
        (each.info, each.active, each.templates, each.missing) for each in people.read(reembedding.gallery_models)
    ] == [
        (MODEL, True, 5, 0),
        (WIDE, False, 5, 0),
    ]
    assert all(finding.ok for finding in check_gallery(people))


def test_activating_and_rolling_back_leave_searches_exactly_as_before(people: Gallery, place: Location) -> None:
    people.write(models.put_calibration, {"threshold": 0.5}, MODEL)
    found = search_all(people)
    embed_all(people)
    with Gallery.open(place) as other:  # of another process, with an index of its own
        assert search_all(other) == found
        assert reembedding.activate(people, WIDE.model_id) == MODEL.model_id
        for each in (people, other):
            (candidates,) = each.search(wide(3)[None], 2)
            assert candidates[0].subject == "Ben"
            assert candidates[0].score == pytest.approx(1)
            assert each.read(models.calibration) is None
            with pytest.raises(GalleryError):
                each.search(unit(3)[None], 2)
        assert people.read(reembedding.previous_model) == MODEL.model_id
        reembedding.activate(people, people.read(reembedding.previous_model))
        assert search_all(people) == search_all(other) == found
        assert people.read(models.calibration) == {"threshold": 0.5}
    assert people.read(reembedding.previous_model) == WIDE.model_id  # back and forth
    assert all(finding.ok for finding in check_gallery(people))


def test_an_enrolment_that_a_switch_overtakes_is_refused(people: Gallery, place: Location) -> None:
    embed_all(people)
    search_all(people)
    with Gallery.open(place) as other:
        search_all(other)
        reembedding.activate(people, WIDE.model_id)
        with pytest.raises(ModelMismatchError):
            enroll(other, "Dan", 6)
        other.remove(stored_people.remove, "Ben")  # by an index that is still of the old model
        assert {each[0].subject for each in other.search(units(7, 9, WIDE.dimension), 1)} <= {"Ada", "Cleo"}


def test_no_switch_loses_a_face_unless_told_to(people: Gallery) -> None:
    embed_all(people, but=3)
    with pytest.raises(GalleryError, match="1 enrolled faces have no template"):
        reembedding.activate(people, WIDE.model_id)
    assert people.model() == MODEL
    reembedding.activate(people, WIDE.model_id, allow_missing=True)
    details = [finding.detail for finding in check_gallery(people) if finding.subject == "models"]
    assert any("1 faces have no template of it" in detail for detail in details)
    assert people.read(stored_photos.find_photos, [ROOT / "3.jpg"]) == {}  # so that `enroll` looks at it again
    assert [photo.template_ids for photo in people.read(stored_photos.photos_of_subject, "Ben")] == [()]
    assert [face.template_id for face in people.read(stored_photos.details_of_subject, "Ben")[0].faces] == [None]
    with pytest.raises(GalleryError, match="would go with it"):
        reembedding.retire(people, MODEL.model_id)
    assert reembedding.retire(people, MODEL.model_id, allow_missing=True).subjects == 1
    assert [subject.name for subject in people.read(stored_subjects.list_subjects)] == ["Ada", "Cleo"]
    assert all(finding.ok for finding in check_gallery(people))


def test_who_is_enrolled_meanwhile_is_embedded_before_the_switch(people: Gallery) -> None:
    embed_all(people)
    enroll(people, "Dan", 6)
    with pytest.raises(GalleryError):
        reembedding.activate(people, WIDE.model_id)
    embed_all(people)
    reembedding.activate(people, WIDE.model_id)
    assert people.read(reembedding.find_gallery_model, WIDE.model_id).templates == 6


def test_a_retired_model_leaves_no_vector_in_any_file(people: Gallery) -> None:
    vectors = [unit(seed).tobytes() for seed in range(1, 6)]
    search_all(people)
    people.mirror.save()
    embed_all(people)
    with pytest.raises(GalleryError, match="in use"):
        reembedding.retire(people, MODEL.model_id)
    reembedding.activate(people, WIDE.model_id)
    assert reembedding.retire(people, MODEL.model_id).templates == 5
    files = [path.read_bytes() for path in people.folder.iterdir()]
    assert wide(1).tobytes() in b"".join(files) or not people.database.owns_folder
    assert not [vector for vector in vectors for data in files if vector in data]
    with pytest.raises(GalleryError, match="no model to roll back to"):
        people.read(reembedding.previous_model)
    with pytest.raises(GalleryError):
        reembedding.activate(people, MODEL.model_id)


def test_templates_come_once_and_only_to_faces_that_are_there(people: Gallery) -> None:
    people.write(reembedding.add_model, WIDE)
    people.write(reembedding.add_model, WIDE)
    photos = people.read(reembedding.lacking_photos, WIDE.model_id, after=0, limit=2)
    assert [photo.path for photo in photos] == [ROOT / "1.jpg", ROOT / "2.jpg"]
    faces = [face.face_id for photo in photos for face in photo.faces]
    people.remove(stored_people.remove_photos, [ROOT / "2.jpg"])
    pairs = [(face, wide(9)) for face in faces]
    assert [people.change(reembedding.add_templates, WIDE.model_id, pairs) for _ in range(2)] == [1, 0]
    assert people.read(reembedding.lacking_photos, WIDE.model_id, after=0, limit=1)[0].path == ROOT / "3.jpg"
    assert people.read(reembedding.lacking_photos, WIDE.model_id, after=photos[-1].photo_id + 3, limit=1) == []
    (photo,) = people.read(reembedding.lacking_photos, WIDE.model_id, after=0, limit=1)
    with pytest.raises(GalleryError):
        people.change(reembedding.add_templates, WIDE.model_id, [(photo.faces[0].face_id, unit(1))])


def test_a_person_goes_with_the_templates_of_all_models(people: Gallery) -> None:
    commit(people, [new_photo("Two", "7.jpg", [unit(7), unit(8)])])
    embed_all(people)
    erased = people.remove(erasure.erase_subjects, people.erasure_list, ["Two"])
    assert erased.templates == 4
    assert set(erased.traces.vectors) == {each.tobytes() for each in (unit(7), unit(8), wide(7))}
    people.remove(stored_people.remove, "Ada")
    assert {each.templates for each in people.read(reembedding.gallery_models)} == {3}
    assert all(finding.ok for finding in check_gallery(people))


def test_an_empty_gallery_has_nothing_to_embed(folder: Path) -> None:
    with Gallery.open(folder, create=True) as gallery, pytest.raises(GalleryError, match="empty"):
        gallery.write(reembedding.add_model, WIDE)
