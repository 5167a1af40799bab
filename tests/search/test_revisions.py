"""What an index looks at again after others changed templates: enough, whatever came between, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from facesearch.search.gallery import Gallery
from facesearch.store import models, people, templates
from facesearch.store.changes import Effect
from facesearch.store.database import Revision
from facesearch.store.location import DatabaseUrl
from tests.search.walking import Walk
from tests.store.makers import OTHER_MODEL, enroll, found_subject, units

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from facesearch.store.database import Database


@pytest.fixture
def place(emptied_postgres: Callable[[Path], DatabaseUrl], folder: Path) -> DatabaseUrl:
    return emptied_postgres(folder)


# -- no more than needed


def test_what_others_change_is_found_without_a_comparison_of_everything(
    gallery: Gallery, second: Gallery, comparisons: list[int]
) -> None:
    enroll(gallery, "anna", 1, 2)
    assert found_subject(second, 1) == found_subject(gallery, 1) == "anna"
    comparisons.clear()
    many_others(gallery.database, 90)
    assert found_subject(second, 1) == found_subject(gallery, 1) == "anna"
    before = rows_of_revision(gallery)  # tests before this one left some
    for number in range(3, 23):  # past a sweep
        writer, reader = (gallery, second) if number % 2 else (second, gallery)
        enroll(writer, str(number), number)
        assert found_subject(reader, number) == str(number)
    assert rows_of_revision(gallery) < before + 20
    second.remove(people.remove, "anna")
    assert found_subject(gallery, 1) is None
    assert found_subject(gallery, 3) == "3"
    assert comparisons == []


def test_what_was_committed_between_a_search_and_a_commit_is_all_that_is_fetched(
    gallery: Gallery, second: Gallery, comparisons: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    enroll(gallery, "anna", 1)
    assert found_subject(gallery, 1) == found_subject(second, 1) == "anna"
    comparisons.clear()
    (theirs,) = enroll(second, "bob", 2)
    enroll(gallery, "carl", 3)
    fetched: list[int] = []
    read = templates.templates

    def noted(*arguments: object) -> object:
        ids = arguments[3]
        assert isinstance(ids, np.ndarray)
        fetched.extend(ids.tolist())
        return read(*arguments)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(templates, "templates", noted)
    assert (found_subject(gallery, 2), found_subject(gallery, 3)) == ("bob", "carl")
    assert (fetched, comparisons) == ([theirs], [])


def rows_of_revision(gallery: Gallery) -> int:
    with gallery.database.read() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM revision").scalar_one())


def many_others(database: Database, count: int) -> None:
    """Commits of others that leave nothing behind."""
    query = "INSERT INTO revision (token, touched) SELECT uuid_send(gen_random_uuid()), '' FROM generate_series(1, %s)"
    with database.write() as connection:
        connection.exec_driver_sql(query, (count,))


@pytest.mark.parametrize("statement", ["TRUNCATE templates", "UPDATE revision SET touched = NULL"])
def test_what_nobody_noted_is_found_by_a_comparison(gallery: Gallery, second: Gallery, statement: str) -> None:
    enroll(gallery, "anna", 1)
    assert found_subject(second, 1) == "anna"
    with gallery.database.write() as connection:
        connection.exec_driver_sql(statement)
    enroll(gallery, "bob", 2)
    assert found_subject(second, 1) == ("anna" if "UPDATE" in statement else None)
    assert found_subject(second, 2) == "bob"


def begin_anew(gallery: Gallery) -> None:
    """Of what came before, one change is left."""
    with gallery.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM revision")
    many_others(gallery.database, 1)


def test_changes_that_were_swept_up_before_an_index_saw_them_are_found(gallery: Gallery, second: Gallery) -> None:
    begin_anew(gallery)
    enroll(gallery, "anna", 1)
    assert found_subject(second, 1) == "anna"
    enroll(gallery, "bob", 2)
    many_others(gallery.database, 100)
    enroll(gallery, "carl", 3)  # sweeps
    assert [found_subject(second, seed) for seed in (1, 2, 3)] == ["anna", "bob", "carl"]


def test_a_writer_that_sweeps_up_what_its_index_has_not_seen_finds_that_too(gallery: Gallery, second: Gallery) -> None:
    begin_anew(gallery)
    enroll(gallery, "anna", 1)
    assert found_subject(gallery, 1) == "anna"
    enroll(second, "bob", 2)
    many_others(gallery.database, 100)
    enroll(gallery, "carl", 3)  # sweeps
    assert [found_subject(gallery, seed) for seed in (1, 2, 3)] == ["anna", "bob", "carl"]


def test_changes_that_a_restored_backup_takes_back_are_forgotten(gallery: Gallery, second: Gallery) -> None:
    begin_anew(gallery)
    enroll(gallery, "anna", 1)
    enroll(gallery, "bob", 2)
    assert found_subject(second, 2) == "bob"
    with gallery.database.write() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.exec_driver_sql("DELETE FROM templates WHERE id = (SELECT max(id) FROM templates)")
        connection.exec_driver_sql("DELETE FROM revision WHERE id = (SELECT max(id) FROM revision)")
    enroll(gallery, "carl", 3)
    assert [found_subject(second, seed) for seed in (1, 2, 3)] == ["anna", None, "carl"]


def test_an_index_of_another_model_takes_nothing_over(gallery: Gallery, second: Gallery) -> None:
    enroll(gallery, "anna", 1)
    assert found_subject(gallery, 1) == "anna"
    with second.database.write() as connection:
        models.make_active(connection, models.insert_model(connection, OTHER_MODEL))
        connection.exec_driver_sql("DELETE FROM templates")
    live = gallery.mirror._live
    assert live is not None
    effect = Effect()
    effect.model_row, effect.added = live.model_row + 1, [(99, 1, units(5, 1)[0])]
    known = live.revision
    assert known is not None
    live.follow(effect, known, Revision(known.changes | {bytes(16)}))
    assert (len(live.index), live.revision) == (1, known)


# -- enough


class ServerWalk(Walk):
    writers_at_once = 3
    others = (3, 30, 60)

    def many_others(self, count: int) -> None:
        many_others(self.database, count)

    def back_up(self) -> None:
        with self.database.read() as connection:
            rows = [tuple(row) for row in connection.exec_driver_sql("SELECT * FROM templates")]
            tokens = [tuple(row) for row in connection.exec_driver_sql("SELECT * FROM revision")]
            last = connection.exec_driver_sql("SELECT last_value FROM templates_id_seq").scalar_one()
        self.backup = rows, tokens, last

    def restore(self) -> None:
        """What `pg_restore` does."""
        if not hasattr(self, "backup"):
            return
        rows, tokens, last = self.backup
        with self.database.write() as connection:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            connection.exec_driver_sql("DELETE FROM templates")
            connection.exec_driver_sql("DELETE FROM revision")
            for table, values in (("templates", rows), ("revision", tokens)):
                if values:
                    marks = ", ".join(["%s"] * len(values[0]))
                    connection.exec_driver_sql(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE VALUES ({marks})", values)
            connection.exec_driver_sql("SELECT setval('templates_id_seq', %s)", (last,))


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 60))])
def test_an_index_that_caught_up_equals_the_database_whatever_came_between(
    gallery: Gallery, tmp_path: Path, seed: int
) -> None:
    ServerWalk(gallery, tmp_path, seed).walk(400)
