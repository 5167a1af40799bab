"""What is recorded for the power cuts: enrolments and a removal, each acknowledged on standard output.

    python -m tests.durability.recorded commands GALLERY PARTS PACK      the real command line, PARTS/*/PERSON/*.jpg
    python -m tests.durability.recorded gallery GALLERY WAY              the gallery alone, in one of WAYS or SPOILED

JSON lines: ["removing", NAME] before a removal and ["removed", NAME] once it is acknowledged, ["enrolled", NAME, PHOTO]
or what `enroll --json` prints.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.engine import Connection

from facesearch import files
from facesearch.index import cache_file, vector_file
from facesearch.store import people as stored_people
from facesearch.store.sqlite import SqliteDatabase
from tests.store.makers import enroll, found_subject, make_gallery

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facesearch.types import Vectors


def say(*words: str) -> None:
    print(json.dumps(words), flush=True)  # noqa: T201


def run_commands(gallery: str, people: Path, pack: str) -> None:
    from facesearch.cli.app import app

    for part in sorted(people.iterdir()):
        app(["enroll", str(part), "-g", gallery, "--pack", pack, "--json"], standalone_mode=False)
        for name in sorted(folder.name for folder in part.iterdir())[1:3]:
            say("removing", name)
            app(["people", "remove", name, "--yes", "-g", gallery], standalone_mode=False)
            say("removed", name)


def run_gallery(folder: Path) -> None:
    for start in (0, 3):
        for person in range(start, start + 3):
            with make_gallery(folder) as gallery:
                for seed in (2 * person, 2 * person + 1):
                    enroll(gallery, str(person), seed)
                    say("enrolled", str(person), f"/photos/{seed}.jpg")
                found_subject(gallery, 0)
                if person == start + 2:
                    say("removing", str(start + 1))
                    gallery.remove(stored_people.remove, str(start + 1))
                    say("removed", str(start + 1))


def sync_less(patch: pytest.MonkeyPatch) -> None:
    """WAL without a sync at each commit: what many programs use."""
    prepare = SqliteDatabase._prepare_connection

    def prepare_less(self: SqliteDatabase, dbapi: Any, record: object) -> None:
        prepare(self, dbapi, record)
        dbapi.execute("PRAGMA synchronous=NORMAL")

    patch.setattr(SqliteDatabase, "_prepare_connection", prepare_less)


def sync_no_folder(patch: pytest.MonkeyPatch) -> None:
    """Names of files are left to the file system, whoever imported the function."""
    patch.setattr(files.fsync_folder, "__code__", (lambda _: None).__code__)


def change_token_later(patch: pytest.MonkeyPatch) -> None:
    """The templates in one transaction, the token in the next."""
    write = SqliteDatabase.write

    @contextmanager
    def write_twice(self: SqliteDatabase) -> Iterator[Connection]:
        with write(self) as connection:
            (before,) = connection.exec_driver_sql("SELECT max(id) FROM revision").one()
            yield connection
            query = "DELETE FROM revision WHERE id > ? RETURNING token, touched"
            later = [tuple(row) for row in connection.exec_driver_sql(query, (before,))]
        if later:
            with write(self) as connection:
                connection.exec_driver_sql("INSERT INTO revision (token, touched) VALUES (?, ?)", later)

    patch.setattr(SqliteDatabase, "write", write_twice)


def use_rollback_journal(patch: pytest.MonkeyPatch) -> None:
    """As where SQLite's WAL cannot be trusted: this breaks no promise."""
    patch.setattr("facesearch.store.sqlite.has_safe_wal", lambda _: False)


def use_two_stages(patch: pytest.MonkeyPatch) -> None:
    """However few the vectors; the first removal has the rows written anew, the second does not.

    What comes is written at once, as where there is much of it.
    """
    patch.setattr("facesearch.search.mirror.TWO_STAGE_FROM", 0)
    patch.setattr("facesearch.search.mirror.IndexMirror._save_when_large", lambda index, _: index.save())
    patch.setattr("facesearch.index.two_stage.SPARSE", 0.75)


def sync_no_blanked_rows(patch: pytest.MonkeyPatch) -> None:
    """Rows of the two-stage index are overwritten when the system likes."""
    use_two_stages(patch)
    write = vector_file.change_vectors

    def write_less(folder: Path, known: int, gone: NDArray[np.int64], appended: Vectors) -> None:
        with pytest.MonkeyPatch.context() as inner:
            if len(gone):
                inner.setattr(os, "fsync", lambda _: None)
            write(folder, known, gone, appended)

    patch.setattr(cache_file, "change_vectors", write_less)


WAYS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "rollback journal": use_rollback_journal,
    "two stages": use_two_stages,
}
SPOILED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "synchronous=NORMAL": sync_less,
    "no folder sync": sync_no_folder,
    "no sync for blanked rows": sync_no_blanked_rows,
    "token in a second transaction": change_token_later,
}

if __name__ == "__main__":
    if sys.argv[1] == "commands":
        run_commands(sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    else:
        (WAYS | SPOILED)[sys.argv[3]](pytest.MonkeyPatch())
        run_gallery(Path(sys.argv[2]))
