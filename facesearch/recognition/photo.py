"""What a photo file may be, and what a decoding worker and its parent process say to each other.

The worker writes `READY` when it has started. A request is `LENGTH` and that many bytes of an encoded photo. The answer
is `ANSWER` with `DECODED` or `WITHOUT_END` and the photo's size, followed by its pixels row by row, 3 bytes RGB each;
or with `REFUSED` and the length of a JSON array of the three parts of a PhotoError: message, reason, hint.

The worker imports this file, so that it takes no NumPy along.
"""

from __future__ import annotations

import struct
from typing import Final

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
