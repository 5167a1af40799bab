from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from facesearch.errors import CorruptGalleryError, SchemaOutdatedError
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import database as store_database
from facesearch.store import models, subjects, templates
from facesearch.store.database import SCHEMA_VERSION, migrations_folder
from facesearch.store.drivers import sqlite_module
from facesearch.store.opening import upgrade_gallery
from facesearch.store.rows import Base
from facesearch.store.sqlite import DATABASE_NAME, SqliteDatabase, create_database_file
from tests.store.makers import enroll, found_subject, make_gallery, sqlite_of

FROZEN = Path(__file__).parent / "frozen"


def statements(engine: sa.Engine) -> dict[str, str]:
    """What every table, index and trigger was made with, blanks and quotes aside."""
    query = sa.text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'")
    with engine.connect() as connection:
        return {name: re.sub(r"[\s\"]+", "", sql).lower() for name, sql in connection.execute(query)}


def test_the_code_knows_the_newest_migration() -> None:
    scripts = ScriptDirectory(str(migrations_folder()))
    assert scripts.get_heads() == [SCHEMA_VERSION]


def test_migrations_and_models_agree(gallery: Gallery) -> None:
    with gallery.database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_migrations_and_models_agree_in_what_alembic_does_not_compare(gallery: Gallery) -> None:
    """STRICT, AUTOINCREMENT, CHECK constraints and cascades, in SQLite's own words."""
    plain = sa.create_engine("sqlite://", module=sqlite_of(gallery).module)
    Base.metadata.create_all(plain)
    migrated, modelled = statements(gallery.database.engine), statements(plain)
    assert {name for name in migrated if name not in modelled} == {
        "templates_token_insert",
        "templates_token_update",
        "templates_token_delete",
        "templates_backlog_insert",
        "templates_backlog_delete",
        "revision_prune",
    }
    for name, statement in modelled.items():
        assert sorted(_parts(migrated[name])) == sorted(_parts(statement)), name
    plain.dispose()


def _parts(statement: str) -> list[str]:
    """Columns and constraints, in any order; a primary key may stand in its column."""
    inner = re.sub(r"constraintpk_\w+primarykey\(id\)", "", statement).replace("primarykey", "")
    return [part for part in re.split(r"[,()]", inner) if part]


def load_frozen(revision: str, folder: Path) -> Path:
    """A gallery as an earlier schema left it."""
    path = create_database_file(folder)
    connection = sqlite_module().connect(str(path))
    connection.executescript((FROZEN / f"schema_{revision}.sql").read_text(encoding="utf-8"))
    connection.close()
    return folder


def test_there_is_a_frozen_gallery_of_every_schema() -> None:
    scripts = ScriptDirectory(str(migrations_folder()))
    revisions = {script.revision for script in scripts.walk_revisions()}
    assert {path.stem.removeprefix("schema_") for path in FROZEN.glob("schema_*.sql")} == revisions


@pytest.mark.parametrize("revision", sorted(path.stem.removeprefix("schema_") for path in FROZEN.glob("*.sql")))
def test_a_gallery_of_every_schema_upgrades_and_searches(folder: Path, tmp_path: Path, revision: str) -> None:
    load_frozen(revision, folder)
    assert upgrade_gallery(folder) == (revision, SCHEMA_VERSION)
    with Gallery.open(folder) as gallery, make_gallery(tmp_path / "fresh") as fresh:
        assert statements(gallery.database.engine) == statements(fresh.database.engine)
        assert [finding.detail for finding in check_gallery(gallery) if not finding.ok] == []
        assert found_subject(gallery, 1) == found_subject(gallery, 2) == "anna"
        assert found_subject(gallery, 3) == "Bjørk \N{GRINNING FACE}"
        assert found_subject(gallery, 9) is None
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


@pytest.mark.parametrize(
    ("statement", "hint"),
    [
        ("UPDATE alembic_version SET version_num = '0000'", "facesearch db upgrade --gallery"),
        ("DELETE FROM alembic_version", "facesearch db upgrade --gallery"),
        ("DROP TABLE alembic_version", "facesearch db upgrade --gallery"),
        ("UPDATE alembic_version SET version_num = '9999'", "pip install -U facesearch"),
    ],
)
def test_another_schema_is_refused_with_the_command_that_helps(folder: Path, statement: str, hint: str) -> None:
    with make_gallery(folder) as gallery, gallery.database.write() as connection:
        connection.exec_driver_sql(statement)
    with pytest.raises(SchemaOutdatedError) as caught:
        Gallery.open(folder)
    assert hint in (caught.value.hint or "")


def test_a_newer_schema_is_left_alone_by_upgrade(folder: Path) -> None:
    with make_gallery(folder) as gallery, gallery.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaOutdatedError, match="cannot be upgraded"):
        upgrade_gallery(folder)


def test_an_empty_file_in_place_of_a_database_is_refused_and_stays(folder: Path) -> None:
    path = create_database_file(folder)
    for create in (False, True):
        with pytest.raises(CorruptGalleryError, match="is empty") as caught:
            Gallery.open(folder, create=create)
        assert "remove the file" in (caught.value.hint or "")
    assert [(each.name, each.stat().st_size) for each in folder.iterdir()] == [(path.name, 0)]


def test_a_gallery_of_the_newest_schema_is_left_as_it_is_by_upgrade(folder: Path) -> None:
    with make_gallery(folder) as gallery:
        enroll(gallery, "anna", 1)
    assert upgrade_gallery(folder) == (SCHEMA_VERSION, SCHEMA_VERSION)
    with Gallery.open(folder) as gallery:
        assert found_subject(gallery, 1) == "anna"


@pytest.fixture
def next_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where to write the migration that follows the newest."""
    copy = tmp_path / "migrations"
    shutil.copytree(migrations_folder(), copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(store_database, "migrations_folder", lambda: copy)
    return copy / "versions" / "9999_next.py"


HEADER = f'import sqlalchemy as sa\nfrom alembic import op\nrevision = "9999"\ndown_revision = "{SCHEMA_VERSION}"\n'


def test_an_upgrade_that_fails_in_the_middle_leaves_everything_as_it_was(folder: Path, next_migration: Path) -> None:
    with make_gallery(folder) as gallery:
        enroll(gallery, "anna", 1)
        before = statements(gallery.database.engine)
    next_migration.write_text(
        HEADER + "def upgrade():\n"
        "    op.create_table('more', sa.Column('id', sa.Integer, primary_key=True))\n"
        "    op.execute('DELETE FROM subjects')\n"
        "    raise RuntimeError('the power is out')\n",
        encoding="utf-8",
    )
    with pytest.raises(RuntimeError):
        upgrade_gallery(folder)
    with Gallery.open(folder) as gallery:
        assert statements(gallery.database.engine) == before
        assert found_subject(gallery, 1) == "anna"


REBUILD = (
    "    with op.batch_alter_table('subjects', recreate='always', table_kwargs={'sqlite_strict': True}) as batch:\n"
    "        batch.add_column(sa.Column('note', sa.Text()))\n"
)


def test_rebuilding_a_table_keeps_the_rows_that_refer_to_it(folder: Path, next_migration: Path) -> None:
    with make_gallery(folder) as gallery:
        enroll(gallery, "anna", 1)
    next_migration.write_text(HEADER + "def upgrade():\n" + REBUILD, encoding="utf-8")
    upgrade_gallery(folder)
    database = SqliteDatabase(folder / DATABASE_NAME)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM templates").scalar_one() == 1
    database.close()


def test_a_migration_that_loses_rows_others_refer_to_is_undone(folder: Path, next_migration: Path) -> None:
    with make_gallery(folder) as gallery:
        enroll(gallery, "anna", 1)
    next_migration.write_text(HEADER + "def upgrade():\n    op.execute('DELETE FROM subjects')\n", encoding="utf-8")
    with pytest.raises(CorruptGalleryError, match="was not upgraded"):
        upgrade_gallery(folder)
    with Gallery.open(folder) as gallery:
        assert found_subject(gallery, 1) == "anna"
