from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facesearch.errors import ConfigError, GalleryError, ModelMismatchError
from facesearch.fusion import least, most
from facesearch.index.flat import FlatIndex
from facesearch.search.gallery import Gallery
from facesearch.search.matching import Asked, search_subjects
from facesearch.store import people as stored_people
from facesearch.store import photos, subjects, templates
from facesearch.store.templates import Described
from facesearch.types import Fusion, IndexKind
from tests.store.makers import (
    DIMENSION,
    MODEL,
    OTHER_MODEL,
    ROOT,
    best,
    commit,
    enroll,
    found_subject,
    make_gallery,
    moved_photo,
    new_photo,
    photo_file,
    template,
    unit,
    units,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from facesearch.store.changes import NewPhoto
    from facesearch.store.location import Location
    from facesearch.types import Candidate, Ids, Vector, Vectors

pytestmark = pytest.mark.both_databases

# Few directions, many of them alike or equal: ties are the hard part.
DIRECTIONS = np.array([np.roll([1, 0, 0, 0, 0, 0, 0, 0], i) * sign for i in range(4) for sign in (1, -1)], np.float32)


def brute_force(
    stored: Sequence[tuple[int, str, Vector]], query: Vector, fusion: Fusion = Fusion.MEAN
) -> list[tuple[str, float, int]]:
    """(subject, score, template id), one per subject, best first, equal scores by template id."""
    found = []
    for person in {subject for _, subject, _ in stored}:
        own = [(-float(np.float32(vector @ query)), key) for key, subject, vector in stored if subject == person]
        best, key = min(own)
        mean = np.mean([vector for _, subject, vector in stored if subject == person], axis=0, dtype=np.float64)
        fused = (-best + float(mean @ query) / max(float(np.linalg.norm(mean)), 0.5)) / 2
        found.append((person, fused if fusion is Fusion.MEAN and len(own) > 1 else -best, key))
    return sorted(found, key=lambda row: (-row[1], row[2]))


def require_equal(candidates: Sequence[Candidate], expected: list[tuple[str, float, int]], count: int) -> None:
    """Sums of float32 round: who is within 1e-6 of another may stand on either side."""
    assert [each.score for each in candidates] == pytest.approx([row[1] for row in expected[:count]], abs=1e-6)
    scores = {(subject, key): score for subject, score, key in expected}
    for each in candidates:
        assert each.score == pytest.approx(scores[each.subject, each.template_id], abs=1e-6)


def as_tuples(candidates: Sequence[Candidate]) -> list[tuple[str, float, int]]:
    return [(each.subject, each.score, each.template_id) for each in candidates]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    people=st.lists(st.tuples(st.integers(0, 4), st.lists(st.integers(0, 7), min_size=1, max_size=12)), max_size=12),
    queries=st.lists(st.integers(0, 7), min_size=1, max_size=3),
    k=st.integers(1, 8),
    fusion=st.sampled_from(Fusion),
)
def test_search_equals_brute_force_on_ties(
    tmp_path_factory: pytest.TempPathFactory,
    people: list[tuple[int, list[int]]],
    queries: list[int],
    k: int,
    fusion: Fusion,
) -> None:
    stored: list[tuple[int, str, Vector]] = []
    with make_gallery(tmp_path_factory.mktemp("gallery"), fusion) as gallery:
        for number, (person, directions) in enumerate(people):
            vectors = [DIRECTIONS[each] for each in directions]
            (ids,) = commit(gallery, [new_photo(f"person {person}", f"{number}.jpg", vectors, content=number)])
            stored += [(key, f"person {person}", vector) for key, vector in zip(ids, vectors, strict=True)]
        results = gallery.search(DIRECTIONS[queries], k)
    assert len(results) == len(queries)
    for query, candidates in zip(queries, results, strict=True):
        expected = brute_force(stored, DIRECTIONS[query], fusion)
        require_equal(candidates, expected, max(k, 2))
        if fusion is Fusion.MAX:
            assert as_tuples(candidates) == expected[: max(k, 2)]


def test_search_equals_brute_force_on_random_vectors(gallery: Gallery) -> None:
    vectors = units(5, 600)
    stored = []
    for number in range(60):
        part = vectors[number * 10 : number * 10 + 10]
        (ids,) = commit(gallery, [new_photo(f"person {number % 7}", f"{number}.jpg", list(part), content=number)])
        stored += [(key, f"person {number % 7}", vector) for key, vector in zip(ids, part, strict=True)]
    for query, candidates in zip(units(6, 20), gallery.search(units(6, 20), 4), strict=True):
        require_equal(candidates, brute_force(stored, query), 4)


@pytest.mark.parametrize("index", ["flat", "two-stage"])
def test_nobody_is_lost_whose_mean_is_high_and_whose_best_template_is_not(tmp_path: Path, index: str) -> None:
    """Two templates on either side of the query: their mean is the query, and 300 others are closer than each."""
    query = np.eye(1, DIMENSION, dtype=np.float32)[0]
    side = np.eye(1, DIMENSION, 1, dtype=np.float32)[0]
    pair = [0.55 * query + sign * np.sqrt(1 - 0.55**2) * side for sign in (1, -1)]
    others = units(4, 300)
    others[:, 0] = 0
    others *= np.sqrt(1 - 0.7**2) / np.linalg.norm(others, axis=1, keepdims=True)
    others[:, 0] = 0.7
    with Gallery.open(tmp_path / "gallery", create=True, index=IndexKind(index)) as gallery:
        gallery.adopt(MODEL)
        crowd = [new_photo(f"person {each}", f"{each}.jpg", [others[each]], content=each) for each in range(300)]
        commit(gallery, crowd)
        commit(gallery, [new_photo("mean", "a.jpg", pair, content=1000)])
        (candidates,) = gallery.search(query[None], 1)
    assert candidates[0].subject == "mean"
    assert candidates[0].score == pytest.approx((0.55 + 1) / 2, abs=1e-5)
    assert (candidates[0].best_template_score, candidates[0].mean_score) == pytest.approx((0.55, 1), abs=1e-5)
    assert candidates[1].score == candidates[1].mean_score == candidates[1].best_template_score


def test_a_person_with_one_template_scores_the_same_with_every_fusion(tmp_path: Path) -> None:
    found = []
    for fusion in Fusion:
        with make_gallery(tmp_path / fusion, fusion) as gallery:
            for number in range(30):
                enroll(gallery, f"person {number}", number)
            found.append(gallery.search(units(6, 5), 4))
    assert found[0] == found[1]


def test_a_subject_with_a_thousand_templates_in_front_hides_nobody(gallery: Gallery) -> None:
    crowd = units(1, 1000) * 0.05 + unit(99)
    crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)
    commit(gallery, [new_photo("crowd", f"{i}.jpg", [crowd[i]], content=i) for i in range(1000)])
    enroll(gallery, "second", 2001)
    enroll(gallery, "third", 2002)
    (candidates,) = gallery.search(unit(99)[None], 3)
    assert candidates[0].subject == "crowd"
    assert {each.subject for each in candidates} == {"crowd", "second", "third"}
    (candidates,) = gallery.search(unit(99)[None], 1)
    assert len(candidates) == 2, "the runner-up is always known"


def test_few_subjects_and_none(gallery: Gallery, folder: Path) -> None:
    assert gallery.search(unit(1)[None], 5) == [()]
    assert gallery.search(np.empty((0, DIMENSION), np.float32), 5) == []
    enroll(gallery, "anna", 1)
    for k in (0, 1, 2, 10**9):
        (candidates,) = gallery.search(unit(1)[None], k)
        assert [each.subject for each in candidates] == ["anna"]
        assert candidates[0].photo == str(ROOT / "1.jpg")


def test_a_gallery_without_a_model_finds_nobody(place: Location) -> None:
    with Gallery.open(place, create=True) as gallery:
        assert gallery.search(units(1, 2), 5) == [(), ()]
        with pytest.raises(GalleryError, match="before a model was adopted"):
            enroll(gallery, "anna", 1)


def test_attributes_limit_the_search(gallery: Gallery) -> None:
    enroll(gallery, "anna", 1, attributes={"city": "Oslo", "team": "red"})
    enroll(gallery, "bob", 2, attributes={"city": "Oslo", "team": "blue"})
    enroll(gallery, "carl", 3)

    def who(where: dict[str, str]) -> list[str]:
        (candidates,) = gallery.search(unit(3)[None], 5, where)
        return sorted(each.subject for each in candidates)

    assert who({}) == ["anna", "bob", "carl"]
    assert who({"city": "Oslo"}) == ["anna", "bob"]
    assert who({"city": "Oslo", "team": "blue"}) == ["bob"]
    assert who({"city": "oslo"}) == who({"nothing": "x"}) == []
    gallery.write(stored_people.set_attributes, "carl", {"city": "Oslo"})
    gallery.write(stored_people.set_attributes, "anna", {"city": None})
    assert who({"city": "Oslo"}) == ["bob", "carl"]
    with pytest.raises(ConfigError):
        who({'a"b': "x"})


def bad_vectors() -> dict[str, Vectors]:
    def changed(value: float) -> Vectors:
        vectors = units(1, 3)
        vectors[1, 2] = value
        return vectors

    return {
        "nan": changed(np.nan),
        "inf": changed(np.inf),
        "minus inf": changed(-np.inf),
        "zero": np.zeros((1, DIMENSION), np.float32),
        "times 100": units(1, 3) * 100,
        "nearly": units(1, 3) * np.float32(1.002),
        "overflow": np.full((1, DIMENSION), 3e38, np.float32),
        "longer": units(1, 3, DIMENSION + 1),
        "shorter": units(1, 3, DIMENSION - 1),
        "no dimension": np.empty((1, 0), np.float32),
    }


@pytest.mark.parametrize("name", bad_vectors())
def test_vectors_that_would_falsify_results_are_refused_on_every_entry(gallery: Gallery, name: str) -> None:
    enroll(gallery, "anna", 1)
    bad = bad_vectors()[name]
    with pytest.raises(GalleryError):
        gallery.search(bad, 1)
    with pytest.raises(GalleryError):
        commit(gallery, [new_photo("bob", "b.jpg", list(bad))])
    assert [subject.name for subject in gallery.read(subjects.list_subjects)] == ["anna"]
    assert found_subject(gallery, 1) == "anna"


@pytest.mark.parametrize("shape", [(DIMENSION,), (1, 1, DIMENSION), ()])
def test_vectors_of_another_shape_are_refused(gallery: Gallery, shape: tuple[int, ...]) -> None:
    enroll(gallery, "anna", 1)
    with pytest.raises(GalleryError):
        gallery.search(np.ones(shape, np.float32), 1)


def test_templates_of_another_model_are_refused(gallery: Gallery) -> None:
    enroll(gallery, "anna", 1)
    other = photo_with(template(unit(1), OTHER_MODEL.model_id))
    with pytest.raises(ModelMismatchError):
        commit(gallery, [other])
    with pytest.raises(ModelMismatchError):
        gallery.adopt(OTHER_MODEL)
    with pytest.raises(ModelMismatchError):
        gallery.require_model(OTHER_MODEL)
    with pytest.raises(GalleryError, match="without a face"):
        commit(gallery, [photo_with()])
    assert gallery.model() == MODEL
    assert gallery.read(templates.counts)["photos"] == 1


def photo_with(*templates: object) -> NewPhoto:
    photo = new_photo("bob", "b.jpg", [])
    return type(photo)(photo.file, photo.subject, {}, 10, 10, templates)  # type: ignore[arg-type]  # anything


@pytest.mark.parametrize("how", ["subject", "photo", "replaced"])
def test_removal_is_final_everywhere(place: Location, how: str) -> None:
    with make_gallery(place) as gallery, Gallery.open(place) as other:
        enroll(gallery, "anna", 1)
        (gone,) = enroll(gallery, "bob", 2)
        assert found_subject(gallery, 2) == found_subject(other, 2) == "bob"
        gallery.mirror.save()
        stale = {name: (gallery.folder / name).read_bytes() for name in ("index.cache", "index.vectors")}
        match how:
            case "subject":
                assert gallery.remove(stored_people.remove, "bob") == (1, 1)
            case "photo":
                assert gallery.remove(stored_people.remove_photos, [ROOT / "2.jpg"]) == 1
            case _:
                commit(gallery, [new_photo("anna", "2.jpg", [unit(3)], content=3)])
        for each in (gallery, other):
            assert found_subject(each, 2) is None
            (candidates,) = each.search(unit(2)[None], 10)
            assert gone not in [candidate.template_id for candidate in candidates]
            assert [subject.name for subject in each.read(subjects.list_subjects)] == ["anna"]
    for cache in (None, stale):
        for name, data in (cache or {}).items():
            (gallery.folder / name).write_bytes(data)
        with Gallery.open(place) as reopened:
            assert found_subject(reopened, 2) is None
            assert found_subject(reopened, 1) == "anna"


def test_one_commit_may_name_a_path_twice(gallery: Gallery) -> None:
    found_subject(gallery, 1)  # the index is there and takes the effects over
    commit(gallery, [new_photo("anna", "1.jpg", [unit(1)]), new_photo("bob", "1.jpg", [unit(2)])])
    assert (found_subject(gallery, 1), found_subject(gallery, 2)) == (None, "bob")
    assert gallery.read(templates.counts)["templates"] == 1
    assert gallery.rebuild_index() == 1


def test_a_moved_photo_keeps_its_templates_and_changes_hands(gallery: Gallery) -> None:
    ids = enroll(gallery, "anna", 1)
    (kept,) = commit(gallery, [moved_photo(gallery, "1.jpg", "else/x.jpg", "bob")])
    assert list(kept) == ids
    assert found_subject(gallery, 1) == "bob"
    assert [subject.name for subject in gallery.read(subjects.list_subjects)] == ["bob"], (
        "nobody is left without a face"
    )
    assert gallery.read(photos.find_photos, [ROOT / "1.jpg"]) == {}


def test_a_photo_moved_onto_another_replaces_it(gallery: Gallery) -> None:
    enroll(gallery, "anna", 1, 2)
    found_subject(gallery, 1)
    commit(gallery, [moved_photo(gallery, "1.jpg", "2.jpg", "anna")])
    assert (found_subject(gallery, 1), found_subject(gallery, 2)) == ("anna", None)
    assert [str(each.photo) for each in gallery.read(photos.photos_of_subject, "anna")] == [str(ROOT / "2.jpg")]


def test_a_photo_that_was_removed_meanwhile_cannot_be_moved(gallery: Gallery) -> None:
    enroll(gallery, "anna", 1)
    move = moved_photo(gallery, "1.jpg", "x.jpg", "anna")
    gallery.remove(stored_people.remove_photos, [ROOT / "1.jpg"])
    with pytest.raises(GalleryError, match="by another process"):
        commit(gallery, [new_photo("bob", "2.jpg", [unit(2)]), move])
    assert gallery.read(subjects.list_subjects) == []


def test_a_time_far_in_the_future_is_kept_as_far_as_it_goes(gallery: Gallery) -> None:
    photo = new_photo("anna", "1.jpg", [unit(1)])
    late = photo_file("1.jpg", mtime_ns=2**70)
    commit(gallery, [type(photo)(late, "anna", {}, 1, 1, photo.templates)])
    assert gallery.read(photos.find_photos, [ROOT / "1.jpg"])[ROOT / "1.jpg"].file.mtime_ns == 2**63 - 1


def test_equal_vectors_get_equal_scores_wherever_they_lie() -> None:
    """FAISS sums in blocks: were the sums to depend on the place, ties would be decided by chance."""
    for dimension in (4, 128, 512):
        index = FlatIndex(dimension)
        index.add(np.arange(37, dtype=np.int64), np.repeat(units(1, 1, dimension), 37, axis=0))
        scores, _ = index.search(units(2, 1, dimension), 37)
        assert len(set(scores[0].tolist())) == 1


class LastFirst(FlatIndex):
    """Of equal scores, the newest come first: an index may choose."""

    def search(
        self, queries: Vectors, k: int, allowed: Ids | None = None, floor: float = -1
    ) -> tuple[NDArray[np.float32], Ids]:
        scores, ids = super().search(queries, len(self), allowed, floor)
        order = np.lexsort((-ids, -scores))[:, :k]
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)


def test_a_subject_that_ties_with_the_last_hit_is_not_settled() -> None:
    """Its place belongs to the lowest template id, which may not have been fetched yet."""
    index = LastFirst(DIMENSION)
    index.add(np.arange(1, 21, dtype=np.int64), np.repeat(units(1, 1), 20, axis=0))
    known = {each: Described(f"person {each}", f"{each}.jpg", each, each) for each in range(1, 21)}
    (candidates,) = search_subjects(index, units(1, 1), Asked(2), None, known, None)
    assert [each.template_id for each in candidates[:2]] == [1, 2]


def test_the_best_candidate_of_nobody_is_none(gallery: Gallery) -> None:
    assert best(gallery, unit(1)) is None


@pytest.mark.parametrize("fusion", Fusion)
def test_whose_templates_all_score_less_cannot_reach_a_score(fusion: Fusion) -> None:
    for score in (-0.5, 0.0, 0.3, 0.45, 1.0):
        assert most(least(score, fusion), fusion) == pytest.approx(score, abs=1e-9)


def test_a_search_with_a_floor_returns_everybody_above_it_and_no_fewer_subjects(gallery: Gallery) -> None:
    for number in range(100):
        enroll(gallery, f"person {number % 25}", number)
    every = gallery.search(units(500, 20), 25)
    for floor in (-0.5, 0.0, 0.4):
        for all_found, found in zip(every, gallery.search(units(500, 20), 5, floor=floor), strict=True):
            assert len(found) == 5
            expected = [each for each in all_found if each.score >= floor][:5]
            assert [each for each in found if each.score >= floor] == expected
