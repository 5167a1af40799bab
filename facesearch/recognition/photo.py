"""What a photo file may be, how it is read, and what a decoding worker and its parent process say to each other.

The worker writes `READY` when it has started. A request is `LENGTH` and that many bytes of an encoded photo. The answer
is `ANSWER` with `DECODED` or `WITHOUT_END` and the photo's size, followed by its pixels row by row, 3 bytes RGB each;
or with `REFUSED` and the length of a JSON array of the three parts of a PhotoError: message, reason, hint.

The worker imports this file, so that it takes no NumPy along.
"""

from __future__ import annotations

import os
import stat
import struct
from typing import TYPE_CHECKING, Final

from facesearch.errors import PhotoError
from facesearch.walking import cause_of

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES: Final = 50 * 2**20
"""Larger files are refused unread."""
MAX_PIXELS: Final = 50_000_000
"""Larger photos are refused by their header: 50 Mpx are 150 MB of pixels and above any phone's default."""

READY: Final = b"facesearch decoder 1\n"
LENGTH: Final = struct.Struct("<Q")
ANSWER: Final = struct.Struct("<BII")
"""`DECODED` or `WITHOUT_END`, width, height; or `REFUSED`, length of the JSON, 0."""
DECODED: Final = 0
REFUSED: Final = 1
WITHOUT_END: Final = 2
"""Decoded, and a JPEG without its end marker."""


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
                raise PhotoError("It is not a regular file.", reason="unreadable")
            data = file.read(max_bytes + 1) if status.st_size <= max_bytes else None
    except IsADirectoryError as error:
        message = "It is a folder, and the photos in it were not looked at."
        raise PhotoError(message, reason="inaccessible") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise PhotoError(f"It cannot be read: {cause_of(error)}.", reason="inaccessible") from error
    if data is None or len(data) > max_bytes:
        raise PhotoError(
            f"The photo is larger than {max_bytes / 2**20:.0f} MB.",
            reason="too_large",
            hint="Save a smaller copy; 2 megapixels a face are plenty.",
        )
    if not data:
        raise PhotoError("The file is empty.", reason="unreadable")
    return data
