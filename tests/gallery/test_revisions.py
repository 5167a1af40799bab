"""What an index looks at again after others changed templates: enough, whatever came between, and no more."""

from __future__ import annotations

import random
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import pytest

from facesearch.gallery import models, templates
from facesearch.gallery.changes import Effect
from facesearch.gallery.gallery import Gallery
from facesearch.gallery.live_index import LiveIndex
from facesearch.gallery.location import DatabaseUrl
from facesearch.gallery.revisions import Revision, read_revision
from facesearch.types import IndexKind
from tests.gallery.makers import DIMENSION, MODEL, OTHER_MODEL, enroll, found_subject, units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from facesearch.gallery.database import Database
    from facesearch.types import Vector


@pytest.fixture
def place(emptied_postgres: Callable[[Path], DatabaseUrl], folder: Path) -> DatabaseUrl:
    return emptied_postgres(folder)


@pytest.fixture
def second(place: DatabaseUrl, gallery: Gallery, tmp_path: Path) -> Iterator[Gallery]:
    """The same gallery from another machine: with an index cache of its own."""
    with Gallery.open(DatabaseUrl(place.url, tmp_path / "elsewhere")) as other:
        yield other


# -- no more than needed


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one where an index compares itself with the whole database."""
    found: list[int] = []
    read = templates.template_keys

    def counted(connection: Connection, model_row: int) -> object:
        found.append(1)
        return read(connection, model_row)

    monkeypatch.setattr(templates, "template_keys", counted)
    return found


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
    second.remove_subject("anna")
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
        connection.exec_driver_sql("UPDATE models SET active = 0")
        models.adopt_model(connection, OTHER_MODEL)
        connection.exec_driver_sql("DELETE FROM templates")
    live = gallery.own_index._live
    assert live is not None
    effect = Effect()
    effect.model_row, effect.added = live.model_row + 1, [(99, 1, units(5, 1)[0])]
    known = live.revision
    assert known is not None
    effect.take_over(live, known, Revision(known.changes | {bytes(16)}))
    assert (len(live.index), live.revision) == (1, known)


# -- enough


class Walk:
    """Writers in the middle of their transactions, and indexes that catch up at any moment."""

    def __init__(self, gallery: Gallery, face: int, seed: int) -> None:
        self.database, self.face, self.choose = gallery.database, face, random.Random(seed)
        with self.database.read() as connection:
            active = models.active_model(connection)
        assert active is not None
        self.model_row = active[0]
        self.indexes = [LiveIndex(MODEL.model_id, self.model_row, DIMENSION, IndexKind.FLAT) for _ in range(3)]
        self.writers: list[Writer] = []
        self.backup: tuple[list[tuple[object, ...]], list[tuple[object, ...]], int] | None = None
        self.vectors = iter(units(seed, 20_000, DIMENSION))
        self.claimed: set[int] = set()

    def step(self) -> None:
        steps = [self.begin, self.add, self.add, self.remove, self.change, self.commit, self.commit, self.undo]
        self.choose.choice([*steps, self.look, self.look, self.look, self.many_others, self.back_up, self.restore])()

    def begin(self) -> None:
        if len(self.writers) < 3:
            self.writers.append(Writer(self))

    def add(self) -> None:
        if self.writers:
            count = self.choose.choice([1, 2, 5] * 15 + [1100])
            self.choose.choice(self.writers).add([next(self.vectors) for _ in range(count)])

    def remove(self) -> None:
        if self.writers:
            writer = self.choose.choice(self.writers)
            ids = writer.free()
            writer.remove(self.choose.sample(ids, min(self.choose.choice([1, 3, len(ids)]), len(ids))))

    def change(self) -> None:
        """Nobody does that, but somebody could."""
        if self.writers:
            writer = self.choose.choice(self.writers)
            ids = writer.free()
            if ids:
                writer.change(self.choose.choice(ids), next(self.vectors))

    def commit(self) -> None:
        if self.writers:
            self.writers.pop(self.choose.randrange(len(self.writers))).commit(self.choose.choice(self.indexes))

    def undo(self) -> None:
        if self.writers and self.choose.random() < 0.3:
            self.writers.pop(self.choose.randrange(len(self.writers))).undo()

    def many_others(self) -> None:
        many_others(self.database, self.choose.choice([3, 30, 60]))

    def look(self) -> None:
        live = self.choose.choice(self.indexes)
        with self.database.read() as connection:
            live.refresh(connection)
            rows = connection.exec_driver_sql("SELECT id, crc, vector FROM templates ORDER BY id").all()
        ids, vectors = live.index.contents()
        order = np.argsort(ids)
        assert ids[order].tolist() == live._ids.tolist() == [row.id for row in rows]
        assert live._checksums.tolist() == [row.crc for row in rows]
        assert vectors[order].tobytes() == b"".join(row.vector for row in rows)

    def back_up(self) -> None:
        if self.choose.random() < 0.2:
            with self.database.read() as connection:
                rows = [tuple(row) for row in connection.exec_driver_sql("SELECT * FROM templates")]
                tokens = [tuple(row) for row in connection.exec_driver_sql("SELECT * FROM revision")]
                last = connection.exec_driver_sql("SELECT last_value FROM templates_id_seq").scalar_one()
            self.backup = rows, tokens, last

    def restore(self) -> None:
        """What `pg_restore` does: ids are handed out again afterwards."""
        if self.backup is None or self.writers:
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


class Writer:
    """One transaction, open over several steps, which keeps off the rows that others changed."""

    def __init__(self, walk: Walk) -> None:
        self.walk, self.effect = walk, Effect()
        self.stack = ExitStack()
        self.connection = self.stack.enter_context(walk.database.write())
        self.before = read_revision(self.connection)
        self.claimed: set[int] = set()

    def free(self) -> list[int]:
        """Templates that nobody else changes, and that this transaction sees as the database is now."""
        with self.walk.database.read() as connection:
            now = {row.id: row.crc for row in connection.exec_driver_sql("SELECT id, crc FROM templates")}
        seen = self.connection.exec_driver_sql("SELECT id, crc FROM templates ORDER BY id").all()
        taken = set().union(*(writer.claimed for writer in self.walk.writers))
        return [key for key, crc in seen if now.get(key) == crc and key not in taken]

    def add(self, vectors: list[Vector]) -> None:
        row, face = self.walk.model_row, self.walk.face
        sums = [templates.checksum(face, row, vector.tobytes()) for vector in vectors]
        values = [(face, row, DIMENSION, vector.tobytes(), crc) for vector, crc in zip(vectors, sums, strict=True)]
        marks = ", ".join(["(%s, %s, %s, %s, %s)"] * len(values))
        query = f"INSERT INTO templates (face_id, model_id, dimension, vector, crc) VALUES {marks} RETURNING id"
        ids = self.connection.exec_driver_sql(query, sum(values, ())).scalars().all()
        self.effect.added += zip(ids, sums, vectors, strict=True)

    def remove(self, ids: list[int]) -> None:
        self.claimed.update(ids)
        self.connection.exec_driver_sql("DELETE FROM templates WHERE id = ANY(%s)", (ids,))
        self.effect.removed += ids

    def change(self, key: int, vector: Vector) -> None:
        self.claimed.add(key)
        crc = templates.checksum(self.walk.face, self.walk.model_row, vector.tobytes())
        query = "UPDATE templates SET vector = %s, crc = %s WHERE id = %s"
        self.connection.exec_driver_sql(query, (vector.tobytes(), crc, key))
        self.effect.model_row = -1  # no transaction of a gallery does that: no index takes it over

    def commit(self, live: LiveIndex) -> None:
        after = read_revision(self.connection)
        self.stack.close()
        self.effect.take_over(live, self.before, after)

    def undo(self) -> None:
        with pytest.raises(KeyboardInterrupt), self.stack:
            raise KeyboardInterrupt


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 60))])
def test_an_index_that_caught_up_equals_the_database_whatever_came_between(gallery: Gallery, seed: int) -> None:
    enroll(gallery, "anna", 1)
    with gallery.database.read() as connection:
        face = connection.exec_driver_sql("SELECT id FROM faces").scalar_one()
    walk = Walk(gallery, face, seed)
    try:
        for _ in range(400):
            walk.step()
    finally:
        for writer in walk.writers:
            writer.undo()
    for _ in range(12):
        walk.look()
