"""The two-stage index on disk: two files, of which the one is mapped and changed in place."""

from __future__ import annotations

import random
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import pytest

from facesearch.errors import CorruptGalleryError
from facesearch.files import INDEX_CACHE_NAME, INDEX_VECTORS_NAME
from facesearch.index import row_index
from facesearch.index.rowfiles import FIRST, is_row_cache, read_head, read_row_cache
from facesearch.search.check import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.search.mirror import IndexMirror
from facesearch.store import people, templates
from facesearch.store.revisions import read_revision
from facesearch.types import IndexKind
from tests.store.makers import DIMENSION, MODEL, enroll, found_subject, make_gallery, unit, units
from tests.store.test_snapshot import mutate

if TYPE_CHECKING:
    from pathlib import Path

PEOPLE = 12
ROW = 4 * DIMENSION


@pytest.fixture(autouse=True)
def _always_two_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facesearch.index.policy.TWO_STAGE_FROM", 0)


@pytest.fixture
def saved(folder: Path) -> Path:
    """A gallery of some people with its files written."""
    with make_gallery(folder) as gallery:
        for seed in range(PEOPLE):
            enroll(gallery, str(seed), seed)
        found_subject(gallery, 0)
    assert is_row_cache(folder)
    return folder


def in_files(folder: Path, seed: int) -> bool:
    return any(unit(seed).tobytes() in (folder / name).read_bytes() for name in (INDEX_CACHE_NAME, INDEX_VECTORS_NAME))


def everybody(gallery: Gallery) -> list[str | None]:
    return [found_subject(gallery, seed) for seed in range(PEOPLE)]


NAMES: list[str | None] = [str(seed) for seed in range(PEOPLE)]


def test_opening_reads_no_vector_from_the_database(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unwanted(*_: object) -> None:
        raise AssertionError("the database was read")

    monkeypatch.setattr(templates, "templates", unwanted)
    with Gallery.open(saved) as gallery:
        assert everybody(gallery) == NAMES
        assert gallery.describe_index().startswith("two-stage")


def test_additions_are_appended(saved: Path) -> None:
    before = (saved / INDEX_VECTORS_NAME).read_bytes()
    with Gallery.open(saved) as gallery:
        enroll(gallery, "new", 100, 101)
        assert found_subject(gallery, 100) == "new"
    after = (saved / INDEX_VECTORS_NAME).read_bytes()
    assert after.startswith(before)
    assert len(after) == len(before) + 2 * ROW
    assert {(saved / name).stat().st_mode & 0o777 for name in (INDEX_CACHE_NAME, INDEX_VECTORS_NAME)} == {0o600}
    with Gallery.open(saved) as gallery:
        assert everybody(gallery) == NAMES
        assert found_subject(gallery, 101) == "new"
        assert all(finding.ok for finding in check_gallery(gallery))


def test_a_removal_blanks_rows_before_it_returns_and_keeps_the_rest(saved: Path) -> None:
    head, size = read_head(saved), (saved / INDEX_VECTORS_NAME).stat().st_size
    cache = read_row_cache(saved)
    assert head is not None
    assert cache is not None
    with Gallery.open(saved) as gallery:
        gallery.remove(people.remove, "3")
        assert not in_files(saved, 3)
        now = read_row_cache(saved)
        assert now is not None
        assert (now.generation, len(now.ids)) == head[:2]
        assert (saved / INDEX_VECTORS_NAME).stat().st_size == size
        assert not np.array_equal(now.codes, cache.codes), "a code says a good deal about a vector"
    with Gallery.open(saved) as gallery:
        assert gallery.mirror._live is None
        assert everybody(gallery) == [None if name == "3" else name for name in NAMES]
        with gallery.database.read() as connection:
            assert now.token == read_revision(connection).token, "nothing is to be compared at the next opening"
        assert all(finding.ok for finding in check_gallery(gallery))


def test_a_removal_that_is_undone_loses_nobody(saved: Path) -> None:
    """The rows are blanked before the commit; if that fails, the database still has them."""
    with Gallery.open(saved) as reader:
        assert everybody(reader) == NAMES
        with Gallery.open(saved) as gallery:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("facesearch.search.mirror.IndexMirror._forget_in_cache", forget_and_fail)
                with pytest.raises(RuntimeError):
                    gallery.remove(people.remove, "3")
            assert not in_files(saved, 3)
            assert everybody(gallery) == NAMES
        assert everybody(reader) == NAMES, "its mapped rows have been blanked under it"
    with Gallery.open(saved) as gallery:
        assert everybody(gallery) == NAMES
        assert all(finding.ok for finding in check_gallery(gallery))


def test_a_removal_that_is_undone_beside_files_of_an_older_state_loses_nobody(saved: Path) -> None:
    """The files lack a template then that nothing since their state touched."""
    with Gallery.open(saved) as gallery:
        enroll(gallery, "new", 100)  # not in the files: nobody has searched
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("facesearch.search.mirror.IndexMirror._forget_in_cache", forget_and_fail)
            with pytest.raises(RuntimeError):
                gallery.remove(people.remove, "3")
    assert not in_files(saved, 3)
    with Gallery.open(saved) as gallery:
        assert everybody(gallery) == NAMES
        assert found_subject(gallery, 100) == "new"


def forget_and_fail(self: IndexMirror, ids: list[int], before: bytes, after: bytes) -> None:
    row_index.forget(self._folder, np.array(ids), before, after)
    raise RuntimeError


def test_a_reader_with_older_rows_follows_and_revives_nobody(saved: Path) -> None:
    with Gallery.open(saved) as reader:
        assert everybody(reader) == NAMES
        with Gallery.open(saved) as writer:
            writer.remove(people.remove, "3")
            enroll(writer, "new", 100)
            found_subject(writer, 100)
        assert found_subject(reader, 3) is None
        assert found_subject(reader, 100) == "new"
        enroll(reader, "newer", 101)
    assert not in_files(saved, 3)
    with Gallery.open(saved) as gallery:
        assert [found_subject(gallery, seed) for seed in (2, 3, 100, 101)] == ["2", None, "new", "newer"]
        assert all(finding.ok for finding in check_gallery(gallery))


def test_two_that_append_do_not_overwrite_each_other(saved: Path) -> None:
    with Gallery.open(saved) as one, Gallery.open(saved) as two:
        for number, gallery in enumerate((one, two)):
            enroll(gallery, f"new {number}", 100 + number)
            found_subject(gallery, 100)
        one.save_cache()
        two.save_cache()
    cache = read_row_cache(saved)
    assert cache is not None
    assert sorted(cache.ids.tolist()) == list(range(1, PEOPLE + 3))
    with Gallery.open(saved) as gallery:
        assert everybody(gallery) == NAMES
        assert [found_subject(gallery, seed) for seed in (100, 101)] == ["new 0", "new 1"]


def test_rows_that_a_dead_writer_appended_are_overwritten(saved: Path) -> None:
    with (saved / INDEX_VECTORS_NAME).open("ab") as file:
        file.write(unit(3).tobytes() * 5)
    with Gallery.open(saved) as gallery:
        gallery.remove(people.remove, "3")
    assert not in_files(saved, 3)
    with Gallery.open(saved) as gallery:
        assert everybody(gallery) == [None if name == "3" else name for name in NAMES]


def test_files_with_more_gaps_than_vectors_are_written_anew(saved: Path) -> None:
    with Gallery.open(saved) as gallery:
        for seed in range(PEOPLE - 3):
            gallery.remove(people.remove, str(seed))
        enroll(gallery, "new", 100)
        assert found_subject(gallery, 100) == "new"
    assert (saved / INDEX_VECTORS_NAME).stat().st_size == FIRST + 4 * ROW
    with Gallery.open(saved) as gallery:
        assert everybody(gallery) == [None] * (PEOPLE - 3) + NAMES[-3:]
        assert all(finding.ok for finding in check_gallery(gallery))


@pytest.mark.parametrize("count", [120, pytest.param(1000, marks=pytest.mark.soak)])
def test_no_damage_of_either_file_changes_a_result(saved: Path, count: int) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201  # shown where the test fails
    rng = random.Random(seed)
    files = {name: (saved / name).read_bytes() for name in (INDEX_CACHE_NAME, INDEX_VECTORS_NAME)}
    with Gallery.open(saved) as gallery:
        enroll(gallery, "another", 99)
        found_subject(gallery, 99)
        truth = gallery.search(units(5, 4), 5)
    newer = {name: (saved / name).read_bytes() for name in files}
    rebuilt = 0
    for number in range(count):
        name = (INDEX_CACHE_NAME, INDEX_VECTORS_NAME)[number % 2]
        for each, data in newer.items():
            (saved / each).write_bytes(data)
        mutated = mutate(newer[name], files[name], rng)
        (saved / name).write_bytes(mutated)
        with Gallery.open(saved) as gallery:
            assert gallery.search(units(5, 4), 5) == truth
        rebuilt += (saved / INDEX_VECTORS_NAME).read_bytes() != newer[INDEX_VECTORS_NAME]
    print(f"{count} damaged files: 0 wrong results, {rebuilt} rebuilt")  # noqa: T201
    assert rebuilt > count / 3


def test_a_damaged_vector_is_found_by_check_and_mended(saved: Path) -> None:
    data = bytearray((saved / INDEX_VECTORS_NAME).read_bytes())
    data[FIRST + 3 * ROW] ^= 1
    (saved / INDEX_VECTORS_NAME).write_bytes(data)
    with Gallery.open(saved) as gallery:
        assert [finding.subject for finding in check_gallery(gallery) if not finding.ok] == ["index"]
        assert [finding.fixed for finding in check_gallery(gallery, fix=True) if finding.subject == "index"] == [True]
        assert all(finding.ok for finding in check_gallery(gallery))
        assert everybody(gallery) == NAMES


def test_a_gallery_that_is_forced_to_another_kind_reads_what_there_is(saved: Path) -> None:
    with Gallery.open(saved, index=IndexKind.FLAT) as gallery:
        assert everybody(gallery) == NAMES
        enroll(gallery, "new", 100)
        assert found_subject(gallery, 100) == "new"
    assert not is_row_cache(saved)
    assert not (saved / INDEX_VECTORS_NAME).exists(), "what no cache refers to is not kept up to date"
    with Gallery.open(saved) as gallery:
        assert everybody(gallery) == NAMES
        enroll(gallery, "newer", 101)
        assert found_subject(gallery, 101) == "newer"
    assert is_row_cache(saved)


def test_files_of_two_generations_are_not_believed(saved: Path) -> None:
    old = (saved / INDEX_VECTORS_NAME).read_bytes()
    with Gallery.open(saved) as gallery:
        gallery.rebuild_index()
    (saved / INDEX_VECTORS_NAME).write_bytes(old)
    with pytest.raises(CorruptGalleryError, match="does not belong"):
        row_index.load(saved, MODEL.model_id, DIMENSION)
    with Gallery.open(saved) as gallery:
        assert everybody(gallery) == NAMES


def test_what_is_no_longer_wanted_is_not_published(saved: Path) -> None:
    before = [(saved / name).read_bytes() for name in (INDEX_CACHE_NAME, INDEX_VECTORS_NAME)]
    with Gallery.open(saved) as gallery:
        enroll(gallery, "new", 100)
        found_subject(gallery, 100)
        live = gallery.mirror._live
        assert live is not None
        assert live.save(saved, nullcontext(enter_result=False))
        assert [(saved / name).read_bytes() for name in (INDEX_CACHE_NAME, INDEX_VECTORS_NAME)] == before
        assert not list(saved.glob("*.tmp"))
