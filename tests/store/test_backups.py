"""A backup is whole or refused, and brings back nobody who was erased."""

from __future__ import annotations

import hashlib
import random
import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from facesearch.errors import ConfigError, CorruptGalleryError, GalleryError
from facesearch.jobs.traces import scan_files
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import audit, erasure, models, people, subjects, undo
from facesearch.store import photos as stored_photos
from facesearch.store.backups import restore_backup, write_backup
from facesearch.store.erasure_list import ERASURE_LIST_NAME, ErasedEntries
from facesearch.store.keys import create_key
from facesearch.store.sqlite import DATABASE_NAME
from tests.store.makers import MODEL, ROOT, commit, enroll, found_subject, make_gallery, new_photo, unit

if TYPE_CHECKING:
    from pathlib import Path

    from facesearch.store.erasure import Erased

PEOPLE = [f"person number {number:03}" for number in range(30)]


def fill(gallery: Gallery) -> None:
    for number, name in enumerate(PEOPLE):
        photos = [new_photo(name, f"{name}/{at}.jpg", [unit(10 * number + at)]) for at in range(3)]
        commit(gallery, photos)


def faults(folder: Path) -> list[str]:
    with Gallery.open(folder) as gallery:
        return [each.detail for each in check_gallery(gallery) if not each.ok and each.subject != "photos"]


def test_a_backup_brings_everything_back(gallery: Gallery, tmp_path: Path) -> None:
    fill(gallery)
    gallery.write(models.put_calibration, {"threshold": 0.5}, MODEL)
    gallery.write(create_key, "door", ["read"])
    size = write_backup(gallery, tmp_path / "b")
    assert size == (tmp_path / "b").stat().st_size
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600
    enroll(gallery, "later", 999)
    restored = restore_backup(tmp_path / "b", tmp_path / "again")
    assert (restored.subjects, restored.templates, restored.erased_again) == (30, 90, 0)
    assert restored.keys == ("door",)
    assert faults(tmp_path / "again") == []
    with Gallery.open(tmp_path / "again") as again:
        assert found_subject(again, 11) == PEOPLE[1]
        assert found_subject(again, 999) is None
        assert again.read(models.calibration) == {"threshold": 0.5}
        assert [each.action for each in again.read(audit.events, last=2)] == ["backup", "restore"]
    assert {path.name for path in tmp_path.iterdir()} == {"b", "again", "gallery"}
    assert not [path for path in (tmp_path / "again").iterdir() if path.name.startswith(".")]


def test_a_backup_is_one_state_while_others_write(gallery: Gallery, folder: Path, tmp_path: Path) -> None:
    fill(gallery)
    stop = threading.Event()

    def write() -> None:
        with Gallery.open(folder) as other:
            number = 0
            while not stop.is_set():
                pair = [new_photo("pair", f"pair/{number}-{at}.jpg", [unit(5000 + number)]) for at in range(2)]
                commit(other, pair)
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            write_backup(gallery, tmp_path / f"b{number}")
    finally:
        stop.set()
        writer.join()
    for number in range(5):
        restored = restore_backup(tmp_path / f"b{number}", tmp_path / f"again{number}")
        assert (restored.templates - 90) % 2 == 0  # both of a pair, or neither


def test_erased_people_are_not_in_a_restored_backup(gallery: Gallery, folder: Path, tmp_path: Path) -> None:
    """Item 15: erase 20 people, scan every file and a restored backup."""
    fill(gallery)
    write_backup(gallery, tmp_path / "b")
    gallery.write(people.rename, PEOPLE[0], "somebody else")
    gallery.change(people.merge, PEOPLE[1], PEOPLE[2])
    gallery.remove(people.remove_photos, [next(iter(gallery.read(stored_photos.photos_of_subject, PEOPLE[3]))).photo])
    erased = gallery.remove(erasure.erase_subjects, gallery.erasure_list, ["somebody else", *PEOPLE[2:21]])
    assert gallery.database.checkpoint()
    with Gallery.open(folder) as reopened:
        reopened.search(unit(1)[None], 1)
    restored = restore_backup(tmp_path / "b", tmp_path / "again", force=True)
    assert restored.erased_again == 0  # another folder knows of no erasure
    shutil.rmtree(tmp_path / "again")
    (tmp_path / "again").mkdir()
    shutil.copy(folder / ERASURE_LIST_NAME, tmp_path / "again")
    restored = restore_backup(tmp_path / "b", tmp_path / "again")
    assert (restored.subjects, restored.templates) == (9, 27)
    traces = erased.traces
    texts = [[*traces.names, *(name.encode() for name in PEOPLE[:21])], traces.paths]
    hits = {each.path.name: each.hits for each in scan_files([folder, tmp_path / "again"], [traces.vectors], texts)}
    assert {DATABASE_NAME, ERASURE_LIST_NAME} <= set(hits)
    assert set(hits.values()) == {(0, 0, 0)}
    assert faults(tmp_path / "again") == []


def test_the_list_of_the_erased_goes_into_backups_and_out_of_them(gallery: Gallery, tmp_path: Path) -> None:
    fill(gallery)
    write_backup(gallery, tmp_path / "old")
    gallery.remove(erasure.erase_subjects, gallery.erasure_list, PEOPLE[:2])
    write_backup(gallery, tmp_path / "new")
    restore_backup(tmp_path / "new", tmp_path / "again")
    assert restore_backup(tmp_path / "old", tmp_path / "again", force=True).erased_again == 6
    with Gallery.open(tmp_path / "again") as again:
        assert len(again.read(subjects.list_subjects)) == 28


def test_whoever_is_enrolled_again_stays(gallery: Gallery, folder: Path, tmp_path: Path) -> None:
    enroll(gallery, "anna", 1)
    enroll(gallery, "bob", 2)
    gallery.remove(erasure.erase_subjects, gallery.erasure_list, ["bob"])
    enroll(gallery, "bob", 2)
    write_backup(gallery, tmp_path / "b")
    gallery.close()
    assert restore_backup(tmp_path / "b", folder, force=True).erased_again == 0


@pytest.mark.parametrize("cut", [0, 1, 7, 12, 100, 5000, -1, -32, -33])
def test_a_cut_backup_is_refused(gallery: Gallery, tmp_path: Path, cut: int) -> None:
    enroll(gallery, "anna", 1)
    write_backup(gallery, tmp_path / "b")
    data = (tmp_path / "b").read_bytes()
    (tmp_path / "b").write_bytes(data[:cut])
    with pytest.raises(CorruptGalleryError, match="cannot be restored"):
        restore_backup(tmp_path / "b", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_no_flipped_bit_is_restored(gallery: Gallery, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)  # noqa: T201
    source = random.Random(seed)
    enroll(gallery, "anna", 1)
    write_backup(gallery, tmp_path / "b")
    data = (tmp_path / "b").read_bytes()
    for _ in range(100):
        damaged = bytearray(data)
        damaged[source.randrange(len(data))] ^= 1 << source.randrange(8)
        (tmp_path / "b").write_bytes(damaged)
        with pytest.raises(CorruptGalleryError):
            restore_backup(tmp_path / "b", tmp_path / "again")


def test_a_damaged_gallery_is_neither_backed_up_nor_restored(gallery: Gallery, tmp_path: Path) -> None:
    enroll(gallery, "anna", 1)
    write_backup(gallery, tmp_path / "b")
    data = bytearray((tmp_path / "b").read_bytes()[:-32])
    at = data.index(unit(1).tobytes())
    data[at] ^= 1
    (tmp_path / "b").write_bytes(bytes(data) + hashlib.sha256(data).digest())
    with pytest.raises(CorruptGalleryError, match="damaged gallery"):
        restore_backup(tmp_path / "b", tmp_path / "again")
    with gallery.database.write() as connection:
        connection.exec_driver_sql("UPDATE templates SET crc = 1")
    with pytest.raises(CorruptGalleryError, match="not backed up"):
        write_backup(gallery, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_gallery_is_replaced_only_when_told_and_unused(gallery: Gallery, folder: Path, tmp_path: Path) -> None:
    enroll(gallery, "anna", 1)
    write_backup(gallery, tmp_path / "b")
    enroll(gallery, "bob", 2)
    with pytest.raises(GalleryError, match="already"):
        restore_backup(tmp_path / "b", folder)
    with pytest.raises(GalleryError, match="uses the gallery"):
        restore_backup(tmp_path / "b", folder, force=True)
    assert found_subject(gallery, 2) == "bob"
    gallery.close()
    restore_backup(tmp_path / "b", folder, force=True)
    with Gallery.open(folder) as restored:
        assert [subject.name for subject in restored.read(subjects.list_subjects)] == ["anna"]
        assert found_subject(restored, 2) is None
    (folder / DATABASE_NAME).write_bytes(b"no database at all")
    restore_backup(tmp_path / "b", folder, force=True)
    assert faults(folder) == []


def test_what_cannot_be_written_or_read_is_told(gallery: Gallery, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        write_backup(gallery, tmp_path / "no" / "b")
    with pytest.raises(ConfigError, match="There is no backup"):
        restore_backup(tmp_path / "b", tmp_path / "again")
    (tmp_path / "b").write_bytes(b"FSBACKUP" + bytes(10) + hashlib.sha256(b"FSBACKUP" + bytes(10)).digest())
    with pytest.raises(CorruptGalleryError):
        restore_backup(tmp_path / "b", tmp_path / "again")


def test_a_damaged_list_of_the_erased_stops_a_restore(gallery: Gallery, folder: Path, tmp_path: Path) -> None:
    enroll(gallery, "anna", 1)
    write_backup(gallery, tmp_path / "b")
    gallery.remove(erasure.erase_subjects, gallery.erasure_list, ["anna"])
    text = (folder / ERASURE_LIST_NAME).read_text()
    assert ErasedEntries.parse(text).format() == text
    (tmp_path / "again").mkdir()
    for damaged in (text.replace("0", "1"), text[:-3], "what?\n", text.split("\n", 1)[1]):
        (tmp_path / "again" / ERASURE_LIST_NAME).write_text(damaged)
        with pytest.raises(CorruptGalleryError, match="list of erased"):
            restore_backup(tmp_path / "b", tmp_path / "again")
        (folder / ERASURE_LIST_NAME).write_text(damaged)
        assert [each.subject for each in check_gallery(gallery) if not each.ok] == ["erased"]


def test_left_overs_of_a_killed_backup_are_removed(gallery: Gallery, folder: Path) -> None:
    dead = folder / ".facesearch-dead"
    dead.mkdir()
    (dead / "lock").write_bytes(b"")
    (dead / DATABASE_NAME).write_bytes(b"half")
    Gallery.open(folder).close()
    assert not dead.exists()


def test_a_backup_of_the_first_schema_is_upgraded(tmp_path: Path) -> None:
    from tests.store.test_schema import load_frozen

    with make_gallery(tmp_path / "new") as gallery:
        write_backup(gallery, tmp_path / "b")
    old = (load_frozen("0001", tmp_path / "old") / DATABASE_NAME).read_bytes()
    data = (tmp_path / "b").read_bytes()
    size = (tmp_path / "new" / DATABASE_NAME).stat().st_size
    head = data[: len(data) - 32 - size].replace(b'"database": %d' % size, b'"database": %d' % len(old))
    (tmp_path / "b").write_bytes(head + old + hashlib.sha256(head + old).digest())
    restored = restore_backup(tmp_path / "b", tmp_path / "again")
    assert (restored.subjects, restored.templates) == (2, 3)


@pytest.fixture
def journaled(gallery: Gallery) -> Gallery:
    """Anna, whom the journal could bring back in several ways, and Ben, whom it has to keep."""
    for seed in range(1, 7):
        commit(gallery, [new_photo("Annabella" if seed < 4 else "Ben", f"{seed}.jpg", [unit(seed)], content=seed)])
    commit(
        gallery,
        [
            new_photo("Zoe Zimmer", "7.jpg", [unit(7)], content=7),
            new_photo("Maximilian", "8.jpg", [unit(8)], content=8),
        ],
    )
    gallery.write(people.rename, "Annabella", "Anna Amsel")
    gallery.remove(people.remove_photos, [ROOT / "1.jpg", ROOT / "4.jpg"])
    gallery.change(people.merge, "Zoe Zimmer", "Anna Amsel")
    gallery.remove(people.remove, "Maximilian")
    return gallery


def erase_and_prove(gallery: Gallery, folder: Path) -> Erased:
    erased = gallery.remove(erasure.erase_subjects, gallery.erasure_list, ["Anna Amsel", "Maximilian"])
    gallery.database.checkpoint()
    assert traces_in(folder, erased) == 0
    return erased


def traces_in(folder: Path, erased: Erased) -> int:
    texts = [[b"Annabella", b"Anna Amsel", b"Zoe Zimmer", b"Maximilian"], erased.traces.paths]
    return sum(sum(each.hits) for each in scan_files([folder], [erased.traces.vectors], texts))


def require_only_ben(gallery: Gallery) -> None:
    assert [each.name for each in gallery.read(subjects.list_subjects)] == ["Ben"]
    assert all(found_subject(gallery, seed) is None for seed in (1, 2, 3, 7, 8))
    for entry in gallery.read(people.history):
        if entry.undoable:
            gallery.change(undo.undo, entry.entry_id)
    assert [each.name for each in gallery.read(subjects.list_subjects)] == ["Ben"]
    assert found_subject(gallery, 1) is None
    assert all(each.ok for each in check_gallery(gallery) if each.subject != "photos")


def test_the_journal_of_an_older_backup_brings_back_nobody(journaled: Gallery, folder: Path, tmp_path: Path) -> None:
    write_backup(journaled, tmp_path / "old")
    erased = erase_and_prove(journaled, folder)
    journaled.close()
    restore_backup(tmp_path / "old", folder, force=True)
    assert traces_in(folder, erased) == 0
    with Gallery.open(folder) as restored:
        require_only_ben(restored)


def test_check_finds_the_erased_in_the_journal_of_a_replaced_database(
    gallery: Gallery, folder: Path, tmp_path: Path
) -> None:
    enroll(gallery, "Maximilian", 8)
    enroll(gallery, "Ben", 5)
    gallery.remove(people.remove, "Maximilian")
    gallery.database.checkpoint()
    shutil.copy(folder / DATABASE_NAME, tmp_path / "copy")
    gallery.remove(erasure.erase_subjects, gallery.erasure_list, ["Maximilian"])
    gallery.close()
    shutil.copy(tmp_path / "copy", folder / DATABASE_NAME)
    with Gallery.open(folder) as replaced:
        (fault,) = [each.detail for each in check_gallery(replaced) if not each.ok and each.subject != "photos"]
        assert "1 people and 1 templates that were erased are back" in fault
        assert any(each.fixed for each in check_gallery(replaced, fix=True))
        require_only_ben(replaced)


def test_the_last_of_the_erased_who_comes_back_is_off_the_list_and_its_copy(gallery: Gallery, folder: Path) -> None:
    gallery.change(lambda connection: gallery.erasure_list.add(connection, ["name Anna"]))
    assert (folder / ERASURE_LIST_NAME).stat().st_size > 0
    gallery.change(lambda connection: gallery.erasure_list.lift(connection, ["name Anna"]))
    assert len(gallery.read(gallery.erasure_list.read)) == 0
    assert gallery.read(audit.events)[-1].detail == {"entries": 1}
