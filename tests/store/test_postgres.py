"""What only a gallery on a server can do or suffer: races, lost connections, the server's refusals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from facesearch.errors import (
    ConfigError,
    GalleryConflictError,
    GalleryError,
    GalleryNotFoundError,
    GalleryUnavailableError,
    SchemaOutdatedError,
)
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery, create_gallery
from facesearch.store import audit, models, people, postgres, subjects, templates
from facesearch.store.backups import write_backup
from facesearch.store.changes import Effect, NewPhoto, apply_changes
from facesearch.store.database import SCHEMA_VERSION, migrations_folder, read_revision, run_migrations
from facesearch.store.drivers import sqlite_module
from facesearch.store.journal import ENROLL, Entry
from facesearch.store.location import DatabaseUrl, parse_location
from facesearch.store.opening import upgrade_gallery
from facesearch.store.rows import Base
from facesearch.store.sqlite import DATABASE_NAME
from tests.store.makers import enroll, found_subject, make_gallery, new_photo, unit
from tests.store.test_schema import FROZEN, load_frozen

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from tests.postgres_server import PostgresServer


@pytest.fixture
def place(emptied_postgres: Callable[[Path], DatabaseUrl], folder: Path) -> DatabaseUrl:
    return emptied_postgres(folder)


def in_a_thread(action: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def raise_state(connection: Connection, state: str) -> None:
    connection.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '{state}'; END $$")


# -- races


def test_a_face_of_somebody_who_is_being_removed_is_enrolled_as_a_new_person(gallery: Gallery, second: Gallery) -> None:
    enroll(gallery, "anna", 1)
    with gallery.database.write() as connection:
        subjects.remove_subject(connection, "anna")
        thread = in_a_thread(lambda: enroll(second, "anna", 2))  # waits for this transaction
        thread.join(0.3)
        assert thread.is_alive()
    thread.join()
    assert (found_subject(gallery, 1), found_subject(gallery, 2)) == (None, "anna")
    assert gallery.read(people.find, "anna").templates == 1


def enroll_within(connection: Connection, photo: NewPhoto) -> None:
    apply_changes(connection, [photo], models.active_model(connection), Effect(), Entry(connection, ENROLL))


def test_removing_somebody_removes_the_face_that_was_being_enrolled(gallery: Gallery, second: Gallery) -> None:
    enroll(gallery, "anna", 1)
    with gallery.database.write() as connection:
        enroll_within(connection, new_photo("anna", "2.jpg", [unit(2)], content=2))
        thread = in_a_thread(lambda: second.remove(people.remove, "anna"))
        thread.join(0.3)
        assert thread.is_alive()
    thread.join()
    assert gallery.read(templates.counts) == {
        "subjects": 0,
        "photos": 0,
        "faces": 0,
        "templates": 0,
        "rejected_photos": 0,
    }


def test_two_who_enroll_the_same_name_at_once_enroll_one_person(gallery: Gallery, second: Gallery) -> None:
    with gallery.database.write() as connection:
        (key,) = subjects.ensure_subjects(connection, ["anna"])
        subjects.say_attributes(connection, key, {"city": "Oslo"})
        thread = in_a_thread(lambda: enroll(second, "anna", 2))
        thread.join(0.3)
        assert thread.is_alive()
    thread.join()
    assert [(each.name, dict(each.attributes)) for each in second.read(subjects.list_subjects)] == [
        ("anna", {"city": "Oslo"})
    ]


def test_writers_of_different_people_do_not_wait_for_each_other(gallery: Gallery, second: Gallery) -> None:
    enroll(gallery, "carl", 3)  # the first face binds the gallery to its model, alone
    with gallery.database.write() as connection:
        enroll_within(connection, new_photo("anna", "1.jpg", [unit(1)]))
        enroll(second, "bob", 2)  # would wait for ever for a token of one row
        assert found_subject(second, 1) is None
    assert found_subject(gallery, 1) == found_subject(second, 1) == "anna"
    assert found_subject(gallery, 2) == "bob"


def test_work_is_done_again_where_others_were_faster(gallery: Gallery) -> None:
    tries: list[int] = []

    def work(connection: Connection) -> int:
        tries.append(1)
        if len(tries) < 3:
            raise_state(connection, "40001")
        return len(tries)

    assert gallery.database.transact(work) == 3
    with pytest.raises(GalleryConflictError, match="at the same time"):
        gallery.database.transact(lambda connection: raise_state(connection, "40P01"))


# -- the token


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        ("UPDATE templates SET crc = crc + 1", True),
        ("DELETE FROM templates WHERE id = 1", True),
        ("TRUNCATE templates", True),
        ("DELETE FROM faces WHERE id = 1", True),
        ("DELETE FROM photos WHERE id = 1", True),
        ("DELETE FROM subjects WHERE id = 1", True),
        ("DELETE FROM models", True),
        ("UPDATE subjects SET name = 'else' WHERE id = 1", False),
        ("UPDATE faces SET subject_id = 2", False),
        ("INSERT INTO subjects (name, attributes, created_at) VALUES ('third', '{}', '')", False),
    ],
)
def test_the_token_changes_with_templates_whoever_writes_to_the_server(
    gallery: Gallery, postgres_server: PostgresServer, place: DatabaseUrl, statement: str, changes: bool
) -> None:
    enroll(gallery, "anna", 1)
    enroll(gallery, "bob", 2)
    before = token(gallery)
    postgres_server.execute(statement, name_of(place))
    assert (token(gallery) != before) is changes


def test_the_rows_of_the_token_are_swept_up_and_nobody_misses_a_change(gallery: Gallery, second: Gallery) -> None:
    tokens = set()
    for number in range(130):
        writer, reader = (gallery, second) if number % 2 else (second, gallery)
        enroll(writer, str(number), number)
        tokens.add(token(reader))
        if number % 10 == 0:
            assert found_subject(reader, number) == str(number)
    assert len(tokens) == 130
    with gallery.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM revision").scalar_one() <= 101
    assert all(found_subject(second, number) == str(number) for number in range(130))


def token(gallery: Gallery) -> bytes:
    with gallery.database.read() as connection:
        return read_revision(connection).token


def name_of(place: DatabaseUrl) -> str:
    return place.url.rpartition("/postgres@/")[2].partition("?")[0] or place.url.split("@/")[1].partition("?")[0]


# -- connections that break


def test_a_connection_that_breaks_before_the_commit_is_made_anew(gallery: Gallery) -> None:
    tries: list[int] = []

    def work(connection: Connection) -> None:
        tries.append(1)
        subjects.ensure_subjects(connection, ["anna"])
        if len(tries) == 1:
            connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    gallery.database.transact(work)
    assert len(tries) == 2
    assert [each.name for each in gallery.read(subjects.list_subjects)] == ["anna"]


@pytest.mark.parametrize("reached", [True, False])
def test_a_connection_that_breaks_in_the_commit_leaves_it_done_once(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, reached: bool
) -> None:
    dialect, broken = gallery.database.engine.dialect, list[bool]()
    commit = dialect.do_commit

    def break_once(connection: Any) -> None:
        if broken:
            return commit(connection)
        broken.append(True)
        if reached:
            commit(connection)
        connection.driver_connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(dialect, "do_commit", break_once)
    gallery.write(audit.record, "made up", {"n": 1})
    assert broken
    assert len(gallery.read(audit.events, action="made up")) == 1


def test_a_connection_that_broke_while_nobody_used_it_is_not_noticed(
    gallery: Gallery, postgres_server: PostgresServer, place: DatabaseUrl
) -> None:
    enroll(gallery, "anna", 1)
    others = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name_of(place)}'"
    postgres_server.execute(others)
    assert found_subject(gallery, 1) == "anna"


def test_a_server_that_stays_away_is_a_clear_error(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "PATIENCE", 0.2)
    gallery.database.engine.dispose()
    monkeypatch.setattr(
        gallery.database.engine.pool, "_creator", lambda *_: psycopg.connect("host=/nowhere user=x dbname=x")
    )
    with pytest.raises(GalleryUnavailableError, match="does not answer") as caught:
        gallery.write(audit.record, "made up", {})
    assert "Nothing acknowledged is lost" in (caught.value.hint or "")


# -- the server's refusals


@pytest.mark.parametrize(
    ("change", "kind", "hint"),
    [
        (("postgres:geheim@", "nobody:geheim@"), GalleryError, "PGPASSWORD"),
        (("/shared_gallery?", "/none?"), GalleryError, "createdb"),
        (("/facesearch-pg-", "/nowhere-"), GalleryUnavailableError, "Check host"),
        (("/shared_gallery?", "/template1?"), GalleryNotFoundError, "facesearch enroll"),
    ],
)
def test_what_the_server_refuses_is_said_with_a_hint_and_without_the_password(
    place: DatabaseUrl, change: tuple[str, str], kind: type[GalleryError], hint: str
) -> None:
    url = place.url.replace("postgres@", "postgres:geheim@").replace(*change)
    assert url != place.url
    with pytest.raises(kind) as caught:
        Gallery.open(DatabaseUrl(url, place.folder))
    assert hint in (caught.value.hint or "")
    told = str(caught.value) + (caught.value.hint or "") + repr(DatabaseUrl(url, place.folder))
    cause: BaseException | None = caught.value
    while cause is not None:
        told += str(cause)
        cause = cause.__cause__
    assert "geheim" not in told


@pytest.mark.parametrize(
    ("state", "hint"),
    [("25006", "primary"), ("42501", "CREATE"), ("53100", "Free some space"), ("53300", "max_connections")],
)
def test_errors_in_the_middle_are_explained(gallery: Gallery, state: str, hint: str) -> None:
    with pytest.raises(GalleryError) as caught, gallery.database.write() as connection:
        raise_state(connection, state)
    assert hint in (caught.value.hint or "")
    assert isinstance(caught.value.__cause__, DBAPIError)


def test_a_server_that_may_only_be_read_is_searched(
    new_postgres: Callable[[Path], DatabaseUrl], postgres_server: PostgresServer, folder: Path
) -> None:
    place = new_postgres(folder)
    with make_gallery(place) as gallery:
        enroll(gallery, "anna", 1)
    postgres_server.execute(f"ALTER DATABASE {name_of(place)} SET default_transaction_read_only = on")
    with Gallery.open(place) as gallery:
        assert found_subject(gallery, 1) == "anna"
        with pytest.raises(GalleryError, match="standby or read-only"):
            enroll(gallery, "bob", 2)


def test_who_waits_for_another_to_make_the_gallery_finds_it_made(
    new_postgres: Callable[[Path], DatabaseUrl], folder: Path
) -> None:
    place = new_postgres(folder)
    made: list[int] = []

    def make() -> None:
        with make_gallery(place) as gallery:
            made.extend(enroll(gallery, "anna", 1))

    first = postgres.PostgresDatabase(place)
    with first.migration() as connection:
        run_migrations(connection)
        waiting = in_a_thread(make)
        with first.read() as looking:
            query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while not looking.exec_driver_sql(query).scalar_one() and waiting.is_alive():
                time.sleep(0.01)
    waiting.join()
    first.close()
    assert len(made) == 1


def test_a_key_is_refused_before_anybody_is_asked(folder: Path) -> None:
    nobody = DatabaseUrl("postgresql+psycopg://me@127.0.0.1:1/faces", folder)
    for create in (False, True):
        with pytest.raises(ConfigError, match="not encrypted by facesearch, but a key was given"):
            Gallery.open(nobody, create=create, passphrase="correct horse")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_an_encoding_that_cannot_hold_every_name_is_refused_by_name(
    postgres_server: PostgresServer, folder: Path, encoding: str
) -> None:
    name = f"in_{encoding.lower()}"
    postgres_server.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    for create in (False, True):
        with pytest.raises(GalleryError, match=f"The database {name} keeps text as {encoding}") as caught:
            Gallery.open(postgres_server.location(name, folder), create=create)
        assert "createdb -E UTF8 -T template0" in (caught.value.hint or "")


def test_an_old_server_is_refused() -> None:
    class Old:
        class info:  # noqa: N801
            server_version = 120004

    with pytest.raises(GalleryError, match="needs 13 or newer"):
        postgres._prepare_connection(Old, None)


def test_what_belongs_to_a_folder_is_refused_with_what_to_do_instead(
    gallery: Gallery, place: DatabaseUrl, tmp_path: Path
) -> None:
    with pytest.raises(GalleryError) as caught:
        write_backup(gallery, tmp_path / "backup")
    assert "pg_dump" in (caught.value.hint or "")
    with pytest.raises(GalleryError, match="There is a gallery in"):
        create_gallery(place)
    assert not gallery.is_encrypted


# -- the schema


def test_migrations_and_models_agree_on_a_server(gallery: Gallery) -> None:
    with gallery.database.read() as connection:
        assert list(gallery.database.schema_faults(connection)) == []


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE templates DISABLE TRIGGER templates_token_insert",
        "DROP TRIGGER templates_token_delete ON templates",
        "DROP INDEX ix_faces_photo_id",
        "ALTER TABLE photos DROP COLUMN width",
        "ALTER TABLE revision DROP COLUMN swept",
    ],
)
def test_check_names_what_of_the_schema_was_changed(
    new_postgres: Callable[[Path], DatabaseUrl], postgres_server: PostgresServer, folder: Path, statement: str
) -> None:
    place = new_postgres(folder)
    with make_gallery(place) as gallery:
        enroll(gallery, "anna", 1)
        postgres_server.execute(statement, name_of(place))
        assert "schema" in {finding.subject for finding in check_gallery(gallery) if not finding.ok}


@pytest.mark.parametrize("revision", sorted(path.stem.removeprefix("schema_") for path in FROZEN.glob("*.sql")))
def test_a_gallery_of_every_schema_upgrades_and_searches_on_a_server(
    new_postgres: Callable[[Path], DatabaseUrl], folder: Path, tmp_path: Path, revision: str
) -> None:
    place = new_postgres(folder)
    fill_like_frozen(place, revision, tmp_path / "frozen")
    if revision != SCHEMA_VERSION:
        with pytest.raises(SchemaOutdatedError, match="facesearch needs"):
            Gallery.open(place)
    assert upgrade_gallery(place) == (revision, SCHEMA_VERSION)
    with Gallery.open(place) as gallery:
        assert [finding.detail for finding in check_gallery(gallery) if not finding.ok] == []
        assert found_subject(gallery, 1) == found_subject(gallery, 2) == "anna"
        assert found_subject(gallery, 3) == "Bjørk \N{GRINNING FACE}"
        assert gallery.read(templates.counts) == {
            "subjects": 2,
            "photos": 3,
            "faces": 3,
            "templates": 3,
            "rejected_photos": 1,
        }
        assert [subject.name for subject in gallery.read(subjects.list_subjects, {"city": "Oslo"})] == ["anna"]
        assert gallery.read(models.calibration) == {"threshold": 0.5}
        (new,) = enroll(gallery, "carl", 7)
        assert new == 5  # 4 was another's, who is gone


def fill_like_frozen(place: DatabaseUrl, revision: str, folder: Path) -> None:
    """Run the migrations up to a revision on a server, and put the rows of its frozen gallery in."""
    old = sqlite_module().connect(str(load_frozen(revision, folder) / DATABASE_NAME))
    engine = sa.create_engine(place.url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(migrations_folder()))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")  # the rows as they are: no triggers
        tables = sa.inspect(connection).get_table_names()
        for table in (table.name for table in Base.metadata.sorted_tables if table.name in tables):
            if table == "revision":
                continue
            cursor = old.execute(f"SELECT * FROM {table}")
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor]
            if rows:
                values = ", ".join(f":{name}" for name in names)
                connection.execute(sa.text(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values})"), rows)
        for table, last in old.execute("SELECT name, seq FROM sqlite_sequence").fetchall():
            if last and table in tables:
                connection.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {last})")
    engine.dispose()
    old.close()


# -- the URL


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "postgresql", "postgres"])
def test_a_url_is_a_database_and_shows_no_password(tmp_path: Path, scheme: str) -> None:
    found = parse_location(f"{scheme}://me:ge%40heim@host:5433/faces?sslmode=require&password=geheim", tmp_path)
    assert isinstance(found, DatabaseUrl)
    assert str(found) == "postgresql+psycopg://me@host:5433/faces?sslmode=require"
    assert "heim" not in repr(found)
    assert found.folder.is_relative_to(tmp_path)
    again = parse_location("postgresql://me:another@host:5433/faces?sslmode=require", tmp_path)
    assert isinstance(again, DatabaseUrl)
    assert again.folder == found.folder, "a new password is no new gallery"


@pytest.mark.parametrize(
    "text", ["mysql://u:geheim@h/d", "sqlite:///x", "postgresql+asyncpg://h/d", "postgresql://h:x:y/d"]
)
def test_other_urls_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_location(text, tmp_path)
    assert "geheim" not in str(caught.value)


def test_anything_else_is_a_folder(tmp_path: Path) -> None:
    assert parse_location("some/folder:x", tmp_path) == Path("some/folder:x")
    assert parse_location("~/faces", tmp_path) == Path("~/faces").expanduser()
