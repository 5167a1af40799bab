"""An encrypted gallery shows nothing to whoever has no key."""

from __future__ import annotations

import random
import sqlite3
from typing import TYPE_CHECKING

import pytest

from facesearch.errors import ConfigError, CorruptGalleryError, FaceSearchError, GalleryError, GalleryLockedError
from facesearch.jobs.traces import scan_files
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery, create_gallery
from facesearch.store import erasure, subjects
from facesearch.store.backups import restore_backup, write_backup
from facesearch.store.keys import is_encrypted
from facesearch.store.opening import change_passphrase
from facesearch.store.sqlite import DATABASE_NAME
from tests.store.makers import MODEL, enroll, found_subject, make_gallery, sqlite_of, unit

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("sqlcipher3", reason="SQLCipher is not installed: pip install 'facesearch[encrypted]'")

KEY, OTHER = "correct horse", "battery staple \N{GRINNING FACE}'\""
NAME = "Anna Amsel the first"


@pytest.fixture
def locked(folder: Path) -> Path:
    """A folder with an encrypted gallery of one person."""
    create_gallery(folder, KEY, encrypted=True)
    with Gallery.open(folder, passphrase=KEY) as gallery:
        gallery.adopt(MODEL)
        enroll(gallery, NAME, 1, 2, 3)
    return folder


def traces_in(*folders: Path) -> int:
    vectors = [unit(seed).tobytes() for seed in (1, 2, 3)]
    texts = [NAME.encode(), b"photos/1.jpg", b"CREATE TABLE", b"SQLite"]
    return sum(sum(each.hits) for each in scan_files(folders, [vectors], [texts]))


def test_nothing_on_disk_is_plain_not_even_while_it_is_open(locked: Path) -> None:
    with Gallery.open(locked, passphrase=KEY) as gallery:
        assert gallery.is_encrypted
        enroll(gallery, "bob", 4)
        assert found_subject(gallery, 1) == NAME
        gallery.mirror.save()
        gallery.rebuild_index()
        assert gallery.rebuild_index() == 4
        assert {path.name for path in locked.iterdir()} >= {"gallery.db", "gallery.db-wal"}
        assert traces_in(locked) == 0
        assert all(finding.ok for finding in check_gallery(gallery) if finding.subject != "photos")
    assert not (locked / "index.cache").exists()
    assert traces_in(locked) == 0


def test_the_control_finds_everything_in_a_plain_gallery(folder: Path) -> None:
    with make_gallery(folder) as gallery:
        enroll(gallery, NAME, 1, 2, 3)
        assert traces_in(folder) > 6


@pytest.mark.parametrize("key", [None, "", OTHER, KEY + " ", KEY.upper()])
def test_without_the_key_it_stays_shut(locked: Path, key: str | None, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(GalleryLockedError) as caught:
        Gallery.open(locked, passphrase=key)
    assert caught.value.hint
    assert KEY not in str(caught.value)
    with pytest.raises(GalleryLockedError):
        change_passphrase(locked, key, "new")
    assert capfd.readouterr().err == ""
    with Gallery.open(locked, passphrase=KEY) as gallery:
        assert found_subject(gallery, 2) == NAME


def test_another_key_can_be_put_in_its_place(locked: Path) -> None:
    change_passphrase(locked, KEY, OTHER)
    with pytest.raises(GalleryLockedError):
        Gallery.open(locked, passphrase=KEY)
    with Gallery.open(locked, passphrase=OTHER) as gallery:
        assert found_subject(gallery, 3) == NAME
        assert sqlite_of(gallery).journal_mode == "WAL"
    assert traces_in(locked) == 0


def test_the_key_of_a_gallery_in_use_is_not_changed(locked: Path) -> None:
    with Gallery.open(locked, passphrase=KEY) as other:
        assert found_subject(other, 1) == NAME
        with pytest.raises(GalleryError, match="uses the gallery"):
            change_passphrase(locked, KEY, OTHER)
        assert found_subject(other, 1) == NAME


def test_a_plain_gallery_has_no_key(folder: Path) -> None:
    create_gallery(folder)
    for old in (KEY, None):
        with pytest.raises(FaceSearchError, match="not encrypted"):
            change_passphrase(folder, old, OTHER)
    with pytest.raises(GalleryError, match="already"):
        create_gallery(folder, KEY, encrypted=True)


def test_a_key_for_a_plain_gallery_is_refused_and_makes_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="would not be encrypted") as caught:
        Gallery.open(folder, create=True, passphrase=KEY)
    assert "facesearch init --encrypted" in (caught.value.hint or "")
    assert not folder.exists()
    with make_gallery(folder) as gallery:
        write_backup(gallery, tmp_path / "b")
    with pytest.raises(ConfigError, match="is not encrypted, but a key was given"):
        Gallery.open(folder, passphrase=KEY)
    with pytest.raises(ConfigError, match="The backup is not encrypted"):
        restore_backup(tmp_path / "b", tmp_path / "again", passphrase=KEY)
    assert not (tmp_path / "again" / DATABASE_NAME).exists()
    damaged = (folder / DATABASE_NAME).read_bytes()
    (folder / DATABASE_NAME).write_bytes(b"x" * 100 + damaged[100:])
    with pytest.raises(CorruptGalleryError):  # of a damaged file nobody knows whether it was encrypted
        Gallery.open(folder, passphrase=KEY)


def test_backups_stay_encrypted_and_erased_people_erased(locked: Path, tmp_path: Path) -> None:
    with Gallery.open(locked, passphrase=KEY) as gallery:
        enroll(gallery, "bob", 4)
        write_backup(gallery, tmp_path / "b")
        gallery.remove(erasure.erase_subjects, gallery.erasure_list, [NAME])
        assert gallery.database.checkpoint()
        write_backup(gallery, tmp_path / "c")
    assert traces_in(tmp_path) == 0
    change_passphrase(locked, KEY, OTHER)
    with pytest.raises(GalleryLockedError):
        restore_backup(tmp_path / "b", tmp_path / "again")
    with pytest.raises(GalleryLockedError):
        restore_backup(tmp_path / "b", tmp_path / "again", passphrase=OTHER)
    restore_backup(tmp_path / "c", tmp_path / "again", passphrase=KEY)
    assert restore_backup(tmp_path / "b", tmp_path / "again", passphrase=KEY, force=True).erased_again == 3
    with Gallery.open(tmp_path / "again", passphrase=KEY) as gallery:
        assert [subject.name for subject in gallery.read(subjects.list_subjects)] == ["bob"]
        assert found_subject(gallery, 4) == "bob"
    assert traces_in(tmp_path) == 0


def test_the_command_line_tool_of_sqlcipher_opens_it_with_the_passphrase(locked: Path) -> None:
    from sqlcipher3 import dbapi2

    connection = dbapi2.connect(str(locked / DATABASE_NAME))
    connection.execute(f"PRAGMA key = '{KEY}'")
    connection.execute("PRAGMA cipher_page_size = 16384")
    assert connection.execute("SELECT name FROM subjects").fetchall() == [(NAME,)]
    connection.close()


def test_a_plain_database_with_a_damaged_first_page_is_damaged_not_encrypted(folder: Path) -> None:
    with make_gallery(folder) as gallery:
        enroll(gallery, NAME, 1)
    path = folder / DATABASE_NAME
    data = path.read_bytes()
    for garbage in (b"no SQLite file here", bytes(4096), random.Random(1).randbytes(4096)):
        path.write_bytes(garbage + data[len(garbage) :])
        assert not is_encrypted(path)
        with pytest.raises(CorruptGalleryError):
            Gallery.open(folder)
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(path).execute("SELECT 1 FROM subjects")


def test_damage_of_an_encrypted_gallery_is_never_a_result(locked: Path) -> None:
    path = locked / DATABASE_NAME
    data = path.read_bytes()
    source = random.Random(5)
    for _ in range(40):
        damaged = bytearray(data)
        damaged[source.randrange(len(data))] ^= 1 << source.randrange(8)
        path.write_bytes(damaged)
        try:
            with Gallery.open(locked, passphrase=KEY) as gallery:
                sound = all(finding.ok for finding in check_gallery(gallery) if finding.subject != "photos")
                if sound:  # the flip is in a page that nothing is in
                    assert found_subject(gallery, 1) == NAME
        except FaceSearchError:
            continue
