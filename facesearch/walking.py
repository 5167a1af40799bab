"""Walk folders: the same files for every command, and nothing that could not be read goes unsaid.

It imports the standard library alone.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEM_NAMES: Final = frozenset(
    {
        "@eadir",  # Synology: thumbnails of every photo
        "#recycle",
        "#snapshot",
        "@recycle",  # QNAP
        "@recently-snapshot",
        "__macosx",  # macOS: resource forks in ZIP files
        "$recycle.bin",  # Windows
        "system volume information",
        "thumbs.db",
        "desktop.ini",
        "lost+found",  # ext4
    }
)
"""Names, in small letters, of files and folders that systems make for themselves: never people, never photos."""

PHOTO_SUFFIXES: Final = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".mpo", ".png", ".apng", ".webp", ".gif"),
        *(".bmp", ".dib", ".tif", ".tiff", ".avif", ".avifs", ".heic", ".heif", ".hif"),
    }
)
"""Suffixes, in lower case, of files in folders that are taken for photos. A file given by name is always read."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A folder, or a link in one, that could not be looked into."""

    path: Path
    cause: str
    """The system's words, as `Permission denied`."""


@dataclass(slots=True)
class Walk:
    """What a folder and the folders below it hold."""

    files: list[Path] = field(default_factory=list)
    """In the order of their bytes, which no file system and no locale changes."""
    unread: list[Unread] = field(default_factory=list)


def is_photo_name(path: Path) -> bool:
    """Whether a file found in a folder is taken for a photo: by its suffix, and hidden files never are."""
    return path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".")


def is_system_name(name: str) -> bool:
    """Whether a file or folder inside a folder is passed over: a hidden one, or one of `SYSTEM_NAMES`."""
    return name.startswith(".") or name.casefold() in SYSTEM_NAMES


def is_system_folder(path: Path) -> bool:
    """Whether a folder that was given by name is passed over: one of `SYSTEM_NAMES`, but no hidden one."""
    return path.name.casefold() in SYSTEM_NAMES


def walk(folder: Path) -> Walk:
    """Return all files in `folder` and below it, but for those of the system.

    Links to folders are followed after all real folders, and each folder is visited once: a loop ends, and a file is
    found where it lies rather than through a link. A link to a folder above `folder` is not followed.
    """
    found = Walk()
    visited = set(above(folder))
    folders, links = deque([folder]), deque[Path]()
    while folders or links:
        current = folders.popleft() if folders else links.popleft()
        try:
            status = current.stat()
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(current) as entries:
                listed = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            found.unread.append(Unread(current, cause_of(error)))
            continue
        for entry in listed:
            if not is_system_name(entry.name):
                _sort_in(entry, found, folders, links)
    found.files.sort(key=os.fsencode)
    return found


def above(folder: Path) -> Iterator[tuple[int, int]]:
    """Device and inode of each folder above one, into which no walk goes."""
    for each in Path(os.path.realpath(folder)).parents:
        with suppress(OSError):
            status = each.stat()
            yield status.st_dev, status.st_ino


def _sort_in(entry: os.DirEntry[str], found: Walk, folders: deque[Path], links: deque[Path]) -> None:
    path = Path(entry.path)
    try:
        if not entry.is_dir():
            if entry.is_symlink() and not is_photo_name(path) and is_gone(path):  # to a disk that is not mounted?
                found.unread.append(Unread(path, "it is a link to a folder that is not there"))
            else:
                found.files.append(path)
        elif entry.is_symlink():
            links.append(path)
        else:
            folders.append(path)
    except OSError as error:  # where a link leads cannot be found out
        found.unread.append(Unread(path, cause_of(error)))


def is_gone(path: Path) -> bool:
    """Whether there is certainly no such file: one that cannot be asked for may be there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def cause_of(error: OSError | ValueError) -> str:
    """Return the system's words for an error; `ValueError` is a NUL in a path."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
