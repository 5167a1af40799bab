"""Files beside the database: written whole or not at all, for their owner alone; what dead writers left."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from facesearch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

WORK_PREFIX: Final = ".facesearch-"
_DATABASE: Final = ("gallery.db", "gallery.db-wal", "gallery.db-shm", "gallery.db-journal")
_ERASURE_LIST: Final = "gallery.erased"
INDEX_CACHE_NAME: Final = "index.cache"
INDEX_VECTORS_NAME: Final = "index.vectors"
DELIVERY_LOCK_NAME: Final = "delivery.lock"
_GALLERY_FILES: Final = frozenset(
    {*_DATABASE, _ERASURE_LIST, "gallery.reserved", INDEX_CACHE_NAME, INDEX_VECTORS_NAME, DELIVERY_LOCK_NAME}
)
_LOCK_NAME: Final = "lock"
_UNLOCKED: Final = 60.0
"""Seconds after which a folder without its lock file was left by somebody who died before making it."""


def is_gallery_name(name: str) -> bool:
    """Whether a gallery uses this name in its folder, in any case of letters."""
    folded = name.casefold()
    return folded in _GALLERY_FILES or folded.startswith((WORK_PREFIX, ".index-"))


def make_folder(folder: Path) -> None:
    """Make a folder (0700) and what is missing above it, and every new name safe from a power cut. Raises `OSError`."""
    if not folder.parent.is_dir():
        make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    with suppress(PermissionError):  # a folder that may be entered but not listed cannot be opened to be synced
        fsync_folder(folder.parent)


def fsync_folder(folder: Path) -> None:
    """Make a rename or a new file in this folder survive a power cut; Windows has no such call and needs none."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_index_cache(folder: Path) -> None:
    """Remove the search index's files, durably: no vector stays in them. Raises `OSError`."""
    for name in (INDEX_CACHE_NAME, INDEX_VECTORS_NAME):
        (folder / name).unlink(missing_ok=True)
    fsync_folder(folder)


def read_pieces(path: Path, size: int) -> Iterator[bytes]:
    """Read a file, which may be a database in use, `size` bytes at a time. Raises `OSError`.

    POSIX drops all locks that a process holds on a file when it closes any handle of it, SQLite's too: another process
    would then take itself for the last one, and delete the write-ahead log that this one goes on writing. The handle
    of a database is therefore kept for the life of the process, one for each file. Windows has no such rule.
    """
    if path.name not in _DATABASE or sys.platform == "win32":
        with path.open("rb") as file:
            while piece := file.read(size):
                yield piece
        return
    descriptor, at = _kept_open(path), 0
    while piece := os.pread(descriptor, size, at):
        at += len(piece)
        yield piece


def read_into(path: Path, at: int, buffer: bytearray | memoryview) -> int:
    """Fill a buffer from a place in a file as `read_pieces` reads it; returns how many bytes. Raises `OSError`."""
    if path.name not in _DATABASE or sys.platform == "win32":
        with path.open("rb", buffering=0) as file:
            file.seek(at)
            return file.readinto(buffer) or 0
    return os.preadv(_kept_open(path), [buffer], at)


_KEPT: Final[dict[tuple[int, int], int]] = {}
"""Handles by device and inode."""
_KEEPING: Final = threading.Lock()


def _kept_open(path: Path) -> int:
    with _KEEPING:
        status = path.stat()
        key = (status.st_dev, status.st_ino)
        if key not in _KEPT:
            descriptor = os.open(path, os.O_RDONLY)
            opened = os.fstat(descriptor)  # the file may have been replaced in between
            key = (opened.st_dev, opened.st_ino)
            if key in _KEPT:
                return descriptor
            _KEPT[key] = descriptor
        return _KEPT[key]


def fsync_file(path: Path) -> None:
    """Make a file's content survive a power cut."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file atomically and durably; readable by the owner alone (0600). Raises `OSError`."""
    with work_folder(path.parent) as folder:
        unfinished = folder / path.name
        with os.fdopen(os.open(unfinished, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        fsync_folder(path.parent)


def write_new(path: Path, data: bytes) -> None:
    """Write a file where nothing is yet. Raises `ConfigError` where something is, else `OSError`."""
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise ConfigError(f"{path} is there already.", "Name another file.") from error


def place_new(unfinished: Path, target: Path) -> None:
    """Give a file, whole and on disk, its name, durably. Raises `FileExistsError` where the name is taken."""
    try:
        os.link(unfinished, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(target)) from None
        unfinished.rename(target)
    fsync_folder(target.parent)


@contextmanager
def work_folder(parent: Path) -> Iterator[Path]:
    """A new folder (0700) in `parent` for unfinished files, removed at the end, and by others once its maker died."""
    remove_dead_work(parent)
    folder, lock = _make_locked(parent)
    try:
        with lock:
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_locked(parent: Path) -> tuple[Path, IO[bytes]]:
    """Make a work folder, and its lock file with the lock taken.

    The lock is a file of its own: closing any other handle of a database file would drop the locks SQLite has on it.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=WORK_PREFIX, dir=parent))
        file = (folder / _LOCK_NAME).open("wb")
        try:
            lock_file(file.fileno())
        except BlockingIOError:  # another process is about to remove the folder, whose maker it takes for dead
            taken = True
        except OSError:  # some network file systems have no locks
            taken = False
        else:
            taken = not (folder / _LOCK_NAME).exists()
        if not taken:
            return folder, file
        file.close()


@contextmanager
def unfinished_gallery(folder: Path) -> Iterator[Path]:
    """A folder (0700) to make a gallery in, which becomes `folder` when the block ends without an error.

    Where `folder` exists, the files move into it, the database last, and the block sees its list of erased people. A
    failure leaves nothing behind. Raises `OSError`; `FileExistsError` where a gallery has come there meanwhile.
    """
    parent = folder if folder.is_dir() else folder.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    with work_folder(parent) as work:
        made = work / "gallery"
        made.mkdir(mode=0o700)
        if (folder / _ERASURE_LIST).exists():
            shutil.copyfile(folder / _ERASURE_LIST, made / _ERASURE_LIST)
        yield made
        fsync_folder(made)
        if not folder.is_dir():
            make_folder(folder.parent)
            made.rename(folder)
            fsync_folder(folder.parent)
            return
        database = folder / _DATABASE[0]
        if database.exists() and database.stat().st_size:
            raise FileExistsError(errno.EEXIST, "a gallery has come there meanwhile", os.fspath(database))
        for file in sorted(made.iterdir(), key=lambda file: file.name == database.name):
            file.replace(folder / file.name)
        fsync_folder(folder)


def remove_dead_work(parent: Path) -> None:
    """Remove the folders of writers that died. A living one holds a lock."""
    for folder in parent.glob(f"{WORK_PREFIX}*"):
        with suppress(OSError):  # still in use, or just removed by another process
            if (folder / _LOCK_NAME).exists():
                with (folder / _LOCK_NAME).open("rb") as file:
                    lock_file(file.fileno())
                    if os.name != "nt":  # under the lock, which the folder's maker may be about to take
                        shutil.rmtree(folder)
                if os.name == "nt":  # there nobody can remove an open file
                    shutil.rmtree(folder)
            elif time.time() - folder.stat().st_mtime > _UNLOCKED:
                shutil.rmtree(folder)


def lock_file(descriptor: int) -> None:
    """Take a lock on an open file that ends with the process, or raise OSError.

    On Windows an open file cannot be removed by others, so none is needed.
    """
    if os.name == "nt":
        return
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
