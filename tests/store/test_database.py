from __future__ import annotations

import os
import sqlite3
import stat
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from facesearch.errors import CorruptGalleryError, GalleryError, GalleryNotFoundError
from facesearch.search.gallery import Gallery
from facesearch.store import models, people, photos, sqlite, subjects, templates
from facesearch.store.database import Revision, read_revision, touched_since
from facesearch.store.drivers import has_safe_wal
from facesearch.store.models import renew_token
from facesearch.store.sqlite import DATABASE_NAME, SqliteDatabase
from tests.store.makers import ROOT, commit, enroll, found_subject, make_gallery, new_photo, sqlite_of, unit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy.engine import Connection


def pragma(connection: Connection, name: str) -> Any:
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()


def test_every_connection_has_the_pragmas_in_force(gallery: Gallery) -> None:
    database = sqlite_of(gallery)
    with database.read() as first, database.read() as second, database.read() as third:
        for connection in (first, second, third):
            found = {
                name: pragma(connection, name)
                for name in ("busy_timeout", "foreign_keys", "secure_delete", "trusted_schema", "cell_size_check")
            }
            assert found == {
                "busy_timeout": 10_000,
                "foreign_keys": 1,
                "secure_delete": 1,
                "trusted_schema": 0,
                "cell_size_check": 1,
            }
            assert pragma(connection, "page_size") == 16384
            expected = ("wal", 2) if database.journal_mode == "WAL" else ("delete", 3)
            assert (pragma(connection, "journal_mode"), pragma(connection, "synchronous")) == expected


def test_foreign_keys_are_in_force_again_after_an_upgrade(folder: Path) -> None:
    database = SqliteDatabase(sqlite.create_database_file(folder))
    database.upgrade()
    with database.read() as connection:
        assert pragma(connection, "foreign_keys") == 1
    database.close()


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 6, 23), False),
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 44, 99), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 0), False),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 53, 4), True),
        ((4, 0, 0), True),
    ],
)
def test_wal_is_trusted_only_where_its_bug_is_fixed(version: tuple[int, ...], safe: bool) -> None:
    assert has_safe_wal(version) is safe


def test_an_unsafe_sqlite_gets_a_rollback_journal_with_extra_syncs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "has_safe_wal", lambda _: False)
    monkeypatch.setattr(sqlite, "sqlite_module", lambda: sqlite3)
    with make_gallery(folder) as gallery:
        enroll(gallery, "anna", 1)
        with gallery.database.read() as connection:
            assert (pragma(connection, "journal_mode"), pragma(connection, "synchronous")) == ("delete", 3)
        assert not (folder / f"{DATABASE_NAME}-wal").exists()
    monkeypatch.undo()
    with Gallery.open(folder) as gallery:  # and the other way round
        assert sqlite_of(gallery).journal_mode == (
            "WAL" if has_safe_wal(sqlite_of(gallery).module.sqlite_version_info) else "DELETE"
        )
        assert gallery.read(templates.counts)["templates"] == 1


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = tmp_path / "new" / "gallery"
        with make_gallery(folder) as gallery:
            enroll(gallery, "anna", 1)
            gallery.search(unit(1)[None], 1)
            gallery.mirror.save()
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert set(modes) >= {DATABASE_NAME, "index.cache"}
            assert set(modes.values()) == {0o600}
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE subjects SET name = x'00ff'",
        "UPDATE photos SET size = 'large'",
        "UPDATE templates SET vector = 'text'",
        "UPDATE templates SET vector = zeroblob(4)",
        "UPDATE templates SET crc = 'no number'",
        "UPDATE faces SET box = zeroblob(15)",
        "UPDATE photos SET sha256 = zeroblob(31)",
        "UPDATE revision SET token = zeroblob(15)",
        "UPDATE revision SET touched = CAST('0123456789abcdef0123456789abcdee' AS BLOB)",
        "UPDATE models SET active = 2",
        "UPDATE subjects SET name = ''",
        "UPDATE faces SET subject_id = 999",
    ],
)
def test_the_schema_refuses_wrong_values(gallery: Gallery, statement: str) -> None:
    enroll(gallery, "anna", 1)
    with pytest.raises(GalleryError) as caught, gallery.database.write() as connection:
        connection.exec_driver_sql(statement)
    assert isinstance(caught.value.__cause__, IntegrityError)


def test_every_foreign_key_has_an_index(gallery: Gallery) -> None:
    inspector = sa.inspect(gallery.database.engine)
    keys = [
        (table, tuple(key["constrained_columns"]))
        for table in inspector.get_table_names()
        for key in inspector.get_foreign_keys(table)
    ]
    assert len(keys) >= 5
    for table, columns in keys:
        indexed = {tuple(index["column_names"][: len(columns)]) for index in inspector.get_indexes(table)}
        indexed |= {tuple(each["column_names"][: len(columns)]) for each in inspector.get_unique_constraints(table)}
        assert columns in indexed, (table, columns)


def current_revision(gallery: Gallery) -> tuple[Revision, dict[int, tuple[object, ...]]]:
    """With all templates by id."""
    with gallery.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT id, face_id, model_id, vector, crc FROM templates")
        return read_revision(connection), {row.id: tuple(row) for row in rows}


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        (
            "INSERT INTO templates (face_id, model_id, dimension, vector, crc) "
            "SELECT face_id, 1, 8, vector, 1 FROM templates",
            True,
        ),
        ("UPDATE templates SET crc = crc + 1", True),
        ("UPDATE templates SET id = id + 100", True),
        ("UPDATE templates SET crc = crc WHERE id = 1", True),
        ("DELETE FROM templates WHERE id = 1", True),
        ("DELETE FROM templates", True),
        ("DELETE FROM faces WHERE id = 1", True),
        ("DELETE FROM photos WHERE id = 1", True),
        ("DELETE FROM subjects WHERE id = 1", True),
        ("DELETE FROM models", True),
        ("REPLACE INTO templates SELECT * FROM templates WHERE id = 1", True),
        ("UPDATE subjects SET name = 'else' WHERE id = 1", False),
        ("UPDATE faces SET subject_id = 2", False),
        ("DELETE FROM templates WHERE id = 999", False),
        ("INSERT INTO subjects (name, attributes, created_at) VALUES ('third', '{}', '')", False),
    ],
)
def test_the_token_changes_with_templates_whoever_writes(
    gallery: Gallery, folder: Path, statement: str, changes: bool
) -> None:
    enroll(gallery, "anna", 1)
    enroll(gallery, "bob", 2)
    before, rows_before = current_revision(gallery)
    stranger = sqlite_of(gallery).module.connect(str(folder / DATABASE_NAME))
    stranger.execute("PRAGMA foreign_keys=ON")
    stranger.execute(statement)
    stranger.commit()
    stranger.close()
    now, rows = current_revision(gallery)
    assert (now.token != before.token) is changes
    with gallery.database.read() as connection:
        touched = touched_since(connection, before, now)
    assert touched is not None
    assert set(touched.tolist()) >= {
        key for key in rows.keys() | rows_before.keys() if rows.get(key) != rows_before.get(key)
    }
    assert bool(len(touched)) is changes


@pytest.mark.both_databases
@pytest.mark.parametrize("packed", [1, 2, 3, 4, 7])
def test_keys_that_come_in_several_pieces_are_all_there(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, packed: int
) -> None:
    for number in range(6):
        enroll(gallery, str(number), number)
    gallery.remove(people.remove, "3")
    monkeypatch.setattr(templates, "PACKED", packed)
    with gallery.database.read() as connection:
        row, _ = models.active_model(connection) or pytest.fail("no model")
        ids, checksums = templates.template_keys(connection, row)
        rows = connection.exec_driver_sql("SELECT id, crc FROM templates ORDER BY id").all()
        assert templates.template_keys(connection, row + 1)[0].tolist() == []
    assert list(zip(ids.tolist(), checksums.tolist(), strict=True)) == [tuple(row) for row in rows]
    assert len(rows) == 5


@pytest.mark.parametrize("crc", ["'none'", "NULL", "x'00'", "1e300", "-1"])
def test_a_checksum_that_is_none_is_named_by_its_template(gallery: Gallery, crc: str) -> None:
    enroll(gallery, "anna", 1)
    assert found_subject(gallery, 1) == "anna"
    with gallery.database.write() as connection:  # as damage may leave it: STRICT and NOT NULL hold for writers only
        connection.exec_driver_sql(
            "CREATE TABLE loose (id INTEGER PRIMARY KEY, face_id, model_id, dimension, vector, crc)"
        )
        connection.exec_driver_sql(
            f"INSERT INTO loose SELECT id, face_id, model_id, dimension, vector, {crc} FROM templates"
        )
        connection.exec_driver_sql("DROP TABLE templates")
        connection.exec_driver_sql("ALTER TABLE loose RENAME TO templates")
        renew_token(connection)
    with pytest.raises(CorruptGalleryError, match="Template 1 is damaged"):
        found_subject(gallery, 1)


def test_ids_of_removed_rows_are_never_used_again(gallery: Gallery) -> None:
    (first,) = enroll(gallery, "anna", 1)
    gallery.remove(people.remove, "anna")
    (second,) = enroll(gallery, "bob", 2)
    assert second > first


def test_a_failed_transaction_leaves_nothing(gallery: Gallery) -> None:
    with pytest.raises(GalleryError):
        commit(gallery, [new_photo("anna", "1.jpg", [unit(1)]), new_photo("bob", "2.jpg", [unit(2) * 2])])
    assert gallery.read(templates.counts)["photos"] == gallery.read(templates.counts)["subjects"] == 0
    assert gallery.search(unit(1)[None], 1) == [()]


def write_garbage(path: Path) -> None:
    path.write_bytes(b"This is no database." * 1000)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20_000])


@pytest.mark.parametrize("damage", [write_garbage, cut_short])
def test_a_database_that_is_none_is_a_clear_error(folder: Path, damage: Callable[[Path], None]) -> None:
    with make_gallery(folder) as gallery:
        enroll(gallery, "anna", 1)
    damage(folder / DATABASE_NAME)
    with pytest.raises(CorruptGalleryError, match="damaged"), Gallery.open(folder) as gallery:
        gallery.read(subjects.list_subjects)


def test_no_gallery_is_a_clear_error_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(GalleryNotFoundError, match=r"There is no gallery in .*\.$"):
        Gallery.open(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_a_gallery_in_place_of_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GalleryError, match="No gallery can be made"):
        Gallery.open(tmp_path / "file", create=True)
    with pytest.raises(GalleryError, match="No gallery can be made"):
        Gallery.open(tmp_path / "file" / "below", create=True)


def test_a_folder_name_that_is_no_unicode_holds_a_gallery(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"gal\xff %?#'")
    with make_gallery(folder) as gallery:
        enroll(gallery, "anna", 1)
    with Gallery.open(folder) as gallery:
        assert gallery.read(templates.counts)["templates"] == 1


def test_a_full_disk_and_a_lock_are_told_apart(gallery: Gallery, folder: Path) -> None:
    with gallery.database.read() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1")  # as if nothing more fitted
    with pytest.raises(GalleryError, match="No space is left"):
        enroll(gallery, "anna", *range(200))
    gallery.database.engine.dispose()
    other = sqlite_of(gallery).module.connect(str(folder / DATABASE_NAME), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with gallery.database.read() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=1")
    with pytest.raises(GalleryError, match="stayed locked"):
        enroll(gallery, "anna", 1)
    other.close()


def test_a_face_is_joined_to_its_template_by_an_index_of_both(gallery: Gallery) -> None:
    """By the model alone, SQLite looks at every template of it for each face: a page of people took minutes."""
    enroll(gallery, "anna", 1)
    plans: list[str] = []

    def noted(connection: Any, _: Any, statement: str, parameters: Any, *__: Any) -> None:
        if statement.startswith("SELECT") and "templates" in statement:
            plans.extend(
                row[-1] for row in connection.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            )

    event.listen(sqlite_of(gallery).engine, "before_cursor_execute", noted)
    gallery.read(photos.find_photos, [ROOT / "1.jpg"])
    gallery.read(photos.details_of_subject, "anna")
    gallery.read(subjects.list_subjects)
    event.remove(sqlite_of(gallery).engine, "before_cursor_execute", noted)
    searched = [plan for plan in plans if "SEARCH templates" in plan]
    assert len(searched) == 3
    assert all("ix_templates_face_model (face_id=? AND model_id=?)" in plan for plan in searched)
