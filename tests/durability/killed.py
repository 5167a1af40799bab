"""Children that stop themselves with SIGKILL, each at one named point.

    python -m tests.durability.killed BASE WORK KIND

For each point of `POINTS[KIND]` a copy of BASE is made in WORK and a child works on it. What it acknowledges is in
WORK/<n>.said, one line each: `+ SEED`, `- SEED`, and `? SEED` before a removal. On standard output: each child's wait
status. To reach the points, functions are replaced from outside: facesearch has no hooks for it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from facesearch import files
from facesearch.files import INDEX_CACHE_NAME
from facesearch.index import cache_file
from facesearch.index.cache_file import CacheFile
from facesearch.search import gallery, mirror
from facesearch.search.gallery import Gallery, create_gallery
from facesearch.store import opening, people
from facesearch.types import IndexKind
from tests.store.makers import enroll, found_subject, make_gallery

Work = Callable[[Path], None]
KEY = "a key for the tests"


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, call: int = 1) -> None:
    """Die at the beginning of the n-th call of a function."""
    original, calls = getattr(owner, name), [0]

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            die()
        return original(*args, **kwargs)

    setattr(owner, name, counted)


def after(owner: Any, name: str, call: int = 1) -> None:
    """Die at the end of the n-th call of a function."""
    original, calls = getattr(owner, name), [0]

    def followed(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        calls[0] += 1
        if calls[0] == call:
            die()
        return result

    setattr(owner, name, followed)


def at_commit(*, done: bool) -> None:
    """Die when the next transaction that changed something is about to be committed, or has just been."""

    def commit(connection: Any) -> None:
        if connection.connection.dbapi_connection.total_changes:
            if done:
                connection.connection.dbapi_connection.commit()
            die()

    event.listen(Engine, "commit", commit)


def at_statement(words: str) -> None:
    """Die once a statement that contains these words was executed."""

    def executed(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if words in statement:
            die()

    event.listen(Engine, "after_cursor_execute", executed)


def enrolling(stop: Callable[[], None]) -> Work:
    def work(folder: Path) -> None:
        with Gallery.open(folder) as opened:
            stop()
            enroll(opened, "100", 100)
            say("+", 100)
            found_subject(opened, 100)

    return work


def removing(stop: Callable[[], None]) -> Work:
    def work(folder: Path) -> None:
        with Gallery.open(folder) as opened:
            stop()
            say("?", 1)
            opened.remove(people.remove, "1")
            say("-", 1)
            found_subject(opened, 1)

    return work


def removing_from_a_damaged_cache(stop: Callable[[], None]) -> Work:
    """Damage the cache first: nothing can be erased in it, so that it goes."""

    def work(folder: Path) -> None:
        (folder / INDEX_CACHE_NAME).write_bytes(b"FSINDEX0")
        removing(stop)(folder)

    return work


def saving(stop: Callable[[], None]) -> Work:
    def work(folder: Path) -> None:
        with Gallery.open(folder) as opened:
            enroll(opened, "100", 100)
            say("+", 100)
            found_subject(opened, 100)
            stop()

    return work


def closing_gaps(stop: Callable[[], None]) -> Work:
    """Remove most people, so that the rows of the others are written anew."""

    def work(folder: Path) -> None:
        with Gallery.open(folder) as opened:
            for seed in (1, 2, 3, 4):
                say("?", seed)
                opened.remove(people.remove, str(seed))
                say("-", seed)
            enroll(opened, "100", 100)
            say("+", 100)
            found_subject(opened, 0)
            stop()

    return work


def rebuilding(stop: Callable[[], None]) -> Work:
    def work(folder: Path) -> None:
        with Gallery.open(folder) as opened:
            stop()
            opened.rebuild_index()

    return work


def creating(stop: Callable[[], None]) -> Work:
    def work(folder: Path) -> None:
        stop()
        with make_gallery(folder / "new") as made:
            enroll(made, "new", 7)

    return work


def creating_encrypted(stop: Callable[[], None]) -> Work:
    def work(folder: Path) -> None:
        stop()
        create_gallery(folder / "locked", KEY, encrypted=True)

    return work


ENCRYPTED: dict[str, Work] = {
    "create encrypted: in the first migration": creating_encrypted(lambda: at_statement("CREATE TABLE faces")),
    "create encrypted: whole, without its name": creating_encrypted(lambda: before(os, "link")),
    "create encrypted: work folder left": creating_encrypted(lambda: after(opening, "place_new")),
}

REMOVE: dict[str, Work] = {
    "remove: cache written, rows not blanked": removing(lambda: before(CacheFile, "_replace")),
    "remove: cache gone, rows not blanked": removing(lambda: after(cache_file, "fsync_folder")),
    "remove: rows blanked, not synced": removing(lambda: before(os, "fsync", 3)),
    "remove: rows blanked, cache not replaced": removing(lambda: before(Path, "replace")),
    "remove: cache replaced, name not synced": removing(lambda: after(Path, "replace")),
    "remove: rows gone, not committed": removing(lambda: at_commit(done=False)),
    "remove: after commit, unacknowledged": removing(lambda: at_commit(done=True)),
}

FLAT: dict[str, Work] = {
    "enroll: first statement": enrolling(lambda: at_statement("INSERT INTO photos")),
    "enroll: before commit": enrolling(lambda: at_commit(done=False)),
    "enroll: after commit, unacknowledged": enrolling(lambda: at_commit(done=True)),
    "create cache: rows written, not synced": saving(lambda: before(os, "fsync")),
    "create cache: rows synced, cache not": saving(lambda: before(os, "fsync", 2)),
    "create cache: before the first rename": saving(lambda: before(Path, "replace")),
    "create cache: old cache gone": saving(lambda: after(cache_file, "fsync_folder")),
    "create cache: between the renames": saving(lambda: after(Path, "replace")),
    "create cache: after the second rename": saving(lambda: after(Path, "replace", 2)),
    "create cache: after the folder's sync": saving(lambda: after(cache_file, "fsync_folder", 2)),
    "remove: files of no use gone": removing_from_a_damaged_cache(lambda: after(cache_file, "remove_index_cache")),
    "remove: files of no use gone, name not synced": removing_from_a_damaged_cache(
        lambda: before(files, "fsync_folder")
    ),
    **REMOVE,
    "reindex: cache removed": rebuilding(lambda: after(mirror, "remove_index_cache")),
    "reindex: before the rename": rebuilding(lambda: before(Path, "replace")),
    "create: folder made": creating(lambda: before(os, "open")),
    "create: no lock in the work folder": creating(lambda: before(files, "lock_file")),
    "create: empty database file": creating(lambda: after(opening, "create_database_file")),
    "create: in the first migration": creating(lambda: at_statement("CREATE TABLE faces")),
    "create: before the schema's commit": creating(lambda: at_statement("INSERT INTO alembic_version")),
    "create: whole, without its name": creating(lambda: before(os, "link")),
    "create: name not synced": creating(lambda: after(os, "link")),
    "create: work folder left": creating(lambda: after(opening, "place_new")),
    "create: no space reserved": creating(lambda: before(gallery, "reserve_space")),
    "create: before the gallery is bound to a model": creating(lambda: at_statement("INSERT INTO models")),
    "create: bound, before the first commit": creating(lambda: at_statement("INSERT INTO templates")),
    **(ENCRYPTED if find_spec("sqlcipher3") else {}),
}

TWO_STAGE: dict[str, Work] = {
    **REMOVE,
    "append: cache written, rows not": saving(lambda: before(cache_file, "change_vectors")),
    "append: rows written, not synced": saving(lambda: before(os, "fsync", 2)),
    "append: before the rename": saving(lambda: before(Path, "replace")),
    "append: after the rename": saving(lambda: after(Path, "replace")),
    "append: after the folder's sync": saving(lambda: after(cache_file, "fsync_folder")),
    "close gaps: rows written, not synced": closing_gaps(lambda: before(os, "fsync")),
    "close gaps: rows synced, cache not": closing_gaps(lambda: before(os, "fsync", 2)),
    "close gaps: before the first rename": closing_gaps(lambda: before(Path, "replace")),
    "close gaps: old cache gone": closing_gaps(lambda: after(cache_file, "fsync_folder")),
    "close gaps: between the renames": closing_gaps(lambda: after(Path, "replace")),
    "close gaps: after the second rename": closing_gaps(lambda: after(Path, "replace", 2)),
    "close gaps: after the folder's sync": closing_gaps(lambda: after(cache_file, "fsync_folder", 2)),
    "reindex: cache removed": rebuilding(lambda: after(mirror, "remove_index_cache")),
    "reindex: between the renames": rebuilding(lambda: after(Path, "replace")),
}
POINTS = {IndexKind.FLAT: FLAT, IndexKind.TWO_STAGE: TWO_STAGE}


def always(kind: IndexKind) -> int:
    """`TWO_STAGE_FROM` that makes `auto` this kind."""
    return 0 if kind == IndexKind.TWO_STAGE else mirror.TWO_STAGE_FROM


def say(sign: str, number: int) -> None:
    print(sign, number, flush=True)  # noqa: T201


def main(base: Path, work: Path, kind: IndexKind) -> None:
    mirror.TWO_STAGE_FROM = always(kind)  # type: ignore[misc]  # of this process
    for number, run in enumerate(POINTS[kind].values()):
        shutil.copytree(base, work / str(number))
        child = os.fork()  # nothing was opened here, and no thread runs
        if child == 0:
            os.dup2(os.open(work / f"{number}.said", os.O_CREAT | os.O_WRONLY), 1)
            try:
                run(work / str(number))
            finally:
                os._exit(1)
        print(os.waitpid(child, 0)[1], flush=True)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), IndexKind(sys.argv[3]))
