"""Galleries whose vectors are in a vector database: the database stays the truth, whatever it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.engine import Connection

from facesearch.errors import ConfigError, GalleryError, GalleryUnavailableError, VectorDatabaseError
from facesearch.index.base import ExternalIndex
from facesearch.index.services import VectorDatabaseKind, VectorServer
from facesearch.jobs.erasure import forget_people
from facesearch.search import vector_databases as databases
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.search.moving import add_vector_database
from facesearch.search.vector_databases import (
    VectorDatabases,
    active_vector_database,
    change_vector_database,
    count_pending,
    vector_databases,
)
from facesearch.store import people as stored_people
from facesearch.store.models import active_model
from facesearch.types import Finding
from tests.search.vector_databases.conftest import Place
from tests.store.makers import DIMENSION, MODEL, best, enroll, found_subject, make_gallery, unit, units


def some_people(gallery: Gallery) -> None:
    for person in range(4):
        enroll(gallery, f"person {person}", *range(10 * person, 10 * person + 10))


def faults(gallery: Gallery) -> list[Finding]:
    return [finding for finding in check_gallery(gallery) if not finding.ok]


def waiting(gallery: Gallery) -> int:
    with gallery.database.read() as connection:
        engine = active_vector_database(connection)
        assert engine is not None
        return count_pending(connection, engine)


def test_a_change_is_acknowledged_once_it_is_committed_although_the_database_is_gone_after_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next change or search delivers what this one did not."""

    def gone(*_: object) -> None:
        raise GalleryUnavailableError("The database server does not answer.")

    def search_in_milvus(connection: Connection) -> None:
        change_vector_database(connection, add_vector_database(connection, VectorDatabaseKind.MILVUS), active=1)

    with make_gallery(tmp_path / "gallery") as gallery:
        gallery.write(search_in_milvus)
        with monkeypatch.context() as patch:
            patch.setattr(databases, "count_pending", gone)
            enroll(gallery, "Ada", 1)
        assert waiting(gallery) == 1


class Meddler:
    """Changes a vector database behind the gallery's back, as a restored backup of it would."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery

    def add(self, seed: int, *keys: int) -> None:
        self._with(lambda index: index.add(np.array(keys), np.repeat(unit(seed)[None], len(keys), axis=0)))

    def remove(self, key: int) -> None:
        self._with(lambda index: index.remove(np.array([key])))

    def _with(self, change: Callable[[ExternalIndex], object]) -> None:
        with self.gallery.database.write() as connection:
            engine, model = active_vector_database(connection), active_model(connection)
            assert engine is not None
            assert model is not None
            index: ExternalIndex = self.gallery.vector_databases.open(engine, connection, model[0], DIMENSION)
            change(index)


def test_own_writes_are_seen_and_whoever_went_is_not_while_it_lags(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place.make(some_people) as gallery, place.open() as other:
        monkeypatch.setattr(VectorDatabases, "catch_up", lambda *_, **__: None)
        monkeypatch.setattr(VectorDatabases, "follow", lambda *_: None)
        (key,) = enroll(gallery, "anna", 100)
        gallery.remove(stored_people.remove, "person 1")
        assert waiting(gallery) == 11
        for each in (gallery, other):
            assert found_subject(each, 100) == "anna"
            assert all(found_subject(each, seed) is None for seed in range(10, 20))
            assert found_subject(each, 25) == "person 2"
            assert each.search(unit(100)[None], 4)[0][0].template_id == key
        assert faults(gallery) == []
        monkeypatch.undo()
        gallery.vector_databases.catch_up()
        assert waiting(gallery) == 0
        assert found_subject(other, 100) == "anna"
        assert faults(other) == []


def test_scores_ties_and_filters_are_those_of_the_mirror(place: Place) -> None:
    vectors = units(7, 12)

    def people(gallery: Gallery) -> None:
        some_people(gallery)
        for number in range(12):  # every vector twice: ties
            enroll(gallery, f"twin {number % 3}", 1000 + number % 6 + 100 * number)
        gallery.write(stored_people.set_attributes, "person 3", {"team": "red"})
        gallery.write(stored_people.set_attributes, "twin 1", {"team": "red"})

    gallery = Gallery.open(place.location, create=True, servers=place.servers)
    with make_and_enroll(gallery, people):
        own = [gallery.search(vectors, k, where) for k in (1, 3, 50) for where in (None, {"team": "red"})]
        gallery.move_index(place.kind)
        assert gallery.describe_index().startswith(place.kind)
        theirs = [gallery.search(vectors, k, where) for k in (1, 3, 50) for where in (None, {"team": "red"})]
        for expected, found in zip(own, theirs, strict=True):
            for a, b in zip(expected, found, strict=True):
                assert [(each.subject, each.template_id) for each in a] == [
                    (each.subject, each.template_id) for each in b
                ]
                assert [each.score for each in a] == pytest.approx([each.score for each in b], abs=1e-6)


def make_and_enroll(gallery: Gallery, people: Callable[[Gallery], None]) -> Gallery:
    gallery.adopt(MODEL)
    people(gallery)
    return gallery


def test_a_vector_database_that_was_restored_names_nobody_whom_the_database_does_not_know(place: Place) -> None:
    with place.make(some_people) as gallery:
        meddler = Meddler(gallery)
        (gone,) = enroll(gallery, "gone", 200)
        gallery.vector_databases.catch_up()
        gallery.remove(stored_people.remove, "gone")
        gallery.vector_databases.catch_up()
        first = best(gallery, unit(0))
        assert first is not None
        if place.kind is VectorDatabaseKind.MILVUS:  # the codes in PostgreSQL cannot refer to templates that are gone
            meddler.add(200, gone, *range(5000, 5040))  # so many that they fill the first answer
        meddler.remove(first.template_id)
        meddler.add(300, 1 + first.template_id)
        assert found_subject(gallery, 200) is None
        assert found_subject(gallery, 300) is None
        assert [finding.subject for finding in faults(gallery)] == ["vector database"]
        (mended,) = [finding for finding in check_gallery(gallery, fix=True) if finding.subject == "vector database"]
        assert mended.fixed, mended.detail
        assert faults(gallery) == []
        assert found_subject(gallery, 0) == "person 0"
        assert found_subject(gallery, 1) == "person 0"


class Interrupted(Exception):  # noqa: N818  # no error: a test's own
    pass


def test_a_move_goes_on_where_it_was_interrupted_while_the_gallery_is_searched_and_changed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facesearch.search.moving.TOGETHER", 7)
    with Gallery.open(place.location, create=True, servers=place.servers) as gallery, place.open() as other:
        make_and_enroll(gallery, some_people)
        heard: list[tuple[int, int]] = []

        def change(done: int, total: int) -> None:
            heard.append((done, total))
            assert found_subject(other, 35) == "person 3"
            if len(heard) == 2:
                enroll(other, "new", 100)
                other.remove(stored_people.remove, "person 0")
                raise Interrupted

        with pytest.raises(Interrupted):
            gallery.move_index(place.kind, change)
        assert heard == [(7, 40), (14, 40)]
        assert found_subject(gallery, 0) is None
        assert found_subject(gallery, 100) == "new"
        assert faults(gallery) == []
        assert gallery.move_index(place.kind, change) == 31
        assert heard[2][0] <= 14 + 7, "it began anew"
        assert gallery.describe_index().startswith(place.kind)
        for each in (gallery, other):
            assert found_subject(each, 100) == "new"
            assert found_subject(each, 0) is None
            assert found_subject(each, 35) == "person 3"
        assert faults(other) == []
        assert other.move_index(None) == 31
        assert other.describe_index().startswith("flat")
        with gallery.database.read() as connection:
            assert vector_databases(connection) == []
        assert found_subject(gallery, 35) == "person 3"


def test_a_vector_database_that_is_down_is_an_error_and_enrolment_goes_on(place: Place) -> None:
    if place.kind is VectorDatabaseKind.PGVECTOR:
        pytest.skip("It is as much up as the records.")
    with place.make(some_people):
        pass
    with Gallery.open(place.location, servers={VectorDatabaseKind.MILVUS: VectorServer("http://127.0.0.1:9")}) as lost:
        with pytest.raises(VectorDatabaseError, match="Milvus"):
            lost.search(unit(1)[None], 3)
        found, complete = lost.search_or_local(unit(1)[None], 3)
        assert (found[0][0].subject, complete) == ("person 0", True)
        enroll(lost, "late", 100)
        lost.remove(stored_people.remove, "person 2")
        assert waiting(lost) == 11
        (fault,) = faults(lost)
        assert "Milvus" in fault.detail
    with Gallery.open(place.location) as unsaid, pytest.raises(ConfigError, match="in Milvus"):
        unsaid.search(unit(1)[None], 3)
    with place.open() as gallery:
        assert found_subject(gallery, 100) == "late"
        gallery.vector_databases.catch_up()
        assert waiting(gallery) == 0
        assert found_subject(gallery, 25) is None
        assert faults(gallery) == []


def test_what_is_searched_without_the_vector_database_may_not_be_everybody(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place.make(some_people) as gallery:
        monkeypatch.setattr("facesearch.search.exact.LOCAL", 10)
        monkeypatch.setattr(VectorDatabases, "open", unavailable)
        found, complete = gallery.search_or_local(np.array([unit(5), unit(35)]), 3)
        assert complete is False
        assert [each[0].subject for each in found] == ["person 3", "person 3"]


def unavailable(*_: object) -> None:
    raise VectorDatabaseError("It is down.", "Start it.")


def test_a_search_that_begins_in_a_vector_database_that_was_left_is_done_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place.make(some_people) as gallery, place.open() as other:
        assert found_subject(other, 5) == "person 0"

        def leave(*_: object) -> None:
            monkeypatch.undo()
            gallery.move_index(None)
            raise VectorDatabaseError("The collection is gone.")

        monkeypatch.setattr(VectorDatabases, "open", leave)
        assert found_subject(other, 5) == "person 0"


def test_vectors_go_only_where_they_may(tmp_path: Path) -> None:
    with make_gallery(tmp_path / "gallery") as gallery:
        with pytest.raises(GalleryError, match="this gallery is a folder"):
            gallery.move_index(VectorDatabaseKind.PGVECTOR)
        with pytest.raises(ConfigError, match="in Milvus"):
            gallery.move_index(VectorDatabaseKind.MILVUS)


def test_a_receipt_says_what_milvus_was_not_told(place: Place, tmp_path: Path) -> None:
    if place.kind is VectorDatabaseKind.PGVECTOR:
        pytest.skip("It is told in the transaction.")
    with place.make(some_people):
        pass
    with Gallery.open(place.location, servers={VectorDatabaseKind.MILVUS: VectorServer("http://127.0.0.1:9")}) as lost:
        receipt = forget_people(lost, tmp_path / "cache", ["person 0"])
    assert receipt["clean"] is False
    assert receipt["not_searched"][0].startswith("Milvus, which has not been told")
    with place.open() as gallery:
        receipt = forget_people(gallery, tmp_path / "cache", ["person 1"])
        assert faults(gallery) == []
    assert receipt["clean"] is True
    assert len(receipt["not_searched"]) == 1
