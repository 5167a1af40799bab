"""Whoever is erased is gone from every file, and stays gone."""

from __future__ import annotations

import hashlib
import os
import struct
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa

from facesearch.errors import UnknownSubjectError
from facesearch.jobs.erasure import forget_people
from facesearch.jobs.traces import PIECE, scan_files
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import decisions, erasure, templates
from facesearch.store import photos as stored_photos
from facesearch.store.drivers import textless_pages
from facesearch.store.erasure_list import ERASURE_LIST_NAME
from facesearch.store.rows import checksum_of
from facesearch.store.schema import AuditRow
from facesearch.store.sqlite import DATABASE_NAME
from facesearch.store.templates import checksum
from facesearch.types import Reason
from tests.store.makers import (
    DIMENSION,
    ROOT,
    commit,
    enroll,
    found_subject,
    make_gallery,
    moved_photo,
    new_photo,
    refused_photo,
    sqlite_of,
    unit,
    units,
)

if TYPE_CHECKING:
    from pathlib import Path

    from facesearch.store.erasure import Erased

PEOPLE = [f"person number {number:03}" for number in range(60)]


def hits(folder: Path, erased: Erased) -> int:
    """How often anything of the erased is in any file."""
    traces = erased.traces
    scanned = scan_files([folder], [traces.vectors], [traces.names, traces.paths])
    return sum(sum(each.hits) for each in scanned)


def fill(gallery: Gallery) -> None:
    for number, name in enumerate(PEOPLE):
        paths = [f"{name}/{photo}.jpg" for photo in range(3)]
        commit(gallery, [new_photo(name, path, [unit(10 * number + at)]) for at, path in enumerate(paths)])
        commit(gallery, [refused_photo(f"{name}/blurred.jpg")])


def test_twenty_erased_people_are_in_no_file(gallery: Gallery, folder: Path) -> None:
    fill(gallery)
    gallery.search(unit(1)[None], 1)
    gallery.mirror.save()
    erased = gallery.remove(erasure.erase_subjects, gallery.erasure_list, PEOPLE[10:30])
    assert (erased.photos, erased.templates, erased.rejections) == (60, 60, 20)
    assert gallery.database.checkpoint()
    assert hits(folder, erased) == 0
    gallery.search(unit(1)[None], 1)
    gallery.mirror.save()
    assert hits(folder, erased) == 0
    assert found_subject(gallery, 95) is None
    assert found_subject(gallery, 305) is None
    assert found_subject(gallery, 301) == PEOPLE[30]
    assert all(finding.ok for finding in check_gallery(gallery) if finding.subject != "photos")


def test_the_scan_finds_what_a_removal_leaves_in_the_log(gallery: Gallery, folder: Path) -> None:
    """The control: without emptying the log, the test above would find everybody."""
    if sqlite_of(gallery).journal_mode != "WAL":
        pytest.skip("this SQLite's write-ahead log is not trusted, so there is none")
    fill(gallery)
    assert hits(folder, gallery.remove(erasure.erase_subjects, gallery.erasure_list, PEOPLE[:20])) > 20


def test_a_reader_that_keeps_the_log_is_told(gallery: Gallery, folder: Path) -> None:
    if sqlite_of(gallery).journal_mode != "WAL":
        pytest.skip("this SQLite's write-ahead log is not trusted, so there is none")
    fill(gallery)
    with Gallery.open(folder) as other, other.database.read() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM subjects")) == 60
        erased = gallery.remove(erasure.erase_subjects, gallery.erasure_list, PEOPLE[:1])
        assert not sqlite_of(gallery).checkpoint(wait_ms=50)
        assert hits(folder, erased) > 0
    assert gallery.database.checkpoint()
    assert hits(folder, erased) == 0


def test_nobody_is_erased_where_one_name_is_unknown(gallery: Gallery, folder: Path) -> None:
    enroll(gallery, "anna", 1)
    with pytest.raises(UnknownSubjectError):
        gallery.remove(erasure.erase_subjects, gallery.erasure_list, ["anna", "bob"])
    assert found_subject(gallery, 1) == "anna"
    assert not (folder / ERASURE_LIST_NAME).exists()


def test_photos_of_others_stay_without_the_picture_of_the_face(gallery: Gallery, folder: Path) -> None:
    together = new_photo("anna", "both.jpg", [unit(1)])
    commit(gallery, [together, new_photo("bob", "bob.jpg", [unit(2)])])
    photo = gallery.read(stored_photos.photos_of_subject, "anna")[0]
    with gallery.database.write() as connection:  # bob's second face is in anna's photo
        connection.exec_driver_sql("UPDATE faces SET photo_id = ?, crc = crc WHERE subject_id = 2", (photo.photo_id,))
    crop = os.urandom(9000)
    gallery.write(stored_photos.keep_crop, photo.photo_id, crop)
    erased = gallery.remove(erasure.erase_subjects, gallery.erasure_list, ["anna"])
    gallery.database.checkpoint()
    assert (erased.photos, erased.photos_of_others) == (0, 1)
    assert erased.traces.paths == ()
    assert list(map(len, erased.traces.crops)) == [8300]
    (found,) = {sum(each.hits) for each in scan_files([folder], [erased.traces.crops], [])}
    assert found == 0
    assert gallery.read(stored_photos.find_crop, photo.photo_id) is None


@pytest.mark.needs("unicode_names")
def test_refusals_that_name_the_erased_go_in_both_unicode_forms(gallery: Gallery) -> None:
    enroll(gallery, "Zo\u00eb", 1)
    commit(
        gallery,
        [
            refused_photo("Zo\u00eb/1.jpg"),
            refused_photo("Zoe\u0308/2.jpg"),
            refused_photo("bob/3.jpg", Reason.IDENTITY_CONFLICT, "It matches Zo\u00eb."),
            refused_photo("bob/4.jpg"),
        ],
    )
    assert gallery.remove(erasure.erase_subjects, gallery.erasure_list, ["Zo\u00eb"]).rejections == 3
    assert list(gallery.read(decisions.find_rejections, [ROOT / "bob/4.jpg"])) == [ROOT / "bob/4.jpg"]


def test_the_audit_and_the_list_of_erased_people_hold_no_name_and_no_vector(gallery: Gallery, folder: Path) -> None:
    enroll(gallery, "anna amsel", 1, 2)
    gallery.remove(erasure.erase_subjects, gallery.erasure_list, ["anna amsel"])
    with gallery.database.read() as connection:
        action, detail = connection.execute(
            sa.select(AuditRow.action, AuditRow.detail).order_by(AuditRow.id.desc())
        ).first() or ("", {})
    assert (action, detail) == (
        "people.forget",
        {"subjects": 1, "photos": 2, "templates": 2, "refused_photos": 0},
    )
    text = (folder / ERASURE_LIST_NAME).read_text()
    # The salt; the row and name of the person; each template by row and vector; each photo by content, removed or not.
    assert len(text.splitlines()) == 1 + 2 + 2 * 2 + 2 * 2
    assert "anna" not in text
    assert (folder / ERASURE_LIST_NAME).stat().st_mode & 0o777 == 0o600


def test_a_moved_photo_is_still_known_to_be_erased(gallery: Gallery) -> None:
    enroll(gallery, "anna", 1)
    commit(gallery, [moved_photo(gallery, "1.jpg", "elsewhere/1.jpg", "anna")])
    erased = gallery.remove(erasure.erase_subjects, gallery.erasure_list, ["anna"])
    assert erased.traces.paths == (os.fsencode(ROOT / "elsewhere/1.jpg"),)


@pytest.mark.parametrize("offset", [0, 1, PIECE - 300, PIECE - 256, PIECE - 1, PIECE, 2 * PIECE + 77])
def test_the_scan_finds_bytes_wherever_they_lie(tmp_path: Path, offset: int) -> None:
    needle = unit(5, 64).tobytes()
    data = bytearray(2 * PIECE + 1000)
    data[offset : offset + 256] = needle
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(data)
    others = [vector.tobytes() for vector in units(9, 500, 64)]
    (found,) = scan_files([tmp_path], [[*others, needle]], [[b"another"]])
    assert found.hits == (1, 0)


@pytest.mark.parametrize("length", [263, 400])
@pytest.mark.parametrize("offset", [0, 77, PIECE - 100])
def test_the_scan_finds_a_piece_of_a_vector(tmp_path: Path, offset: int, length: int) -> None:
    vector = units(4, 1, 512)[0].tobytes()
    data = bytearray(os.urandom(2 * PIECE))
    data[offset : offset + length] = vector[900 : 900 + length]
    (tmp_path / "file").write_bytes(data)
    (found,) = scan_files([tmp_path], [[vector]], [])
    assert found.hits == (1,)


def test_many_texts_are_found_as_few_are(tmp_path: Path) -> None:
    paths = [f"/photos/{number // 3}/{number}.jpg".encode() for number in range(90)]
    names = [f"person {number}".encode() for number in range(90)]
    (tmp_path / "file").write_bytes(b"\0".join([*paths[:6], b"/photos/0/9.jpg", *names[20:25]]))
    for texts, count in ((paths[:6], 6), (paths, 6), (names[20:22], 2), (names[20:], 5)):
        (found,) = scan_files([tmp_path], [], [texts])
        assert found.hits == (count,)


def test_pages_that_are_not_searched_for_text_hold_none(gallery: Gallery, folder: Path) -> None:
    """The receipt rests on it, so every name and path is looked for where the scan of an erasure does not look."""
    fill(gallery)
    gallery.remove(erasure.erase_subjects, gallery.erasure_list, PEOPLE[10:30])
    fill(gallery)  # into pages that were freed
    gallery.database.checkpoint()
    names, paths = [name.encode() for name in PEOPLE], list(map(os.fsencode, gallery.read(stored_photos.photo_paths)))
    with gallery.database.read() as connection:
        textless = textless_pages(connection, folder / DATABASE_NAME)
    data = (folder / DATABASE_NAME).read_bytes()
    pages = [data[at : at + textless.size] for at in range(0, len(data), textless.size)]
    assert len(pages) == len(textless.mask)
    assert 3 < np.count_nonzero(textless.mask) < len(pages) - 10
    unsearched = b"".join(page for page, known in zip(pages, textless.mask, strict=True) if known)
    assert not [text for text in (*names, *paths) if text in unsearched]
    assert all(text in data for text in (*names[:10], *paths))
    vectors = gallery.read(templates.all_templates)[1]
    assert all(vector.tobytes() in unsearched for vector in vectors)


def test_a_vector_that_another_has_from_another_file_is_no_trace(gallery: Gallery, folder: Path) -> None:
    """The same pixels in two files: the vectors are equal, and only the scan of an erasure meets the other."""
    commit(gallery, [new_photo("anna", "a.jpg", [unit(1)], content=1), new_photo("bob", "b.jpg", [unit(1)], content=2)])
    receipt = forget_people(gallery, folder.parent / "cache", ["anna"])
    assert receipt["clean"]
    assert "Vectors that equal another person's: 1" in receipt["explained"]
    assert found_subject(gallery, 1) == "bob"


def test_a_copy_that_sqlite_left_in_a_gap_of_a_page_goes(folder: Path, tmp_path: Path) -> None:
    path = os.fsencode(ROOT / "anna" / "1.jpg")
    with make_gallery(folder) as gallery:
        fill(gallery)
        commit(gallery, [new_photo("anna", "anna/1.jpg", [unit(1000)])])
    data = bytearray((folder / DATABASE_NAME).read_bytes())
    gap = data.rindex(bytes(2000)) + 1000  # between the pointers to a page's rows and the rows
    data[gap : gap + len(path)] = path
    (folder / DATABASE_NAME).write_bytes(data)
    with Gallery.open(folder) as gallery:
        receipt = forget_people(gallery, tmp_path / "cache", ["anna"])
        assert receipt["clean"]
        assert path not in (folder / DATABASE_NAME).read_bytes()
        assert all(finding.ok for finding in check_gallery(gallery) if finding.subject != "photos")
        assert found_subject(gallery, 301) == PEOPLE[30]


def fill_fast(gallery: Gallery, people: int, photos: int) -> None:
    """Rows as `commit` writes them, in bulk."""
    vectors = units(3, people * photos)
    face = (struct.pack("<4f", 0, 0, 9, 9), bytes(40), 0.9, 50.0, 100.0, 0.0, 0.0)
    subjects = [_sealed(key, f"person {key}", "{}", "2026-01-01") for key in range(1, people + 1)]
    pictures, faces, rows = [], [], []
    for key, vector in enumerate(vectors, 1):
        path = f"/photos/{key}.jpg".encode()
        pictures.append(_sealed(key, path, hashlib.sha256(path).digest(), 1, 1, 1, 1, "2026-01-01"))
        faces.append(_sealed(key, key, 1 + (key - 1) // photos, *face))
        raw = vector.tobytes()
        rows.append((key, key, 1, DIMENSION, raw, checksum(key, 1, raw)))
    with gallery.database.write() as connection:
        for table, values in (("subjects", subjects), ("photos", pictures), ("faces", faces), ("templates", rows)):
            marks = ", ".join("?" * len(values[0]))
            connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({marks})", values)


def _sealed(*values: object) -> tuple[object, ...]:
    return (*values, checksum_of(values))


@pytest.mark.soak
def test_a_thousand_photos_of_a_hundred_thousand_are_erased_within_a_second(folder: Path) -> None:
    """The target is one second for the removal itself; the figures are printed."""
    with make_gallery(folder) as gallery:
        fill_fast(gallery, 100, 1000)
        started = time.perf_counter()
        erased = gallery.remove(erasure.erase_subjects, gallery.erasure_list, ["person 50"])
        removed = time.perf_counter()
        assert gallery.database.checkpoint()
        emptied = time.perf_counter()
        assert hits(folder, erased) == 0
        scanned = time.perf_counter()
    assert (erased.photos, erased.templates) == (1000, 1000)
    print(  # noqa: T201
        f"\nerase 1,000 of 100,000 photos ({DIMENSION}-d): rows {removed - started:.3f} s, log "
        f"{emptied - removed:.3f} s, scan {scanned - emptied:.3f} s"
    )
