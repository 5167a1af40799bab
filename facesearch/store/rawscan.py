"""Searching files for bytes: the proof that something is not in them."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.files import read_pieces

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

PIECE: Final = 8 << 20
"""Bytes read at a time."""
SHORTEST: Final = 5
"""Bytes of a needle. Four bytes are found by chance in a file of a few gigabytes."""


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """What a file holds of the bytes that were looked for."""

    path: Path
    size: int
    hits: tuple[int, ...]
    """How often each group of needles was found; overlapping needles of one group count each."""


def scan_files(folders: Iterable[Path], groups: Sequence[Sequence[bytes]]) -> list[ScannedFile]:
    """Look for every needle of every group in every regular file below `folders`. Raises `OSError`."""
    seekers = [_Seeker(group) for group in groups]
    return [_scan(path, seekers) for folder in folders for path in _files(folder)]


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*"), key=os.fsencode):
        try:
            if stat.S_ISREG(path.lstat().st_mode):
                yield path
        except FileNotFoundError:
            continue  # a temporary file of another process


class _Seeker:
    """Finds many needles at once: a table of their first two bytes, then their first four, then the whole."""

    def __init__(self, needles: Sequence[bytes]) -> None:
        if any(len(needle) < SHORTEST for needle in needles):
            raise ValueError(f"a needle has at least {SHORTEST} bytes")
        self.longest = max(map(len, needles), default=0)
        self._by_start: dict[int, dict[int, set[bytes]]] = {}
        """By the first four bytes and the length: paths of one folder all begin alike."""
        self._pairs = np.zeros(1 << 16, np.bool)
        for needle in set(needles):
            start = int.from_bytes(needle[:4], "little")
            self._by_start.setdefault(start, {}).setdefault(len(needle), set()).add(needle)
            self._pairs[start & 0xFFFF] = True
        self._starts = np.array(sorted(self._by_start), np.uint32)

    def count(self, data: bytes, end: int) -> int:
        """Hits that begin before `end`."""
        if not self._by_start or len(data) < SHORTEST:
            return 0
        each = np.frombuffer(data, np.uint8)
        pairs = each[:-1] | (each[1:].astype(np.uint16) << 8)
        places = np.flatnonzero(self._pairs[pairs[:-2]])
        starts = pairs[places] | (pairs[places + 2].astype(np.uint32) << 16)
        places = places[np.isin(starts, self._starts) & (places < end)]
        return sum(
            data[place : place + length] in needles
            for place in places.tolist()
            for length, needles in self._by_start[int.from_bytes(data[place : place + 4], "little")].items()
        )


def _scan(path: Path, seekers: Sequence[_Seeker]) -> ScannedFile:
    overlap = max((seeker.longest for seeker in seekers), default=0)
    hits = [0] * len(seekers)
    size = 0
    kept = b""
    for piece in read_pieces(path, PIECE):
        size += len(piece)
        data = kept + piece
        end = max(len(data) - overlap, 0)
        hits = [known + seeker.count(data, end) for known, seeker in zip(hits, seekers, strict=True)]
        kept = data[end:]
    hits = [known + seeker.count(kept, len(kept)) for known, seeker in zip(hits, seekers, strict=True)]
    return ScannedFile(path, size, tuple(hits))
