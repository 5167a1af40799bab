"""The index cache of a gallery: it changes no result, and holds nobody who was removed."""

from __future__ import annotations

import random
import shutil
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import pytest

from facesearch.errors import GalleryError
from facesearch.files import INDEX_CACHE_NAME, INDEX_VECTORS_NAME
from facesearch.index.base import make_index
from facesearch.index.cache_file import Cache, CacheFile, Stamp
from facesearch.index.vector_file import FIRST
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.search.mirror import IndexMirror
from facesearch.store import people, templates
from facesearch.store.database import read_revision
from facesearch.types import IndexKind
from tests.index.test_cache_file import mutate
from tests.store.makers import DIMENSION, MODEL, best, enroll, found_subject, make_gallery, unit, units

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from facesearch.store.database import Revision
    from facesearch.types import Ids, Vectors

PEOPLE = 12
ROW = 4 * DIMENSION
FILES = (INDEX_CACHE_NAME, INDEX_VECTORS_NAME)
ALWAYS = nullcontext(enter_result=True)


@pytest.fixture(params=[IndexKind.FLAT, IndexKind.TWO_STAGE])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> IndexKind:
    """The kind of index that `auto` takes."""
    monkeypatch.setattr("facesearch.search.mirror.TWO_STAGE_FROM", 0 if request.param == IndexKind.TWO_STAGE else 10**6)
    found: IndexKind = request.param
    return found


@pytest.fixture
def saved(folder: Path, kind: IndexKind) -> Path:
    """A gallery of some people with its files written."""
    with make_gallery(folder) as gallery:
        for seed in range(PEOPLE):
            enroll(gallery, str(seed), seed)
        found_subject(gallery, 0)
    assert cache_of(folder).kind == kind
    return folder


def cache_of(folder: Path) -> Cache:
    opened = CacheFile(folder).open()
    assert opened is not None
    return opened[0]


def in_files(folder: Path, seed: int) -> bool:
    return any(unit(seed).tobytes() in (folder / name).read_bytes() for name in FILES if (folder / name).exists())


def everybody(gallery: Gallery) -> list[str | None]:
    return [found_subject(gallery, seed) for seed in range(PEOPLE)]


NAMES: list[str | None] = [str(seed) for seed in range(PEOPLE)]


def test_opening_reads_no_vector_from_the_database(
    saved: Path, kind: IndexKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwanted(*_: object) -> None:
        raise AssertionError("the database was read")

    monkeypatch.setattr(templates, "templates", unwanted)
    with Gallery.open(saved) as gallery:
        assert everybody(gallery) == NAMES
        assert gallery.describe_index().startswith(kind)


def test_additions_and_removals_are_in_the_files_after_a_search(saved: Path) -> None:
    with Gallery.open(saved) as gallery:
        enroll(gallery, "new", 100, 101)
        assert found_subject(gallery, 100) == "new"
    assert {(saved / name).stat().st_mode & 0o777 for name in FILES} == {0o600}
    with Gallery.open(saved) as gallery:
        assert everybody(gallery) == NAMES
        assert found_subject(gallery, 101) == "new"
        assert all(finding.ok for finding in check_gallery(gallery))


def test_a_removal_blanks_rows_before_it_returns_and_keeps_the_rest(saved: Path) -> None:
    before, size = cache_of(saved), (saved / INDEX_VECTORS_NAME).stat().st_size
    with Gallery.open(saved) as gallery:
        gallery.remove(people.remove, "3")
        assert not in_files(saved, 3)
        now = cache_of(saved)
        assert (now.generation, len(now.ids)) == (before.generation, len(before.ids))
        assert (saved / INDEX_VECTORS_NAME).stat().st_size == size
    with Gallery.open(saved) as gallery:
        assert everybody(gallery) == [None if name == "3" else name for name in NAMES]
        with gallery.database.read() as connection:
            assert now.revision == read_revision(connection).token, "nothing is to be compared at the next opening"
        assert all(finding.ok for finding in check_gallery(gallery))


def test_a_removal_that_is_undone_loses_nobody(saved: Path) -> None:
    """The rows are blanked before the commit; if that fails, the database still has them."""
    with Gallery.open(saved) as reader:
        assert everybody(reader) == NAMES
        with Gallery.open(saved) as gallery:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(IndexMirror, "erase_on_disk", erase_and_fail)
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
            patch.setattr(IndexMirror, "erase_on_disk", erase_and_fail)
            with pytest.raises(RuntimeError):
                gallery.remove(people.remove, "3")
    assert not in_files(saved, 3)
    with Gallery.open(saved) as gallery:
        assert everybody(gallery) == NAMES
        assert found_subject(gallery, 100) == "new"


ERASE = IndexMirror.erase_on_disk


def erase_and_fail(mirror: IndexMirror, ids: Sequence[int], before: Revision, after: Revision) -> None:
    ERASE(mirror, ids, before, after)
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


def test_two_that_save_keep_what_both_know(saved: Path) -> None:
    with Gallery.open(saved) as one, Gallery.open(saved) as two:
        for number, gallery in enumerate((one, two)):
            enroll(gallery, f"new {number}", 100 + number)
            found_subject(gallery, 100)
        one.mirror.save()
        two.mirror.save()
    cache = cache_of(saved)
    assert cache.ids[cache.rows].tolist() == list(range(1, PEOPLE + 3))
    with Gallery.open(saved) as gallery:
        assert everybody(gallery) == NAMES
        assert [found_subject(gallery, seed) for seed in (100, 101)] == ["new 0", "new 1"]


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


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.soak)])
def test_no_damage_of_either_file_changes_a_result(saved: Path, count: int) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201  # shown where the test fails
    rng = random.Random(seed)
    files = {name: (saved / name).read_bytes() for name in FILES}
    with Gallery.open(saved) as gallery:
        enroll(gallery, "another", 99)
        found_subject(gallery, 99)
        truth = gallery.search(units(5, 4), 5)
    newer = {name: (saved / name).read_bytes() for name in files}
    rebuilt = 0
    for number in range(count):
        name = FILES[number % 2]
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


@pytest.mark.parametrize("forced", [IndexKind.FLAT, IndexKind.TWO_STAGE])
def test_a_gallery_that_is_forced_to_another_kind_reads_what_there_is(saved: Path, forced: IndexKind) -> None:
    with Gallery.open(saved, index=forced) as gallery:
        assert everybody(gallery) == NAMES
        enroll(gallery, "new", 100)
        assert found_subject(gallery, 100) == "new"
    assert cache_of(saved).kind == forced
    with Gallery.open(saved) as gallery:
        assert everybody(gallery) == NAMES
        enroll(gallery, "newer", 101)
        assert found_subject(gallery, 101) == "newer"
        gallery.remove(people.remove, "new")
    with Gallery.open(saved) as gallery:
        assert [found_subject(gallery, seed) for seed in (100, 101)] == [None, "newer"]
        assert all(finding.ok for finding in check_gallery(gallery))


def test_a_cache_of_any_content_changes_no_result(folder: Path, tmp_path: Path) -> None:
    """Damaged, of another gallery, of another model, a folder: the search is right, and the next close repairs it."""
    with make_gallery(tmp_path / "other") as other:
        enroll(other, "carl", 1, 2, 3)
        found_subject(other, 1)
    with make_gallery(folder) as gallery:
        enroll(gallery, "anna", 1, 2)
        enroll(gallery, "bob", 3)
        found_subject(gallery, 1)
    cache = folder / INDEX_CACHE_NAME
    good, foreign = cache.read_bytes(), (tmp_path / "other" / INDEX_CACHE_NAME).read_bytes()
    for bad in (foreign, good[:-1], good[:40], b"", b"\0" * 500, good.replace(b"model-a", b"model-z")):
        cache.write_bytes(bad)
        with Gallery.open(folder) as gallery:
            assert [found_subject(gallery, seed) for seed in (1, 2, 3)] == ["anna", "anna", "bob"]
        assert len(cache_of(folder).rows) == 3
    cache.unlink()
    cache.mkdir()
    with Gallery.open(folder) as gallery:
        assert found_subject(gallery, 3) == "bob"


@pytest.mark.parametrize("dimension", [DIMENSION, 4])
@pytest.mark.parametrize("scale", [1, 100, np.nan])
def test_vectors_no_index_may_hold_are_not_taken_from_the_files(folder: Path, dimension: int, scale: float) -> None:
    with make_gallery(folder) as gallery:
        (key,) = enroll(gallery, "anna", 1)
        with gallery.database.read() as connection:
            token = read_revision(connection).token
    write(folder, token, np.array([key, key]), np.zeros(2, np.uint32), np.float32(scale) * units(5, 2, dimension))
    with Gallery.open(folder) as gallery:
        assert found_subject(gallery, 1) == "anna"


def write(folder: Path, token: bytes, ids: Ids, checksums: NDArray[np.uint32], vectors: Vectors) -> None:
    index = make_index(IndexKind.FLAT, vectors.shape[1])
    index.add(ids, vectors)
    index.save(CacheFile(folder), Stamp(token, MODEL.model_id, checksums), ALWAYS)


def test_opening_removes_leftovers(folder: Path) -> None:
    make_gallery(folder).close()
    (folder / ".index-dead.tmp").write_bytes(b"half a cache")
    Gallery.open(folder).close()
    assert not list(folder.glob("*.tmp"))


@pytest.mark.parametrize("what", ["vectors", "checksums", "ids"])
def test_equal_token_but_other_content_is_found_by_check(folder: Path, what: str) -> None:
    with make_gallery(folder) as gallery:
        enroll(gallery, "anna", 1, 2)
        found_subject(gallery, 1)
    opened = CacheFile(folder).open()
    assert opened is not None
    cache, rows = opened
    ids, checksums, vectors = cache.ids, cache.checksums, rows.vectors
    match what:
        case "ids":
            ids = ids + 1
        case "checksums":
            checksums = checksums[::-1]
        case _:
            vectors = vectors[::-1]
    write(folder, cache.revision, ids, checksums, vectors)
    with Gallery.open(folder) as gallery:
        faults = [finding for finding in check_gallery(gallery) if not finding.ok]
        assert [finding.subject for finding in faults] == ["index"]
        (fixed,) = [finding for finding in check_gallery(gallery, fix=True) if finding.fixed]
        assert fixed.ok
        assert all(finding.ok for finding in check_gallery(gallery))
        assert found_subject(gallery, 1) == "anna"


def back_up(folder: Path, to: Path) -> None:
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns(*FILES))


def restore(backup: Path, folder: Path) -> None:
    """Put the backup's database beside whatever cache there is."""
    for path in backup.iterdir():
        shutil.copy(path, folder / path.name)


def test_a_restored_backup_does_not_believe_a_newer_cache(folder: Path, tmp_path: Path) -> None:
    """Ids are handed out again after a restore: the cache's template 2 and the database's are different people."""
    with make_gallery(folder) as gallery:
        enroll(gallery, "anna", 1)
    back_up(folder, tmp_path / "backup")
    with Gallery.open(folder) as gallery:
        newer = enroll(gallery, "bob", 2, 3)
        assert found_subject(gallery, 2) == "bob"
    cache = {name: (folder / name).read_bytes() for name in FILES}
    restore(tmp_path / "backup", folder)
    with Gallery.open(folder) as gallery:
        assert found_subject(gallery, 2) is None
    for name, data in cache.items():
        (folder / name).write_bytes(data)
    with Gallery.open(folder) as gallery:
        again = enroll(gallery, "carl", 4, 5)
        assert again == newer
        assert [found_subject(gallery, seed) for seed in (1, 2, 3, 4, 5)] == ["anna", None, None, "carl", "carl"]
        candidate = best(gallery, unit(4))
        assert candidate is not None
        assert candidate.template_id == again[0]


def test_a_process_with_an_older_index_does_not_put_removed_vectors_back_on_disk(folder: Path) -> None:
    with make_gallery(folder) as one, Gallery.open(folder) as two:
        enroll(one, "anna", 1)
        enroll(one, "bob", 2)
        assert found_subject(one, 2) == "bob"  # one's index is newer than any cache
        two.remove(people.remove, "bob")
        one.close()
    assert in_files(folder, 1)
    assert not in_files(folder, 2)


def test_a_writer_that_is_overtaken_by_a_removal_publishes_nothing(folder: Path) -> None:
    with make_gallery(folder) as one, Gallery.open(folder) as two:
        enroll(one, "anna", 1)
        assert found_subject(one, 1) == "anna"
        live = one.mirror._live
        assert live is not None
        two.remove(people.remove, "anna")  # after one has looked at the token, before it has written
        live.save(one.mirror.file, one.mirror._held_at(live.token))
        assert CacheFile(folder).open() is None


def test_a_cache_that_cannot_be_written_is_a_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_space(*_: object) -> bool:
        raise OSError(28, "No space left on device")

    with make_gallery(folder) as gallery:
        enroll(gallery, "anna", 1)
        found_subject(gallery, 1)
        monkeypatch.setattr(CacheFile, "create", no_space)
        with pytest.raises(GalleryError, match="No space left"):
            gallery.rebuild_index()
    assert "was not written" in caplog.text
    with Gallery.open(folder) as gallery:
        assert found_subject(gallery, 1) == "anna"
