"""What an index in a folder looks at again after another process changed templates: as on a server, in another way."""

from __future__ import annotations

import random
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.search.mirror import IndexMirror
from facesearch.store import people, templates
from facesearch.store.database import read_revision, touched_since
from facesearch.store.models import renew_token
from facesearch.store.sqlite import DATABASE_NAME, OUTSIDE, SqliteDatabase, create_database_file
from facesearch.types import IndexKind
from tests.search.walking import Walk
from tests.store.makers import MODEL, enroll, found_subject, make_gallery, sqlite_of, unit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from facesearch.store.database import Database, Revision

MOST = 4096 + 1024
"""Changes that are ever kept."""


def many_others(database: Database, count: int) -> None:
    """Changes of others that leave nothing behind."""
    query = (
        "WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < ?) "
        "INSERT INTO revision (token, touched) SELECT randomblob(16), CAST(printf('%016x%016x', 1, 1) AS BLOB) "
        "FROM numbers"
    )
    with database.write() as connection:
        connection.exec_driver_sql(query, (count,))


# -- no more than needed


def test_what_others_change_is_found_without_a_comparison_of_everything(
    gallery: Gallery, second: Gallery, comparisons: list[int]
) -> None:
    enroll(gallery, "anna", 1, 2)
    assert found_subject(second, 1) == found_subject(gallery, 1) == "anna"
    comparisons.clear()
    for number in range(3, 13):
        writer, reader = (gallery, second) if number % 2 else (second, gallery)
        enroll(writer, str(number), number)
        assert found_subject(reader, number) == str(number)
    many_others(gallery.database, 3000)
    second.remove(people.remove, "anna")
    assert [found_subject(gallery, seed) for seed in (1, 2, 3)] == [None, None, "3"]
    assert comparisons == []


def test_what_was_committed_between_a_search_and_a_commit_is_all_that_is_fetched(
    gallery: Gallery, second: Gallery, comparisons: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    enroll(gallery, "anna", 1)
    assert found_subject(gallery, 1) == found_subject(second, 1) == "anna"
    comparisons.clear()
    others = enroll(second, "bob", 2)
    others += enroll(gallery, "carl", 3)
    fetched: list[int] = []
    read = templates.templates

    def noted(*arguments: object) -> object:
        ids = arguments[3]
        assert isinstance(ids, np.ndarray)
        fetched.extend(ids.tolist())
        return read(*arguments)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(templates, "templates", noted)
    assert (found_subject(gallery, 2), found_subject(gallery, 3)) == ("bob", "carl")
    assert (fetched, comparisons) == (others, [])


@pytest.mark.parametrize("kind", [IndexKind.FLAT, IndexKind.TWO_STAGE])
def test_a_cache_of_an_older_state_catches_up_by_what_was_touched(
    folder: Path, comparisons: list[int], kind: IndexKind
) -> None:
    with make_gallery(folder) as gallery:
        enroll(gallery, "anna", 1)
        enroll(gallery, "bob", 2)
    with Gallery.open(folder, index=kind) as gallery:
        assert found_subject(gallery, 1) == "anna"
    comparisons.clear()
    with Gallery.open(folder, index=kind) as gallery:
        enroll(gallery, "carl", 3)  # no search: the cache stays as it is
        gallery.change(lambda connection: connection.exec_driver_sql("DELETE FROM faces WHERE id = 1"))
    with Gallery.open(folder, index=kind) as gallery:
        assert [found_subject(gallery, seed) for seed in (1, 2, 3)] == [None, "bob", "carl"]
    assert comparisons == []


@pytest.mark.parametrize("passphrase", [None, "secret"])
def test_what_was_touched_outlasts_a_vacuum_in_plain_and_encrypted_galleries(
    folder: Path, comparisons: list[int], passphrase: str | None
) -> None:
    if passphrase:
        pytest.importorskip("sqlcipher3", reason="SQLCipher is not installed")
    opened = partial(Gallery.open, folder, passphrase=passphrase)
    with opened(create=True, encrypted=passphrase is not None) as gallery, opened() as second:
        gallery.adopt(MODEL)
        enroll(gallery, "anna", 1)
        assert found_subject(second, 1) == "anna"
        comparisons.clear()
        enroll(gallery, "bob", 2)
        outside = gallery.database.engine.execution_options(facesearch_begin=OUTSIDE)
        with outside.begin() as connection:
            connection.exec_driver_sql("VACUUM")
        gallery.remove(people.remove, "anna")
        assert [found_subject(second, seed) for seed in (1, 2)] == [None, "bob"]
        assert comparisons == []


def test_an_index_that_grows_by_what_others_enroll_becomes_of_the_kind_that_suits(
    gallery: Gallery, second: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facesearch.search.mirror.TWO_STAGE_FROM", 3)
    enroll(gallery, "anna", 1, 2)
    assert found_subject(second, 1) == "anna"
    assert index_kind(second) == IndexKind.FLAT
    enroll(gallery, "bob", 3)
    assert found_subject(second, 3) == "bob"
    assert index_kind(second) == IndexKind.TWO_STAGE


def index_kind(gallery: Gallery) -> IndexKind:
    assert gallery.mirror._live is not None
    return gallery.mirror._live.index.kind


def test_what_is_kept_is_bounded(gallery: Gallery) -> None:
    enroll(gallery, "anna", 1)
    most = 0
    for _ in range(12):
        many_others(gallery.database, 1000)
        with gallery.database.read() as connection:
            (count,) = connection.exec_driver_sql("SELECT count(*) FROM revision").one()
        most = max(most, count)
    assert 4096 <= most < MOST


# -- what is not known is compared


UNKNOWN = (
    "UPDATE revision SET token = randomblob(16)",
    "UPDATE revision SET touched = NULL",
    "UPDATE revision SET touched = CAST('00000000000000010000000000000003' AS BLOB)",
    "UPDATE revision SET touched = CAST('0000000000000001000000000000000x' AS BLOB)",
    "UPDATE revision SET touched = CAST('0000000000000001' AS BLOB)",
    "DELETE FROM revision WHERE id = (SELECT max(id) - 1 FROM revision)",
    "DELETE FROM revision WHERE id < (SELECT max(id) FROM revision)",
)


def test_what_is_not_known_or_is_damaged_is_found_by_a_comparison(
    gallery: Gallery, second: Gallery, comparisons: list[int]
) -> None:
    enroll(gallery, "first", 0)
    assert found_subject(second, 0) == "first"
    outside = sqlite_of(gallery).module.connect(str(gallery.folder / DATABASE_NAME), isolation_level=None)
    outside.execute("PRAGMA ignore_check_constraints=ON")
    for number, statement in enumerate(UNKNOWN, 1):
        comparisons.clear()
        enroll(gallery, "anna", *range(10 * number, 10 * number + 3))
        outside.execute(statement)
        enroll(gallery, "bob", 10 * number + 3)
        found = [found_subject(second, 10 * number + each) for each in range(4)]
        assert (found, comparisons) == (["anna", "anna", "anna", "bob"], [1]), statement
    outside.close()


@pytest.mark.parametrize("count", [MOST, pytest.param(2 * MOST, marks=pytest.mark.soak)])
def test_changes_that_are_kept_no_more_are_found_by_a_comparison(
    gallery: Gallery, second: Gallery, comparisons: list[int], count: int
) -> None:
    enroll(gallery, "anna", 1)
    assert found_subject(second, 1) == "anna"
    comparisons.clear()
    enroll(gallery, "bob", 2)
    many_others(gallery.database, count)
    assert [found_subject(second, seed) for seed in (1, 2)] == ["anna", "bob"]
    assert comparisons == [1]


def test_a_renewed_token_has_everything_compared_however_much_follows(
    gallery: Gallery, second: Gallery, comparisons: list[int]
) -> None:
    enroll(gallery, "anna", 1)
    assert found_subject(second, 1) == "anna"
    comparisons.clear()
    with gallery.database.write() as connection:
        before = read_revision(connection)
        renew_token(connection)
        assert touched_since(connection, before, read_revision(connection)) is None
    enroll(gallery, "bob", 2)
    assert [found_subject(second, seed) for seed in (1, 2)] == ["anna", "bob"]
    assert comparisons == [1]


@pytest.mark.parametrize("count", [3, pytest.param(100, marks=pytest.mark.soak)])
def test_no_flipped_bit_of_what_was_touched_hides_a_change(folder: Path, tmp_path: Path, count: int) -> None:
    with make_gallery(folder) as gallery:
        enroll(gallery, "anna", 1)
        with gallery.database.read() as connection:
            known = read_revision(connection)
        (new,) = enroll(gallery, "bob", 2)
    database = (folder / DATABASE_NAME).read_bytes()
    noted = f"{new:016x}".encode() * 2
    place = database.index(noted)
    choose = random.Random(count)
    for number in range(count):
        flipped = bytearray(database)
        flipped[place + choose.randrange(len(noted))] ^= 1 << choose.randrange(8)
        other = tmp_path / str(number)
        create_database_file(other).write_bytes(flipped)
        with Gallery.open(other) as gallery:
            with gallery.database.read() as connection:
                touched = touched_since(connection, known, read_revision(connection))
            assert touched is None or touched.tolist() == [new], "an upper-case digit says the same"
            assert "database" in {finding.subject for finding in check_gallery(gallery) if not finding.ok}


# -- enough


class FolderWalk(Walk):
    writers_at_once = 1
    others = (30, 1500, 3000)

    def many_others(self, count: int) -> None:
        many_others(self.database, count)

    def back_up(self) -> None:
        self.copy(self.database, self.kept())

    def restore(self) -> None:
        if (self.folder / DATABASE_NAME).exists():
            self.copy(self.kept(), self.database)

    def kept(self) -> SqliteDatabase:
        return SqliteDatabase(create_database_file(self.folder))

    @staticmethod
    def copy(source: Database, target: Database) -> None:
        assert isinstance(source, SqliteDatabase)
        assert isinstance(target, SqliteDatabase)
        target.copy_from(source)


SEEDS = [3, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(4, 60))]


@pytest.mark.parametrize("seed", SEEDS)
def test_an_index_that_caught_up_equals_the_database_whatever_came_between(
    gallery: Gallery, tmp_path: Path, seed: int
) -> None:
    FolderWalk(gallery, tmp_path, seed).walk(300)


def opened_for_enrolment(folder: Path) -> Gallery:
    """The gallery, for templates of `MODEL` also while it is empty."""
    gallery = Gallery.open(folder)
    gallery.adopt(MODEL)
    return gallery


class Pair:
    """Two processes of one gallery, which change it in turn, fail, save, close, and put an older database back."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.choose, self.fresh = folder, random.Random(seed), iter(range(100, 10_000))
        make_gallery(folder).close()
        self.both = [opened_for_enrolment(folder) for _ in range(2)]
        self.people: list[int] = []
        self.backup: tuple[bytes, list[int]] | None = None

    def step(self) -> None:
        steps = [self.enroll, self.enroll, self.remove, self.fail_to_remove, self.renew, self.reopen, self.reopen]
        self.choose.choice([*steps, self.put_back, self.save, self.look, self.look])()

    def one(self) -> Gallery:
        return self.choose.choice(self.both)

    def enroll(self) -> None:
        seeds = [next(self.fresh) for _ in range(self.choose.choice([1, 1, 4]))]
        for seed in seeds:
            enroll(self.one(), str(seed), seed)
        self.people += seeds

    def remove(self) -> None:
        if self.people:
            seed = self.people.pop(self.choose.randrange(len(self.people)))
            self.one().remove(people.remove, str(seed))
            for path in self.folder.glob("index.*"):
                assert unit(seed).tobytes() not in path.read_bytes()

    def fail_to_remove(self) -> None:
        """After the files were told."""
        if self.people:
            gallery = self.one()
            with pytest.MonkeyPatch.context() as patch, suppress(RuntimeError):
                patch.setattr(IndexMirror, "erase_on_disk", erase_and_fail)
                gallery.remove(people.remove, str(self.choose.choice(self.people)))

    def renew(self) -> None:
        with self.one().database.write() as connection:
            renew_token(connection)

    def save(self) -> None:
        self.one().mirror.save()

    def reopen(self) -> None:
        place = self.choose.randrange(2)
        self.both[place].close()
        self.both[place] = opened_for_enrolment(self.folder)

    def put_back(self) -> None:
        """A database of earlier, beside a cache of later."""
        self.close()
        path = self.folder / DATABASE_NAME
        if self.backup is not None and self.choose.random() < 0.5:
            data, self.people = self.backup[0], list(self.backup[1])
            path.write_bytes(data)
        else:
            self.backup = path.read_bytes(), list(self.people)
        self.both = [opened_for_enrolment(self.folder) for _ in range(2)]

    def look(self, gallery: Gallery | None = None) -> None:
        gallery = gallery or self.one()
        gallery.search(unit(1)[None], 1)
        ids, vectors = gallery.read(templates.all_templates)
        live = gallery.mirror._live
        if live is None:  # nobody is enrolled, nor was since it was opened
            assert not self.people
            return
        held, held_vectors = live.index.contents()
        assert ids.tolist() == live._ids.tolist() == sorted(held.tolist())
        assert vectors.tobytes() == held_vectors[np.argsort(held)].tobytes()
        assert len(ids) == len(self.people)

    def close(self) -> None:
        for gallery in self.both:
            gallery.close()


ERASE = IndexMirror.erase_on_disk


def erase_and_fail(mirror: IndexMirror, ids: Sequence[int], before: Revision, after: Revision) -> None:
    ERASE(mirror, ids, before, after)
    raise RuntimeError


@pytest.mark.parametrize(
    "first", [pytest.param(0, id="two-stage"), pytest.param(1000, id="flat", marks=pytest.mark.soak)]
)
@pytest.mark.parametrize("seed", SEEDS)
def test_two_processes_hold_what_the_database_holds_whatever_was_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int, first: int
) -> None:
    monkeypatch.setattr("facesearch.search.mirror.TWO_STAGE_FROM", first)
    pair = Pair(folder, seed)
    try:
        for _ in range(50):
            pair.step()
        for gallery in pair.both:
            pair.look(gallery)
    finally:
        pair.close()
    with Gallery.open(folder) as gallery:
        assert all(finding.ok for finding in check_gallery(gallery))
