"""What a decoding worker and the process that started it say to each other.

The worker writes `READY` when it has started. A request is `LENGTH` and that many bytes of an encoded photo. The answer
is `ANSWER` with `DECODED` and the photo's size, followed by its pixels row by row, 3 bytes RGB each; or with `REFUSED`
and the length of a JSON array of the three parts of a PhotoError: message, reason, hint.
"""

from __future__ import annotations

import struct
from typing import Final

READY: Final = b"facesearch decoder 1\n"
LENGTH: Final = struct.Struct("<Q")
ANSWER: Final = struct.Struct("<BII")
"""`DECODED`, width, height; or `REFUSED`, length of the JSON, 0."""
DECODED: Final = 0
REFUSED: Final = 1

MAX_PIXELS: Final = 50_000_000
"""Larger photos are refused by their header: 50 Mpx are 150 MB of pixels and above any phone's default."""
