from __future__ import annotations

import random
import shutil
import subprocess
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import pytest

from facesearch.errors import CorruptGalleryError, GalleryError
from facesearch.files import INDEX_CACHE_NAME
from facesearch.index.snapshot import (
    Snapshot,
    read_snapshot,
    remove_leftovers,
    write_snapshot,
)
from facesearch.search.check import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import people
from facesearch.store.revisions import read_revision
from tests.store.makers import MODEL, best, enroll, found_subject, make_gallery, unit, units

if TYPE_CHECKING:
    from pathlib import Path

ALWAYS = nullcontext(enter_result=True)


def snapshot_of(seed: int, count: int = 20, token: bytes = b"t" * 16) -> Snapshot:
    ids = np.arange(1, count + 1, dtype=np.int64) * 3
    return Snapshot(token, MODEL.model_id, ids, (ids * 77).astype(np.uint32), units(seed, count))


def same(a: Snapshot, b: Snapshot) -> bool:
    return (a.token, a.model_id) == (b.token, b.model_id) and all(
        np.array_equal(first, second)
        for first, second in ((a.ids, b.ids), (a.checksums, b.checksums), (a.vectors, b.vectors))
    )


@pytest.mark.parametrize("count", [0, 1, 20, 5000])
def test_a_snapshot_reads_back_as_it_was_written(tmp_path: Path, count: int) -> None:
    written = Snapshot(
        b"\x00" * 16, "id with ünicode", np.arange(count), np.zeros(count, np.uint32), np.ones((count, 3), np.float32)
    )
    assert read_snapshot(tmp_path) is None
    assert write_snapshot(tmp_path, written, ALWAYS)
    found = read_snapshot(tmp_path)
    assert found is not None
    assert same(found, written)
    assert found.vectors.flags.aligned
    assert [path.name for path in tmp_path.iterdir()] == [INDEX_CACHE_NAME]


def test_a_snapshot_that_is_no_longer_wanted_is_not_published(tmp_path: Path) -> None:
    write_snapshot(tmp_path, snapshot_of(1), ALWAYS)
    assert not write_snapshot(tmp_path, snapshot_of(2), nullcontext(enter_result=False))
    found = read_snapshot(tmp_path)
    assert found is not None
    assert same(found, snapshot_of(1))
    assert [path.name for path in tmp_path.iterdir()] == [INDEX_CACHE_NAME]


def mutate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """One kind of damage: flipped bit, zeroed block, cut end, added or removed piece, piece of another snapshot."""
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


def test_no_mutation_of_a_snapshot_is_believed(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201  # shown where the test fails
    rng = random.Random(seed)
    whole = (snapshot_of(1), snapshot_of(2, token=b"u" * 16))
    files = []
    for snapshot in whole:
        write_snapshot(tmp_path, snapshot, ALWAYS)
        files.append((tmp_path / INDEX_CACHE_NAME).read_bytes())
    refused = 0
    for _ in range(1000):
        damaged = mutate(files[0], files[1], rng)
        (tmp_path / INDEX_CACHE_NAME).write_bytes(damaged)
        try:
            found = read_snapshot(tmp_path)
        except CorruptGalleryError:
            refused += 1
            continue
        assert found is not None
        assert damaged in files
        assert any(same(found, snapshot) for snapshot in whole)
    assert refused > 900


def test_a_snapshot_of_any_kind_of_file_changes_no_result(folder: Path, tmp_path: Path) -> None:
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
        repaired = read_snapshot(folder)
        assert repaired is not None
        assert len(repaired.ids) == 3
    cache.unlink()
    cache.mkdir()
    with Gallery.open(folder) as gallery:
        assert found_subject(gallery, 3) == "bob"


def test_vectors_no_index_may_hold_are_not_taken_from_a_snapshot(folder: Path) -> None:
    with make_gallery(folder) as gallery:
        (template_id,) = enroll(gallery, "anna", 1)
        with gallery.database.read() as connection:
            token = read_revision(connection).token
    ids, checksums = np.array([template_id, template_id]), np.zeros(2, np.uint32)
    for vectors in (units(5, 2) * 100, np.full((2, 8), np.nan, np.float32), units(5, 2), units(5, 2, 4)):
        write_snapshot(folder, Snapshot(token, MODEL.model_id, ids, checksums, vectors), ALWAYS)
        with Gallery.open(folder) as gallery:
            assert found_subject(gallery, 1) == "anna"


def test_leftovers_go_unless_their_writer_lives(tmp_path: Path) -> None:
    dead, living = tmp_path / ".index-dead.tmp", tmp_path / ".index-living.tmp"
    for path in (dead, living):
        path.write_bytes(b"half a snapshot")
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


def test_opening_removes_leftovers(folder: Path) -> None:
    make_gallery(folder).close()
    (folder / ".index-dead.tmp").write_bytes(b"half a snapshot")
    Gallery.open(folder).close()
    assert not list(folder.glob("*.tmp"))


@pytest.mark.parametrize("what", ["vectors", "checksums", "ids"])
def test_equal_token_but_other_content_is_found_by_check(folder: Path, what: str) -> None:
    with make_gallery(folder) as gallery:
        enroll(gallery, "anna", 1, 2)
        gallery.search(unit(1)[None], 1)
    stored = read_snapshot(folder)
    assert stored is not None
    changed = {
        "ids": Snapshot(stored.token, stored.model_id, stored.ids + 1, stored.checksums, stored.vectors),
        "checksums": Snapshot(stored.token, stored.model_id, stored.ids, stored.checksums[::-1], stored.vectors),
        "vectors": Snapshot(stored.token, stored.model_id, stored.ids, stored.checksums, stored.vectors[::-1]),
    }
    write_snapshot(folder, changed[what], ALWAYS)
    with Gallery.open(folder) as gallery:
        faults = [finding for finding in check_gallery(gallery) if not finding.ok]
        assert [finding.subject for finding in faults] == ["index"]
        (fixed,) = [finding for finding in check_gallery(gallery, fix=True) if finding.fixed]
        assert fixed.ok
        assert all(finding.ok for finding in check_gallery(gallery))
        assert found_subject(gallery, 1) == "anna"


def back_up(folder: Path, to: Path) -> None:
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns(INDEX_CACHE_NAME))


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
    cache = (folder / INDEX_CACHE_NAME).read_bytes()
    restore(tmp_path / "backup", folder)
    with Gallery.open(folder) as gallery:
        assert found_subject(gallery, 2) is None
    (folder / INDEX_CACHE_NAME).write_bytes(cache)
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
    assert unit(2).tobytes() not in (folder / INDEX_CACHE_NAME).read_bytes()
    assert unit(1).tobytes() in (folder / INDEX_CACHE_NAME).read_bytes()


def test_a_writer_that_is_overtaken_by_a_removal_publishes_nothing(folder: Path) -> None:
    with make_gallery(folder) as one, Gallery.open(folder) as two:
        enroll(one, "anna", 1)
        assert found_subject(one, 1) == "anna"
        live = one.mirror._live
        assert live is not None
        two.remove(people.remove, "anna")  # after one has looked at the token, before it has written
        live.save(folder, one.mirror._held_at(live.token))
        assert not (folder / INDEX_CACHE_NAME).exists()


def test_a_cache_that_cannot_be_written_is_a_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_space(*_: object) -> bool:
        raise OSError(28, "No space left on device")

    with make_gallery(folder) as gallery:
        enroll(gallery, "anna", 1)
        found_subject(gallery, 1)
        monkeypatch.setattr("facesearch.search.live_index.write_snapshot", no_space)
        with pytest.raises(GalleryError, match="No space left"):
            gallery.rebuild_index()
    assert "was not written" in caplog.text
    with Gallery.open(folder) as gallery:
        assert found_subject(gallery, 1) == "anna"
