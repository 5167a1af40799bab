"""The list of the erased of a gallery on a server: every machine goes by it, and a copy tells of an older dump."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import erasure
from facesearch.store.location import DatabaseUrl
from facesearch.store.rows import Base
from facesearch.store.schema import ErasedRow, FaceRow, PhotoRow, SubjectRow, TemplateRow
from tests.store.makers import enroll, found_subject, make_gallery


@pytest.fixture
def place(emptied_postgres: Callable[[Path], DatabaseUrl], folder: Path) -> DatabaseUrl:
    return emptied_postgres(folder)


def table(gallery: Gallery, row: type[Base]) -> list[dict[str, Any]]:
    with gallery.database.read() as connection:
        return [dict(each._mapping) for each in connection.execute(sa.select(row.__table__))]


def test_a_dump_from_before_an_erasure_is_noticed_where_the_list_is_and_mended(
    gallery: Gallery, place: DatabaseUrl, tmp_path: Path
) -> None:
    enroll(gallery, "anna", 1, 2)
    enroll(gallery, "bob", 3)
    tables = (SubjectRow, PhotoRow, FaceRow, TemplateRow)
    dumped = [(row, table(gallery, row)) for row in tables]
    gallery.remove(erasure.erase_subjects, gallery.erasure_list, ["anna"])
    with gallery.database.write() as connection:  # as pg_restore does, whoever came since then included
        for row in (*reversed(tables), ErasedRow):
            connection.execute(sa.delete(row))
        for row, rows in dumped:
            connection.execute(sa.insert(row), rows)
    assert found_subject(gallery, 1) == "anna"
    with Gallery.open(DatabaseUrl(place.url, tmp_path / "elsewhere")) as other:
        assert [each for each in check_gallery(other) if not each.ok] == [], "that machine knows nothing of it"
    (fault,) = [each for each in check_gallery(gallery) if not each.ok]
    assert "1 people and 2 templates that were erased are back" in fault.detail
    (mended,) = [each for each in check_gallery(gallery, fix=True) if each.fixed]
    assert mended.subject == "erased"
    assert (found_subject(gallery, 1), found_subject(gallery, 3)) == (None, "bob")
    with Gallery.open(DatabaseUrl(place.url, tmp_path / "another")) as third:
        assert third.read(third.erasure_list.read).sections == gallery.read(gallery.erasure_list.read).sections, (
            "the database has the list again"
        )
        assert all(each.ok for each in check_gallery(third))


def test_every_machine_keeps_the_erased_out_of_an_import(gallery: Gallery, second: Gallery, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from facesearch.store.bundle.reading import read_bundle
    from facesearch.store.bundle.writing import write_bundle

    enroll(gallery, "anna", 1, 2)
    enroll(gallery, "bob", 3)
    write_bundle(gallery, tmp_path / "people.bundle")
    gallery.remove(erasure.erase_subjects, gallery.erasure_list, ["anna"])
    done = read_bundle(second, tmp_path / "people.bundle", merge=True)
    assert (done.erased, found_subject(second, 1), found_subject(second, 3)) == (2, None, "bob")
    assert read_bundle(second, tmp_path / "people.bundle", merge=True, bring_back_erased=True).subjects == 1
    assert all(each.ok for each in check_gallery(second)), "who was brought back is not erased again"
    write_bundle(gallery, tmp_path / "later.bundle")
    with make_gallery(tmp_path / "folder") as moved:
        read_bundle(moved, tmp_path / "later.bundle", merge=True)
        assert moved.read(moved.erasure_list.read).sections == gallery.read(gallery.erasure_list.read).sections


def test_a_folder_that_cannot_be_written_keeps_nobody_from_being_erased_on_a_server(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    enroll(gallery, "anna", 1)
    monkeypatch.setattr("facesearch.store.erasure_list.write_whole", full)
    gallery.remove(erasure.erase_subjects, gallery.erasure_list, ["anna"])
    assert found_subject(gallery, 1) is None
    assert len(gallery.read(gallery.erasure_list.read))
    assert "list of the erased was not written" in caplog.text
