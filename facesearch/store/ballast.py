"""A file that takes up space, to be given up when the disk is full.

A full disk refuses a DELETE as it refuses an INSERT, and even a query that has to make SQLite's shared-memory file.
Somebody who wants to be forgotten must not have to wait for space.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from facesearch.errors import DiskFullError, GalleryError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from facesearch.search.gallery import Gallery

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

BALLAST_NAME = "gallery.ballast"
SIZE = 1 << 20
"""Bytes: 64 pages of the database. Removing a person with 40 photos writes about 30 of them to the log."""


STEP = SIZE // 8
"""Bytes: enough to open a database, and too little for an enrolment to eat up what a removal may need."""


def make_ballast(folder: Path) -> None:
    """Take up the space where it is not taken up; a gallery that cannot stays without."""
    path = folder / BALLAST_NAME
    with suppress(OSError):
        if path.is_file() and path.stat().st_size == SIZE:
            return
        if shutil.disk_usage(folder).free < 2 * SIZE:
            return  # what is left serves its purpose as it is
        with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(os.urandom(SIZE))  # no file system can compress it away


def shrink_ballast(folder: Path) -> bool:
    """Give up a little of the space; returns whether there was any."""
    path = folder / BALLAST_NAME
    try:
        size = path.stat().st_size
        os.truncate(path, max(0, size - STEP))
    except OSError:
        return False
    return size > 0


def release_ballast(folder: Path) -> bool:
    """Give the space up; returns whether there was any."""
    try:
        (folder / BALLAST_NAME).unlink()
    except OSError:
        return False
    return True


def despite_full_disk(
    removal: Callable[Concatenate[Gallery, Arguments], Result],
) -> Callable[Concatenate[Gallery, Arguments], Result]:
    """A method of `Gallery` that is tried again without the ballast where the disk is full.

    The log is folded into the database then, and the ballast made again from the space it took.
    """

    @wraps(removal)
    def retried(gallery: Gallery, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return removal(gallery, *args, **kwargs)
        except DiskFullError:
            if not release_ballast(gallery.folder):
                raise
        result = removal(gallery, *args, **kwargs)
        with suppress(GalleryError):  # the removal is on disk; the log is folded in when there is space again
            gallery.database.checkpoint()
        make_ballast(gallery.folder)
        return result

    return retried
