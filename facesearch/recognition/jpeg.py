"""The structure of JPEG files (ITU-T T.81): which kind one is, and whether one without its end marker is whole.

Imports nothing but the standard library and Pillow, as `formats` does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

_START: Final = b"\xff\xd8"
_END: Final = b"\xff\xd9"
_SCAN: Final = 0xDA
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ORDINARY: Final = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive, each with Huffman codes; the others are lossless, arithmetic or hierarchical."""
_MARKER: Final = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
"""A marker that may follow a scan: neither a stuffed byte nor a restart."""
_TAILS: Final = tuple(
    start * 512 + b"".join(bytes([0xFF, 0xD0 + (first + i) % 8]) + filler * 1024 for i in range(8))
    for first, start, filler in (
        (0, b"\x1b\x6c\xb1\xc6", b"\x1b\x6c"),
        (2, b"\x55\x99\x26\x4d", b"\x65\x9a"),
        (4, b"\x9a\x35\xd2\x8b", b"\xa6\x59"),
        (6, b"\xe4\x4b\x2d\x97", b"\xd8\x36"),
    )
)
"""Bits that begin in every way, then every restart, beginning with another in each. Between two of them are 2 KB: a
decoder drops a group of blocks (MCU) whose data are not whole, and these are enough for the largest one.
"""


@dataclass(slots=True)
class _Structure:
    frame: int = 0
    """The marker of the frame; 0 where there is none."""
    bits: int = 0
    """Per sample."""
    components: int = 0
    missing: dict[tuple[int, int], int] = field(default_factory=dict)
    """Low bits that no scan has brought yet, by component and coefficient; what is not in it was not begun."""
    ended: bool = False

    @property
    def has_all_scans(self) -> bool:
        wanted = self.components * 64
        return wanted > 0 and len(self.missing) == wanted and not any(self.missing.values())


def is_special(data: bytes) -> bool:
    """Whether its header says that it is of a kind that few decoders know: not Huffman-coded with 8 bits per sample."""
    structure = _read(data)
    return structure.frame != 0 and (structure.frame not in _ORDINARY or structure.bits != 8)


def lacks_end(data: bytes) -> bool:
    """Whether it is a JPEG that ends within a scan, without the marker that a JPEG ends with."""
    return data.startswith(_START) and not data.endswith(_END) and not _read(data).ended


def decode_without_end(data: bytes, decode: Callable[[bytes], Image.Image]) -> Image.Image | None:
    """The photo of a file that lacks its end marker only; None where pixels are missing as well.

    Whether the last scan is whole is found out by continuing it with different bits: they change the pixels unless all
    of these are there. Then every scan that the frame needs has to be there, too.
    """
    structure = _read(data)
    if structure.ended or structure.frame not in _ORDINARY or not structure.has_all_scans:
        return None
    scan = data.rstrip(b"\xff")
    image = decode(scan + _END)
    pixels = image.tobytes()
    whole = all(decode(scan + tail + _END).tobytes() == pixels for tail in _TAILS)
    return image if whole else None


def _read(data: bytes) -> _Structure:
    """Walk the markers up to the end of the first image."""
    found = _Structure()
    at = 2
    while (marker := _MARKER.search(data, at)) is not None:
        kind, at = marker[1][0], marker.end()
        if kind == _END[1]:
            found.ended = True
            break
        length = int.from_bytes(data[at : at + 2])
        body = data[at + 2 : at + length]
        if len(body) < max(length, 2) - 2:
            break
        at += max(length, 2)
        if kind in _FRAMES and len(body) >= 6:
            found.frame, found.bits, found.components = kind, body[0], body[5]
        elif kind == _SCAN:
            _add_scan(found, body)
            following = _MARKER.search(data, at)
            if following is None:
                break
            at = following.start()
    return found


def _add_scan(found: _Structure, body: bytes) -> None:
    count = body[0] if body else 0
    if len(body) < 4 + 2 * count:
        return
    first, last, bits = body[1 + 2 * count], body[2 + 2 * count], body[3 + 2 * count]
    for component in body[1 : 1 + 2 * count : 2]:
        for coefficient in range(first, min(last, 63) + 1):
            found.missing[component, coefficient] = bits & 0x0F
