"""The files of an index: written whole or not at all, believed only where every byte that matters is as written."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import pytest

from facesearch.errors import CorruptGalleryError
from facesearch.files import INDEX_CACHE_NAME, INDEX_VECTORS_NAME
from facesearch.index import cache_file
from facesearch.index.base import make_index
from facesearch.index.cache_file import CacheFile, FilesReplacedError, Stamp, remove_leftovers
from facesearch.index.vector_file import FIRST
from facesearch.types import IndexKind
from tests.store.makers import unit, units

if TYPE_CHECKING:
    from pathlib import Path

    from facesearch.index.base import LocalIndex
    from facesearch.types import Ids, Vectors

ALWAYS, NEVER = nullcontext(enter_result=True), nullcontext(enter_result=False)
KINDS = [IndexKind.FLAT, IndexKind.TWO_STAGE]
FILES = (INDEX_CACHE_NAME, INDEX_VECTORS_NAME)
DIMENSION = 8
ROW = 4 * DIMENSION


def stamp(ids: Ids, revision: bytes = b"r" * 16) -> Stamp:
    return Stamp(revision, "id with ünicode", (77 * np.sort(ids)).astype(np.uint32))


def filled(kind: IndexKind, ids: Ids, vectors: Vectors) -> LocalIndex:
    index = make_index(kind, vectors.shape[1])
    index.add(ids, vectors)
    return index


def saved(folder: Path, kind: IndexKind, seed: int = 1, count: int = 20, revision: bytes = b"r" * 16) -> LocalIndex:
    ids = 3 * np.arange(1, count + 1)
    index = filled(kind, ids, units(seed, count, DIMENSION))
    assert index.save(CacheFile(folder), stamp(ids, revision), ALWAYS)
    return index


def loaded(folder: Path) -> LocalIndex:
    opened = CacheFile(folder).open()
    assert opened is not None
    index = make_index(opened[0].kind, DIMENSION)
    index.load(*opened)
    return index


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def in_files(folder: Path, vector: Vectors) -> bool:
    return any(vector.tobytes() in data for data in files(folder).values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 20, 3000])
def test_an_index_reads_back_as_it_was_written(tmp_path: Path, kind: IndexKind, count: int) -> None:
    file, ids, vectors = CacheFile(tmp_path), np.arange(count)[::-1].copy(), units(1, count, DIMENSION)
    assert file.open() is None
    assert filled(kind, ids, vectors).save(file, stamp(ids), ALWAYS)
    assert files(tmp_path).keys() == set(FILES)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    opened = file.open()
    assert opened is not None
    assert (opened[0].revision, opened[0].model_id) == (b"r" * 16, "id with ünicode")
    assert opened[0].checksums[opened[0].rows].tolist() == (77 * np.arange(count)).tolist()
    held, held_vectors = loaded(tmp_path).contents()
    order = np.argsort(held)
    assert held[order].tolist() == list(range(count))
    assert np.array_equal(held_vectors[order], vectors[::-1])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_longer_wanted_is_not_published(tmp_path: Path, kind: IndexKind) -> None:
    index = saved(tmp_path, kind)
    before = files(tmp_path)
    index.add(np.array([1]), units(2, 1, DIMENSION))
    assert not index.save(CacheFile(tmp_path), stamp(index.contents()[0], b"s" * 16), NEVER)
    assert files(tmp_path) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_writer_does_not_bring_back_what_was_erased(tmp_path: Path, kind: IndexKind) -> None:
    index, gone = saved(tmp_path, kind), units(1, 20, DIMENSION)[4]
    CacheFile(tmp_path).erase(np.array([15]), b"r" * 16, b"s" * 16)
    assert not index.save(CacheFile(tmp_path), stamp(3 * np.arange(1, 21), b"q" * 16), NEVER)
    assert not in_files(tmp_path, gone)


def mutate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """One kind of damage: flipped bit, zeroed block, cut end, added or removed piece, piece of another file."""
    a, b = sorted(rng.sample(range(len(data)), 2))
    match rng.randrange(7):
        case 0:
            return data[:a] + bytes([data[a] ^ (1 << rng.randrange(8))]) + data[a + 1 :]
        case 1:
            return data[:a] + b"\0" * (b - a) + data[b:]
        case 2:
            return data[:a]
        case 3:
            return data[:a] + rng.randbytes(rng.randint(1, 50)) + data[a:]
        case 4:
            return data[:a] + data[b:]
        case 5:
            return other[:a] + data[a:]
        case _:
            return data[:a] + other[a:b] + data[b:]


@pytest.mark.parametrize("kind", KINDS)
def test_no_mutation_of_either_file_is_believed(tmp_path: Path, kind: IndexKind) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201  # shown where the test fails
    rng = random.Random(seed)
    saved(tmp_path, kind, seed=2, revision=b"u" * 16)
    other = files(tmp_path)
    index = saved(tmp_path, kind)
    truth, whole = [array.tobytes() for array in index.contents()], files(tmp_path)
    refused = 0
    for number in range(600):
        name = FILES[number % 2]
        (tmp_path / name).write_bytes(mutate(whole[name], other[name], rng))
        try:
            found = loaded(tmp_path)
            assert [array.tobytes() for array in found.contents()] == truth
        except CorruptGalleryError:
            refused += 1
        (tmp_path / name).write_bytes(whole[name])
    assert refused > 300  # most of the vector file's first page means nothing


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_two_generations_are_not_believed(tmp_path: Path, kind: IndexKind) -> None:
    saved(tmp_path, kind)
    old = (tmp_path / INDEX_VECTORS_NAME).read_bytes()
    saved(tmp_path, kind)
    (tmp_path / INDEX_VECTORS_NAME).write_bytes(old)
    with pytest.raises(CorruptGalleryError, match="does not belong"):
        CacheFile(tmp_path).open()


def test_files_that_another_process_exchanges_while_they_are_opened_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, IndexKind.FLAT)
    read = CacheFile._read

    def exchanged(file: CacheFile) -> object:
        found = read(file)
        monkeypatch.undo()
        saved(tmp_path, IndexKind.FLAT, seed=2)
        return found

    monkeypatch.setattr(CacheFile, "_read", exchanged)
    assert np.array_equal(loaded(tmp_path).contents()[1], units(2, 20, DIMENSION))


@pytest.mark.parametrize("kind", KINDS)
def test_erasing_blanks_rows_and_codes_and_keeps_the_rest(tmp_path: Path, kind: IndexKind) -> None:
    saved(tmp_path, kind)
    vectors, before, size = units(1, 20, DIMENSION), CacheFile(tmp_path).open(), CacheFile(tmp_path).size()
    assert before is not None
    assert in_files(tmp_path, vectors[4])
    CacheFile(tmp_path).erase(np.array([15, 999]), b"r" * 16, b"s" * 16)
    assert not in_files(tmp_path, vectors[4])
    after = CacheFile(tmp_path).open()
    assert after is not None
    assert (after[0].revision, after[0].generation) == (b"s" * 16, before[0].generation)
    assert CacheFile(tmp_path).size() == size
    if kind is IndexKind.TWO_STAGE:
        assert not np.array_equal(after[0].codes, before[0].codes), "a code says a good deal about a vector"
        assert after[0].sketches[4] == 0
    ids, held = loaded(tmp_path).contents()
    assert ids.tolist() == [3 * each for each in range(1, 21) if each != 5]
    assert np.array_equal(held, np.delete(vectors, 4, axis=0))


def test_files_of_another_state_are_of_none_once_something_was_erased(tmp_path: Path) -> None:
    """Should the removal be undone, they lack a template that nothing since their revision touched."""
    saved(tmp_path, IndexKind.FLAT)
    CacheFile(tmp_path).erase(np.array([15]), b"x" * 16, b"y" * 16)
    opened = CacheFile(tmp_path).open()
    assert opened is not None
    assert opened[0].revision == b""


@pytest.mark.parametrize("broken", ["_write_proven", "change_vectors", "fsync_folder"])
@pytest.mark.parametrize("kind", KINDS)
def test_files_in_which_nothing_can_be_erased_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: IndexKind, broken: str
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    saved(tmp_path, kind)
    monkeypatch.setattr(cache_file, broken, no_space)
    CacheFile(tmp_path).erase(np.array([15]), b"r" * 16, b"s" * 16)
    assert files(tmp_path) == {}


def test_additions_are_appended_and_gaps_are_closed_when_there_are_many(tmp_path: Path) -> None:
    index = saved(tmp_path, IndexKind.TWO_STAGE)
    before = (tmp_path / INDEX_VECTORS_NAME).read_bytes()
    index.add(np.array([1, 2]), units(2, 2, DIMENSION))
    assert index.save(CacheFile(tmp_path), stamp(index.contents()[0], b"s" * 16), ALWAYS)
    after = (tmp_path / INDEX_VECTORS_NAME).read_bytes()
    assert after.startswith(before)
    assert len(after) == len(before) + 2 * ROW
    index.remove(3 * np.arange(1, 19))
    assert index.save(CacheFile(tmp_path), stamp(index.contents()[0], b"t" * 16), ALWAYS)
    assert (tmp_path / INDEX_VECTORS_NAME).stat().st_size == FIRST + 4 * ROW
    assert loaded(tmp_path).contents()[0].tolist() == [1, 2, 57, 60]


def test_rows_that_a_dead_writer_appended_are_overwritten(tmp_path: Path) -> None:
    saved(tmp_path, IndexKind.TWO_STAGE)
    with (tmp_path / INDEX_VECTORS_NAME).open("ab") as file:
        file.write(unit(3).tobytes() * 5)
    CacheFile(tmp_path).erase(np.array([15]), b"r" * 16, b"s" * 16)
    assert not in_files(tmp_path, unit(3))
    assert len(loaded(tmp_path)) == 19


def test_two_that_append_do_not_overwrite_each_other(tmp_path: Path) -> None:
    saved(tmp_path, IndexKind.TWO_STAGE)
    one, two = (loaded(tmp_path) for _ in range(2))
    for number, index in enumerate((one, two)):
        index.add(np.array([1 + number]), units(2 + number, 1, DIMENSION))
    assert one.save(CacheFile(tmp_path), stamp(one.contents()[0], b"s" * 16), ALWAYS)
    before = files(tmp_path)
    with pytest.raises(FilesReplacedError):
        two.save(CacheFile(tmp_path), stamp(two.contents()[0], b"t" * 16), ALWAYS)
    assert files(tmp_path) == before


def test_two_vectors_of_one_id_are_refused(tmp_path: Path) -> None:
    index, ids = make_index(IndexKind.FLAT, DIMENSION), np.array([5, 5])
    index.add(ids, units(1, 2, DIMENSION))
    index.save(CacheFile(tmp_path), stamp(ids), ALWAYS)
    with pytest.raises(CorruptGalleryError, match="two vectors of one id"):
        loaded(tmp_path)


def test_leftovers_go_unless_their_writer_lives(tmp_path: Path) -> None:
    dead, living = tmp_path / ".index-dead.tmp", tmp_path / ".index-living.tmp"
    for path in (dead, living):
        path.write_bytes(b"half a cache")
    hold = "import fcntl, sys; f = open(sys.argv[1], 'rb'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True)"
    writer = subprocess.Popen(
        [sys.executable, "-c", f"{hold}; sys.stdin.read()", str(living)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"held\n"
        remove_leftovers(tmp_path)
        assert not dead.exists()
        assert living.exists()
        writer.kill()
    remove_leftovers(tmp_path)
    assert not living.exists()
