"""A photo file -> its bytes -> pixels, guarded against files that are no photo or never end."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.errors import PhotoError
from facesearch.types import Pixels, Reason
from facesearch.walking import cause_of

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES: Final = 50 * 2**20
"""Larger files are refused unread."""


def read_photo_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a regular file of at most `max_bytes`.

    Never blocks on a pipe or a device, and never follows a file that grows while it is read beyond the limit.

    Raises:
        PhotoError: `inaccessible` (missing, no permission, the disk fails), `unreadable` (no regular file, empty) or
            `too_large`.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 - a descriptor, not a path
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _unreadable("It is not a regular file.")
            data = file.read(max_bytes + 1) if status.st_size <= max_bytes else None
    except IsADirectoryError as error:
        message = "It is a folder, and the photos in it were not looked at."
        raise PhotoError(message, reason=Reason.INACCESSIBLE) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise PhotoError(f"It cannot be read: {cause_of(error)}.", reason=Reason.INACCESSIBLE) from error
    if data is None or len(data) > max_bytes:
        raise PhotoError(
            f"The photo is larger than {max_bytes / 2**20:.0f} MB.",
            reason=Reason.TOO_LARGE,
            hint="Save a smaller copy; 2 megapixels a face are plenty.",
        )
    if not data:
        raise _unreadable("The file is empty.")
    return data


def note_on(data: bytes) -> str | None:
    """What somebody should know of a photo that can be decoded all the same, in words."""
    from facesearch.recognition.jpeg import lacks_end

    if data.startswith(b"\xff\xd8") and lacks_end(data):
        return "The photo lacks its end marker, and none of its pixels."
    return None


def decode_photo(data: bytes) -> Pixels:
    """Upright RGB pixels (height, width, 3) uint8 of an encoded photo, read-only, decoded in this process.

    For photos that can be trusted; `decoding.decode_guarded` does the same where a decoder may crash or hang. Formats,
    colours and errors are those of `formats.decode_image`.
    """
    from facesearch.recognition.formats import decode_image

    return np.asarray(decode_image(data))


def _unreadable(message: str) -> PhotoError:
    return PhotoError(message, reason=Reason.UNREADABLE)
